"""The commands that show calls: `summary`, `report` and `notebook`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.options import (
    Agent,
    End,
    Model,
    Period,
    Session,
    Start,
    Status,
    Tenant,
    TimeZone,
    Url,
    User,
    Which,
    announce,
    console,
    load,
)
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

__all__ = ["notebook", "report", "show_summary", "summary"]


def summary(
    url: Url = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="DIMENSION", help="Break down by this: model_name, agent_name, day, ... Repeat."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Rows of the breakdown.")] = 20,
    start: Start = None,
    end: End = None,
    tz: TimeZone = "UTC",
    model: Model = None,
    status: Status = None,
    tenant: Tenant = None,
    user: User = None,
    agent: Agent = None,
    session: Session = None,
) -> None:
    """Show what was used, what it cost and how long it took.

    A call without a price has an unknown cost, it was not free: "priced" says for how many calls the cost is known.
    Amounts of different currencies are never added.

    [bold]mofa-usage summary --url sqlite:usage.db[/bold]

    [bold]mofa-usage summary --by day --by model_name --start 2026-05-01 --tz Europe/Berlin[/bold]

    [bold]mofa-usage summary --by error_code --status failed[/bold]
    """
    dimensions = by or ["model_name"]
    which = Which(model, status, tenant, user, agent, session)
    show_summary(load(url, Period(start, end, tz), which, columns=_needed(dimensions)), dimensions, top)


def _needed(by: Sequence[str]) -> list[str] | None:
    """The columns of the calls that a summary broken down by the dimensions `by` needs; None for all of them."""
    from mofa_usage.analysis.questions import SUMMARY
    from mofa_usage.cli.tables import MEASURES_SHOWN
    from mofa_usage.measures import DIMENSIONS, dimension, measure

    if not set(by) <= set(DIMENSIONS):
        return None  # a label or a further column, or a mistake that the analysis explains best
    needs = [measure(name).needs for name in (*SUMMARY, *MEASURES_SHOWN)] + [dimension(name).needs for name in by]
    return list(dict.fromkeys(("create_time", "currency", *(column for columns in needs for column in columns))))


def show_summary(usage: "UsageFrame", by: Sequence[str], top: int) -> None:
    """Print the headline figures of `usage` and its breakdown by the dimensions `by`."""
    from mofa_usage.cli.tables import MEASURES_SHOWN, breakdown_table, summary_panel

    figures = usage.summary()
    shown = console()
    if not figures["calls"][0]:
        shown.print("no calls")
        return
    answer = usage.breakdown(by=by, measures=MEASURES_SHOWN)
    shown.print(summary_panel(figures.row(0, named=True), figures.currencies, usage.tz))
    shown.print()
    shown.print(breakdown_table(answer.to_dicts(), by, answer.currencies, top=top, width=shown.width))


def report(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The HTML file to write.")] = Path("report.html"),
    url: Url = None,
    start: Start = None,
    end: End = None,
    tz: TimeZone = "UTC",
    model: Model = None,
    status: Status = None,
    tenant: Tenant = None,
    user: User = None,
    agent: Agent = None,
    session: Session = None,
) -> None:
    """Write an HTML report: one file that needs no network, for a screen, a phone and paper.

    [bold]mofa-usage report --url sqlite:usage.db[/bold]

    [bold]mofa-usage report may.html --start 2026-05-01 --end 2026-06-01 --tz Europe/Berlin[/bold]
    """
    usage = load(url, Period(start, end, tz), Which(model, status, tenant, user, agent, session))
    from mofa_usage.report import write_report

    with console().status("Writing the report"):
        write_report(usage, path)
    announce(path, " written, open it in a browser")


def notebook(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; without a name they are listed.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where to write it; NAME.ipynb here unless given.")
    ] = None,
    url: Url = None,
    start: Start = None,
    end: End = None,
    tz: TimeZone = "UTC",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
) -> None:
    """Copy a notebook that analyses your own calls.

    Its first cell says which database it reads; without --url it reads made-up usage. A password in the URL is not
    written into the notebook: it then reads DATABASE_URL when it runs.

    [bold]mofa-usage notebook[/bold]

    [bold]mofa-usage notebook 02_cost --url sqlite:usage.db --to cost.ipynb[/bold]
    """
    from mofa_usage.cli import templates

    if name is None:
        for template in templates.names():
            announce(template, f"  {templates.title(template)}")
        return
    path = to or Path(f"{name.removesuffix('.ipynb')}.ipynb")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; --overwrite replaces it, --to writes elsewhere")
    templates.write_notebook(name, path, url=url or None, start=start, end=end, tz=tz)
    announce(path, f" written; run it with: jupyter lab {path}")
