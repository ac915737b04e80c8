"""`Tokenizer`: a checkpoint's own, text to ids and back. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import UsageError
from .cut import Cutter, cut_text
from .losses import losses_of
from .pieces import BYTE_PIECE, Spelling, gpt2_alphabet, spelling_of
from .plain import plain_pipeline
from .reading import TokenizerFiles, read_files, token_named

if TYPE_CHECKING:
    import tokenizers

Bos = Literal["auto", "on", "off"]
"""Whether a begin-of-text token is put first: as the tokenizer's files say, always, never."""
Special = Literal["text", "parse"]
"""What special tokens spelled in a text are: text like any other, or the tokens."""


class Place(NamedTuple):
    """A token in a text: its id, from which character and up to which."""

    id: int
    start: int
    end: int


class Tokenizer:
    """A tokenizer as its files describe it.

    `name` is its folder's, `format` what was read, in words. `chat_templates` are Jinja sources
    by name, usually one, "default".
    """

    def __init__(self, files: TokenizerFiles) -> None:
        """Build it from files that have been read; `load` does both."""
        self.pipeline = files.pipeline
        self.encoder = files.encoder
        self.name = files.path.resolve().parent.name
        self.format = files.format
        self.chat_templates = files.chat_templates
        self.spelling: Spelling = spelling_of(files.pipeline)
        self._config = files.config
        self._ends = files.ends
        self._alphabet = gpt2_alphabet()
        self.cutter = Cutter(files.pipeline)
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """The tokenizer of the checkpoint folder, or in the file of whatever format, at `path`.

        Raises `ModelError` for what is missing, damaged, a Git LFS pointer, or of a kind that
        lmtool can't encode exactly as it is meant.
        """
        return cls(read_files(path))

    @cached_property
    def plain(self) -> tokenizers.Tokenizer:
        """The pipeline to which special tokens spelled in a text are text like any other."""
        return plain_pipeline(self.pipeline)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the pipeline: all that turns text into ids, but for BOS."""
        return sha256(self.pipeline.to_str().encode()).hexdigest()

    @cached_property
    def vocab_size(self) -> int:
        """The highest id + 1, added tokens included; ids below may be missing."""
        return max(self.pipeline.get_vocab().values(), default=-1) + 1

    @cached_property
    def added(self) -> dict[int, str]:
        """Tokens that are matched in the text before anything else, by id."""
        added = self.pipeline.get_added_tokens_decoder()
        return {id: token.content for id, token in added.items()}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens, which stand for no text."""
        added = self.pipeline.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    @property
    def config(self) -> Mapping[str, Any]:
        """tokenizer_config.json over special_tokens_map.json."""
        return self._config

    @property
    def chat_template(self) -> str | None:
        """The source of the chat template, if there is one."""
        return self.chat_templates.get("default")

    @cached_property
    def named_specials(self) -> dict[str, str]:
        """Special tokens by the roles that the config gives them, such as "bos_token"."""
        roles = {role: token_named(self._config, role) for role in self._config}
        return {
            role: token
            for role, token in roles.items()
            if token is not None and role.endswith("_token")
        }

    def special_named(self, text: str) -> int | None:
        """The control token that is spelled `text`, if there is one."""
        id = self.pipeline.token_to_id(text)
        return id if id in self.special_ids else None

    @cached_property
    def bos_id(self) -> int | None:
        """The token that begins a text, if there is one: the config's, or what encoding adds."""
        id = self._id_of("bos_token")
        if id is None and len(self._template_prefix) == 1:
            return self._template_prefix[0]
        return id

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a text, as far as the tokenizer's own files say: all of them joined."""
        ids = (self.pipeline.token_to_id(token) for token in self._ends)
        return frozenset(id for id in ids if id is not None)

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """What `bos="auto"` puts before a text, by add_bos_token or else the post-processor."""
        wanted = self._config.get("add_bos_token")
        if isinstance(wanted, bool):
            bos = self.bos_id
            return (bos,) if wanted and bos is not None else ()
        return self._template_prefix

    def encode(self, text: str, *, bos: Bos = "auto", special: Special = "text") -> list[int]:
        """The ids of `text`: a begin-of-text token if `bos` says so, never twice, and no end token.

        Raises `UsageError` where `bos="on"` and the tokenizer knows no such token.
        """
        return self.put_bos(self.encode_plain([text], special)[0], bos)

    def put_bos(self, ids: list[int], bos: Bos) -> list[int]:
        """`ids` of a text behind what `bos` asks for, unless they begin with it already."""
        prefix = self.prefix_for(bos)
        return ids if tuple(ids[: len(prefix)]) == prefix else [*prefix, *ids]

    def encode_plain(self, texts: Sequence[str], special: Special = "text") -> list[list[int]]:
        """The ids of each text alone, nothing put before or after; long texts go in pieces."""
        if self.encoder is not None:
            return self.encoder.encode_batch(list(texts), special == "parse")
        pieces: list[str] = []
        counts: list[int] = []
        for text in texts:
            before = len(pieces)
            pieces.extend(cut_text(text, self.cutter))
            counts.append(len(pieces) - before)
        reader = self.plain if special == "text" else self.pipeline
        encoded = iter(reader.encode_batch_fast(pieces, add_special_tokens=False))
        return [[id for _ in range(count) for id in next(encoded).ids] for count in counts]

    def character_spans(self, text: str, special: Special = "text") -> list[tuple[int, int]]:
        """Where the text of each plain id lies in `text`: from and up to, in characters."""
        if self.encoder is not None:
            return [(start, end) for _, start, end in self.encoder.spans(text, special == "parse")]
        reader = self.plain if special == "text" else self.pipeline
        return reader.encode(text, add_special_tokens=False).offsets

    def specials_in(self, text: str) -> tuple[Place, ...]:
        """The special tokens that `text` spells, and where."""
        if self.encoder is not None:
            spans = self.encoder.spans(text, parse=True)
            return tuple(Place(*span) for span in spans if span[0] in self.special_ids)
        found = self.pipeline.encode(text, add_special_tokens=False)
        places = (Place(id, *span) for id, span in zip(found.ids, found.offsets, strict=True))
        return tuple(one for one in places if one.id in self.special_ids)

    def prefix_for(self, bos: Bos) -> tuple[int, ...]:
        """The ids to put before a text. Raises `UsageError` for "on" without such a token."""
        if bos == "off":
            return ()
        if bos == "auto" or self.prefix:
            return self.prefix
        if self.bos_id is None:
            raise UsageError(f"`{self.name}` has no begin-of-text token", hint="leave out --bos on")
        return (self.bos_id,)

    @cached_property
    def losses(self) -> tuple[str, ...]:
        """Why a text may not come back from its ids, each reason in words; see `losses_of`."""
        return losses_of(self.pipeline, self.spelling)

    @property
    def lossless(self) -> bool:
        """Whether `decode_bytes(encode(text))` is `text` in UTF-8, whatever the text.

        Special tokens in it are plain text; a begin-of-text token is skipped.
        """
        return not self.losses

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`, bytes that are no UTF-8 as U+FFFD; unknown ids stand for nothing."""
        if self.spelling == "bytes":
            return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", "replace")
        return self.pipeline.decode(list(ids), skip_special_tokens=skip_special)

    def decode_bytes(
        self, ids: Iterable[int], *, skip_special: bool = True, before: int | None = None
    ) -> bytes:
        """The exact bytes of `ids`, also where they end inside a character.

        Exact for byte-level and byte-fallback vocabularies; others have only their text. `before`
        is the last id that stood before, if any: decoders treat the first of all apart.
        """
        kept = [id for id in ids if not (skip_special and id in self.special_ids)]
        if self.spelling == "bytes":
            return b"".join(map(self.token_bytes, kept))
        known = [id for id in kept if self.knows(id)]
        if self.spelling == "fallback":
            return self._decode_fallback(known, before)
        return self._text_after(known, before)

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one id of a byte-level vocabulary; special tokens as they are spelled."""
        found = self._bytes.get(id)
        if found is None:
            found = self._bytes[id] = self._spell_bytes(id)
        return found

    def is_byte(self, id: int) -> bool:
        """Whether `id` stands for one raw byte, such as <0xE3>, of a byte-fallback vocabulary."""
        return self.spelling == "fallback" and bool(BYTE_PIECE.fullmatch(self.piece(id)))

    def piece(self, id: int) -> str:
        """The vocabulary's own spelling, `Ġthe` or `▁the`; empty for an unknown id."""
        if not 0 <= id < 1 << 32:
            return ""
        return self.pipeline.id_to_token(id) or ""

    def knows(self, id: int) -> bool:
        """Whether the vocabulary has this id; vocabularies may have holes."""
        return 0 <= id < 1 << 32 and self.pipeline.id_to_token(id) is not None

    def ids_holding(self, texts: Sequence[str]) -> frozenset[int]:
        """The ids of all tokens that have one of `texts` somewhere in theirs."""
        spelled = set(texts)
        if self.spelling == "bytes":
            letters = {byte: letter for letter, byte in self._alphabet.items()}
            spelled |= {"".join(letters[byte] for byte in text.encode()) for text in texts}
        elif self.spelling == "fallback":
            spelled |= {f"<0x{ord(text):02X}>" for text in texts if len(text.encode()) == 1}
        pieces = self.pipeline.get_vocab().items()
        return frozenset(id for piece, id in pieces if any(text in piece for text in spelled))

    def token_text(self, id: int) -> str:
        """What `id` stands for within a text, spaces kept and special tokens spelled."""
        if id in self.added:
            return self.added[id]
        if self.spelling == "bytes":
            return self.token_bytes(id).decode("utf-8", "replace")
        # Decoders treat the first token differently, so look at a second one.
        alone = self.decode([id], skip_special=False)
        return self.decode([id, id], skip_special=False)[len(alone) :]

    @cached_property
    def _template_prefix(self) -> tuple[int, ...]:
        """What the post-processor puts before a text."""
        full = self.pipeline.encode("a", add_special_tokens=True).ids
        plain = self.pipeline.encode("a", add_special_tokens=False).ids
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return tuple(full[:start])
        return ()

    def _id_of(self, role: str) -> int | None:
        token = token_named(self._config, role)
        return None if token is None else self.pipeline.token_to_id(token)

    def _spell_bytes(self, id: int) -> bytes:
        if id in self.added:
            return self.added[id].encode()
        piece = self.piece(id)
        try:
            return bytes(self._alphabet[letter] for letter in piece)
        except KeyError:  # not in GPT-2's alphabet, so it stands for itself
            return piece.encode()

    def _decode_fallback(self, ids: Sequence[int], before: int | None) -> bytes:
        """Text by the decoder, but byte pieces as bytes even if they are no UTF-8."""
        out = bytearray()
        run: list[int] = []
        for id in ids:
            if not self.is_byte(id):
                run.append(id)
                continue
            out += self._text_after(run, before)
            byte = int(self.piece(id)[3:5], 16)
            # Only a letter that is one byte, a space, can be what the decoder takes away.
            first = before is None and not run and byte < 0x80
            out += self._text_after([id], None) if first else bytes([byte])
            run, before = [], id
        return bytes(out + self._text_after(run, before))

    def _text_after(self, ids: Sequence[int], before: int | None) -> bytes:
        """What the decoder makes of `ids` behind `before`."""
        if before is None or not ids:
            return self.decode(ids, skip_special=False).encode()
        known = self.decode([before], skip_special=False)
        return self.decode([before, *ids], skip_special=False)[len(known) :].encode()
