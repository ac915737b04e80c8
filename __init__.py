"""lmtool: run language models and train tokenizers from the terminal.

Three rooms with one-way doors: `cli` knows the terminal and no tensors, `engine` knows tensors
and no terminal, `tokenizer` imports no torch. Imports go cli -> engine -> tokenizer, never back.
"""

__version__ = "0.1.0"


class LmtoolError(Exception):
    """The one error shown to users: what is wrong and where, and in `hint` what to do about it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LmtoolError):
    """The command line asks for something that can't be done as written."""


class ModelError(LmtoolError):
    """A model or tokenizer is missing, damaged or unsupported."""


class InputError(LmtoolError):
    """The input doesn't fit or is not valid."""


class OutOfMemoryError(LmtoolError):
    """The machine, or the device, has not enough memory for this."""
