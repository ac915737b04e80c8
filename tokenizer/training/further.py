"""Courses that begin with a tokenizer: the same pipeline on new text, or more merges for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ... import UsageError
from ..pieces import METASPACE, gpt2_alphabet
from ..recipe import Recipe
from ..tokenizer import Tokenizer
from .courses import Learned, Words, byte_tokens, merges_from
from .extending import extended_model, start_of
from .starts import ByteStart, CharacterStart, Start

if TYPE_CHECKING:
    import tokenizers

    from .train import Effort, Watch


class AgainCourse:
    """The pipeline of a tokenizer, with a vocabulary learned anew from other text.

    Its added tokens take the first ids, in the order of their old ones. Raises `UsageError` for a
    kind of model that can't be learned.
    """

    def __init__(self, base: Tokenizer, size: int) -> None:
        """Begin with `base`, for a vocabulary of `size` ids."""
        self._state: dict[str, Any] = json.loads(base.pipeline.to_str())
        self._model: dict[str, Any] = self._state["model"]
        self._added = [one["content"] for one in sorted(self._state["added_tokens"], key=_id)]
        self._kind = _kind_of(base)
        if self._model.get("end_of_word_suffix"):
            raise UsageError(
                f"`{base.name}` marks the ends of words ({self._model['end_of_word_suffix']!r}), "
                "which can't be learned anew"
            )
        first = gpt2_alphabet() if self._kind == "bytes" else METASPACE
        if size < (least := len({*self._names(), *first})):
            raise UsageError(
                f"--vocab-size {size} is too small: what comes from `{base.name}` needs "
                f"{least} ids",
                hint=f"{least} is the least",
            )
        self.pipeline = _word_finder(base)

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """See `Course`."""
        if self._kind == "unigram":
            return Learned(self._with_pieces(words, recipe))
        taken = {content: number for number, content in enumerate(self._names())}
        start: Start = ByteStart(taken)
        if self._kind == "characters":
            room = min(recipe.characters, recipe.vocab_size - len(taken))
            # What stands for a space is needed, though the new text may have none.
            space = METASPACE if METASPACE in self._model["vocab"] else ""
            start = CharacterStart(taken, room, initial=space)
        merges = merges_from(words, start, recipe, effort, watch)
        pairs = [list(pair) for pair in merges.pairs]
        model = self._model | {"vocab": merges.ids, "merges": pairs}
        return Learned(self._assembled(model, merges.ids), merges)

    def _names(self) -> list[str]:
        """What has the first ids: added tokens, the unknown one, and bytes beside characters."""
        names = dict.fromkeys(self._added)
        unknown = self._model.get("unk_token")
        if isinstance(unknown, str):
            names.setdefault(unknown)
        if self._model.get("byte_fallback"):
            names |= dict.fromkeys(byte_tokens())
        return list(names)

    def _with_pieces(self, words: Words, recipe: Recipe) -> tokenizers.Tokenizer:
        from .unigram import learn_pieces

        old = cast("list[tuple[str, float]]", self._model["vocab"])
        place = cast("int | None", self._model.get("unk_id"))
        unknown = None if place is None else old[place][0]
        names = self._names()
        if unknown is not None and unknown not in names:
            names.append(unknown)
        pieces = learn_pieces(words, recipe, recipe.vocab_size - len(names))
        vocabulary = [(name, 0.0) for name in names]
        vocabulary += [piece for piece in pieces if piece[0] not in set(names)]
        ids = {piece: number for number, (piece, _) in enumerate(vocabulary)}
        changed = {"vocab": [list(one) for one in vocabulary]}
        if unknown is not None:
            changed["unk_id"] = ids[unknown]  # pyright: ignore[reportArgumentType]
        return self._assembled(self._model | changed, ids)

    def _assembled(self, model: dict[str, Any], ids: Mapping[str, int]) -> tokenizers.Tokenizer:
        """The old file with the new model, and new ids wherever it has one."""
        from tokenizers import Tokenizer as Pipeline

        added = [one | {"id": ids[one["content"]]} for one in self._state["added_tokens"]]
        state = self._state | {
            "model": model,
            "added_tokens": sorted(added, key=_id),
            "post_processor": _renumbered(self._state["post_processor"], ids),
            "truncation": None,
            "padding": None,
        }
        return Pipeline.from_str(json.dumps(state, ensure_ascii=False))


class ExtendCourse:
    """More merges for a tokenizer: every id that it has stays, new ones follow the highest."""

    def __init__(self, base: Tokenizer, size: int) -> None:
        """Begin with `base`, for a vocabulary of `size` ids."""
        if _kind_of(base) == "unigram" or base.pipeline.model.__class__.__name__ != "BPE":
            raise UsageError(
                f"`{base.name}` has no merges that could be continued",
                hint="--from learns its pipeline anew",
            )
        self._base = base
        self._state: dict[str, Any] = json.loads(base.pipeline.to_str())
        if self._state["model"].get("end_of_word_suffix"):
            raise UsageError(f"`{base.name}` marks the ends of words, and can't be extended")
        self.pipeline = _word_finder(base)
        taken = len(base.pipeline.get_vocab(with_added_tokens=True))
        if size <= taken:
            raise UsageError(
                f"--vocab-size {size} leaves nothing to learn: `{base.name}` has "
                f"{taken} tokens already"
            )

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """See `Course`."""
        from tokenizers import Tokenizer as Pipeline

        merges = merges_from(words, start_of(self._base.pipeline), recipe, effort, watch)
        state = self._state | {"truncation": None, "padding": None}
        whole = Pipeline.from_str(json.dumps(state, ensure_ascii=False))
        cast("Any", whole).model = extended_model(self._base.pipeline, merges)
        return Learned(whole, merges)


def sized(recipe: Recipe, base: Tokenizer, asked: int | None) -> Recipe:
    """`recipe` with the vocabulary that was asked for, or else as many ids as `base` has."""
    characters = "bytes" if _kind_of(base) == "bytes" else "characters"
    size = len(base.pipeline.get_vocab(with_added_tokens=True)) if asked is None else asked
    return replace(recipe, vocab_size=size, kind=characters, specials=(), bos=None, eos=None)


def _kind_of(base: Tokenizer) -> str:
    """What the model starts from. Raises `UsageError` for one that nothing here can learn."""
    kind = base.pipeline.model.__class__.__name__
    if kind == "Unigram":
        return "unigram"
    if kind != "BPE":
        raise UsageError(
            f"`{base.name}` is a {kind} tokenizer, which can't be learned here",
            hint="BPE and Unigram tokenizers can",
        )
    return "bytes" if base.spelling == "bytes" else "characters"


def _word_finder(base: Tokenizer) -> tokenizers.Tokenizer:
    """The pipeline, which finds words; where it doesn't part any, words begin at spaces.

    Tokenizers made from SentencePiece's don't: there pieces never go on behind a space.
    """
    from tokenizers import Tokenizer as Pipeline
    from tokenizers import pre_tokenizers

    whole = cast("Any", base.pipeline)
    two = "a b" if whole.normalizer is None else whole.normalizer.normalize_str("a b")
    if whole.pre_tokenizer is not None and len(whole.pre_tokenizer.pre_tokenize_str(two)) > 1:
        return base.pipeline
    parted = cast("Any", Pipeline(whole.model))
    parted.normalizer = whole.normalizer
    parted.pre_tokenizer = pre_tokenizers.Split(METASPACE, behavior="merged_with_next")
    return parted


def _renumbered(processor: dict[str, Any] | None, ids: Mapping[str, int]) -> Any:
    """A post-processor whose special tokens have their new ids."""
    if processor is None:
        return None
    changed = dict(processor)
    if processor["type"] == "Sequence":
        changed["processors"] = [_renumbered(one, ids) for one in processor["processors"]]
    if "special_tokens" in processor:  # TemplateProcessing
        changed["special_tokens"] = {
            name: one | {"ids": [ids[token] for token in one["tokens"]]}
            for name, one in processor["special_tokens"].items()
        }
    for role in ("sep", "cls"):  # BertProcessing, RobertaProcessing
        if role in processor:
            changed[role] = [processor[role][0], ids[processor[role][0]]]
    return changed


def _id(token: dict[str, Any]) -> int:
    return token["id"]
