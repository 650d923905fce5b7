"""The options that commands share, and what they mean."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, NamedTuple
from uuid import UUID

import typer

from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mofa_usage.records import QueryFilter
    from mofa_usage.usage import UsageFrame

__all__ = [
    "Agent",
    "Debug",
    "End",
    "Model",
    "Period",
    "Session",
    "Start",
    "Status",
    "Tenant",
    "TimeZone",
    "Url",
    "User",
    "Version",
    "Which",
    "announce",
    "chosen_calls",
    "console",
    "database_url",
    "load",
    "settings",
]

_PIPED_WIDTH = 160  # columns of a table when nobody's terminal says how wide it is


@dataclass(slots=True)
class Settings:
    """What the options before the command say."""

    debug: bool = False


settings = Settings()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("mofa-usage"))
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="On an error, show where it happened.")]
Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "-u",
        envvar="DATABASE_URL",
        help="The database: sqlite:usage.db, postgres://user:password@host/name, mysql://... "
        "Reading commands also take a Parquet file or pattern.",
    ),
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Only calls from then on, for example 2026-05-01.")
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="Only calls before then.")]
TimeZone = Annotated[
    str, typer.Option("--tz", metavar="ZONE", help="Time zone of --start, --end and days, for example Europe/Berlin.")
]
Model = Annotated[str | None, typer.Option("--model", help="Only calls of this model.")]
Status = Annotated[str | None, typer.Option("--status", help="Only calls that ended so: success, failed, timeout, ...")]
Tenant = Annotated[UUID | None, typer.Option("--tenant", help="Only calls of this tenant.")]
User = Annotated[UUID | None, typer.Option("--user", help="Only calls of this user.")]
Agent = Annotated[UUID | None, typer.Option("--agent", help="Only calls of this agent.")]
Session = Annotated[UUID | None, typer.Option("--session", help="Only calls of this session.")]


class Period(NamedTuple):
    """The half-open range of time that a command is about, as the user wrote it."""

    start: str | None
    end: str | None
    tz: str


class Which(NamedTuple):
    """Which calls a command is about; None means any."""

    model: str | None
    status: str | None
    tenant: UUID | None
    user: UUID | None
    agent: UUID | None
    session: UUID | None


def console() -> "Console":
    """Where results are shown: standard output, wide when it is no terminal."""
    from rich.console import Console

    shown = Console(highlight=False)
    return shown if shown.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=_PIPED_WIDTH)


def announce(name: object, rest: str) -> None:
    """Print one line about a thing whose name stands first; names of files are text, not markup."""
    from rich.text import Text

    console().print(Text.assemble((str(name), "bold"), rest), soft_wrap=True)


def database_url(url: str | None) -> str:
    """The URL that was given.

    Raises:
        UsageError: none was.
    """
    if not url or not url.strip():
        raise UsageError("which database? Give --url, for example --url sqlite:usage.db, or set DATABASE_URL")
    return url.strip()


def load(url: str | None, period: Period, which: Which, *, columns: Sequence[str] | None = None) -> "UsageFrame":
    """The calls that a command is about, with these columns of them or all.

    Raises:
        UsageError: the URL, the period or the filter cannot be understood, or there is no such file.
        StoreConnectionError: the database cannot be reached.
    """
    source, chosen = database_url(url), chosen_calls(which)
    from mofa_usage.usage import load_usage

    return load_usage(source, chosen, start=period.start, end=period.end, tz=period.tz, columns=columns)


def chosen_calls(which: Which) -> "QueryFilter | None":
    """The filter that the options make; None when they choose nothing.

    Raises:
        UsageError: there is no such status.
    """
    from mofa_usage.records import ApiCallStatus, QueryFilter

    if which.status is not None and which.status not in list(ApiCallStatus):
        raise UsageError(f"--status: {which.status!r} is not one of {', '.join(ApiCallStatus)}")
    chosen = QueryFilter(
        model_name=which.model,
        status=None if which.status is None else ApiCallStatus(which.status),
        tenant_id=which.tenant,
        user_id=which.user,
        agent_id=which.agent,
        session_id=which.session,
    )
    return None if chosen == QueryFilter() else chosen
