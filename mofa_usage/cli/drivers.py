"""The command `drivers`: which slices of calls explain a change, or where the slow calls are."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.choosing import loaded
from mofa_usage.cli.comparing import After, Before, compared
from mofa_usage.cli.options import Calls, Printed
from mofa_usage.cli.output import print_answer
from mofa_usage.errors import UsageError
from mofa_usage.zones import zone

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown

__all__ = ["drivers"]

_LATENCY = "latency"


def drivers(
    calls: Calls,
    printed: Printed,
    measure: Annotated[
        str,
        typer.Argument(
            metavar="MEASURE", help="cost, calls, total_tokens, success_rate, cost_per_call, ...; latency: slow calls."
        ),
    ] = "cost",
    after: After = None,
    before: Before = None,
    dimensions: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="DIMENSION", help="Look for slices of this: model_name, labels.team, ... Repeat."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="So many slices at most.")] = 10,
    min_calls: Annotated[int, typer.Option("--min-calls", min=1, help="A slice has at least so many calls.")] = 30,
    quantile: Annotated[
        float, typer.Option("--quantile", min=0.5, max=0.9999, help="Of latency: slow calls are from that one on.")
    ] = 0.99,
) -> None:
    """Show which slices of the calls explain most of a change, best first.

    A slice is a model, a user, a label, ..., or a pair of such: one model in one feature. It is shown if it changed
    otherwise than all other calls, by more than chance. Of [bold]latency[/bold] nothing is compared: it shows where the
    slowest calls are.

    [bold]mofa-usage drivers cost --before 2026-04 --after 2026-05 --tz Europe/Berlin[/bold]

    [bold]mofa-usage drivers success_rate --after 7d --by model_name --by labels.feature --json[/bold]

    [bold]mofa-usage drivers latency --quantile 0.95 --start 2026-05[/bold]
    """
    from mofa_usage.changes import SliceOptions

    options = SliceOptions(dimensions=dimensions, top=top, min_calls=min_calls)
    if measure == _LATENCY:
        if before or after:
            raise UsageError("latency compares no periods; --start and --end say which calls are looked at")
        _show(loaded(calls, printed, ["explained"]).slow_drivers(quantile, **options), printed)
        return
    early, late = compared(calls, before, after, zone(calls.tz))
    first, last = min(early[0], late[0]), max(early[1], late[1])
    usage = loaded(replace(calls, start=first.isoformat(), end=last.isoformat()), printed, ["explained"])
    _show(usage.drivers(measure, early, late, **options), printed)


def _show(answer: "Breakdown", printed: Printed) -> None:
    """Print an answer: for people its sentence, and its rows without dimensions that no slice is of."""
    if printed.for_programs:
        print_answer(answer, printed)
        return
    from mofa_usage.cli.tables import show_answer

    unused = [name for name in answer.roles.dimensions if answer[name].null_count() == answer.height]
    show_answer(answer.drop(unused), answer.sentence)
