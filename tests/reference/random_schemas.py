"""JSON Schemas of what constraints support, made by hypothesis, small enough to be written out."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any] | bool

NAMES = ("a", "b", "name", "the old", 'q"t', "é", "a/b")


def _ordered(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(values, values).map(lambda pair: dict(zip((low, high), sorted(pair))))  # noqa: B905
    return st.one_of(st.just({}), pairs)


strings = st.one_of(
    _ordered("minLength", "maxLength", st.integers(0, 6)).map(
        lambda limits: {"type": "string", "maxLength": 6, **limits}
    ),
    st.sampled_from(
        [
            {"type": "string", "pattern": "^[a-f]{2,4}$"},
            {"type": "string", "pattern": "^(the|old) \\d{1,3}$"},
            {"type": "string", "pattern": 'x"?y', "maxLength": 5},
            {"type": "string", "format": "date"},
            {"type": "string", "format": "uuid"},
        ]
    ),
)
numbers = st.one_of(
    st.tuples(st.integers(-1000, 1000), st.integers(0, 300)).map(
        lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[0] + pair[1]}
    ),
    st.tuples(st.integers(-50, 50), st.integers(1, 9)).map(
        lambda pair: {
            "type": "integer",
            "exclusiveMinimum": pair[0],
            "maximum": pair[0] + 40,
            "multipleOf": pair[1],
        }
    ),
    st.tuples(st.integers(-3, 3), st.sampled_from((0.01, 0.5, 2))).map(
        lambda pair: {
            "type": "number",
            "exclusiveMinimum": pair[0],
            "exclusiveMaximum": pair[0] + pair[1],
        }
    ),
    st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(
        lambda pair: {"type": "number", "minimum": pair[0] / 4, "maximum": pair[0] / 4 + pair[1]}
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text('ab"\\é\n/日', max_size=4)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    ),
    max_leaves=3,
)
leaves = st.one_of(
    strings,
    numbers,
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]}]),
    values.map(lambda value: {"const": value}),
    st.lists(values, min_size=1, max_size=3).map(lambda several: {"enum": several}),
)


def _arrays(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    limits = _ordered("minItems", "maxItems", st.integers(0, 3))
    lists = st.tuples(inner, limits).map(
        lambda pair: {"type": "array", "items": pair[0], "maxItems": 3, **pair[1]}
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda first: {"type": "array", "prefixItems": first, "items": False}
    )
    return lists | tuples


def _objects(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    def build(parts: tuple[dict[str, Schema], int]) -> Schema:
        properties, count = parts
        required = list(properties)[:count]
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    properties = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    maps = inner.map(
        lambda value: {
            "type": "object",
            "patternProperties": {"^[xy]{1,2}$": value},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 2,
        }
    )
    return st.tuples(properties, st.integers(0, 3)).map(build) | maps


def _cases(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda several: {"anyOf": several})


def _shared(inner: st.SearchStrategy[Schema]) -> Any:
    """A schema that others refer to, itself among them: a list of lists of … of it."""
    return inner.map(
        lambda leaf: {
            "$ref": "#/$defs/tree",
            "$defs": {
                "leaf": leaf,
                "tree": {
                    "anyOf": [
                        {"$ref": "#/$defs/leaf"},
                        {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1},
                    ]
                },
            },
        }
    )


nested = st.recursive(
    leaves, lambda inner: _arrays(inner) | _objects(inner) | _cases(inner), max_leaves=6
)
schemas = nested | _shared(leaves)
