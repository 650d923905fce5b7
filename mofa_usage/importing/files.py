"""Files and standard input as sources of rows: CSV, JSON and Parquet behind one interface (`source.py`).

The format is the one that is asked for, else the one that the name tells, else the one that the first bytes tell. Text
is UTF-8 with or without a byte order mark, and may be compressed (`content.py`).
"""

from collections.abc import Callable
from pathlib import Path

from mofa_usage.errors import UsageError
from mofa_usage.importing.columns import is_call
from mofa_usage.importing.content import Content, open_content
from mofa_usage.importing.csv_rows import DELIMITERS, CsvSource
from mofa_usage.importing.json_rows import JsonSource
from mofa_usage.importing.parquet_rows import ParquetSource
from mofa_usage.importing.source import RowSource

__all__ = ["detect_format", "has_known_name", "open_file"]

FORMATS = ("csv", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_LOOKED_AT = 2**16  # bytes


def detect_format(content: Content, wanted: str | None = None) -> str:
    """`wanted`, or the format that the name of the content or its first bytes tell.

    Raises:
        UsageError: `wanted` is no format, or nothing tells it.
    """
    if wanted is not None:
        if wanted not in (*FORMATS, "json"):
            raise UsageError(f"there is no format {wanted!r}; the formats are {', '.join(FORMATS)}")
        return "jsonl" if wanted == "json" else wanted  # one reader tells lines from a document
    named = _told_by_name(content.path) if content.path else None
    return _told_by_content(content) if named is None else named


def has_known_name(path: Path) -> bool:
    """Whether the name of a file tells its format."""
    return _told_by_name(path) is not None


def _told_by_name(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _told_by_content(content: Content) -> str:
    start = content.peek(_LOOKED_AT)
    if start.startswith(b"PAR1"):
        return "parquet"
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    if not text:
        raise UsageError(f"{content.name} is empty")
    if text.startswith(("{", "[")):
        return "jsonl"
    header = text.splitlines()[0]
    if header.replace("\t", "").isprintable() and any(delimiter in header for delimiter in DELIMITERS):
        return "csv"
    raise UsageError(
        f"{content.name}: the name does not tell the format ({', '.join(_SUFFIXES)}, compressed or not), nor does what "
        f"is inside; say it: one of {', '.join(FORMATS)}"
    )


def open_file(source: str | Path, format_name: str | None = None) -> RowSource:
    """Open a file, or standard input where `source` is `-`.

    Raises:
        UsageError: there is no such file, it cannot be read, it is empty or it is not of that format.
        MissingExtraError: Parquet or Zstandard, and pyarrow is not installed.
    """
    readers: dict[str, Callable[[Content], RowSource]] = {
        "csv": CsvSource,
        "jsonl": lambda content: JsonSource(content, is_call),
        "parquet": ParquetSource,
    }
    content = open_content(source)
    try:
        return readers[detect_format(content, format_name)](content)
    except BaseException:
        content.close()
        raise
