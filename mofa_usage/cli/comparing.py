"""The two periods that a command compares: the options and what they mean."""

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from mofa_usage.cli.options import Calls
from mofa_usage.cli.periods import period, previous, whole_period
from mofa_usage.errors import UsageError

__all__ = ["After", "Before", "compared"]

_Range = tuple[datetime, datetime]

After = Annotated[
    str | None,
    typer.Option("--after", metavar="PERIOD", help="What changed: 2026-05, 2026-05-04..2026-05-11, 7d. Or --start."),
]
Before = Annotated[
    str | None,
    typer.Option("--before", metavar="PERIOD", help="Compared with what; unless given, as long a period right before."),
]


def compared(calls: Calls, before: str | None, after: str | None, clock: ZoneInfo) -> tuple[_Range, _Range]:
    """The two periods that the options mean.

    Raises:
        UsageError: none is said, one is no period, or two options say the same.
    """
    if after is not None and (calls.start or calls.end):
        raise UsageError("--after and --start say the same; give one of them")
    if after is not None:
        late = whole_period("--after", after, clock)
    else:
        start, end = period(calls.start, calls.end, clock)
        if start is None:
            raise UsageError("which period? Give --after 2026-05, or --start; it is compared with the one before it")
        late = (start, end or datetime.now(clock))
    return (previous(*late) if before is None else whole_period("--before", before, clock)), late
