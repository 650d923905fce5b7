"""The command that says why the cost changed: `why`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.choosing import loaded
from mofa_usage.cli.comparing import After, Before, compared
from mofa_usage.cli.options import Calls, Printed
from mofa_usage.cli.output import console, print_answer
from mofa_usage.errors import UsageError
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.changes import Change

__all__ = ["why"]

_TOP = 20
_GIVES_WAY = ("unpriced_before", "unpriced_after", "calls_before", "calls_after", "cost_before", "cost_after")

By = Annotated[
    list[str] | None,
    typer.Option("--by", metavar="DIMENSION", help="A row for each value of this: model_name unless given. Repeat."),
]
PerDay = Annotated[
    str | None,
    typer.Option("--per", metavar="day|week", help="Compare a mean day, or a week of mean Mondays, Tuesdays, ..."),
]
Top = Annotated[
    int | None, typer.Option("--top", min=1, help=f"Rows at most: {_TOP} unless given; in JSON and CSV all of them.")
]


def why(
    calls: Calls,
    printed: Printed,
    after: After = None,
    before: Before = None,
    by: By = None,
    per: PerDay = None,
    top: Top = None,
) -> None:
    """Say why the cost changed: more calls, another mix, longer prompts, the cache, or prices.

    The change between two periods is split exactly: the parts of each row add up to its change, and the rows to the
    whole. Only calls with a price count; how many have none is said. Months differ in length and weekdays: --per day
    and --per week compare like with like.

    [bold]mofa-usage why --after 2026-05[/bold]

    [bold]mofa-usage why --before 2026-03 --after 2026-05 --by labels.team --tz Europe/Berlin[/bold]

    [bold]mofa-usage why --after 7d --per week --json[/bold]
    """
    early, late = compared(calls, before, after, zone(calls.tz))
    reaching = replace(calls, start=min(early[0], late[0]).isoformat(), end=max(early[1], late[1]).isoformat())
    usage = loaded(reaching, printed, by or ["model_name"])
    if per not in (None, "day", "week"):
        raise UsageError(f"--per is day or week, not {per!r}")
    answer = usage.explain_change(early, late, by or ["model_name"], per=per)  # type: ignore[arg-type]  # checked
    if printed.for_programs:
        print_answer(answer if top is None else answer.head(top), printed)
        return
    _show(answer, _TOP if top is None else top)


def _show(answer: "Change", top: int) -> None:
    """Print the sentence, the rows, and what else changed."""
    from rich.text import Text

    from mofa_usage.cli.tables import show_answer
    from mofa_usage.wording import visible

    hint = f"and {answer.height - top:,} more; --top {answer.height} shows all" if answer.height > top else ""
    show_answer(answer.head(top), answer.sentence, note=hint, droppable=_GIVES_WAY)
    shown = console()
    shown.print()
    shown.print(Text(visible(answer.beside.sentence)))
