"""How much a slice stands out: its change against what its size and the change of all other calls lead one to expect.

Each score compares two explanations by their likelihood, in the normal approximation: that the slice changed like the
rest, and that its calls have a change of their own. Twice the gain is `effect² / usual`, where `usual` is the variance
that the effect has if nothing happened. It grows with the size of the slice and with how far it went, so that neither
a large slice that moved a little with everything nor a few odd calls come first.

- A **sum** (`of_sum`): what the slice has now, less what it had times the growth of all other calls. Its
  variance is that of a sum of a random number of random amounts: the sum of the squares.
- A **ratio** (`of_ratio`): by how much the change of the ratio of all calls differs from that of all others, which
  is what the slice's own ratio and its share of the calls did to it.
- The **share of slow calls** (`of_share`): the slow ones beyond those that it had at the rate of all others.

The variance is that of the period before, if the number of calls grows like that of the rest. The period after cannot
say it: there the slice may be different, which would make what stands out most look the least certain. A slice of few
calls borrows `_BORROWED` calls of the average kind. But whether anything stands out is asked again (`certainty`, the
square of how many standard errors it is) with the variance of both periods as they are: one very dear call is none that
a cause can be seen in.
"""

from collections.abc import Mapping

import polars as pl

__all__ = ["of_ratio", "of_share", "of_sum", "trusted"]

_BORROWED, _DUE = 100, 0.1
_FLUCTUATION = 0.05
"""What a slice may differ by from the others without any cause: see `trusted`."""


def _scored(effect: pl.Expr, usual: pl.Expr, seen: pl.Expr, basis: pl.Expr) -> dict[str, pl.Expr]:
    known = (usual > 0) & (seen > 0)
    gains = {"strength": effect**2 / usual, "certainty": effect**2 / seen}
    return {name: pl.when(known).then(gain) for name, gain in gains.items()} | {"effect": trusted(effect, usual, basis)}


def trusted(effect: pl.Expr, usual: pl.Expr, basis: pl.Expr) -> pl.Expr:
    """An effect drawn to 0 by as much as it may be chance, so that effects can be ranked by size.

    That is its mean if effects are as large as this one and differ by `usual` for chance and by 5% of what the slice
    had (`basis`) from week to week: a slice of a third of all calls differs by that, and no cause would be found in it.
    """
    return effect**3 / (effect**2 + usual + (_FLUCTUATION * basis) ** 2)


def of_sum(slices: pl.LazyFrame, whole: Mapping[str, float]) -> pl.LazyFrame:
    """Score slices for the change of a sum; `n` in the periods 0 and 1, `nn` its sum of squares."""
    n0, n1, nn0, nn1 = (pl.col(name) for name in ("n0", "n1", "nn0", "nn1"))
    others0, others1 = whole["n0"] - n0, whole["n1"] - n1
    # Where nothing else was there, nothing tells by how much all grew.
    growth = pl.when(others0 > 0, others1 >= 0).then(others1 / others0).otherwise(1.0)
    average = (whole["nn0"] + whole["nn1"]) / max(whole["calls0"] + whole["calls1"], 1)
    lever = pl.when(others0 > 0).then((n0 / others0) ** 2).otherwise(0.0)
    usual = (growth + growth**2) * (nn0 + _BORROWED * average + lever * (whole["nn0"] - nn0))
    seen = nn1 + growth**2 * nn0 + lever * (whole["nn1"] - nn1 + growth**2 * (whole["nn0"] - nn0))
    is_part = (pl.col("calls0") < whole["calls0"]) | (pl.col("calls1") < whole["calls1"])
    found = _scored(n1 - growth * n0, usual, seen, growth * n0)
    return slices.with_columns(**found).with_columns(strength=pl.when(is_part).then(pl.col("strength")))


