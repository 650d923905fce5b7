"""What providers say they will bill: sums over many requests, which are no calls.

A row of such an export stands for as many requests as it counts, or for an unknown number of them. Stored as a call it
would be one call of a million tokens; so none is stored, and the summary says what the rows are good for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mofa_usage.importing.source import SourceRow

__all__ = ["left_out"]

_HINT = "as a provider bills them: mofa-usage reconcile compares them with calls"


def left_out(
    requests: Callable[[Mapping[str, Any]], object],
) -> Callable[[Iterable[SourceRow], Path | None], Iterator[SourceRow]]:
    """The `calls` of a format whose rows are sums of so many `requests`; None where they do not count them."""

    def calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
        held = list(rows)  # a row for a day and a model: never many
        counted = [_number(requests(row.values)) for row in held if row.values is not None]
        number = f"{sum(one or 0 for one in counted):,} " if any(one is not None for one in counted) else ""
        why = f"sums of {number}requests, {_HINT}"
        for row in held:
            yield row if row.values is None else row._replace(values={}, left_out=why)

    return calls


def _number(value: object) -> int | None:
    try:
        return int(Decimal(str(value)))
    except (InvalidOperation, ValueError, OverflowError):
        return None
