"""Calls out of files: CSV, JSON lines and Parquet into any store.

```python
result = await import_calls(
    store,
    "export.csv",
    mapping={"create_time": "when", "model_name": "deployment", "prompt_tokens_details.cached_tokens": "hits"},
    defaults={"tenant_id": "0191d2a4-7d3c-7000-8000-000000000001"},
    rejects="refused.csv",
)
print(result)  # 10,000 rows: 9,998 stored, 2 refused ...
```

Columns are found by the mapping or by their names (`columns.py`), values are read exactly (`values.py`: money never
passes through a float), and what is missing is completed (`rows.py`). A row that is no valid call is refused with its
line number and the reason (`rejects.py`); the others are stored, batch by batch, each batch in one transaction.

Importing is idempotent: rows without an id get one that follows from what they say (`identity.py`), so an import that
was killed is simply run again. Memory stays bounded however long the file is (`files.py`).
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mofa_usage.errors import ConstraintError, SerializationError, UsageError
from mofa_usage.importing.files import RowSource, SourceRow, detect_format, open_file
from mofa_usage.importing.identity import DerivedIds
from mofa_usage.importing.rejects import Rejections, RejectReason
from mofa_usage.importing.rows import CallBuilder, RowRefusedError
from mofa_usage.progress import progress_bar
from mofa_usage.records import LLMApiCall
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.stores import Store

__all__ = ["ImportResult", "RejectReason", "import_calls"]

_MOST_COLUMNS = 200  # that are remembered of JSON lines, where every row can bring new ones


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did. `str()` of it is a summary for people.

    Attributes:
        source: the file.
        format: csv, jsonl or parquet.
        rows: how many rows were read; `stored + rejected`.
        stored: how many were stored, those included that replaced a call of the same id.
        rejected: how many were refused.
        reasons: why, the most frequent reason first; line numbers count from 1, the header included (in Parquet: rows).
        rejects_path: the file with the refused rows, if one was asked for.
        columns: field -> the column that its values came from.
        ignored: columns that were not used.
        start, end: the first and last create_time stored, UTC; None when nothing was.
        zoneless_times: how many times had no zone and were read as times of `tz`.
        tz: the IANA name of that zone.
    """

    source: Path
    format: str
    rows: int
    stored: int
    rejected: int
    reasons: tuple[RejectReason, ...]
    rejects_path: Path | None
    columns: Mapping[str, str]
    ignored: tuple[str, ...]
    start: datetime | None
    end: datetime | None
    zoneless_times: int
    tz: str

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows: {self.stored:,} stored, {self.rejected:,} refused"]
        if self.start and self.end:
            lines.append(f"from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC")
        if self.zoneless_times:
            lines.append(f"{self.zoneless_times:,} times had no zone and were read as {self.tz}")
        if "model_name" not in self.columns:
            lines.append("no column names the model")
        if self.ignored:
            lines.append(f"not used: {', '.join(self.ignored)}")
        unit = "row" if self.format == "parquet" else "line"
        for reason in self.reasons:
            more = ", ..." if reason.count > len(reason.lines) else ""
            numbers = ", ".join(map(str, reason.lines))
            lines.append(f"refused {reason.count:,}: {reason.reason} ({unit} {numbers}{more}; {reason.example})")
        if self.rejects_path is not None and self.rejected:
            lines.append(f"the refused rows are in {self.rejects_path}")
        return "\n".join(lines)


