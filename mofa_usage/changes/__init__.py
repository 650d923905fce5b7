"""Why numbers changed: a change taken apart exactly, and the slices of calls that explain most of it.

- `periods` has the two periods that are compared, for every question about a change.
- `explain_change` takes a change of cost apart: `gathering` sums the calls up in one pass, `cells` puts the
  sums into cells that are alike, `factors` takes each cell apart exactly, `change` adds up and rounds, `table` makes
  the answer, `calendar` tells what other weekdays make of it, `beside` compares the other measures.
- `drivers` and `slow_drivers` (`slow`) find slices of calls: `dimensions` says by what, `leaves` counts the calls once,
  `slices` looks for the slices that stand out, `scores` says how much one does, `rows` makes their rows.
"""

from typing import Any, TypedDict

from mofa_usage.analysis import Breakdown, By
from mofa_usage.analysis.sums import Queried
from mofa_usage.changes.beside import measures_beside
from mofa_usage.changes.change import cost_change
from mofa_usage.changes.dimensions import SliceOptions
from mofa_usage.changes.drivers import drivers
from mofa_usage.changes.periods import Pair, Per, periods
from mofa_usage.changes.slow import slow_drivers
from mofa_usage.pricing import PriceBook

__all__ = [
    "Change",
    "ChangeOptions",
    "SliceOptions",
    "cost_change",
    "drivers",
    "explain_change",
    "periods",
    "slow_drivers",
]


class Change(Breakdown):
    """Why the cost changed, as `explain_change` answers it.

    What Polars' methods make of it is a plain `Breakdown`.

    Attributes:
        beside: The other measures of both periods with their intervals: success rate, latency, cost per call, ...; see
            `mofa_usage.changes.beside.measures_beside`.
    """

    beside: Breakdown

    def __getstate__(self) -> Any:
        """What pickle keeps: that of every answer, and what is beside it."""
        return super().__getstate__(), self.beside

    def __setstate__(self, state: Any) -> None:
        answer, self.beside = state
        super().__setstate__(answer)


class ChangeOptions(TypedDict, total=False):
    """As `explain_change` takes them."""

    per: Per | None
    book: PriceBook | None


def explain_change(
    calls: Queried,
    before: Pair,
    after: Pair,
    by: By = "model_name",
    *,
    per: Per | None = None,
    book: PriceBook | None = None,
    tz: str = "UTC",
) -> Change:
    """Why the cost changed from one period to another: its change taken apart into five factors, exactly.

    Args:
        calls: A relation of DuckDB or a frame of Spark with columns of `mofa_usage.reading.columns.CALL_SCHEMA`:
            `create_time` and `total_price` at least; what else is missing cannot explain anything.
        before: Start and end of the one period: datetimes with a zone, or dates and ISO 8601 text on the clock of `tz`.
            The end is not in it.
        after: The same of the other. Periods may differ in length and overlap; the sentence says so.
        by: A dimension, or several, as `breakdown` takes them: the rows.
        per: By default the whole periods are compared. "day" compares a mean day of each, for periods that differ in
            length. "week" compares weekdays with the same weekdays: a week of mean Mondays, mean Tuesdays, ... of each.
        book: What tokens cost; by default the list prices, where the extra `pricing` is installed.
        tz: The IANA zone of dates, days and weekdays.

    Returns:
        A row for each value of `by`, what changed most first; only priced calls count. In units of the currency,
        Decimal(38, 10), and where there are several currencies in columns for each:

        - `cost_before`, `cost_after`, `cost_change`;
        - `volume`: what the number of all calls makes of the change; `mix`: what the shares of rows, models and service
          tiers in all calls make; `tokens_per_call`: longer or shorter prompts and completions; `cache`: how much of
          the prompts was read from the cache or written to it; `price`: prices of tokens, discounts and currencies.

        The parts add up to `cost_change` to the last digit. A value that one period has not got is `mix` (and
        `volume`). Then `calls_before`, `calls_after`, `unpriced_before` and `unpriced_after` (Int64; Float64 with
        `per`). `totals` holds the whole, the sum of all rows; `beside` what else changed.

        A model that the book does not know has the prices of prompts and completions that its calls say
        (`input_price`, `output_price`), and its cache is part of `price`; where they do not say that, all tokens count
        alike.

    Raises:
        UsageError: a period that is none, a column that is missing, an unknown dimension or `per`.
    """
    compared = periods(before, after, tz)
    found = cost_change(calls, compared, by, per=per, book=book)
    answer = Change(found)
    answer._roles, answer.totals = found.roles, found.totals
    answer.beside = measures_beside(calls, compared)
    return answer
