"""The command `metrics`: usage as Prometheus reads it."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.options import StorageOption, TimeZone, Url, pairs_of
from mofa_usage.cli.retention import existing
from mofa_usage.errors import UsageError
from mofa_usage.zones import instant, zone

if TYPE_CHECKING:
    from mofa_usage.monitoring import Family, Usage

__all__ = ["metrics"]


def metrics(
    url: Url = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.prom", help="Write a file for the node exporter's collector."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="So many models have series; all others are 'other'.")
    ] = 20,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="Only calls from then on: 2026-05-01. A fixed time.")
    ] = None,
    tz: TimeZone = "UTC",
    outbox: Annotated[
        Path | None,
        typer.Option("--outbox", metavar="FOLDER", help="The outbox; that of the database and this user unless given."),
    ] = None,
    warehouse: Annotated[
        str | None,
        typer.Option("--warehouse", metavar="PATH", help="Also a warehouse: how fresh it is. Without a URL only this."),
    ] = None,
    storage_option: StorageOption = None,
) -> None:
    """Print calls, tokens, cost and latencies by model and status, and the outbox, in Prometheus's text format.

    The counters are over all calls in the database, which sums them up in one statement. With --output the file that
    is there is replaced in one step, and its counters go on: they do not fall where old calls are deleted.

    [bold]mofa-usage metrics --url sqlite:usage.db[/bold]

    [bold]mofa-usage metrics --output /var/lib/node_exporter/usage.prom[/bold]
    """
    from mofa_usage.monitoring import exposition, write_textfile

    usage, further = None, _warehouse(warehouse, storage_option)
    if url or not further:
        source = existing(url)
        further = [*_outbox(source, outbox), *further]
        usage = asyncio.run(_counted(source, top, start, tz))
    if output is not None:
        write_textfile(output, usage, further)
        return
    text = exposition([*(usage.families() if usage else ()), *further])
    if sys.stdout.isatty():
        from mofa_usage.wording import visible

        text = "".join(f"{visible(line)}\n" for line in text.split("\n")[:-1])
    sys.stdout.write(text)  # and not by echo, which takes what looks like a colour out of a name


async def _counted(source: str, top: int, start: str | None, tz: str) -> "Usage":
    from mofa_usage.monitoring import counted_usage
    from mofa_usage.records import QueryFilter
    from mofa_usage.stores import connect

    since = None if start is None else instant(start.strip(), zone(tz), "--start")
    async with connect(source, create_tables=False, max_connections=1) as store:
        return await counted_usage(store, top=top, filter=QueryFilter(start_time=since))


def _warehouse(path: str | None, storage_option: list[str] | None) -> "list[Family]":
    options = pairs_of("--storage-option", storage_option, "NAME")
    if path is None:
        if options:
            raise UsageError("--storage-option is for the object store of a warehouse: give --warehouse, too")
        return []
    from mofa_usage.warehouse import Warehouse, warehouse_families

    return warehouse_families(Warehouse(path, storage_options=options))


def _outbox(source: str, folder: Path | None) -> "list[Family]":
    from mofa_usage.monitoring import outbox_families
    from mofa_usage.recording.outbox.folder import Outbox
    from mofa_usage.recording.targets import default_folder, target_of

    where = folder or default_folder(target_of(source))
    if not where.is_dir():
        if folder is not None:
            raise UsageError(f"there is no outbox {folder}")
        return []
    return outbox_families(Outbox(where))