async def import_calls(
    store: "Store",
    source: str | PathLike[str],
    *,
    mapping: Mapping[str, str | None] | None = None,
    defaults: Mapping[str, Any] | None = None,
    format: str | None = None,  # noqa: A002  (what everybody calls it)
    tz: str = "UTC",
    batch_size: int = 5_000,
    rejects: str | PathLike[str] | None = None,
    round_prices: bool = False,
    text_ids: bool = False,
    progress: bool | None = None,
) -> ImportResult:
    """Store the calls that the file `source` holds.

    Args:
        store: where to, any store; it stays open.
        source: a CSV with a header, JSON lines, or a Parquet file (needs the extra `analysis`); text may be gzipped.
        mapping: field -> column, where the column's name does not tell; a column may be a path into nested JSON
            (`usage.prompt_tokens`) and a field a key of its details (`prompt_tokens_details.cached_tokens`). None as
            the column leaves a field out.
        defaults: field -> value where a row has none. Without them a missing model is `unknown`, a missing status
            follows from the presence of an error, and missing ids are the nil UUID; `rows.py` has the whole table.
        format: csv, jsonl or parquet, when the file's name does not tell.
        tz: the IANA zone of times that have none.
        batch_size: rows per transaction.
        rejects: a file (.csv or .jsonl) that gets every refused row with its line number and the reason.
        round_prices: round prices to the ten decimal places that are kept, instead of refusing longer ones. Programs
            that compute prices in floating point write such.
        text_ids: make UUIDs of ids that are none, the same text always the same UUID, instead of refusing them.
        progress: show a progress bar; by default if standard error is a terminal, or in a notebook.

    Raises:
        UsageError: the file is missing, empty, unreadable or cut off, the mapping does not fit it, or an argument is
            wrong. Batches stored before a file turned out to be cut off stay.
        PersistenceError: the store failed. A batch that it refused for what is in it (`ConstraintError`,
            `SerializationError`) is tried in halves instead, down to the row, which is then refused.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    path = Path(source)
    with ExitStack() as opened:
        rows = open_file(path, detect_format(path, format))
        opened.callback(rows.close)
        builder = CallBuilder(
            rows.columns,
            mapping=mapping or {},
            defaults=defaults or {},
            zone=zone(tz),
            from_csv=rows.format == "csv",
            round_prices=round_prices,
            text_ids=text_ids,
        )
        refused = opened.enter_context(closing(Rejections(None if rejects is None else Path(rejects), path)))
        ids = opened.enter_context(closing(DerivedIds()))
        job = _Import(store, rows, builder, ids, refused)
        advance = opened.enter_context(progress_bar(f"Importing {path.name}", rows.size, progress))
        while await job.run_batch(batch_size):
            advance(rows.position(), f"{job.stored:,} calls")
        return job.result(path, tz)


class _Accepted(NamedTuple):
    row: SourceRow
    call: LLMApiCall


class _Import:
    """One import in progress."""

    def __init__(
        self, store: "Store", rows: RowSource, builder: CallBuilder, ids: DerivedIds, refused: Rejections
    ) -> None:
        self.stored = 0
        self._store = store
        self._rows = rows
        self._unread = iter(rows)
        self._builder = builder
        self._ids = ids
        self._refused = refused
        self._columns = dict.fromkeys(rows.columns or ())
        self._start: datetime | None = None
        self._end: datetime | None = None

    async def run_batch(self, size: int) -> bool:
        """Read and store the next `size` rows; False when there were none left."""
        # In a thread: reading and parsing must not hold up the event loop.
        reading = asyncio.ensure_future(asyncio.to_thread(self._read, size))
        try:
            accepted, any_read = await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait({reading})  # the thread still uses the file that is closed next
            raise
        await self._save(accepted)
        return any_read

    def _read(self, size: int) -> tuple[list[_Accepted], bool]:
        accepted: list[_Accepted] = []
        any_read = False
        for row in islice(self._unread, size):
            any_read = True
            if row.values is None or row.problem is not None:
                problem = row.problem or ""
                self._refused.add(row.line, problem, problem, row.raw)
                continue
            try:
                accepted.append(_Accepted(row, self._call(row.values)))
            except RowRefusedError as refusal:
                self._refused.add(row.line, refusal.kind, str(refusal), row.raw)
        return accepted, any_read

    def _call(self, values: Mapping[str, Any]) -> LLMApiCall:
        if self._rows.columns is None and len(self._columns) < _MOST_COLUMNS:
            self._columns.update(dict.fromkeys(values))
        return self._builder.build(values, lambda tenant_id: self._ids.id_of(values, tenant_id))

    async def _save(self, accepted: list[_Accepted]) -> None:
        if not accepted:
            return
        try:
            await self._store.save_api_calls([call for _, call in accepted])
        except (ConstraintError, SerializationError) as error:
            if len(accepted) > 1:
                middle = len(accepted) // 2
                await self._save(accepted[:middle])
                await self._save(accepted[middle:])
                return
            row = accepted[0].row
            kind = f"the database refused it ({type(error).__name__})"
            self._refused.add(row.line, kind, f"{kind}: {error}", row.raw)
            return
        self.stored += len(accepted)
        times = [call.create_time for _, call in accepted]
        self._start = min(times if self._start is None else (self._start, *times))
        self._end = max(times if self._end is None else (self._end, *times))

    def result(self, path: Path, tz: str) -> ImportResult:
        used = set(self._builder.used.values())
        # A struct of which a part was used is used, and so are the parts of a struct that was used whole.
        tops = {name.partition(".")[0] for name in used}
        return ImportResult(
            source=path,
            format=self._rows.format,
            rows=self.stored + self._refused.total,
            stored=self.stored,
            rejected=self._refused.total,
            reasons=self._refused.reasons(),
            rejects_path=self._refused.path,
            columns=dict(self._builder.used),
            ignored=tuple(
                name
                for name in self._columns
                if name and name not in used | tops and name.partition(".")[0] not in used
            ),
            start=self._start,
            end=self._end,
            zoneless_times=self._builder.zoneless_times,
            tz=tz,
        )
