"""A bill from files: which there are, what is in them, and which format that is.

A bill is a folder, paths of files, or pages that were parsed already. JSON holds a page or several, in a list or one
behind the other; JSON lines a page each; CSV and TSV what a console exports. All may be compressed with gzip. Numbers
are read as they are written, so that no amount passes through a float. A file that no format recognises is no part of
the bill, and is refused: it might be the page that is missing.
"""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from mofa_usage.audit.bills.formats import FORMATS
from mofa_usage.audit.bills.pages import Document, Page
from mofa_usage.errors import UsageError
from mofa_usage.values import STRICT_JSON
from mofa_usage.zones import DAY, HOUR, utc

__all__ = ["BillSource", "pages_of"]

BillSource: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, Any] | Sequence[str | os.PathLike[str] | Mapping[str, Any]]"
)
"""A folder, a file, a parsed page, or several of them."""

_PACKED, _GZIP, _DELIMITERS = ".gz", b"\x1f\x8b", ",;\t"
_BLANKS = re.compile(r"[ \t\r\n]*")
_JSON, _LINES, _TABLES = (".json",), (".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t"}


def pages_of(bill: BillSource) -> list[Page]:
    """All pages of a bill.

    Raises:
        UsageError: no such file, none at all, one that cannot be read, is no page of a known report, or breaks a rule
            of its report; the message says which one and where.
    """
    if not isinstance(bill, Iterable | os.PathLike):
        raise UsageError(f"a bill is a folder, files or pages of JSON, not {type(bill).__name__}")
    several = [bill] if isinstance(bill, str | os.PathLike | Mapping) else list(bill)
    documents = [one for number, part in enumerate(several, 1) for one in _documents(part, number)]
    if not documents:
        where = f"{os.fspath(bill)} has no files" if isinstance(bill, str | os.PathLike) else "it has no pages"
        raise UsageError(f"this bill is empty: {where} of usage or costs (.json, .jsonl, .csv)")
    return [page for document in documents for page in _read(document)]


def _documents(part: object, number: int) -> Iterator[Document]:
    if isinstance(part, Mapping):
        yield Document(f"page {number}", page=part)
        return
    if not isinstance(part, str | os.PathLike):
        raise UsageError(f"a bill is a folder, files or pages of JSON, not {type(part).__name__} (number {number})")
    path = Path(part).expanduser()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            hidden = any(name.startswith(".") for name in file.relative_to(path).parts)
            if file.is_file() and not hidden:
                yield from _of_file(file)
    elif not path.exists():
        raise UsageError(f"there is no file or folder {path}, which should be a bill")
    else:
        yield from _of_file(path)


def _of_file(path: Path) -> Iterator[Document]:
    ending = Path(path.stem if path.suffix.lower() == _PACKED else path.name).suffix.lower()
    if ending in _TABLES:
        text = _text_of(path)
        header = text.partition("\n")[0]
        # A spreadsheet may have written it again, with the delimiter of its country.
        delimiter = max(_TABLES[ending], *_DELIMITERS, key=header.count)
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
        columns = tuple(name.strip() for name in table.fieldnames or ())
        rows = [{(name or "").strip(): str(value or "") for name, value in row.items()} for row in table]
        yield Document(str(path), columns=columns, rows=rows)
    elif ending in (*_JSON, *_LINES):
        yield from _of_json(str(path), _text_of(path), lines=ending in _LINES)
    else:
        raise UsageError(f"{path} is no part of a bill: those end in {', '.join((*_JSON, *_LINES, *_TABLES))}")


def _text_of(path: Path) -> str:
    try:
        written = path.read_bytes()
        return (gzip.decompress(written) if written.startswith(_GZIP) else written).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"the bill cannot be read: {path}: {getattr(error, 'strerror', None) or error}") from error


def _of_json(where: str, text: str, *, lines: bool) -> Iterator[Document]:
    parts = [line for line in text.splitlines() if line.strip()] if lines else [text]
    for number, part in enumerate(parts, 1):
        place = f"{where}, line {number}" if lines else where
        try:
            values = list(_values(part))
        except ValueError as error:
            raise UsageError(f"{place} is no JSON: {error}") from error
        pages = [page for value in values for page in (value if isinstance(value, list) else [value])]
        for index, page in enumerate(pages, 1):
            which = f"{place}, page {index}" if len(pages) > 1 else place
            if not isinstance(page, Mapping):
                raise UsageError(f"{which} is a {type(page).__name__} where a page of a report should be")
            yield Document(which, page=page)


def _values(text: str) -> Iterator[Any]:
    """The values of a text of JSON: one, or one behind the other, as pages are that were appended to a file.

    Raises:
        ValueError: it is no JSON, or nothing.
    """
    start = _behind_blanks(text, 0)
    while True:
        try:
            value, end = STRICT_JSON.raw_decode(text, start)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        yield value
        start = _behind_blanks(text, end)
        if start == len(text):
            return


def _behind_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return start if found is None else found.end()


def _read(document: Document) -> Iterable[Page]:
    found = next((form for form in FORMATS if form.recognises(document)), None)
    if found is None:
        raise UsageError(_why_unknown(document))
    try:
        pages = list(found.read(document))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{document.where} looks like an {found.name}, but {said}") from error
    for page in pages:
        if bad := next((one for one in page.buckets if one.end <= one.start), None):
            raise UsageError(f"{document.where} has a bucket that does not end after it starts, at {utc(bad.start)}")
        if bad := next((one for one in page.buckets if one.end - one.start > DAY + HOUR), None):
            raise UsageError(f"{document.where} has a bucket of more than a day, from {utc(bad.start)}: ask for days")
    return [replace(page, buckets=tuple(sorted(page.buckets, key=lambda one: one.start))) for page in pages]


def _why_unknown(document: Document) -> str:
    known = ", ".join(sorted({form.name for form in FORMATS}))
    page = document.page
    if page is None:
        held = f"its columns are {', '.join(document.columns[:8])}" if document.columns else "it has no columns"
    elif "error" in page:
        held = f"it is the answer to a request that failed: {page['error']!r:.200}"
    elif page.get("data") == []:
        held = "it has no buckets of time"
    else:
        held = f"its keys are {', '.join(map(str, list(page)[:8])) or 'none'}"
    return f"{document.where} is no report of usage or costs: {held}. Known are: {known}"
