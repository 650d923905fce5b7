"""Calls out of files and tables: CSV, JSON, Parquet, frames, relations and the answer of a query, into any store.

```python
result = await import_calls(
    store,
    "export.csv",
    mapping={"create_time": "when", "model_name": "deployment", "prompt_tokens_details.cached_tokens": "hits"},
    defaults={"tenant_id": "0191d2a4-7d3c-7000-8000-000000000001", "labels.team": "search"},
    rejects="refused.csv",
)
print(result)  # 10,000 rows: 9,998 stored, 2 refused ...
```

A source gives rows (`source.py`; files are `files.py` and the readers that it names, frames and SQL are `tables.py`,
tools' own logs are `logs/`; what is what says `opening.py`).
Columns are found by the mapping or by their names (`columns.py`, `mofa_usage.names`), values are read exactly
(`values.py`, `fields.py`: money never passes through a float), and what is missing is completed (`rows.py`). A row that
is no valid call is refused with its line number and the reason (`rejects.py`); the others are stored, batch by batch,
each batch in one transaction (`job.py`).

What tokens mean is known to `mofa_usage.tokens`, how a call ended to `mofa_usage.outcomes`. How the counts of a source
are to be read, which spans of a trace repeat others (`spans.py`) and which lines of a log repeat a call (`repeats.py`),
only all rows can say: so a source is read twice, a table whose columns leave no such question once.

Importing is idempotent: rows without an id get one that follows from what they say (`identity.py`), so an import that
was killed is simply run again. Memory stays bounded however long a file is.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofa_usage.errors import UsageError
from mofa_usage.importing.fields import Fields
from mofa_usage.importing.job import Job, Tally
from mofa_usage.importing.opening import Opened, names_of, open_all
from mofa_usage.importing.rejects import Rejections, RejectReason
from mofa_usage.importing.repeats import Repeats
from mofa_usage.importing.rows import CallBuilder, Contradictions
from mofa_usage.importing.spans import Spans
from mofa_usage.importing.summary import ImportResult
from mofa_usage.importing.tables import Table
from mofa_usage.pricing import checked_book
from mofa_usage.progress import progress_bar
from mofa_usage.tokens import Readings, TokensOption
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook
    from mofa_usage.stores import Store

__all__ = ["ImportResult", "RejectReason", "import_calls"]

Source = str | PathLike[str]
"""A file, a folder, or `-` for standard input; `~` is the home folder."""


async def import_calls(
    store: "Store",
    source: Source | Sequence[Source] | Table,
    *,
    sql: str | None = None,
    mapping: Mapping[str, str | None] | None = None,
    defaults: Mapping[str, Any] | None = None,
    format: str | None = None,  # noqa: A002  (what everybody calls it)
    tz: str = "UTC",
    tokens: TokensOption = "auto",
    contradictions: Contradictions = "refuse",
    batch_size: int = 5_000,
    rejects: Source | None = None,
    round_prices: bool = False,
    text_ids: bool = False,
    prices: "PriceBook | None" = None,
    progress: bool | None = None,
) -> ImportResult:
    """Store the calls that the files or the table `source` hold.

    Args:
        store: where to, any store; it stays open.
        source: a folder, which stands for the files below it whose format is recognised, such as `~/.claude/projects`;
            or files: logs of tools in their own formats (`logs/`), a CSV with a header, JSON (an object on every line,
            or a document that holds calls), or a Parquet file (needs the extra `analysis`); `-` is standard input;
            several are read as if one after another had been imported. Text may be compressed with gzip, bzip2, xz or
            Zstandard (which needs the extra, too). Or a table: a Polars frame or lazy frame, a DuckDB relation, a
            pandas frame, or anything else that speaks the Arrow PyCapsule interface.
        sql: a query that DuckDB runs over the source, which is its table `calls`; what is stored is its answer. For
            sums of columns, units, fallbacks, filters, odd times: `tables.py` has an example. Needs the extra.
        mapping: field -> column, where the column's name does not tell; a column may be a path into nested JSON
            (`usage.prompt_tokens`) and a field a key of its details (`prompt_tokens_details.cached_tokens`) or a label
            (`labels.team`). None as the column leaves a field out.
        defaults: field -> value where a row has none. Without them a missing model is `unknown`, a missing status
            follows from what else says how the call ended, and missing ids are the nil UUID; `rows.py` has the table.
        format: csv, jsonl (any JSON) or parquet, when neither the file's name nor its first bytes tell.
        tz: the IANA zone of times that have none.
        tokens: whether prompt counts hold the cached tokens, where names are used both ways. "auto" decides it once for
            the names of a file, by the rows that can decide, else by what the names mean; "inclusive" and "exclusive"
            say it. The result says how they were read.
        contradictions: what becomes of a row whose token counts contradict each other: "refuse" it or "keep" it.
        batch_size: rows per transaction.
        rejects: a file (.csv or .jsonl) that gets every refused row with its line number and the reason.
        round_prices: round prices to the ten decimal places that are kept, instead of refusing longer ones. What is
            beyond the 15 digits that a double is sure of is rounded in any case. Both are counted.
        text_ids: make UUIDs of ids that are none, the same text always the same UUID, instead of refusing them; names
            of users, sessions and agents are kept as labels, too.
        prices: give calls without a price that of this book, as of their day; what it does not know stays unknown.
        progress: show a progress bar; by default if standard error is a terminal, or in a notebook.

    Raises:
        UsageError: a file is missing, empty, unreadable or cut off, the mapping does not fit it, DuckDB refuses the
            query, or an argument is wrong. Batches stored before a file turned out to be cut off stay.
        PersistenceError: the store failed. A batch that it refused for what is in it (`ConstraintError`,
            `SerializationError`) is tried in halves instead, down to the row, which is then refused.
    """
    if not hasattr(store, "save_api_calls"):
        raise UsageError(f"a {type(store).__name__} is no store; open one: async with connect(url) as store")
    if prices is not None:
        checked_book(prices)
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    names = names_of(source)
    fields, tally = Fields(zone(tz), round_prices=round_prices, text_ids=text_ids), Tally()
    fixed = fields.defaults(defaults or {})
    with ExitStack() as stack:
        spans, repeats = stack.enter_context(closing(Spans())), stack.enter_context(closing(Repeats()))
        refused = stack.enter_context(closing(Rejections(None if rejects is None else Path(rejects), names)))
        opened = open_all(source, names, sql=sql, file_format=format, tz=tz, is_mapped=bool(mapping))
        for rows in opened.sources:
            stack.callback(rows.close)
        jobs = []
        for rows in opened.sources:
            builder = CallBuilder(
                rows.columns,
                mapping=mapping or {},
                defaults=fixed,
                fields=fields,
                readings=Readings(tokens),
                spans=spans,
                contradictions=contradictions,
                is_text=rows.is_text,
            )
            jobs.append(Job(store, rows, builder, repeats=repeats, refused=refused, tally=tally, prices=prices))
        for job in jobs:
            with progress_bar(f"Looking through {Path(job.name).name}", job.size, progress) as advance:
                await job.survey(advance)
        for job in jobs:
            with progress_bar(f"Importing {Path(job.name).name}", job.size, progress) as advance:
                await job.store(batch_size, advance)
        return _result(opened, jobs, tally, fields, refused, tz)


def _result(
    opened: Opened, jobs: Sequence[Job], tally: Tally, fields: Fields, refused: Rejections, tz: str
) -> ImportResult:
    columns: dict[str, str] = {}
    for job in jobs:
        columns = {**job.columns_by_field, **columns}
    return ImportResult(
        sources=opened.names,
        format=", ".join(dict.fromkeys(job.format for job in jobs)),
        rows=tally.stored + tally.replaced + refused.total,
        stored=tally.stored,
        replaced=tally.replaced,
        unchanged=tally.unchanged,
        rejected=refused.total,
        reasons=refused.reasons(),
        rejects_path=refused.path,
        columns=columns,
        ignored=tuple(dict.fromkeys(name for job in jobs for name in job.unused_columns())),
        start=tally.start,
        end=tally.end,
        zoneless_times=fields.zoneless_times,
        tz=tz,
        tokens_read=tuple(dict.fromkeys(sentence for job in jobs for sentence in job.tokens_read())),
        unknown_tokens=tally.unknown_tokens,
        rounded_prices=fields.rounded_prices,
        priced=tally.priced,
        left_out=dict(sorted(tally.left_out.items())),
        unrecognised=opened.unrecognised,
    )
