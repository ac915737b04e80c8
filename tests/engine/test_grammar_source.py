"""What is said of schemas, regexes and grammars that can't be followed. No model is in sight."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtool import InputError, LmtoolError, UsageError
from lmtool.engine.grammars.lark import endless_rule
from lmtool.engine.grammars.schema import Endings, closed, parse_schema
from lmtool.engine.grammars.source import (
    check_grammar,
    lark_text,
    load_llguidance,
    new_matcher,
)
from lmtool.engine.request import Grammar


def fault(kind: Any, source: object) -> str:
    """What `check_grammar` raises, hint and all; empty if nothing."""
    text = source if isinstance(source, str) and kind != "choice" else json.dumps(source)
    error = UsageError if kind in ("regex", "choice") else InputError
    try:
        check_grammar(Grammar(kind, text, "it"))
    except error as caught:
        message = caught.message
    else:
        message = ""
    assert "\n" not in message
    return message


NEST = {"type": "object", "properties": {"in": {"type": "array", "items": {"$ref": "#/$defs/x"}}}}

BAD_SCHEMAS: list[tuple[object, str]] = [
    ("", "it is not JSON: expecting value (line 1, column 1, offset 0)"),
    ('{"type":\n "string",}', "(line 2, column 11, offset 19)"),
    ('{"minimum": NaN}', "it is not JSON: it has the number NaN"),
    ('{"type": "null", "type": "string"}', 'the name "type" stands twice'),
    ("[1]", "it is no JSON Schema: it must be an object, true or false"),
    ('"string"', "it is no JSON Schema"),
    ("[" * 100_000, "it is nested too deep"),
    (False, "can't be met at `#`: schema is false"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater than maximum (3)"),
    ({"enum": []}, "can't be met at `#`"),
    ({"type": "text"}, "at `#`: invalid type: text"),
    ({"properties": {"a": {"not": {}}}}, "`not` at `#/properties/a` is not supported"),
    ({"items": {"uniqueItems": True}}, "`uniqueItems` at `#/items` is not supported"),
    ({"if": {}, "then": {}}, "`if`, `then` at `#` are not supported"),
    (
        {**NEST, "$defs": {"x": {"type": "string", "format": "tel"}}},
        "at `#/$defs/x`: unknown format: tel",
    ),
    ({"anyOf": [{"type": "string", "pattern": "a("}]}, "`a(` is wrong at character 2: unclosed"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "`oneOf` at `#` is not supported where"),
    ({"$ref": "https://example.com/x"}, "`$ref` at `#` leads outside of the schema"),
    ({"properties": {"a/b": {"$ref": "#/$defs/no"}}}, "pointer '/$defs/no' does not exist"),
    ({"type": "string", "minLength": "3"}, "at `#`: expected positive integer for 'minLength'"),
    ({"required": ["x"], "additionalProperties": False, "type": "object"}, "property 'x'"),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "no string has all that is asked"),
    ({"type": "object", "minProperties": 2}, "`minProperties` at `#` is not supported beyond"),
    ({"items": {"enum": [1, [2**53 + 1]]}}, "a constant at `#/items` is too large"),
    ({"$ref": "#"}, "can't be met: `#` needs itself without end"),
    (
        {
            "$ref": "#/$defs/a",
            "$defs": {
                "a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/b"}},
                "b": {
                    "type": "object",
                    "required": ["a"],
                    "additionalProperties": {"$ref": "#/$defs/a"},
                },
            },
        },
        "can't be met: `#/$defs/a` needs itself without end",
    ),
]


@pytest.mark.parametrize(("schema", "said"), BAD_SCHEMAS, ids=lambda one: str(one)[:40])
def test_bad_schemas(schema: object, said: str) -> None:
    assert said in fault("json_schema", schema)


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("regex", "(a", "it: the regular expression `(a` is wrong at character 1: unclosed group"),
        ("regex", "a(?=b)", "look-around, including look-ahead and look-behind, is not supported"),
        ("regex", r"(a)\1", "backreferences are not supported"),
        ("regex", r"[^\s\S]", "it: no text matches it"),
        ("regex", r"a[^\s\S]b", "it: no text matches it"),
        ("regex", "foo\\", "it: the regular expression ends in a lone backslash"),
        ("regex", "a{0}", "it: nothing but the empty text matches it"),
        ("lark", "", "it: no start rule found"),
        ("lark", 'start: a b\na: "x"', 'it: line 1: unknown name: "b"'),
        ("lark", 'start: "a"\n\nb : :', "it: line 3: Expected"),
        ("lark", 'start: "a" (', "it: line 1: Expected token ')'"),
        ("lark", 'start: "a" B\nB: /(/', "line 2: the regular expression `(` is wrong"),
        ("lark", 'start: start "a"', "it: line 1: the rule `start` needs itself without end"),
        ("lark", 'start: "a" x?\n\nx: "b" (x "c" | x+)', "line 3: the rule `x` needs itself"),
        ("lark", 'start: ""', "nothing but the empty text"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_bad_regexes_and_grammars(kind: str, source: str, said: str) -> None:
    assert said in fault(kind, source)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("json_schema", True),
        ("json_schema", {}),
        ("json_schema", {"title": "a", "description": "b", "x-mine": 1, "default": 5}),
        ("json_schema", {"const": '\0"\\/\u2028<|endoftext|>'}),
        ("json_schema", {"$ref": "#/$defs/x", "$defs": {"x": NEST}}),
        ("json_schema", {"oneOf": [{"type": "string"}, {"type": "null"}]}),
        ("regex", "a/b"),
        ("regex", r"a\\"),
        ("regex", "a\nb"),
        ("regex", "日本|(?i)x"),
        ("choice", ["a", "é\n/\"'|{}", "\0"]),
        ("lark", 'start: "a"'),
        ("lark", "start: <|only-a-vocabulary-can-tell|>"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_good_ones(kind: str, source: object) -> None:
    assert fault(kind, source) == ""


def test_what_can_t_end_is_left_out() -> None:
    endless = {"type": "object", "required": ["x"], "properties": {"x": {"$ref": "#/$defs/x"}}}
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"anyOf": [{"$ref": "#/$defs/x"}, True]}},
        "enum": [{"$ref": "#/$defs/x"}],
        "$defs": {"x": endless},
    }
    endings = Endings(schema)
    assert endings.endless() is None
    pruned = endings.pruned(schema)
    assert pruned["properties"] == {"a": False, "b": {"anyOf": [False, True]}}
    assert pruned["enum"] == schema["enum"]
    assert pruned["$defs"] == {"x": False}


NAMED: dict[str, Any] = {"properties": {"a": {"type": "null"}}}


@pytest.mark.parametrize(
    ("schema", "closes"),
    [
        (NAMED, True),
        ({**NAMED, "required": ["a"]}, True),
        ({**NAMED, "required": ["b"]}, False),
        ({**NAMED, "minProperties": 2}, False),
        ({**NAMED, "additionalProperties": {"type": "null"}}, False),
        ({**NAMED, "patternProperties": {"b": {}}}, False),
        ({**NAMED, "anyOf": [{"required": ["a"]}]}, False),
        ({"properties": {}}, False),
        ({"type": "object"}, False),
    ],
    ids=str,
)
def test_an_object_has_the_properties_that_it_declares(schema: Any, closes: bool) -> None:
    wrapped = closed({"items": {**schema}})
    assert wrapped == {"items": {**schema, "additionalProperties": False} if closes else schema}


def test_objects_told_of_in_several_places_stay_open() -> None:
    for schema in (
        {"allOf": [{**NAMED}, {"properties": {"b": {}}}]},
        {**NAMED, "anyOf": [{"properties": {"b": {}}}]},
        {"items": {**NAMED, "$ref": "#/$defs/x"}, "$defs": {"x": {**NAMED}}},
    ):
        before = json.dumps(schema)
        assert json.dumps(closed(schema)) == before


KEYWORDS = (
    *("type", "properties", "items", "$ref", "anyOf", "allOf", "required", "enum", "minItems"),
    *("pattern", "$defs", "minProperties", "additionalProperties", "x-guidance", "a"),
)
POINTED = st.sampled_from(["object", "array", "string", "#", "#/$defs/a", "#/items/0"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner | POINTED, max_size=4)
    ),
    max_leaves=8,
)


@given(anything)
def test_no_schema_breaks_anything(schema: Any) -> None:
    said = fault("json_schema", json.dumps(schema))
    assert said == "" or said.startswith("it")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('start: "a" | start', None),
        ('start: x\nx: "(" x* ")" | "a:b" y{0,2}\ny: "c" x~0..3', None),
        ('?start: (A | /b:c/i)+ // no: rule\nA: "|" # a: comment\n%ignore / +/\n', None),
        ('start: x | "a"\nx: y\ny: "b" x', ("x", 2)),
        ('start: "a"\n  | x{1,3}\nx: ("b" | x) x', ("x", 3)),
        ("%import common.INT\nstart: INT start?\n", None),
        ('start: %json {"type": "string"}', None),
        ("start[capture]: start", None),
        ("start: (start", None),
        ("start: ", None),
    ],
)
def test_rules_that_never_end(text: str, rule: tuple[str, int] | None) -> None:
    assert endless_rule(text) == rule


@given(st.text('ab:|()?*+{}~"/<>% \n\\0,[]', max_size=30))
def test_no_rules_break_the_reader(text: str) -> None:
    found = endless_rule(text)
    assert found is None or 1 <= found[1] <= text.count("\n") + 1


@given(st.text(max_size=20), st.sampled_from(["regex", "lark", "json_schema"]))
def test_no_text_breaks_anything(text: str, kind: str) -> None:
    said = fault(kind, text)
    assert said == "" or said.startswith("it")


def test_a_schema_that_is_read_is_the_schema() -> None:
    assert parse_schema('{"a": [1, 2.5, null]}', "it") == {"a": [1, 2.5, None]}
    with pytest.raises(LmtoolError):
        parse_schema("nul", "it")


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("high", [True, False])
def test_bounds_may_say_by_true_or_false_that_they_are_excluded(low: bool, high: bool) -> None:
    asked = {"type": "integer", "minimum": 4, "maximum": 6}
    schema = {**asked, "exclusiveMinimum": low, "exclusiveMaximum": high}
    text = lark_text(Grammar("json_schema", json.dumps(schema), "it"))
    library = load_llguidance()
    fitting: list[int] = []
    for number in range(10):
        matcher = new_matcher(library.LLTokenizer("byte"), text)
        if matcher.try_consume_tokens([ord(str(number))]) and matcher.is_accepting():
            fitting.append(number)
    assert fitting == list(range(4 + low, 7 - high))
