"""Intervals of rates and percentiles computed the plain way: ranks by exact sums of fractions, values by sorting."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from tests.plain_analysis import Row, per_call

RATES = {
    "success_rate": lambda row: True,
    "request_success_rate": lambda row: row["retried"] is None,
}
"""The calls that a rate of successes is of."""


@lru_cache
def chances(n: int, quantile: Fraction) -> list[Fraction]:
    """How likely it is that 0, 1, ..., n of n values lie below the quantile."""
    return [math.comb(n, k) * quantile**k * (1 - quantile) ** (n - k) for k in range(n + 1)]


@lru_cache
def exact_ranks(n: int, quantile: Fraction, level: Fraction) -> tuple[int | None, int | None]:
    """The ranks of the ends of the interval of a quantile, by their definition; the quantile lies between them."""
    below, tail, place = list(accumulate(chances(n, quantile))), (1 - level) / 2, 1 + (n - 1) * quantile
    low = [rank for rank in range(1, n + 1) if below[rank - 1] <= tail]
    high = [rank for rank in range(1, n + 1) if 1 - below[rank - 1] <= tail]
    return (
        min(max(low), math.floor(place)) if low else None,
        max(min(high), math.ceil(place)) if high else None,
    )


def ends(name: str, rows: Sequence[Row], level: Fraction) -> tuple[Any, Any]:
    """The interval of a measure of these calls."""
    if name in RATES:
        return _of_rate(sum(row["status"] == "success" for row in rows), sum(map(RATES[name], rows)), level)
    of, _, percent = name.rpartition("_p")
    values = sorted(per_call(of)(list(rows)))
    found = (values[rank - 1] if rank else None for rank in exact_ranks(len(values), Fraction(percent) / 100, level))
    low, high = (value if value is None or of == "cost" else float(value) for value in found)
    return low, high


def _of_rate(successes: int, n: int, level: Fraction) -> tuple[float | None, float | None]:
    """Wilson's interval in the form with the half width under the root; of what is no rate there is none."""
    if n == 0 or successes > n:
        return None, None
    z, p = NormalDist().inv_cdf(float(1 + level) / 2), successes / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
