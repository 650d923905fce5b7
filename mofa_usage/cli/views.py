"""The commands that show calls: `summary`, `report` and `notebook`."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from mofa_usage.cli.choosing import end_without_calls, load, priced
from mofa_usage.cli.options import By, Calls, Overwrite, Period, Prices, Printed, Url
from mofa_usage.cli.output import announce, complain, console, may_write, print_answer, print_rows
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown
    from mofa_usage.usage import UsageFrame

__all__ = ["notebook", "report", "show_summary", "summary"]

_TOP = 20
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="MEASURE", help="Show this: cost, calls, success_rate, latency_p75, ... Repeat."),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="NAME", help="Sort by this measure, the largest first, or by this dimension, from the first."
    ),
]
Top = Annotated[
    int | None, typer.Option("--top", min=1, help=f"Rows at most: {_TOP} unless given; in JSON and CSV all of them.")
]

Intervals = Annotated[
    float | None,
    typer.Option("--intervals", metavar="LEVEL", help="Show how sure rates and percentiles are, at 0.95 for example."),
]


def summary(
    calls: Calls,
    printed: Printed,
    by: By = None,
    measures: Measures = None,
    sort: Sort = None,
    top: Top = None,
    intervals: Intervals = None,
    prices: Prices = None,
) -> None:
    """Show what was used, what it cost and how long it took.

    A call without a price has an unknown cost, it was not free: "priced" says for how many calls the cost is known.
    Amounts of different currencies are never added. Of a course of time the newest rows are shown.

    [bold]mofa-usage summary --url sqlite:usage.db[/bold]

    [bold]mofa-usage summary --by day --by model_name --start 2026-05 --tz Europe/Berlin[/bold]

    [bold]mofa-usage summary --by agent_name --measure latency_p75 --measure calls --sort calls --start 7d[/bold]

    [bold]mofa-usage summary --by labels.team --label environment=production --filter "latency_ms > 1000" --csv[/bold]

    [bold]mofa-usage summary --measure success_rate --measure latency_p95 --intervals 0.95[/bold]

    [bold]mofa-usage summary --prices prices.toml --by model_name --by price_source[/bold]
    """
    dimensions = by or ["model_name"]
    asked = [*(measures or ()), *([sort] if sort else [])]
    # What a call costs may depend on nearly all that is known of it.
    columns = _needed(dimensions, asked) if prices is None else None
    past, which = load(calls, columns, partial(_seen_from, dimensions, asked))
    past, said = priced(past, prices, which.start)
    usage = past if past.start == which.start else past.between(which.start)
    if not len(usage):
        if printed.for_programs:
            print_rows(dimensions, [], printed)
        end_without_calls(calls, which)
    if printed.for_programs:
        found = _answer(past, dimensions, measures, sort, which.start, intervals)
        answer, _ = _rows(found, top, is_sorted=sort is not None)
        print_answer(answer, printed)
        if said:
            complain(f"note: {said}")
        return
    show_summary(usage, dimensions, measures=measures, sort=sort, top=top, past=past, intervals=intervals, prices=said)


def _needed(by: Sequence[str], measures: Sequence[str]) -> list[str] | None:
    """The columns of the calls that a summary needs; None for all of them."""
    from mofa_usage.analysis.questions import SUMMARY
    from mofa_usage.cli.tables import MEASURES_SHOWN
    from mofa_usage.measures import DIMENSIONS, dimension, measure

    try:
        wanted = [measure(name) for name in (*SUMMARY, *MEASURES_SHOWN, *(name for name in measures if name not in by))]
    except UsageError:
        return None  # a mistake that the analysis explains
    if not set(by) <= set(DIMENSIONS):
        return None  # a label or a further column, or a mistake that the analysis explains best
    needs = [columns for entry in wanted for columns in (entry.needs, entry.optional)]
    needs += [dimension(name).needs for name in by]
    return list(dict.fromkeys(("create_time", "currency", *(column for columns in needs for column in columns))))


def _seen_from(by: Sequence[str], measures: Sequence[str], start: datetime | None, clock: ZoneInfo) -> datetime | None:
    """From when on calls count in measures of those names: from `start`, or earlier in those that are rolling."""
    from mofa_usage.analysis.asking import Asked
    from mofa_usage.analysis.windows import reach
    from mofa_usage.measures import DIMENSIONS, dimension, measure

    try:
        wanted = tuple(measure(name) for name in measures if name not in by)
    except UsageError:
        return start  # a mistake that the analysis explains
    known = tuple(dimension(name) for name in by if name in DIMENSIONS)
    return reach(Asked(known, wanted, start, None, None, "breakdown"), clock) or start


def _answer(
    usage: "UsageFrame",
    by: Sequence[str],
    measures: Sequence[str] | None,
    sort: str | None,
    start: datetime | None,
    intervals: float | None = None,
) -> "Breakdown":
    """The breakdown that is asked for, of the calls from `start` on, in the order that is asked for."""
    from mofa_usage.cli.tables import MEASURES_SHOWN

    shown = list(measures or MEASURES_SHOWN)
    asked = shown if sort is None or sort in (*by, *shown) else [*shown, sort]
    answer = usage.breakdown(by=by, measures=asked, start=start, intervals=intervals)
    if sort is None:
        return answer
    columns = [name for name, column in answer.roles.measures.items() if sort in (name, column.measure.name)][:1]
    order = [*columns, *by] if columns else [sort, *(name for name in by if name != sort)]
    return answer.sort(order, descending=[name in columns for name in order], nulls_last=True, maintain_order=True)


def _rows(answer: "Breakdown", top: int | None, *, is_sorted: bool) -> tuple["Breakdown", str]:
    """At most `top` rows, of a course of time the last ones; and what to say of those that are not there."""
    if top is None or answer.height <= top:
        return answer, ""
    more = f"{answer.height - top:,}"
    is_course = not is_sorted and any(entry.kind == "time" for entry in answer.roles.dimensions.values())
    hint = f"--top {answer.height} shows all"
    if is_course:
        return answer.tail(top), f"and {more} earlier; {hint}"
    return answer.head(top), f"and {more} more; {hint}"


def show_summary(
    usage: "UsageFrame",
    by: Sequence[str],
    *,
    measures: Sequence[str] | None = None,
    sort: str | None = None,
    top: int | None = None,
    past: "UsageFrame | None" = None,
    intervals: float | None = None,
    prices: str = "",
) -> None:
    """Print the headline figures of `usage`, which has calls, and its breakdown by the dimensions `by`.

    `past` has those calls and the ones before them that rolling measures look back at. `prices` says which calls got a
    price from a price book.
    """
    from mofa_usage.cli.tables import breakdown_table, summary_panel

    shown, figures = console(), usage.summary()
    breakdown = _answer(usage if past is None else past, by, measures, sort, usage.start, intervals)
    answer, note = _rows(breakdown, top or _TOP, is_sorted=sort is not None)
    shown.print(summary_panel(figures.row(0, named=True), figures.currencies, usage.tz, shown.width, prices))
    shown.print()
    given = {"droppable": ()} if measures else {}
    shown.print(breakdown_table(answer, width=shown.width, note=note, **given), soft_wrap=False)


def report(
    calls: Calls,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The HTML file to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option("--title", help="The title of the page.")] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="The headline figures are for the last so many full days; 30, 7 or 1."),
    ] = None,
    overwrite: Overwrite = False,
    prices: Prices = None,
) -> None:
    """Write an HTML report: one file that needs no network, for a screen, a phone and paper.

    A report that is there already is replaced when you say so: in a terminal it asks, else --overwrite does it.

    [bold]mofa-usage report --url sqlite:usage.db[/bold]

    [bold]mofa-usage report may.html --start 2026-05 --tz Europe/Berlin --title "Usage in May" --overwrite[/bold]

    [bold]mofa-usage report --url calls.parquet --prices list[/bold]
    """
    may_write(path, overwrite=overwrite)
    usage, which = load(calls)
    usage, said = priced(usage, prices, which.start)
    from mofa_usage.report import write_report

    with console().status("Writing the report"):
        write_report(usage, path, title=title, days=days)
    announce(path, " written, open it in a browser")
    if not len(usage):
        end_without_calls(calls, which)
    if said:
        announce("prices", f"  {said}")


def notebook(
    period: Period,
    printed: Printed,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; without a name they are listed.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where to write it; NAME.ipynb here unless given.")
    ] = None,
    url: Url = None,
    overwrite: Overwrite = False,
) -> None:
    """Copy a notebook that analyses your own calls.

    Its first cell says which database it reads; without --url it reads made-up usage. A password in the URL is not
    written into the notebook: it then reads DATABASE_URL when it runs.

    [bold]mofa-usage notebook[/bold]

    [bold]mofa-usage notebook 02_cost --url sqlite:usage.db --start 2026-05 --to work/cost.ipynb[/bold]
    """
    from mofa_usage.cli import templates

    if name is None:
        _list_notebooks(printed)
        return
    if printed.for_programs:
        raise UsageError("--json and --csv print the list of notebooks; leave out NAME")
    template = templates.template_path(name)
    times = templates.times(period.start, period.end, period.tz)
    path = to or Path(template.name)
    may_write(path, overwrite=overwrite, elsewhere=", --to writes elsewhere")
    templates.write_notebook(name, path, url=url or None, tz=period.tz, **times)
    announce(path, f" written; run it with: jupyter lab {path}")


def _list_notebooks(printed: Printed) -> None:
    from mofa_usage.cli import templates

    found = [{"name": name, "title": templates.title(name)} for name in templates.names()]
    if printed.for_programs:
        print_rows(("name", "title"), found, printed)
        return
    for one in found:
        announce(one["name"], f"  {one['title']}")
