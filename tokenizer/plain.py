"""Special tokens spelled in a text as text, also where the model itself has pieces for them.

The library leaves out the step that looks for special tokens, but a model that has one as a piece,
as unigram models do, makes it out of its letters all the same. SentencePiece never does: to it such
pieces are no spellings. Here the model is one without them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from .pieces import BYTE_PIECE

if TYPE_CHECKING:
    import tokenizers

_UNSPELLED = "\U000f1e2d\U000f1e2f\U0010f1e2d"
"""What the unknown token is called instead: private letters, which no vocabulary spells."""


def plain_pipeline(pipeline: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A second `pipeline`, to which special tokens in a text are text; it only encodes."""
    from tokenizers import Tokenizer

    own = cast("Any", pipeline)
    plain = cast("Any", Tokenizer(own.model))
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        if (step := getattr(own, part)) is not None:
            setattr(plain, part, step)
    added = sorted(own.get_added_tokens_decoder().items())
    plain.add_tokens([token for _, token in added])
    # Only now, since tokens that the model lacks would get other ids.
    plain.model = without(own.model, [id for id, token in added if token.special])
    plain.encode_special_tokens = True  # the library's name for leaving them text
    return cast("Tokenizer", plain)


def without(model: Any, ids: Collection[int]) -> Any:
    """`model`, or where it would make one of `ids` out of letters, one like it that doesn't.

    Their letters become other pieces, or unknown. Pieces of one letter or byte stay: nothing else
    spells that.
    """
    pieces = {piece for id in ids if (piece := model.id_to_token(id)) is not None}
    pieces = {one for one in pieces if len(one) > 1 and not BYTE_PIECE.fullmatch(one)}
    if not any(_comes(model, piece) for piece in pieces):
        return model
    state: dict[str, Any] = json.loads(model.__getstate__())
    _REMOVE[type(model).__name__](state, pieces)
    changed = type(model)()
    changed.__setstate__(json.dumps(state, ensure_ascii=False).encode())
    return changed


def _comes(model: Any, piece: str) -> bool:
    """Whether some word may give `piece`."""
    if type(model).__name__ != "BPE":
        return True
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return True  # spelled otherwise than it is written
    # In a longer word the same merges happen inside its borders, in the same order.
    return [token.id for token in model.tokenize(piece)] == [model.token_to_id(piece)]


def _from_unigram(state: dict[str, Any], pieces: set[str]) -> None:
    # Its ids are places in the list; an empty piece is never met.
    state["vocab"] = [("" if piece in pieces else piece, score) for piece, score in state["vocab"]]


def _from_words(state: dict[str, Any], pieces: set[str]) -> None:
    """From a model that looks words or parts of them up; it must have its unknown token."""
    unknown = state.get("unk_token")
    if unknown in pieces and unknown in state["vocab"]:
        state["unk_token"] = _UNSPELLED
        state["vocab"][_UNSPELLED] = state["vocab"][unknown]
    for piece in pieces:
        state["vocab"].pop(piece, None)


def _from_merges(state: dict[str, Any], pieces: set[str]) -> None:
    _from_words(state, pieces)
    prefix = state.get("continuing_subword_prefix") or ""
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in state["merges"]]
    state["merges"] = [
        (left, right)
        for left, right in pairs
        if pieces.isdisjoint((left, right, left + right.removeprefix(prefix)))
    ]


_REMOVE = {
    "BPE": _from_merges,
    "Unigram": _from_unigram,
    "WordLevel": _from_words,
    "WordPiece": _from_words,
}
