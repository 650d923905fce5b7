"""Intervals of rates, their differences and percentiles: the published examples, exact sums, and samples made up."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from mofa_usage.analysis.intervals import newcombe, order_ranks, wilson
from mofa_usage.errors import UsageError
from tests.plain_intervals import chances, exact_ranks
from tests.proofs import trials

SIZES, QUANTILES = (50, 200, 1000), (0.5, 0.95, 0.99)
CELLS = list(product(SIZES, QUANTILES))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_the_published_examples(successes: int, n: int, low: float, high: float) -> None:
    # Newcombe, Two-sided Confidence Intervals for the Single Proportion (1998), table I, method 3.
    assert wilson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - successes, n, 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_ends_of_wilson_are_the_rates_that_the_data_only_just_go_with() -> None:
    z = 1.959963984540054
    for successes, n in product(range(8), (7, 40, 10_000_000)):
        for end in wilson(successes, n, 0.95):
            assert end is not None
            assert 0 <= end <= 1
            # Of such a rate the number of successes is as far from its mean as the level allows.
            assert n * (successes / n - end) ** 2 == pytest.approx(z**2 * end * (1 - end), rel=1e-6, abs=1e-15)
    assert wilson(0, 7, 0.95)[0] == 0
    assert wilson(7, 7, 0.95)[1] == 1


@pytest.mark.parametrize(
    ("second", "first", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_newcombe_of_the_published_examples(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    # Newcombe, Interval Estimation for the Difference Between Independent Proportions (1998), table II, method 10.
    assert newcombe(first, second, 0.95) == pytest.approx((low, high), abs=5e-5)
    assert newcombe(second, first, 0.95) == pytest.approx((-high, -low), abs=5e-5)


def test_nothing_is_said_of_no_calls() -> None:
    assert wilson(0, 0, 0.95) == (None, None)
    assert newcombe((0, 0), (1, 2), 0.95) == newcombe((1, 2), (0, 0), 0.95) == (None, None)
    assert all(order_ranks(0, quantile, 0.95) == (None, None) for quantile in (0, 0.5, 1))


@pytest.mark.parametrize("level", ["0.5", "0.9", "0.95", "0.999"])
def test_ranks_are_those_of_exact_sums(level: str) -> None:
    for n in (1, 2, 3, 7, 20, 50):
        for quantile in ("0", "0.01", "0.25", "0.5", "0.9", "0.95", "0.999", "1"):
            exact = exact_ranks(n, Fraction(quantile), Fraction(level))
            assert order_ranks(n, float(quantile), float(level)) == exact, (n, quantile)


@pytest.mark.parametrize("n", [10_000, 10_000_000])
def test_ranks_of_many_values_are_as_rare_as_the_level_says(n: int) -> None:
    for quantile in QUANTILES:
        low, high = order_ranks(n, quantile, 0.95)
        assert low is not None
        assert high is not None
        k = np.arange(max(0, low - 20_000), min(n, high + 20_000) + 1, dtype=np.float64)
        # Each from the one before, and all of them together 1: no factorial, no logarithm of one.
        ratios = np.log((n - k[:-1]) / (k[:-1] + 1) * quantile / (1 - quantile))
        parts = np.exp(ratios.cumsum() - ratios.cumsum().max())
        of = dict(zip(k[1:].astype(int).tolist(), (parts / parts.sum()).tolist(), strict=True))
        below = sum(part for number, part in of.items() if number < low)
        above = sum(part for number, part in of.items() if number >= high)
        for tail, next_one in ((below, of[low]), (above, of[high - 1])):
            assert tail <= 0.025 < tail + next_one


def test_where_the_data_cannot_say() -> None:
    unknown = {(n, quantile) for n, quantile in CELLS if None in order_ranks(n, quantile, 0.95)}
    assert unknown == {(50, 0.95), (50, 0.99), (200, 0.99)}
    assert all(order_ranks(*cell, 0.95)[0] is not None for cell in unknown)  # only the upper end of them


@pytest.mark.parametrize(("n", "quantile"), CELLS)
def test_cover_is_at_least_the_level(n: int, quantile: float) -> None:
    low, high = order_ranks(n, quantile, 0.95)
    exactly = chances(n, Fraction(str(quantile)))
    assert sum(exactly[low or 0 : high or n + 1]) >= Fraction("0.95")


@pytest.mark.proof
@pytest.mark.parametrize(("n", "quantile"), CELLS)
def test_samples_of_a_skew_distribution_are_covered(n: int, quantile: float) -> None:
    many = trials(300, 20_000)
    random = np.random.default_rng(n)
    values = np.sort(random.lognormal(6, 0.8, (many, n)), axis=1)
    true = float(np.exp(6 + 0.8 * {0.5: 0.0, 0.95: 1.6448536269514722, 0.99: 2.3263478740408408}[quantile]))
    low, high = order_ranks(n, quantile, 0.95)
    holds = np.ones(many, dtype=bool)
    if low is not None:
        holds &= values[:, low - 1] <= true
    if high is not None:
        holds &= values[:, high - 1] >= true
    assert holds.mean() >= (0.94 if many > 300 else 0.92)


def test_bad_questions_are_refused() -> None:
    for level in (0, 1, 95, -0.5, True, "0.95", math.nan):
        with pytest.raises(UsageError, match="level of an interval is"):
            wilson(1, 2, level)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="level of an interval is"):
            order_ranks(10, 0.5, level)
    for successes, n in ((3, 2), (-1, 2)):
        with pytest.raises(UsageError, match=f"{successes} of {n} calls is no rate"):
            wilson(successes, n, 0.95)
    for n, quantile in ((-1, 0.5), (10, 1.5), (10, -0.1)):
        with pytest.raises(UsageError, match="no quantile"):
            order_ranks(n, quantile, 0.95)
