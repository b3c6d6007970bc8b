"""A report read back: its elements, its text, and its plots."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """`elements` are all tags with their attributes, `texts` what stands in each section by key,
    and `plots` the data and layout of each plot by key."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {"": ""}
        self.plots: dict[str, Any] = {}
        self._section = ""
        self._data: str | None = None
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = str(found["id"])
            self.texts[self._section] = ""
        if tag == "script":
            self._data = found.get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "section":
            self._section = ""
        if tag == "script":
            self._data = None

    def handle_data(self, data: str) -> None:
        if self._data is None:
            self.texts[self._section] += data
        elif self._data:
            assert self._data.startswith("data-plot-")
            self.plots[self._data.removeprefix("data-plot-")] = json.loads(data)
