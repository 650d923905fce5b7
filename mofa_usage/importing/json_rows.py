"""Rows of JSON: an object on every line, or a document of any layout.

JSON lines recover at every end of a line: one that is not JSON costs itself. A document is an array of calls, an object
that holds such an array, one call, or several of these one after another, on one line or on many (`jq .` writes such).
Its calls are found one by one, never the document as a whole, and what is malformed in an array costs its own item.

Which of the two a file is follows from its first two lines. Numbers with a point are read as Decimal, never through a
float.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from mofa_usage.errors import UsageError
from mofa_usage.importing.content import LONGEST, SHOWN, Content, CutLine, TextSource
from mofa_usage.importing.source import NO_CALL, SourceRow
from mofa_usage.values import STRICT_JSON

__all__ = ["NOT_UTF8", "TOO_LONG", "JsonSource", "is_utf8"]

NOT_UTF8 = "not UTF-8; convert the file (iconv -f latin1 -t utf-8)"
TOO_LONG = "longer than 16 MiB, which no call is"

_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = "\ufeff"  # also inside a file, where files were joined
_FILL = 2**18  # characters
_BETWEEN = re.compile(rf"[\s,{_BOM}]*")
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s,\[\]{}"]+|.', re.DOTALL)
_MARKS = re.compile(r'["{}\[\]]')
_IN_TEXT = re.compile(r'["\\]')


def is_utf8(text: str) -> bool:
    """Whether text that was read with `surrogateescape` was UTF-8."""
    return text.isascii() or not _SURROGATE.search(text)


class JsonSource(TextSource):
    """JSON lines or a JSON document; `holds_a_call` tells an object that is a call from one that holds calls.

    Whole lines without any of the texts in `marks`, if there are any, are passed over without being parsed.
    """

    format = "jsonl"
    is_text = False
    columns: tuple[str, ...] | None = None
    marks: tuple[str, ...] = ()

    def __init__(self, content: Content, holds_a_call: Callable[[Mapping[str, Any]], bool]) -> None:
        super().__init__(content)
        self._is_call = holds_a_call
        lines = ((type(line) is CutLine, line.strip().strip(_BOM)) for line in content.lines())
        first = list(islice((line for line in lines if line[1]), 2))
        if not first:
            raise UsageError(f"{content.name} is empty")
        self._is_document = self._looks_like_document(*first[0], second=first[1][1] if len(first) > 1 else None)
        self.unit = "item" if self._is_document else "line"

    def _looks_like_document(self, is_cut: bool, first: str, second: str | None) -> bool:
        if not first.startswith("{"):
            return first.startswith("[")
        if not is_cut:
            row = _parsed(first)
            if row.values is not None:
                return second is None and not self._is_call(row.values) and _calls_in(row.values) is not None
        # The beginning of an object that goes on behind the line, unless the next line begins another.
        return second is None if is_cut else second is not None and not second.startswith("{")

    def __iter__(self) -> Iterator[SourceRow]:
        return self._items() if self._is_document else self._lines()

    def _lines(self) -> Iterator[SourceRow]:
        for number, line in enumerate(self._content.lines(), start=1):
            if type(line) is CutLine:
                yield SourceRow(number, None, line.rstrip, TOO_LONG)
            elif text := line.strip().strip(_BOM):
                if self.marks and text[0] == "{" and text[-1] == "}" and not any(mark in text for mark in self.marks):
                    yield SourceRow(number, None, line.rstrip, left_out=NO_CALL)
                    continue
                values, problem = _parsed(text)
                yield SourceRow(number, values, line.rstrip, problem)

    def _items(self) -> Iterator[SourceRow]:
        with self._content.reading():
            items = _Document(self._content.open_text().read, self._is_call).items()
            for number, (values, problem, raw) in enumerate(items, start=1):
                yield SourceRow(number, values, raw, problem)


class _Parsed(NamedTuple):
    values: Mapping[str, Any] | None
    problem: str | None


class _Item(NamedTuple):
    values: Mapping[str, Any] | None
    problem: str | None
    raw: Callable[[], str]


class _Document:
    """The calls of a JSON document, of which a bounded part is held: at most two items of the greatest length.

    Args:
        read: gives the next characters, at most so many; nothing at the end.
        is_call: tells a call from an object that holds calls.
    """

    def __init__(self, read: Callable[[int], str], is_call: Callable[[Mapping[str, Any]], bool]) -> None:
        self._read = read
        self._is_call = is_call
        self._text = ""
        self._at = 0

    def items(self) -> Iterator[_Item]:
        """The calls in their order, and what stands in their place."""
        while mark := self._next_mark():
            if mark == "[":
                self._at += 1
                yield from self._array()
                continue
            item = self._value()
            if item.problem is TOO_LONG and self._enter_array():
                yield from self._array()
                self._pass_over(_Nesting(depth=1))
                continue
            calls = None if item.values is None or self._is_call(item.values) else _calls_in(item.values)
            yield from [item] if calls is None else map(_item_of, calls)
            if item.problem is TOO_LONG:
                self._pass_over(_Nesting())

    def _array(self) -> Iterator[_Item]:
        while mark := self._next_mark():
            if mark == "]":
                self._at += 1
                return
            item = self._value()
            yield item
            if item.problem is TOO_LONG:
                self._pass_over(_Nesting())
        yield _Item(None, "malformed JSON: the array is cut off", str)

    def _next_mark(self) -> str:
        """The first character of the next value, or the end of an array; nothing at the end of the text."""
        while True:
            self._at = _end(_BETWEEN, self._text, self._at)
            if self._at < len(self._text) or not self._fill():
                return self._text[self._at : self._at + 1]

    def _fill(self) -> bool:
        """Read on: as much again as there is, so that beginning anew with a value costs no more than reading it."""
        rest = self._text[self._at :]
        more = self._read(max(_FILL, min(len(rest), LONGEST - len(rest))))
        self._text, self._at = rest + more, 0
        return bool(more)

    def _value(self) -> _Item:
        """The value that begins here, and go behind it. Before one that is too long it stays."""
        if self._text[self._at] not in "{[":
            return self._scalar()
        nesting, seen = _Nesting(), self._at
        while True:
            try:
                values, end = STRICT_JSON.raw_decode(self._text, self._at)
                return self._taken(end, values)
            except (ValueError, RecursionError) as error:
                behind = nesting.end(self._text, seen)
                if behind is not None:
                    return self._taken(behind, None, _malformed(error))
            seen = len(self._text) - self._at
            if seen > LONGEST:
                return _Item(None, TOO_LONG, self._text[self._at : self._at + SHOWN].strip)
            if not self._fill():
                return self._taken(len(self._text), None, "malformed JSON: it is cut off")

    def _taken(self, end: int, values: Any, problem: str | None = None) -> _Item:
        text, self._at = self._text[self._at : end], end
        return _Item(*(_checked(text, values) if problem is None else _Parsed(None, problem)), text.strip)

    def _scalar(self) -> _Item:
        while (end := _end(_SCALAR, self._text, self._at)) == len(self._text) and end - self._at < LONGEST:
            if not self._fill():
                break
        text, self._at = self._text[self._at : end], end
        return _Item(*_parsed(text), text.strip)

    def _enter_array(self) -> bool:
        """Go behind the beginning of the first array of objects in the object that begins here, if there is one."""
        begin = _Nesting().array_of_objects(self._text, self._at)
        self._at = self._at if begin is None else begin
        return begin is not None

    def _pass_over(self, nesting: "_Nesting") -> None:
        """Go behind the end of what `nesting` is in."""
        while (end := nesting.end(self._text, self._at)) is None:
            self._at = len(self._text)
            if not self._fill():
                return
        self._at = end


class _Nesting:
    """Finds the end of an array or object, in as many pieces of text as it takes."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_text = False
        self._skip = 0  # characters of the next piece that belong to an escape

    def end(self, text: str, at: int) -> int | None:
        """Where it ends in the piece of text that begins at `at`; None when it goes on behind it."""
        for index, mark in self._marks(text, at):
            self._depth += 1 if mark in "{[" else -1
            if self._depth <= 0:
                return index + 1
        return None

    def array_of_objects(self, text: str, at: int) -> int | None:
        """Where the first array of objects begins that is directly in the object which begins at `at`."""
        for index, mark in self._marks(text, at):
            if mark == "[" and self._depth == 1 and text.startswith("{", _end(_BETWEEN, text, index + 1)):
                return index + 1
            self._depth += 1 if mark in "{[" else -1
        return None

    def _marks(self, text: str, at: int) -> Iterator[tuple[int, str]]:
        """The brackets of a piece of text that are not inside its strings."""
        at += self._skip
        while found := (_IN_TEXT if self._in_text else _MARKS).search(text, at):
            at, mark = found.end(), found.group()
            if mark == "\\":
                at += 1
            elif mark == '"':
                self._in_text = not self._in_text
            else:
                yield found.start(), mark
        self._skip = max(0, at - len(text))


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the match at `at` ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _item_of(call: Mapping[str, Any]) -> _Item:
    return _Item(call, None, partial(json.dumps, call, default=str))


def _calls_in(values: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The first array of objects that an object holds; None when it holds none."""
    for value in values.values():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return value
    return None


def _parsed(text: str) -> _Parsed:
    try:
        return _checked(text, STRICT_JSON.decode(text))
    except (ValueError, RecursionError) as error:
        return _Parsed(None, _malformed(error))


def _checked(text: str, values: Any) -> _Parsed:
    if not is_utf8(text):
        return _Parsed(None, NOT_UTF8)
    if not isinstance(values, dict):
        return _Parsed(None, f"not a JSON object but {_kind(values)}")
    return _Parsed(values, None)


def _malformed(error: Exception) -> str:
    return f"malformed JSON: {getattr(error, 'msg', None) or error}"


def _kind(value: object) -> str:
    kinds = {list: "an array", str: "text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")
