"""What an export says about itself: `manifest.json` beside its files.

It names the window of time and the filter, and of each file the rows, the first and the last time, the size and its
SHA-256; beside them exact sums, which were added up of what the source gave and not of what was written. So whoever
gets the files can tell, without the source, that they have all of them, unchanged.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Self

from mofa_usage.errors import UsageError, require

require("polars", extra="analysis")
import polars as pl  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

__all__ = ["MANIFEST", "ExportedFile", "Manifest", "Sums", "described", "digest", "sums_in"]

MANIFEST = "manifest.json"
_FORMAT = "mofa-usage export"
_VERSION = 1
_COUNTERS = ("prompt_tokens", "completion_tokens", "total_tokens")
_SUMMED = ("create_time", *_COUNTERS, "total_price", "currency")
_CHUNK = 1 << 20


@dataclass
class Sums:
    """Calls, tokens and prices by currency, added up exactly; a column that is missing adds nothing."""

    rows: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)

    def add(self, calls: pl.DataFrame) -> None:
        """Add calls."""
        if calls.is_empty():
            return
        self.rows += calls.height
        for name in _COUNTERS:
            if name in calls.columns:
                self.tokens[name] = self.tokens.get(name, 0) + int(calls[name].cast(pl.Int64).sum())
        if {"total_price", "currency"} <= set(calls.columns):
            priced = calls.filter(pl.col("total_price").is_not_null())
            for currency, cost in priced.group_by("currency").agg(pl.col("total_price").sum()).iter_rows():
                self.costs[str(currency)] = self.costs.get(str(currency), Decimal(0)) + cost

    def add_sums(self, other: "Sums") -> None:
        """Add what others add up to."""
        self.rows += other.rows
        for name, count in other.tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count
        for currency, cost in other.costs.items():
            self.costs[currency] = self.costs.get(currency, Decimal(0)) + cost

    def to_json(self) -> dict[str, Any]:
        """As a manifest has it; money is text."""
        costs = {currency: f"{cost:f}" for currency, cost in sorted(self.costs.items())}
        return {"rows": self.rows, "tokens": dict(sorted(self.tokens.items())), "costs": costs}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The other way."""
        costs = {currency: Decimal(cost) for currency, cost in said["costs"].items()}
        return cls(int(said["rows"]), dict(said["tokens"]), costs)


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export: its name inside it, calls, bytes, SHA-256, and the times of the first and the last call."""

    name: str
    rows: int
    bytes: int
    sha256: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Manifest:
    """What an export holds.

    Attributes:
        start, end: The half-open window of `create_time`, in UTC; None where it is open.
        filter: Columns and the values that all calls have in them.
        columns_version: The version of the columns, as in the metadata of the files.
        sums: Of all files.
        files: In order of time.
        created: When it was written.
    """

    start: datetime | None
    end: datetime
    filter: Mapping[str, str]
    columns_version: str
    sums: Sums
    files: tuple[ExportedFile, ...]
    created: datetime

    @property
    def rows(self) -> int:
        """How many calls it holds."""
        return self.sums.rows

    @property
    def size(self) -> int:
        """How many bytes its files have together."""
        return sum(file.bytes for file in self.files)

    @property
    def name(self) -> str:
        """The folder of the window, by its start: `since=2026-05-01T00-00-00Z`."""
        return f"since={'beginning' if self.start is None else _in_names(self.start)}"

    @property
    def window(self) -> str:
        """The window in words."""
        return f"{'the beginning' if self.start is None else self.start.isoformat()} to {self.end.isoformat()}"

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        files = [{**vars(file), "first": _written(file.first), "last": _written(file.last)} for file in self.files]
        said = {
            "format": _FORMAT,
            "version": _VERSION,
            "created": _written(self.created),
            "window": {"start": _written(self.start), "end": _written(self.end)},
            "filter": dict(self.filter),
            "columns_version": self.columns_version,
            **self.sums.to_json(),
            "files": files,
        }
        return json.dumps(said, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str, where: str) -> Self:
        """The other way.

        Raises:
            UsageError: the text, which was found `where`, is no manifest, or a later version's.
        """
        try:
            said = json.loads(text)
            if said["format"] != _FORMAT or said["version"] != _VERSION:
                raise UsageError(
                    f"{where} is the manifest of {said['format']} {said['version']}, not {_FORMAT} {_VERSION}"
                )
            files = [ExportedFile(**{**file, "first": _read(file["first"]), "last": _read(file["last"])})
                     for file in said["files"]]  # fmt: skip
            end = _read(said["window"]["end"])
            created = _read(said["created"])
            if end is None or created is None:
                raise ValueError("a time is missing")
            return cls(
                start=_read(said["window"]["start"]),
                end=end,
                filter=said["filter"],
                columns_version=said["columns_version"],
                sums=Sums.from_json(said),
                files=tuple(files),
                created=created,
            )
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{where} is no manifest of an export: {error!r:.200}") from error


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _in_names(moment: datetime) -> str:
    """A time in the name of a folder, where no system minds it; in order of time up to the second."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z").replace(":", "-")


def digest(file: IO[bytes]) -> tuple[int, str]:
    """How long a file is, and its SHA-256."""
    size, sha = 0, sha256()
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        sha.update(chunk)
    return size, sha.hexdigest()


def sums_in(file: Any) -> Sums:
    """The sums of a Parquet file of calls, read back; `file` is a path or an open file."""
    sums, parquet = Sums(), pq.ParquetFile(file)
    for batch in _batches(parquet, [name for name in _SUMMED if name in parquet.schema_arrow.names]):
        sums.add(batch)
    return sums


def described(folder: Path, name: str) -> ExportedFile:
    """What a manifest says of a file that was written."""
    with (folder / name).open("rb") as file:
        size, sha = digest(file)
    parquet = pq.ParquetFile(folder / name)
    times = [batch["create_time"] for batch in _batches(parquet, ["create_time"]) if batch.height]
    first, last = (times[0][0], times[-1][-1]) if times else (None, None)
    return ExportedFile(Path(name).as_posix(), parquet.metadata.num_rows, size, sha, first, last)


def _batches(parquet: Any, columns: list[str]) -> Iterator[pl.DataFrame]:
    for batch in parquet.iter_batches(columns=columns):
        yield pl.DataFrame(pl.from_arrow(batch))
