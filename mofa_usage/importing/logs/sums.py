"""What providers say they will bill: sums over many requests, which are no calls.

A row of such an export stands for as many requests as it counts, or for an unknown number of them. Stored as a call it
would be one call of a million tokens; so none is stored, and the summary says what the rows are good for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from mofa_usage.importing.source import SourceRow

__all__ = ["left_out", "objects_in", "requests_in"]

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
            yield row if row.values is None else row._replace(values=None, left_out=why)

    return calls


def objects_in(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects in a list of JSON; none where it is something else."""
    return (one for one in (value if isinstance(value, list) else ()) if isinstance(one, Mapping))


def requests_in(buckets: Iterable[Mapping[str, Any]], name: str) -> int | None:
    """How many requests the results of buckets count under a name; None where none does."""
    counts = (result.get(name) for bucket in buckets for result in objects_in(bucket.get("results")))
    numbers = [count for count in counts if isinstance(count, int)]
    return sum(numbers) if numbers else None


def _number(value: object) -> int | None:
    try:
        return int(Decimal(str(value)))
    except (InvalidOperation, ValueError, OverflowError):
        return None