def of_ratio(slices: pl.LazyFrame, whole: Mapping[str, float]) -> pl.LazyFrame:
    """Score slices for the change of `n / d`; `nn`, `nd` and `dd` are sums of products."""
    effects, usual, seen = [], pl.lit(0.0), pl.lit(0.0)
    average = _average(whole)
    own, others = _spread_before(whole, average)
    for period in "01":
        n, d, calls = (pl.col(f"{name}{period}") for name in ("n", "d", "calls"))
        total, rest = whole[f"d{period}"], whole[f"d{period}"] - d
        ratio = pl.when(rest > 0).then((whole[f"n{period}"] - n) / rest)
        share = d / total
        effects.append((n - ratio * d) / total)
        usual += own * calls / total**2 + share**2 * others * (whole[f"calls{period}"] - calls) / rest**2
        mine, theirs = (_residuals(part, ratio) for part in (_slice(period), _rest(period, whole)))
        seen += mine / total**2 + share**2 * theirs / rest**2
    usual += _BORROWED * average / (whole["d1"] or 1) ** 2
    return slices.with_columns(**_scored(effects[1] - effects[0], usual, seen, effects[0]))


def of_share(slices: pl.LazyFrame, whole: Mapping[str, float]) -> pl.LazyFrame:
    """Score slices for having more than their part of `n` calls among `d`; those that have less do not count."""
    n, d = pl.col("n0"), pl.col("d0")
    rest = whole["d0"] - d
    rate = pl.when(rest > 0).then((whole["n0"] - n) / rest)
    effect, average = n - rate * d, whole["n0"] / max(whole["d0"], 1)
    usual = average * (1 - average) * (d + d**2 / rest)
    # The logarithm of Chernoff's bound of the chance of so many at the rate of the others, which holds for few, too.
    own, theirs = n / d, (whole["n0"] - n + 1) / (rest + 1)
    slow = pl.when(own > 0).then(own * (own / theirs).log()).otherwise(0.0)
    good = pl.when(own < 1).then((1 - own) * ((1 - own) / (1 - theirs)).log()).otherwise(0.0)
    strength = pl.when(own > theirs, usual > 0).then(effect**2 / usual)
    return slices.with_columns(
        strength=strength, certainty=2 * d * (slow + good), effect=trusted(effect, usual, rate * d)
    )


Products = tuple[pl.Expr | float, pl.Expr | float, pl.Expr | float]


def _slice(period: str) -> Products:
    return pl.col(f"nn{period}"), pl.col(f"nd{period}"), pl.col(f"dd{period}")


def _rest(period: str, whole: Mapping[str, float]) -> Products:
    nn, nd, dd = (whole[f"{name}{period}"] - pl.col(f"{name}{period}") for name in ("nn", "nd", "dd"))
    return nn, nd, dd


def _residuals(products: Products, ratio: pl.Expr) -> pl.Expr:
    """The sum of (n - ratio d)² over calls."""
    nn, nd, dd = products
    found: pl.Expr = nn - 2 * ratio * nd + ratio**2 * dd
    return found


def _average(whole: Mapping[str, float]) -> float:
    """The variance of n - ratio d per call of both periods, ratio being that of all calls of each."""
    total = 0.0
    for period in "01":
        nn, nd, dd, n, d = (whole[f"{name}{period}"] for name in ("nn", "nd", "dd", "n", "d"))
        ratio = n / d if d else 0.0
        total += nn - 2 * ratio * nd + ratio**2 * dd
    return max(total, 0.0) / max(whole["calls0"] + whole["calls1"], 1)


def _spread_before(whole: Mapping[str, float], average: float) -> tuple[pl.Expr, pl.Expr]:
    """How much n - ratio d varies per call before, ratio being that of the others: in the slice, and in the others.

    In the slice only a tenth of what is due to d is counted: the calls of a cheap model have costs that are far from
    the average but vary little, and would speak against their provider where it has dear models, too.
    """
    ratio = (whole["n0"] - pl.col("n0")) / (whole["d0"] - pl.col("d0"))
    varied = pl.col("nn0") + _DUE * ratio**2 * pl.col("dd0")
    own = (varied + _BORROWED * average) / (pl.col("calls0") + _BORROWED)
    return own, _residuals(_rest("0", whole), ratio) / (whole["calls0"] - pl.col("calls0"))
