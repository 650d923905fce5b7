"""What is said of service levels: who kept the promise, how fast the budget is used, how much went on at once."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told
from mofa_usage.measures import ANSWERS

__all__ = ["SERVICE"]

_NO_LIMITS = ("", "Successful", ANSWERS["service_level"].title)
"""Titles of a service level that name no limit."""

_BAD = {"failed_calls": "did not succeed", "slow_calls": "took longer", "late_calls": "had a late first token"}


def _level(told: Told) -> Iterator[str]:
    """The level of all calls, what made the others bad, the budget, and who has the lowest."""
    sums = {name: told.total(name) or 0 for name in ("calls", "good_calls", "bad_calls", "unknown_calls", *_BAD)}
    judged = sums["good_calls"] + sums["bad_calls"]
    if not judged:
        yield f"of none of the {wording.calls(sums['calls'])} it is known whether it was within the limits"
        return
    if sums["unknown_calls"] and sums["failed_calls"] == judged:
        failed = f"the {judged:,} that did not succeed {'is' if judged == 1 else 'are'} known to be bad"
        yield (
            f"how many calls were good{_promise(told)} is not known: "
            f"each of the {sums['unknown_calls']:,} that succeeded lacks a value that has a limit; only {failed}"
        )
        return
    share = wording.percent(sums["good_calls"] / judged)
    whose = f"{wording.calls(judged)} that can be judged" if sums["unknown_calls"] else wording.calls(judged)
    reasons = [f"{sums[name]:,} {words}" for name, words in _BAD.items() if sums[name]]
    without = sums["unknown_calls"]
    reasons += [f"{without:,} {'lacks' if without == 1 else 'lack'} a value"] if without else []
    verb = "was" if judged == 1 else "were"
    yield f"{share} of the {whose} {verb} good{_promise(told)}" + (f"; {', '.join(reasons)}" if reasons else "")
    budget = told.total("error_budget")
    if budget:
        used = sums["bad_calls"] / budget
        left = budget - sums["bad_calls"]
        rest = f"{_number(left)} are left" if left >= 0 else f"it is overspent by {_number(-left)}"
        share = f"{wording.percent(used)} of it are" if used < 2 else f"{used:,.1f} times that is"
        yield f"the error budget is {_number(budget)} bad calls, {share} used and {rest}"
    yield from _lowest(told)


def _promise(told: Told) -> str:
    name = told.column("service_level")
    title = "" if name is None else told.roles.measures[name].measure.title
    return f" ({wording.inside(title)})" if title not in _NO_LIMITS else ""


def _lowest(told: Told) -> Iterator[str]:
    level = told.column("service_level")
    known = told.frame.with_row_index("row").drop_nulls(level) if level else told.frame.clear()
    counts = ("unknown_calls", "good_calls", "bad_calls", "failed_calls")
    if known.height and set(counts) <= set(known.columns):
        unknown, good, bad, failed = map(pl.col, counts)
        known = known.filter((unknown == 0) | (good + bad > failed))  # where only failures can be judged, nobody knows
    if level is None or known.height < 2 or not told.roles.dimensions:
        return
    least: Any = known[level].min()
    rows = known.filter(pl.col(level) == least)
    if rows.height == 1:
        yield f"the lowest share is that of {told.label(rows['row'][0])} with {wording.percent(least)}"


def _burn(told: Told) -> Iterator[str]:
    """Which windows are alerts; without any the rate of the latest window that has one, or else that of all calls."""
    if not {"window", "burn_rate", "alert"} <= set(told.frame.columns):
        return
    rows = told.frame.to_dicts()
    alerts = [f"{row['burn_rate']:,.1f} times over {row['window']}" for row in rows if row["alert"]]
    if alerts:
        yield f"the budget burns faster than it may: {', '.join(alerts)}"
        return
    known = [row for row in rows if row["burn_rate"] is not None]
    if not known:
        yield "how fast the budget burns is not known"
        return
    over = f"the last {known[0]['window']}" if known[0]["alert"] is not None else known[0]["window"]
    yield f"the budget burns {known[0]['burn_rate']:,.1f} times as fast as allowed over {over}"


def _over_time(told: Told) -> Iterator[str]:
    """The peak of calls in flight, and the throughput of the whole."""
    name, time = told.column("in_flight_max"), told.time
    if name is not None:
        most: Any = told.frame[name].max()
        if most is not None and most > 0:
            rows = told.frame.with_row_index("row").filter(pl.col(name) == most)
            when = f", first at {told.label(rows['row'][0])}" if time is not None else ""
            mean = told.only("in_flight_mean")
            beside = "" if mean is None else f"; {'less than 0.01' if 0 < mean < 0.01 else f'{mean:,.2f}'} in the mean"
            yield f"at most {wording.calls(most)} {'was' if most == 1 else 'were'} in flight at once{when}{beside}"
    rate = told.only("calls_per_second")
    if rate is not None:
        tokens = told.only("completion_tokens_per_second")
        beside = "" if tokens is None else f" and {_rate(tokens, 'completion tokens')}"
        yield f"{_rate(rate, 'calls')}{beside} came through"
    without = told.total("calls_without_latency")
    if name is not None and without:
        yield f"{wording.calls(without)} without a latency {'is' if without == 1 else 'are'} in flight nowhere"


_TIMES = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400))


def _rate(per_second: float, what: str) -> str:
    """`1.16 calls per minute`: per the shortest time in which there is one, or per day."""
    if not per_second:
        return f"no {what}"
    unit, seconds = next(((unit, number) for unit, number in _TIMES if per_second * number >= 1), _TIMES[-1])
    number = per_second * seconds
    text = f"{number:,.0f}" if number >= 100 else f"{number:,.3g}"
    return f"{text} {what.removesuffix('s') if text == '1' else what} per {unit}"


def _number(number: float) -> str:
    """One decimal place; of less than one two digits."""
    if not number or number >= 1:
        return f"{number:,.1f}"
    return f"{number:.2g}" if number >= 0.001 else "less than 0.001"


SERVICE: Mapping[str, Callable[[Told], Iterator[str]]] = MappingProxyType(
    {"service_level": _level, "burn": _burn, "service_over_time": _over_time}
)
