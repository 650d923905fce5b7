"""The options that commands share, each written once."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.bundles import Bundle
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook

__all__ = [
    "By",
    "Calls",
    "Debug",
    "Overwrite",
    "Period",
    "Prices",
    "Printed",
    "StorageOption",
    "TimeZone",
    "Url",
    "Version",
    "Which",
    "Yes",
    "database_url",
    "pairs_of",
    "price_book",
    "settings",
]

_WHICH = "Which calls"
_HOW = "How it is printed"


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
TimeZone = Annotated[
    str,
    typer.Option(
        "--tz",
        metavar="ZONE",
        help="Time zone of --start, --end, days and hours, for example Europe/Berlin.",
        rich_help_panel=_WHICH,
    ),
]
Prices = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="list|FILE",
        help="Calls without a price get one: list prices, or those of a price file (TOML) before them.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there, without asking.")]
By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="DIMENSION",
        help="Break down by this: model_name, agent_name, day, labels.team, ... Repeat. By model unless given.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def _which(name: str, metavar: str, said: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(f"--{name}", metavar=metavar, help=said, rich_help_panel=_WHICH)
    return option


@dataclass(frozen=True)
class Period(Bundle):
    """The half-open range of time that a command is about, as it was written."""

    start: Annotated[
        str | None,
        _which("start", "TIME", "Only calls from then on: 2026-05-01, 2026-05 (that month), 7d, 12h or 2w before now."),
    ] = None
    end: Annotated[str | None, _which("end", "TIME", "Only calls before then.")] = None
    tz: TimeZone = "UTC"


@dataclass(frozen=True)
class Which(Bundle):
    """Which calls a command is about; None means any."""

    model: Annotated[str | None, _which("model", "NAME", "Only calls of this model.")] = None
    status: Annotated[
        str | None, _which("status", "NAME", "Only calls that ended so: success, failed, timeout, ...")
    ] = None
    provider: Annotated[str | None, _which("provider", "NAME", "Only calls of this provider.")] = None
    agent: Annotated[str | None, _which("agent", "NAME|ID", "Only calls of this agent: its name, code or id.")] = None
    user: Annotated[str | None, _which("user", "NAME|ID", "Only calls of this user.")] = None
    tenant: Annotated[str | None, _which("tenant", "NAME|ID", "Only calls of this tenant.")] = None
    session: Annotated[str | None, _which("session", "NAME|ID", "Only calls of this session.")] = None
    label: Annotated[
        list[str] | None, _which("label", "NAME=VALUE", "Only calls with this label, for example team=search. Repeat.")
    ] = None


@dataclass(frozen=True)
class Calls(Which, Period):
    """The calls that a command is about: where they are, when they were made, and which of them."""

    url: Url = None
    condition: Annotated[
        list[str] | None,
        _which("filter", "SQL", "Only calls of which this is true, for example 'latency_ms > 1000'. Repeat."),
    ] = None


@dataclass(frozen=True)
class Printed(Bundle):
    """How a table is printed: for people, or for programs."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_HOW)] = False
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.", rich_help_panel=_HOW)] = False

    def __post_init__(self) -> None:
        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv cannot both be printed")

    @property
    def for_programs(self) -> bool:
        """Whether a program reads it."""
        return self.as_json or self.as_csv


StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="NAME=VALUE",
        help="Of the object store, such as aws_region=eu-central-1. Repeat. Keys are better in the environment.",
    ),
]


def database_url(url: str | None) -> str:
    """The URL that was given.

    Raises:
        UsageError: none was.
    """
    if not url or not url.strip():
        raise UsageError("which database? Give --url, for example --url sqlite:usage.db, or set DATABASE_URL")
    return url.strip()


def price_book(said: str | None) -> "PriceBook":
    """The price book that `--prices` names: list prices, or a price file with list prices behind it.

    Raises:
        UsageError: there is no such file, or it breaks a rule.
        MissingExtraError: the extra `pricing` is not installed.
    """
    from mofa_usage.pricing import PriceBook

    listed = PriceBook.default()
    return listed if said is None or said.strip() == "list" else PriceBook.load(said).or_else(listed)


def pairs_of(option: str, given: Sequence[str] | None, what: str, prefix: str = "") -> dict[str, str]:
    """What an option says that takes `what=VALUE`, by its names; a name may be written with the prefix.

    What is after the `=` may be empty and may hold another `=`.

    Raises:
        UsageError: one is no such pair, or a name is there twice.
    """
    found: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        name = name.strip().removeprefix(prefix)
        if not name or not equals:
            raise UsageError(f"{option} takes {what}=VALUE, not {pair!r}")
        if name in found:
            raise UsageError(f"{option}: {name} is given twice")
        found[name] = value
    return found
