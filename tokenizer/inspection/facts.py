"""All that `lmtool inspect` tells of a tokenizer, as plain values; docs/looking-at-tokens.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from ..tokenizer import Tokenizer
from .alphabets import Alphabet, cover_scripts
from .halves import is_whole
from .merges import Merges, read_merges
from .pipeline import model_settings, pattern_name, patterns_of, pipeline_in_words
from .reach import Reach
from .vocabulary import Vocabulary, read_vocabulary, shown_bytes

T = TypeVar("T")
Values = dict[str, Any]


def short_facts(tokenizer: Tokenizer) -> Values:
    """What is known without looking at every token."""

    def spelled(ids: frozenset[int]) -> dict[str, str]:
        return {str(id): tokenizer.token_text(id) for id in sorted(ids)}

    return {
        "format": tokenizer.format,
        "kind": type(tokenizer.pipeline.model).__name__,
        "vocabulary": tokenizer.vocab_size,
        "bos": tokenizer.bos_id,
        "eos": spelled(tokenizer.eos_ids),
        "special": spelled(tokenizer.special_ids),
        "chat_template": tokenizer.chat_template is not None,
    }


def all_facts(tokenizer: Tokenizer, reach: Reach, limit: int | None = None) -> Values:
    """Everything, with what `find_reach` found.

    Lists of tokens have at most `limit` of them, and say how many there are.
    """
    vocabulary = read_vocabulary(tokenizer)
    merges = read_merges(tokenizer)
    texts = [data.decode() for data in vocabulary.spelled.values() if is_whole(data)]
    alphabets = cover_scripts(tokenizer, texts)
    return short_facts(tokenizer) | {
        "tokens": vocabulary.tokens,
        "holes": _listed([list(run) for run in vocabulary.holes], limit)
        | {"ids": sum(last - first + 1 for first, last in vocabulary.holes)},
        "model": model_settings(tokenizer),
        "pipeline": pipeline_in_words(tokenizer),
        "patterns": [
            {"name": pattern_name(pattern), "regex": pattern} for pattern in patterns_of(tokenizer)
        ],
        "lossless": tokenizer.lossless,
        "losses": list(tokenizer.losses),
        "added": _added(tokenizer),
        "put_first": list(tokenizer.prefix),
        "chat_templates": sorted(tokenizer.chat_templates),
        "merges": None if merges is None else _merges(tokenizer, vocabulary, merges, limit),
        "lengths": {str(length): count for length, count in vocabulary.lengths.items()},
        "longest": [_token(tokenizer, vocabulary, id) for id in vocabulary.longest(limit or 20)],
        "missing_bytes": vocabulary.missing_bytes,
        "alike": _listed(
            [
                {"text": shown_bytes(data), "ids": ids, "pieces": list(map(tokenizer.piece, ids))}
                for data, ids in vocabulary.alike
            ],
            limit,
        ),
        "scripts": [_alphabet(one) for one in alphabets],
        "reach": _reach(tokenizer, vocabulary, reach, limit),
    }


def _listed(items: Sequence[T], limit: int | None) -> dict[str, Any]:
    return {"count": len(items), "first": list(items[:limit])}


def _by_reason(never: Sequence[Values], limit: int | None) -> Values:
    return {"reasons": dict(Counter(one["reason"] for one in never))} | _listed(never, limit)


def _token(tokenizer: Tokenizer, vocabulary: Vocabulary, id: int) -> Values:
    data = vocabulary.spelled.get(id, b"")
    return {
        "id": id,
        "piece": tokenizer.piece(id),
        "text": shown_bytes(data),
        "bytes": len(data),
    }


def _added(tokenizer: Tokenizer) -> list[Values]:
    """Tokens that are matched before anything else, with the roles that the config gives them."""
    roles: dict[str, list[str]] = {}
    for role, token in tokenizer.named_specials.items():
        roles.setdefault(token, []).append(role.removesuffix("_token"))
    decoder = tokenizer.pipeline.get_added_tokens_decoder()
    return [
        {
            "id": id,
            "text": token.content,
            "special": token.special,
            "roles": roles.get(token.content, []),
            "ends_text": id in tokenizer.eos_ids,
        }
        for id, token in sorted(decoder.items())
    ]


def _merges(
    tokenizer: Tokenizer, vocabulary: Vocabulary, merges: Merges, limit: int | None
) -> Values:
    shown = limit or 20

    def text(piece: str) -> str:
        id = tokenizer.pipeline.token_to_id(piece)
        data = None if id is None else vocabulary.spelled.get(id)
        return piece if data is None else shown_bytes(data)

    def pairs(some: Sequence[tuple[str, str]]) -> list[Values]:
        return [{"pieces": list(pair), "texts": list(map(text, pair))} for pair in some]

    depths = Counter(merges.depths.values())
    return {
        "count": len(merges.pairs),
        "first": pairs(merges.pairs[:shown]),
        "last": pairs(merges.pairs[-shown:]),
        "depths": {str(depth): count for depth, count in sorted(depths.items())},
        "deepest": [
            {"piece": piece, "text": text(piece), "depth": depth}
            for piece, depth in merges.deepest[:shown]
        ],
    }


def _alphabet(one: Alphabet) -> Values:
    return {
        "script": one.script,
        "tokens": one.tokens,
        "letters": one.letters,
        "letters_of_one_token": one.own,
        "letters_unknown": one.unknown,
        "tokens_a_letter": None if one.cost is None else round(one.cost, 3),
        "most_tokens_a_letter": one.most,
    }


def _reach(tokenizer: Tokenizer, vocabulary: Vocabulary, reach: Reach, limit: int | None) -> Values:
    never = [
        _token(tokenizer, vocabulary, one.id) | {"reason": one.reason, "sure": one.sure}
        for one in reach.never
    ]
    return {
        "by_own_text": reach.alone,
        "beside_other_text": _listed(
            [
                _token(tokenizer, vocabulary, id) | {"in": text}
                for id, text in sorted(reach.beside.items())
            ],
            limit,
        ),
        "half_characters": _listed(
            [_token(tokenizer, vocabulary, id) for id in reach.halves], limit
        ),
        "never": _by_reason([one for one in never if one["sure"]], limit),
        "not_found": _by_reason([one for one in never if not one["sure"]], limit),
    }
