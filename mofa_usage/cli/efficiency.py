"""The commands that show where money goes for nothing: `waste`."""

from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.choosing import load, nothing
from mofa_usage.cli.options import Calls, Printed
from mofa_usage.cli.output import complain, console, print_answer, print_rows

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown
    from mofa_usage.usage import UsageFrame

__all__ = ["waste"]

_TOP = 20
_By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="DIMENSION",
        help="Break down by this: model_name, agent_name, day, labels.team, ... Repeat. By model unless given.",
    ),
]
_Top = Annotated[
    int | None, typer.Option("--top", min=1, help="Keep so many of the first dimension, the rest is one group.")
]


def waste(calls: Calls, printed: Printed, by: _By = None, top: _Top = None) -> None:
    """Show what was paid for nothing, by kind of waste.

    "retried" are attempts that were tried again, "partial" are answers that broke off, "unsuccessful" are all other
    calls that did not succeed. A call without a price has an unknown cost, it was not free.

    [bold]mofa-usage waste --url sqlite:usage.db[/bold]

    [bold]mofa-usage waste --by agent_name --top 5 --start 2026-05 --json[/bold]
    """
    usage = _loaded(calls, printed, ["model_name", "waste"])
    _show(usage.waste(by or "model_name", top=top), printed)


def _loaded(calls: Calls, printed: Printed, columns: list[str]) -> "UsageFrame":
    """The calls that a command is about; without any it says why and ends."""
    usage, which = load(calls)
    if not len(usage):
        if printed.for_programs:
            print_rows(columns, [], printed)
        complain(nothing(calls, which))
        raise typer.Exit(1)
    return usage


def _show(answer: "Breakdown", printed: Printed) -> None:
    """Print an answer: for people its sentence and its first rows."""
    if printed.for_programs:
        print_answer(answer, printed)
        return
    from rich.text import Text

    from mofa_usage.cli.tables import breakdown_table
    from mofa_usage.wording import visible

    shown = console()
    shown.print(Text(visible(answer.sentence)))
    if answer.height:
        more = answer.height - _TOP
        note = f"and {more:,} more; --json and --csv have all" if more > 0 else ""
        droppable = list(answer.roles.measures)[:0:-1]
        shown.print()
        shown.print(breakdown_table(answer.head(_TOP), width=shown.width, note=note, droppable=droppable))
