"""A page read without a browser: its elements, what is in them, and whether all are closed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = ("meta", "input", "br", "link", "img")


@dataclass
class Element:
    """An element of a page, and what is in it."""

    name: str
    attributes: dict[str, str]
    inside: list[Element | str] = field(default_factory=list["Element | str"])

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    @property
    def kinds(self) -> list[str]:
        """Its classes."""
        return self.attributes.get("class", "").split()

    def all(self, name: str, kind: str | None = None) -> list[Element]:
        """The elements of a name in it, of a class if one is given."""
        return [
            one for one in self.each() if one.name == name and (kind is None or kind in one.kinds)
        ]

    def one(self, name: str, kind: str | None = None) -> Element:
        """The only one of these."""
        (found,) = self.all(name, kind)
        return found

    def each(self) -> Iterator[Element]:
        """All elements in it."""
        for child in self.inside:
            if isinstance(child, Element):
                yield child
                yield from child.each()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, (tag, [one.name for one in self.open])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read_page(page: str) -> Element:
    """The page, each of whose elements is closed where it should be."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert len(reader.open) == 1, [one.name for one in reader.open]
    return reader.open[0]


def data_of(page: Element) -> Any:
    """The data of its script."""
    (found,) = (
        one for one in page.all("script") if one.attributes.get("type") == "application/json"
    )
    return json.loads(found.text)
