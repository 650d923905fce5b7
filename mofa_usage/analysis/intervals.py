"""How sure a number of so many calls is: intervals of rates, of their differences, and of percentiles.

The calls of a group are a sample of those that there could have been. An interval at a level of 0.95 is made so that,
of many such samples, at least about 95% have an interval that holds the true number. Three methods are here, chosen
since they hold what they promise also of few calls and of rates near 0 and 1, where others do not:

- `wilson`: a rate. It is never below 0 or above 1, and of 20 successes of 20 calls it is 84% to 100%, not 100% to 100%.
  Its cover is close to the level on average over all rates; at single ones, most of all near 0 and 1, it is less.
- `newcombe`: how much a rate changed, from the Wilson intervals of both.
- `order_ranks`: a percentile. The interval is between two of the values themselves, whatever their distribution is:
  how many of `n` values lie below the true percentile is binomial, so the ranks follow from `n` alone. Its cover is at
  least the level, always. The bootstrap, which is made of the values, too, was measured to hold the true p99 of 50
  calls in 43% of cases where it claims 95%.

**What cannot be said is None.** Of 50 calls the largest may well be below the true p95 (it is in 8 of 100 samples), so
no value of them is a sure upper end. That end is None and stands for "unknown", as if it were infinite; the other end
is what it is: "at least 790 ms".

**Calls are not independent**, and all of these take them as if they were: calls of one session, one prompt or one bad
minute are alike. So the intervals are too narrow, by how much nobody can say from the calls alone. They tell what
chance alone does; a change within them is no news, a change beyond them may still have a cause that is not the model.

>>> [round(end, 3) for end in wilson(17, 20, 0.95)]
[0.64, 0.948]
>>> [round(end, 3) for end in newcombe((17, 20), (19, 20), 0.95)]  # from 85% to 95%: maybe better, maybe not
[-0.11, 0.314]
>>> order_ranks(1000, 0.95, 0.95), order_ranks(50, 0.5, 0.95)  # of 50 values the median is from the 18th to the 33rd
((936, 964), (18, 33))
>>> order_ranks(50, 0.95, 0.95), order_ranks(50, 0.99, 0.95), order_ranks(200, 0.99, 0.95)
((44, None), (48, None), (195, None))
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

from mofa_usage.errors import UsageError
from mofa_usage.measures.formulas import checked_level

__all__ = ["Interval", "newcombe", "order_ranks", "wilson"]

Interval: TypeAlias = tuple[float, float] | tuple[None, None]
"""The lower and the upper end; None and None of no calls."""

_NOTHING = 1e-17
"""A part of a sum so small that a float does not see it."""


def wilson(successes: int, n: int, level: float) -> Interval:
    """The interval of a rate of so many successes of `n` calls, from 0 to 1.

    E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927).

    Raises:
        UsageError: more successes than calls, less than none, or a level that is not between 0 and 1.
    """
    if not 0 <= successes <= n:
        raise UsageError(f"{successes} of {n} calls is no rate")
    z = _deviations(level)
    if n == 0:
        return None, None
    middle, spread = 2 * successes + z**2, z * math.sqrt(z**2 + 4 * successes * (1 - successes / n))
    below, above = ((middle + part) / (2 * (n + z**2)) for part in (-spread, spread))
    # Exactly so, but for the last bit.
    return (0.0 if successes == 0 else below), (1.0 if successes == n else above)


def newcombe(first: tuple[int, int], second: tuple[int, int], level: float) -> Interval:
    """The interval of the second rate less the first, each given as successes and calls, from -1 to 1.

    Method 10 of R. G. Newcombe, Interval Estimation for the Difference Between Independent Proportions, Statistics in
    Medicine 17 (1998).

    Raises:
        UsageError: as `wilson`, for either.
    """
    (low_1, high_1), (low_2, high_2) = wilson(*first, level), wilson(*second, level)
    if low_1 is None or high_1 is None or low_2 is None or high_2 is None:
        return None, None
    rate_1, rate_2 = first[0] / first[1], second[0] / second[1]
    change = rate_2 - rate_1
    return (
        change - math.hypot(rate_2 - low_2, high_1 - rate_1),
        change + math.hypot(high_2 - rate_2, rate_1 - low_1),
    )


@lru_cache(maxsize=65_536)
def order_ranks(n: int, quantile: float, level: float) -> tuple[int | None, int | None]:
    """Which of `n` values in order, from 1, are the ends of the interval of a quantile; None for an end beyond them.

    Each end is wrong in at most (1 - level) / 2 of all samples, so that both together hold the true quantile in at
    least `level` of them, of values that may be equal, too. The quantile of the sample itself, linearly interpolated,
    lies between them.

    H. A. David, H. N. Nagaraja, Order Statistics (2003), section 7.1. The binomial sums are exact, for any `n`: 10
    million take a hundredth of a second.

    Raises:
        UsageError: less than no values, a quantile that is not from 0 to 1, or a level not between 0 and 1.
    """
    if n < 0 or not 0 <= quantile <= 1:
        raise UsageError(f"no quantile {quantile!r} of {n} values; it is from 0 to 1, of at least no values")
    tail = (1 - checked_level(level)) / 2
    # What is low from below is high from above.
    low, mirrored = _lowest(n, quantile, tail), _lowest(n, 1 - quantile, tail)
    place = 1 + (n - 1) * quantile
    return (
        min(low, math.floor(place)) if low else None,
        max(n + 1 - mirrored, math.ceil(place)) if mirrored else None,
    )


def _lowest(n: int, quantile: float, tail: float) -> int:
    """The last rank whose value is above the quantile in at most `tail` of all samples; 0 where even the first is not.

    It is, where fewer values than that rank lie below the quantile.
    """
    if quantile in (0, 1) or n == 0:
        return n if quantile == 1 else 0
    tail *= 1 + 1e-9  # what is as rare as that but for rounding is rare enough
    guess = n * quantile + NormalDist().inv_cdf(min(tail, 0.5)) * math.sqrt(n * quantile * (1 - quantile))
    fewer = min(max(math.floor(guess), 0), n)
    rare = _at_most(fewer, n, quantile)
    while fewer < n and rare <= tail:
        fewer += 1
        rare += _exactly(fewer, n, quantile)
    while fewer >= 0 and rare > tail:
        rare -= _exactly(fewer, n, quantile)
        fewer -= 1
    return fewer + 1


def _at_most(k: int, n: int, chance: float) -> float:
    """How likely at most `k` of `n` are, each of them so likely: the sum from the largest part down."""
    part, odds, total = _exactly(k, n, chance), (1 - chance) / chance, 0.0
    while k >= 0 and part > total * _NOTHING:
        total += part
        part *= k / (n - k + 1) * odds
        k -= 1
    return total


def _exactly(k: int, n: int, chance: float) -> float:
    """How likely exactly `k` of `n` are."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(chance) + (n - k) * math.log1p(-chance))


def _deviations(level: float) -> float:
    """Within how many standard deviations of its mean a normal value lies with that chance."""
    return NormalDist().inv_cdf((1 + checked_level(level)) / 2)
