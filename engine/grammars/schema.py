"""JSON Schemas: read, pruned of what could never end, and faults traced to their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from ... import InputError

Schema = Any
"""A JSON Schema as parsed: an object, or true or false."""

NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords that hold schemas by name."""
LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
"""Keywords that hold a list of schemas."""
SINGLE = (
    *("items", "additionalItems", "additionalProperties", "not", "if", "then", "else"),
    *("contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
)
"""Keywords that hold one schema."""

MOST_TRACED = 1000
"""Parts of a schema among which the faulty one is looked for."""


def parse_schema(text: str, where: str) -> Schema:
    """The schema in `text`. Raises `InputError` naming `where`, and the offset of what isn't JSON.

    Names that stand twice in an object, NaN and infinities are no JSON either.
    """
    try:
        schema = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}, offset {error.pos}"
        raise InputError(f"{where} is not JSON: {_lower(error.msg)} ({place})") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deep") from error
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(schema, (dict, bool)):
        raise InputError(f"{where} is no JSON Schema: it must be an object, true or false")
    return cast("Schema", schema)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it has the number {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {json.dumps(name)} stands twice in one object")
        found[name] = value
    return found


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas directly within one, each with its JSON pointer from there."""
    own = _object(schema)
    for keyword in NAMED:
        for name, inner in _object(own.get(keyword)).items():
            yield f"/{keyword}/{_escaped(name)}", inner
    for keyword in LISTED:
        for number, inner in enumerate(_list(own.get(keyword))):
            yield f"/{keyword}/{number}", inner
    for keyword in SINGLE:
        if isinstance(own.get(keyword), (dict, bool)):
            yield f"/{keyword}", own[keyword]


def walk(schema: Schema, pointer: str = "#") -> Iterator[tuple[str, Schema]]:
    """A schema's parts with their JSON pointers, the innermost first, itself last."""
    for step, inner in children(schema):
        yield from walk(inner, pointer + step)
    yield pointer, schema


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def place_of_fault(schema: Schema, fault: str, judge: Callable[[Schema], str]) -> str:
    """The JSON pointer of the innermost part for which `judge` finds the same `fault`; or "#"."""
    parts = list(walk(schema))
    if len(parts) > MOST_TRACED:
        return "#"
    whole = _object(schema)
    # What a part refers to mostly lies there. Without it, the fault is the part's own.
    shared = {name: whole[name] for name in ("$defs", "definitions") if name in whole}
    for around in ({}, shared):
        for pointer, part in parts:
            if isinstance(part, dict) and judge({**around, **_object(part)}) == fault:
                return pointer
    return "#"


def unkept_count(schema: Schema) -> str | None:
    """The pointer of a part with a `minProperties` that names given twice could feign.

    llguidance keeps only declared names apart.
    """
    for pointer, part in walk(schema):
        own = _object(part)
        least = own.get("minProperties")
        if isinstance(least, int) and least > len(set(map(str, _list(own.get("required"))))) + 1:
            return pointer
    return None


def inexact_constant(schema: Schema) -> str | None:
    """The pointer of a part with a whole number in `const` or `enum` that floats would round."""
    for pointer, part in walk(schema):
        own = _object(part)
        if any(_has_inexact(own[name]) for name in ("const", "enum") if name in own):
            return pointer
    return None


def _has_inexact(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_inexact, _object(value).values()))
    if isinstance(value, list):
        return any(map(_has_inexact, _list(value)))
    return isinstance(value, int) and abs(value) > 1 << 53


def without_whole_borders(schema: Schema) -> Schema:
    """`schema` with whole numbers that exclude themselves as a bound moved inwards by a hair.

    llguidance lets 2 through where 2 < x < 2.5 is asked for.
    """
    for _, part in walk(schema):
        own = _object(part)
        for name, hair in (("exclusiveMinimum", HAIR), ("exclusiveMaximum", -HAIR)):
            _number_bound(own, name)
            bound = own.get(name)
            if isinstance(bound, (int, float)) and bound == int(bound) and abs(bound) < 1e6:
                own[name] = bound + hair
    return schema


def _number_bound(own: dict[str, Any], name: str) -> None:
    """Draft 4, and so OpenAPI 3.0, says by true or false whether `minimum` itself is excluded."""
    if not isinstance(own.get(name), bool):
        return
    excluded = own.pop(name)
    bound = own.get(name.removeprefix("exclusive").lower())
    if excluded and bound is not None:
        own[name] = bound


