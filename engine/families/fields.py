"""A config.json read field by field, with nothing overlooked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar, cast, overload

from ... import ModelError

T = TypeVar("T")

# fmt: off
HARMLESS = frozenset({
    "architectures", "auto_map", "model_type", "transformers_version", "_name_or_path",
    "name_or_path", "_commit_hash", "torch_dtype", "dtype", "use_cache", "initializer_range",
    "pretraining_tp", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop",
    "attn_pdrop", "return_dict", "output_attentions", "output_hidden_states", "bos_token_id",
    "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id", "is_decoder",
    "add_cross_attention", "cross_attention_hidden_size",
    "chunk_size_feed_forward", "finetuning_task", "id2label", "label2id", "problem_type",
    "prefix", "task_specific_params", "tokenizer_class", "torchscript", "use_bfloat16",
    "tie_encoder_decoder", "gradient_checkpointing", "_attn_implementation",
    "_attn_implementation_autoset", "attn_implementation", "unsloth_version", "unsloth_fixed",
    "use_flash_attn", "temperature", "top_k", "top_p", "typical_p", "do_sample", "num_beams",
    "num_beam_groups", "num_return_sequences", "max_length", "min_length", "repetition_penalty",
    "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "early_stopping", "diversity_penalty", "forced_bos_token_id", "forced_eos_token_id",
    "suppress_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty",
    "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "summary_first_dropout", "classifier_dropout", "num_labels", "resid_dropout", "embed_dropout",
    "dropout", "activation_dropout", "layerdrop", "residual_dropout", "embedding_dropout",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "emb_pdrop", "init_std",
    "is_llama_config", "transformers.js_config", "max_sequence_length", "neftune_noise_alpha",
    "use_flash_attention", "flash_attn",
    "remove_invalid_values", "output_scores", "cache_implementation", "model_max_length",
    "return_dict_in_generate", "tf_legacy_loss",
})
# fmt: on
"""Fields that never change the result of a forward pass: training, generation, bookkeeping."""


class Fields:
    """The fields of a config, each taken once by the family that reads it.

    `where` names the config in errors. A dotted path names what is inside another field.
    """

    def __init__(self, config: dict[str, Any], where: str) -> None:
        self._config = dict(config)
        self._taken: set[str] = set()
        self.where = where

    def assume(self, **defaults: Any) -> None:
        """What transformers takes for fields that the config doesn't mention; null is a mention."""
        for name, value in defaults.items():
            self._config.setdefault(name, value)

    def respell(self, **names: str) -> None:
        """Read fields by another spelling: `respell(num_experts="num_local_experts")`.

        Raises `ModelError` if both spellings are there and differ.
        """
        for theirs, ours in names.items():
            if theirs not in self._config:
                continue
            value = self._config.pop(theirs)
            if self._config.setdefault(ours, value) != value:
                raise self.wrong(theirs, value, f"what `{ours}` is: {self._config[ours]}")

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._config.get(name) is not None

    def take(self, name: str) -> Any:
        """A field as it stands, or None."""
        self._taken.add(name)
        return self._config.get(name)

    def drop(self, *names: str) -> None:
        """Forget fields that mean nothing here, though others are respelled as they are."""
        for name in names:
            self._config.pop(name, None)

    def ignore(self, *names: str) -> None:
        """Mark fields as read that mean nothing in this family."""
        self._taken.update(names)

    def only(self, **values: Any) -> None:
        """Fields that are at these values, missing or null; at any other they are refused."""
        for name, value in values.items():
            if self.take(name) not in (None, value):
                raise self.wrong(name, self.take(name), f"{_short(value)}, all that lmtool runs")

    @overload
    def integer(self, name: str) -> int: ...
    @overload
    def integer(self, name: str, default: T) -> int | T: ...
    def integer(self, name: str, default: Any = ...) -> Any:
        """A whole number above zero; without a default the field must be there."""
        value = self._value(name, default)
        if value is default:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(name, value, "a whole number above zero")
        return value

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number that may be zero; without a default the field must be there."""
        value = self._value(name, ... if default is None else default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, value, "a whole number")
        return value

    @overload
    def number(self, name: str) -> float: ...
    @overload
    def number(self, name: str, default: T) -> float | T: ...
    def number(self, name: str, default: Any = ...) -> Any:
        """A finite number; without a default the field must be there."""
        value = self._value(name, default)
        if value is default:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(name, value, "a number")
        # JSON as Python reads it has NaN, Infinity, and whole numbers beyond any float.
        if not abs(value) <= sys.float_info.max:
            raise self.wrong(name, value, "a finite number")
        return float(value)

    def above(self, floor: float, name: str, default: Any = ...) -> float:
        """A number above `floor`; without a default the field must be there."""
        value = self.number(name, default)
        if not value > floor:
            raise self.wrong(name, value, f"a number above {floor:g}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def word(self, name: str, default: str, among: Sequence[str]) -> str:
        """One of the words we know; any other is refused with those."""
        value = self._value(name, default)
        if value not in among:
            raise self.wrong(name, value, f"one of {', '.join(among)}")
        return value

    def entries(self, name: str, count: int, *, spare: bool = False) -> list[Any]:
        """A list of so many entries; with `spare` it may have more, which are left out."""
        value = self._value(name, ...)
        if not isinstance(value, list):
            raise self.wrong(name, value, f"a list of {count}")
        entries = cast("list[Any]", value)
        if len(entries) < count or (len(entries) > count and not spare):
            raise ModelError(f"{self.where}: `{name}` has {len(entries)} entries, not {count}")
        return entries[:count]

    def inside(self, name: str) -> Fields | None:
        """The fields within a field, or None where it is missing, null or empty."""
        value = self.take(name)
        if value is None or value == {}:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return Fields(cast("dict[str, Any]", value), f"{self.where}: {name}")

    def refuse_rest(self) -> None:
        """Raise `ModelError` for a field that nobody took and that may change the result."""
        for name, value in self._config.items():
            neutral = value is None or value is False or value == {}
            if name not in self._taken and name not in HARMLESS and not neutral:
                raise ModelError(
                    f"{self.where} has a field lmtool doesn't understand: "
                    f"`{name}`: {_short(value)}",
                    hint="running it without would change the result, so it is refused",
                )

    def wrong(self, name: str, value: object, wanted: str) -> ModelError:
        """The error for a field whose value makes no sense here."""
        return ModelError(f"{self.where}: `{name}` is {_short(value)}, not {wanted}")

    def _value(self, name: str, default: Any) -> Any:
        value = self.take(name)
        if value is not None:
            return value
        if default is ...:
            raise ModelError(f"{self.where} lacks `{name}`")
        return default


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
