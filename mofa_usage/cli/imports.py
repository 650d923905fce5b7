"""The command `import`: calls out of files into a database."""

import asyncio
import os
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mofa_usage.cli.options import Prices, Printed, Url, pairs_of, price_book
from mofa_usage.cli.output import console, print_record
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.importing import ImportResult

__all__ = ["import_"]

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="CSV, JSON, Parquet or logs of tools, text also as .gz, .bz2, .xz or .zst; a folder: the logs below it; "
        "- is standard input; sample:azure-code is one we ship.",
    ),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map", "-m", metavar="FIELD=COLUMN", help="Which column a field is, where its name does not tell. Repeat."
    ),
]
Default = Annotated[
    list[str] | None,
    typer.Option("--default", "-d", metavar="FIELD=VALUE", help="A field's value where a row has none. Repeat."),
]
Sql = Annotated[
    str | None,
    typer.Option(
        "--sql", metavar="QUERY", help="Store the answer of this query, to which the files are the table calls."
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", help="csv, jsonl or parquet, when neither the name nor what is inside tells.")
]
Zone = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="Zone of times that have none, for example Europe/Berlin.")
]
Tokens = Annotated[
    str,
    typer.Option(
        "--tokens",
        metavar="auto|inclusive|exclusive",
        help="Whether prompt counts hold the cached tokens; auto finds it out for each file.",
    ),
]
Contradicting = Annotated[
    str,
    typer.Option("--contradictions", metavar="refuse|keep", help="Rows whose counts of tokens contradict each other."),
]
Rejects = Annotated[
    Path | None, typer.Option("--rejects", metavar="FILE", help="Write refused rows there (.csv or .jsonl).")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows per transaction.")]
RoundPrices = Annotated[
    bool, typer.Option("--round-prices", help="Round prices with more than 10 decimals instead of refusing them.")
]
TextIds = Annotated[bool, typer.Option("--text-ids", help="Make UUIDs of ids that are none instead of refusing them.")]

_OWN = "sqlite:usage.db"
"""Where calls go when no database is named: who tries the program out has none."""


def import_(
    printed: Printed,
    sources: Files,
    url: Url = None,
    mapping: Mapped = None,
    defaults: Default = None,
    sql: Sql = None,
    file_format: Format = None,
    tz: Zone = "UTC",
    tokens: Tokens = "auto",
    contradictions: Contradicting = "refuse",
    rejects: Rejects = None,
    batch_size: BatchSize = 5_000,
    round_prices: RoundPrices = False,
    text_ids: TextIds = False,
    prices: Prices = None,
) -> None:
    """Store the calls of files.

    What columns and counts of tokens mean is known of the usual providers and tools: OpenAI, Anthropic, Gemini,
    Bedrock, OpenTelemetry, LiteLLM, Langfuse and others, and of what this program exports. Rows that are no calls are
    refused with their line numbers, the others are stored; doing it twice stores them once. The exit code is 1 when
    nothing was stored, because every row was refused or there is none. Without a database, usage.db in the current
    folder is taken.

    [bold]mofa-usage import ~/.claude/projects[/bold]

    [bold]mofa-usage import sample:azure-code --url sqlite:usage.db[/bold]

    [bold]mofa-usage import log.jsonl.gz -m create_time=when -m prompt_tokens=usage.input -d model_name=gpt-4.1[/bold]

    [bold]mofa-usage import calls.csv -m prompt_tokens_details.cached_tokens=hits --rejects refused.csv[/bold]

    [bold]zcat old.gz | mofa-usage import - logs/*.jsonl -d labels.team=search --tokens exclusive[/bold]

    [bold]mofa-usage import usage.csv --sql "SELECT *, seconds * 1000 AS latency_ms FROM calls"[/bold]
    """
    database = _lasting((url or "").strip() or _OWN)
    result = asyncio.run(
        _import(
            database,
            [_file(source) for source in sources],
            sql=sql,
            mapping={field: column or None for field, column in pairs_of("--map", mapping, "FIELD").items()},
            defaults=pairs_of("--default", defaults, "FIELD"),
            format=file_format,
            tz=tz,
            tokens=tokens,
            contradictions=contradictions,
            batch_size=batch_size,
            rejects=rejects,
            round_prices=round_prices,
            text_ids=text_ids,
            prices=None if prices is None else price_book(prices),
        )
    )
    if printed.for_programs:
        print_record(_record(result), printed)
    else:
        from mofa_usage.cli.tables import import_summary

        console().print(import_summary(result))
        if result.rejected < result.rows:
            console().print(f"\nsee them: mofa-usage summary{_where(database)}", style="bold", soft_wrap=True)
    if result.rejected == result.rows:
        raise typer.Exit(1)


def _where(database: str) -> str:
    """The options that name a database, for a command that can be copied; no password is shown."""
    from mofa_usage.urls import parse_url

    if database == os.environ.get("DATABASE_URL", "").strip():
        return ""
    backend, url = parse_url(database)
    shown = database if backend == "sqlite" else url.render_as_string(hide_password=True)
    return f" --url {shlex.quote(shown)}"


def _record(result: "ImportResult") -> dict[str, Any]:
    """What an import did, for programs."""
    record = {entry.name: getattr(result, entry.name) for entry in fields(result)}
    reasons = [{"reason": one.reason, "count": one.count, "where": one.where, "example": one.example}
               for one in result.reasons]  # fmt: skip
    return record | {"columns": dict(result.columns), "left_out": dict(result.left_out), "reasons": reasons}


def _lasting(url: str) -> str:
    """The URL of a database that is still there when the command has ended."""
    from mofa_usage.urls import MEMORY_PATH, parse_url

    backend, parsed = parse_url(url)
    if backend == "memory" or (backend == "sqlite" and parsed.database == MEMORY_PATH):
        raise UsageError(f"{url} is in memory: what is imported would be gone when the command ends")
    return url


def _file(source: str) -> str | Path:
    """The file that FILE names, or - for standard input; looked for before a database is made for it."""
    if source == "-":
        return source
    scheme, colon, name = source.partition(":")
    if colon and scheme == "sample":
        from mofa_usage.demo.sample import sample_path

        return sample_path(name)
    path = Path(source).expanduser()
    if not path.exists():
        raise UsageError(f"there is no file {source}")
    return path


async def _import(url: str, sources: Sequence[str | Path], **options: Any) -> "ImportResult":
    from mofa_usage.importing import import_calls
    from mofa_usage.stores import connect

    async with connect(url) as store:
        return await import_calls(store, sources, **options)