HAIR = 2**-20
"""What numbers next to such a bound lose: exact in floats, with few digits."""


_COMBINING = ("allOf", "anyOf", "oneOf", "$ref")


def closed(schema: Schema) -> Schema:
    """`schema` with objects that declare `properties` held to these, where it doesn't say.

    JSON Schema lets any other name through, of which a model finds no end. What is written still
    fits the schema. Objects whose parts are told in several places stay open: one part knows
    nothing of the others' names.
    """
    parts = [_object(part) for _, part in walk(schema) if isinstance(part, dict)]
    if any("allOf" in part or ("$ref" in part and len(part) > 1) for part in parts):
        return schema
    joined = {id(case) for part in parts if "properties" in part for case in _cases_of(part)}
    for part in parts:
        names = _object(part.get("properties"))
        told = {"additionalProperties", "patternProperties", *_COMBINING} & part.keys()
        needed = set(map(str, _list(part.get("required") or [])))
        enough = len(names) >= part.get("minProperties", 0)
        if names and not told and id(part) not in joined and enough and needed <= names.keys():
            part["additionalProperties"] = False
    return schema


def _cases_of(part: dict[str, Any]) -> list[Any]:
    return [case for name in ("anyOf", "oneOf") for case in _list(part.get(name) or [])]


class Endings:
    """Which parts of a schema some finite JSON text can match, as far as references decide it.

    A part that needs itself, directly or by way of others, has none: whoever began on it could
    never end.
    """

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._parts = [
            (pointer, cast("dict[str, Any]", part))
            for pointer, part in walk(schema)
            if isinstance(part, dict)
        ]
        self._ids = {id(part) for _, part in self._parts}
        self._sure: set[int] = set()
        before = -1
        while before < len(self._sure):  # the least set that keeps the rules
            before = len(self._sure)
            self._sure |= {id(part) for _, part in self._parts if self._can_end(part)}

    def endless(self) -> str | None:
        """The pointer of a part that keeps the whole from ending, None if nothing does."""
        if self._ends(self._root):
            return None
        stuck = [pointer for pointer, part in self._parts if id(part) not in self._sure]
        return next((pointer for pointer in stuck if pointer.count("/") == 2), "#")

    def pruned(self, schema: Schema) -> Schema:
        """`schema`, the root or a part, with false in the place of parts that can't end."""
        if self._ids == self._sure:
            return schema
        if isinstance(schema, list):
            return [self.pruned(one) for one in _list(schema)]
        if not isinstance(schema, dict):
            return schema
        if id(cast("object", schema)) in self._ids - self._sure:
            return False
        return {name: self.pruned(value) for name, value in _object(schema).items()}

    def _ends(self, schema: Schema) -> bool:
        if isinstance(schema, dict):
            return id(cast("object", schema)) in self._sure
        return schema is not False

    def _can_end(self, part: dict[str, Any]) -> bool:
        reference = part.get("$ref")
        if isinstance(reference, str) and not self._ends(self._at(reference)):
            return False
        if not all(map(self._ends, _list(part.get("allOf")))):
            return False
        for keyword in ("anyOf", "oneOf"):
            cases = _list(part.get(keyword))
            if cases and not any(map(self._ends, cases)):
                return False
        kind = part.get("type")
        if kind in ("object", ["object"]):
            return self._object_ends(part)
        return self._array_ends(part) if kind in ("array", ["array"]) else True

    def _object_ends(self, part: dict[str, Any]) -> bool:
        known = _object(part.get("properties"))
        patterns = bool(part.get("patternProperties"))
        other = True if patterns else part.get("additionalProperties", True)
        required = _list(part.get("required"))
        return all(self._ends(known.get(name, other)) for name in required if isinstance(name, str))

    def _array_ends(self, part: dict[str, Any]) -> bool:
        least = part.get("minItems")
        if not isinstance(least, int):
            return True
        first = _list(part.get("prefixItems"))
        rest = part.get("items", True)
        return all(map(self._ends, first[:least])) and (least <= len(first) or self._ends(rest))

    def _at(self, reference: str) -> Schema:
        """What a reference within the schema points at; True, which always ends, for any other."""
        if not reference.startswith("#") or (len(reference) > 1 and reference[1] != "/"):
            return True
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = cast("dict[str, Any]", found)[name]
            elif name.isdigit() and int(name) < len(_list(found)):
                found = _list(found)[int(name)]
            else:
                return True
        return found


def _object(value: Any) -> dict[str, Any]:
    """`value` if it is an object, or else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
