"""The commands that show where money goes for nothing: `waste`, `cache` and `sessions`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.choosing import loaded
from mofa_usage.cli.options import By, Calls, Printed, database_url
from mofa_usage.cli.output import print_answer

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown
    from mofa_usage.efficiency.caches import Rank

__all__ = ["cache", "sessions", "waste"]

_TOP = 20
_Top = Annotated[
    int | None, typer.Option("--top", min=1, help="Keep so many of the first dimension, the rest is one group.")
]


def waste(calls: Calls, printed: Printed, by: By = None, top: _Top = None) -> None:
    """Show what was paid for nothing, by kind of waste.

    "retried" are attempts that were tried again, "partial" are answers that broke off, "unsuccessful" are all other
    calls that did not succeed. A call without a price has an unknown cost, it was not free.

    [bold]mofa-usage waste --url sqlite:usage.db[/bold]

    [bold]mofa-usage waste --by agent_name --top 5 --start 2026-05 --json[/bold]
    """
    usage = loaded(calls, printed, ["model_name", "waste"])
    _show(usage.waste(by or "model_name", top=top), printed)


def cache(
    calls: Calls,
    printed: Printed,
    by: By = None,
    top: _Top = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Those first for which caching would pay most.")
    ] = False,
) -> None:
    """Show what prompt caches saved, less what writing to them cost, and what they could have saved at most.

    By the list prices of each call's day. Savings may be below zero: then caching cost more than it brought.

    [bold]mofa-usage cache --url sqlite:usage.db[/bold]

    [bold]mofa-usage cache --by agent_name --candidates --start 30d --csv[/bold]
    """
    usage = loaded(calls, printed, ["model_name"])
    rank: Rank = "candidates" if candidates else "savings"
    _show(usage.cache_savings(by or "model_name", top=top, rank=rank), printed)


class Table(StrEnum):
    """What `sessions` shows."""

    dearest = "dearest"
    turns = "turns"
    costs = "costs"
    summary = "summary"


def sessions(
    calls: Calls,
    printed: Printed,
    show: Annotated[
        Table,
        typer.Option(
            "--show", help="The dearest sessions, the turns by number, how many sessions cost how much, or all in one."
        ),
    ] = Table.dearest,
    top: Annotated[int, typer.Option("--top", min=1, help="So many of the dearest sessions.")] = _TOP,
    messages: Annotated[
        bool, typer.Option("--messages", help="Count the messages and tool calls of a session, too: of a database.")
    ] = False,
) -> None:
    """Show what conversations cost and how they grow.

    A turn is a request; attempts that were tried again belong to the one that follows. Calls without a session are left
    out.

    [bold]mofa-usage sessions --url sqlite:usage.db --messages[/bold]

    [bold]mofa-usage sessions --show turns --agent "Support chat" --start 2026-05 --csv[/bold]
    """
    usage = loaded(calls, printed, ["chat_session_id"])
    found = usage.sessions(top=top, messages=database_url(calls.url) if messages else None)
    _show(getattr(found, show), printed, said=found.sentence)


def _show(answer: "Breakdown", printed: Printed, said: str | None = None) -> None:
    """Print an answer: for people a sentence, by default its own, and its first rows."""
    if printed.for_programs:
        print_answer(answer, printed)
        return
    from mofa_usage.cli.tables import show_answer

    more = answer.height - _TOP
    note = f"and {more:,} more; --json and --csv have all" if more > 0 else ""
    show_answer(answer.head(_TOP), answer.sentence if said is None else said, note=note)
