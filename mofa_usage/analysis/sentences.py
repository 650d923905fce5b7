"""What an answer says, as one or two plain sentences made of its numbers.

What adds up is told as a total, with who has most of it and, in a course of time, the highest bucket and whether the
later half differs from the earlier. What does not (rates, percentiles, means) is told by its highest and lowest value;
only the row of the whole, where there is one, says more. A cost says for how many calls it is known.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.asking import OTHER_MARK
from mofa_usage.measures import Dimension, MeasureColumn, Roles

__all__ = ["sentence"]

_NAME = 40
_FEW = 100
"""A rate or percentile of fewer calls says of how many."""
_ENOUGH = 20
"""Of fewer calls no success rate is called the lowest."""
_BUCKETS, _CHANGE = 6, 0.1
"""From so many buckets on a change of so much between the halves is told."""

Whole = tuple[pl.DataFrame, Roles] | None


def sentence(frame: pl.DataFrame, roles: Roles, whole: Whole = None) -> str:
    """What an answer with those roles says; `whole` is the row of all calls, where it is known."""
    told = _told(frame, roles, None if whole is None else _told(*whole))
    if not frame.height or told.total("calls") == 0:
        return "There are no calls."
    is_spread = {"bin_start", "bin_end"} <= set(frame.columns)
    tell = _distribution if is_spread else _QUESTIONS.get(roles.question, _breakdown)
    sentences = list(tell(told)) or list(_breakdown(told))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences) or f"There are {frame.height:,} rows."


def _told(frame: pl.DataFrame, roles: Roles, whole: "_Told | None" = None) -> "_Told":
    """What can be read from an answer, whatever somebody made of its columns: of numbers those that are any."""
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    finite = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in floats)
    numbers = {name: entry for name, entry in roles.measures.items() if frame.schema[name].is_numeric()}
    return _Told(finite, replace(roles, measures=numbers), whole)


@dataclass(frozen=True)
class _Told:
    """An answer, and what can be read from it."""

    frame: pl.DataFrame
    roles: Roles
    whole: "_Told | None" = None

    def column(self, measure: str) -> str | None:
        """The column of a measure; of money in several currencies there is not one."""
        found = [name for name, entry in self.roles.measures.items() if entry.measure.name == measure]
        return found[0] if len(found) == 1 else None

    def total(self, measure: str) -> Any:
        """The sum of a measure that adds up; None where it is not there or not known."""
        name = self.column(measure)
        known = None if name is None else self.frame[name].drop_nulls()
        return None if known is None or known.is_empty() else known.sum()

    def only(self, measure: str) -> Any:
        """The value of a measure for all calls: in the one row that there is, or in that of the whole."""
        if self.frame.height == 1:
            name = self.column(measure)
            return None if name is None else self.frame[name][0]
        return None if self.whole is None else self.whole.only(measure)

    def amounts(self, measure: str) -> dict[str | None, pl.Series]:
        """The amounts of a measure of money in each row, by currency."""
        columns = {
            entry.currency: self.frame[name]
            for name, entry in self.roles.measures.items()
            if entry.measure.name == measure
        }
        said = next((name for name, entry in self.roles.dimensions.items() if entry.name == "currency"), None)
        if list(columns) != [None] or said is None:
            usual = next(iter(self.roles.currencies), None)
            return {currency or usual: amounts for currency, amounts in columns.items()}
        codes = self.frame[said]
        return {
            code: pl.select(pl.when(codes == code).then(columns[None])).to_series()
            for code in codes.drop_nulls().unique().sort()
        }

    @cached_property
    def category(self) -> str | None:
        """The first dimension of names."""
        dimensions = self.roles.dimensions.items()
        return next((name for name, one in dimensions if one.kind == "category" and one.name != "currency"), None)

    @cached_property
    def time(self) -> str | None:
        """The first dimension of time: buckets, hours of the day, or weekdays."""
        return next((name for name, one in self.roles.dimensions.items() if one.kind != "category"), None)

    def by(self, dimension: str, amounts: pl.Series) -> pl.DataFrame:
        """What adds up, by a dimension: its values in `key`, the sums in `sum`, the largest first, "other" left out."""
        rows = self.frame.select(key=dimension, sum=amounts)
        if OTHER_MARK in self.frame.columns:
            rows = rows.filter(~self.frame[OTHER_MARK])
        sums = rows.group_by("key", maintain_order=True).agg(pl.col("sum").sum())
        return sums.sort("sum", descending=True, maintain_order=True)

    def name(self, dimension: str, value: object) -> str:
        """A value of a dimension in words."""
        return wording.shorten(wording.dimension_text(value, self.roles.dimensions[dimension]), _NAME)

    def label(self, row: int) -> str:
        """The values of all dimensions in a row, in words."""
        return ", ".join(self.name(name, self.frame[name][row]) for name in self.roles.dimensions)


def _cost(told: _Told) -> Iterator[str]:
    yield from _money(told, "cost")


def _money(told: _Told, measure: str, who: str = "the calls") -> Iterator[str]:
    """The total of a measure of money in each currency, who has most of it, and its course."""
    amounts = {code: values for code, values in told.amounts(measure).items() if values.null_count() < len(values)}
    calls, priced = told.total("calls"), _priced(told)
    if not amounts or priced == 0:
        yield f"what {who} cost is unknown: none of them has a price"
        return
    totals = {code: values.sum() for code, values in amounts.items()}
    text = " and ".join(wording.money(_exact(total), code or "USD") for code, total in totals.items())
    start = f"{who} cost {text}" if measure == "cost" else f"{_title(told, measure)}: {text}"
    among = "them" if who == "they" or calls is None else f"the {_calls(calls)}"
    known = "" if not calls or priced is None else f" ({wording.percent(priced / calls)} of {among} priced)"
    yield "; ".join([f"{start} in total{known}", *_heaviest(told, amounts, "is", "it")])
    if len(amounts) == 1 and told.time is not None:
        ((code, values),) = amounts.items()
        yield from _course(told, told.time, values, lambda amount: wording.money(_exact(amount), code or "USD"))


def _priced(told: _Told) -> int | None:
    """How many calls have a price."""
    if (priced := told.total("priced_calls")) is not None:
        return int(priced)
    coverage, calls = told.column("coverage"), told.column("calls")
    if coverage is None or calls is None:
        return None
    return int((told.frame[coverage] * told.frame[calls]).round().sum())


def _heaviest(told: _Told, amounts: Mapping[str | None, pl.Series], verb: str, whole: str) -> Iterator[str]:
    """Who has most of it, with the share; nothing where nobody can have more than others."""
    category, shares = told.category, []
    if category is None or told.frame.select(pl.col(f"^{OTHER_MARK}$"), category).n_unique() < 2:
        return
    for code, values in amounts.items():
        groups = told.by(category, values)
        total: Any = values.sum()
        least: Any = values.min()
        # Who has as much as the next has not most of it.
        if total > 0 and least >= 0 and (groups.height < 2 or groups["sum"][0] > groups["sum"][1]):
            most = f"{told.name(category, groups['key'][0])} {verb} {wording.percent(groups['sum'][0] / total)}"
            shares.append(f"{most} of {f'the {code}' if len(amounts) > 1 else whole}")
    if shares:
        yield ", ".join(shares)


def _course(told: _Told, time: str, values: pl.Series, text: Callable[[Any], str]) -> Iterator[str]:
    """The highest bucket of time, and whether the later half differs from the earlier."""
    sums = told.by(time, values).drop_nulls()
    if sums.height < 2 or not sums["sum"][0] > 0:
        return
    entry = told.roles.dimensions[time]
    highest = f"the highest {entry.title.lower()} is {told.name(time, sums['key'][0])} with {text(sums['sum'][0])}"
    yield "; ".join([highest, *_trend(entry, sums)])


def _trend(entry: Dimension, sums: pl.DataFrame) -> Iterator[str]:
    if entry.kind != "time" or not sums["key"].dtype.is_temporal():
        return
    moments = sums["key"].to_physical().cast(pl.Int64)
    ends: Any = moments.min()
    ends += moments.max()
    before, after = (float(sums["sum"].filter(half).sum()) for half in (moments * 2 < ends, moments * 2 > ends))
    if sums.height < _BUCKETS or before <= 0 or abs(after / before - 1) < _CHANGE:
        return
    change = after / before - 1
    size = f"{wording.percent(abs(change))} {'more' if change > 0 else 'less'} than"
    more = f"{after / before:,.1f} times as much as" if change >= 1 else size
    yield f"the later half of the {entry.title.lower()}s has {more} the earlier"


def _amount(told: _Told, name: str) -> Iterator[str]:
    """The total of what adds up and is no money."""
    entry, values = told.roles.measures[name], told.frame[name]
    if values.null_count() == len(values):
        yield f"{entry.measure.title}: not known for any call"
        return
    total: Any = values.sum()
    if entry.measure.name == "calls":
        start = f"there {'is' if total == 1 else 'are'} {_calls(total)}"
    else:
        start = f"{entry.measure.title}: {wording.count(total)} in total"
    yield "; ".join([start, *_heaviest(told, {None: values}, "has", "them")])
    if told.time is not None:
        yield from _course(told, told.time, values, wording.count)


def _extremes(told: _Told, name: str) -> Iterator[str]:
    """The highest and the lowest of what does not add up."""
    entry = told.roles.measures[name]
    numbers = told.frame.with_row_index("row").select("row", value=name).filter(pl.col("value").is_not_null())
    if OTHER_MARK in told.frame.columns:
        numbers = numbers.filter(~told.frame[OTHER_MARK].gather(numbers["row"]))
    ordered = numbers.sort("value", maintain_order=True)
    parts = []
    if not ordered.height:
        parts.append("not known for any call")
    elif not told.roles.dimensions:
        parts.append(_value(told, entry, ordered["value"][0]))
    elif ordered.height == 1:
        row, value = ordered.row(0)
        parts.append(f"{_value(told, entry, value, row)} for {told.label(row)}")
    elif ordered["value"][0] == ordered["value"][-1]:
        parts.append(f"{_value(told, entry, ordered['value'][0])} throughout")
    else:
        if told.whole is not None and (overall := told.only(entry.measure.name)) is not None:
            parts.append(f"{_value(told, entry, overall)} for all calls")
        for text, (row, value) in (("highest", ordered.row(-1)), ("lowest", ordered.row(0))):
            parts.append(f"{text} for {told.label(row)} ({_value(told, entry, value, row)})")
    yield f"{entry.measure.title}: {', '.join(parts)}"


def _value(told: _Told, entry: MeasureColumn, value: Any, row: int | None = None) -> str:
    """A value of a measure with its unit; of few calls with their number."""
    currency = entry.currency or next(iter(told.roles.currencies), "USD")
    said = next((name for name, one in told.roles.dimensions.items() if one.name == "currency"), None)
    if row is not None and said is not None and entry.currency is None:
        currency = told.frame[said][row] or currency
    text = wording.value_text(value, entry.measure.kind, currency)
    calls = told.column("calls")
    number = _FEW if row is None or calls is None else told.frame[calls][row]
    return f"{text} of {_calls(number)}" if number < _FEW else text


def _latency(told: _Told) -> Iterator[str]:
    half, most = told.only("latency_p50"), told.only("latency_p95")
    calls = told.only("latency_calls")
    if half is not None and most is not None:
        among = "the calls" if calls is None else f"the {wording.count(calls)} calls"
        yield f"half of {among} took at most {wording.duration(half)}, 95% at most {wording.duration(most)}"
    slow = told.column("latency_p95") or told.column("latency_p50") or told.column("latency_mean")
    if slow is not None and (told.frame.height > 1 or half is None or most is None):
        yield from _extremes(told, slow)


def _token_rate(told: _Told) -> Iterator[str]:
    usual = told.column("token_rate_p50") or told.column("token_rate_overall")
    if usual is not None:
        yield from _extremes(told, usual)


def _success(told: _Told) -> Iterator[str]:
    """How many calls succeeded, where fewest did, and how the others ended."""
    calls, successes = _counted(told)
    if calls is None or successes is None:
        return
    total, good = int(calls.sum()), int(successes.sum())
    if total == 1:
        yield "the only call succeeded" if good else "the only call did not succeed"
    elif good in (0, total):
        yield f"{'all' if good else 'none of the'} {_calls(total)} succeeded"
    else:
        start = f"{wording.percent(good / total)} of {_calls(total)} succeeded"
        yield "; ".join([start, *_lowest(told, calls, successes)])
    ended = [f"{wording.count(number)} {text}" for name, text in _ENDED.items() if (number := told.total(name))]
    if ended and total > 1:
        yield f"the others: {', '.join(ended)}"


def _counted(told: _Told) -> tuple[pl.Series | None, pl.Series | None]:
    """Calls and successes in each row."""
    calls, successes, rate = map(told.column, ("calls", "success_count", "success_rate"))
    if calls is None:
        return None, None
    if successes is not None:
        return told.frame[calls], told.frame[successes]
    return told.frame[calls], None if rate is None else (told.frame[calls] * told.frame[rate]).round().fill_null(0)


def _lowest(told: _Told, calls: pl.Series, successes: pl.Series) -> Iterator[str]:
    """Where the fewest calls succeeded."""
    dimension = told.category or told.time
    if dimension is None:
        return
    good = dict(told.by(dimension, successes).iter_rows())
    numbers = told.by(dimension, calls).iter_rows()
    rates = [(good[key] / number, number, key) for key, number in numbers if number >= _ENOUGH]
    rate, number, key = min(rates, key=lambda found: found[0], default=(0.0, 0, None))
    if len(rates) > 1 and rate < max(found[0] for found in rates):
        yield f"it was lowest for {told.name(dimension, key)} ({wording.percent(rate)} of {wording.count(number)})"


def _distribution(told: _Told) -> Iterator[str]:
    """Below what half of the calls and 95% of them lie, as far as the bins tell."""
    calls = told.column("calls")
    if calls is None:
        return
    bins = told.frame.group_by("bin_end").agg(pl.col(calls).sum().alias("calls")).sort("bin_end")
    total, upto = int(bins["calls"].sum()), bins["calls"].cum_sum()
    half, most = (wording.duration(bins["bin_end"].filter(upto >= total * part)[0]) for part in (0.5, 0.95))
    yield f"at least half of the {_calls(total)} took less than {half}, and 95% less than {most}"


def _summary(told: _Told) -> Iterator[str]:
    yield from list(_success(told))[:1]
    if told.amounts("cost"):
        yield from list(_money(told, "cost", "they"))[:1]
    else:
        yield from _latency(told)


def _breakdown(told: _Told) -> Iterator[str]:
    """The first measure, and what the calls cost."""
    names = list(told.roles.measures)
    first = list(_about(told, names[0])) if names else []
    is_cost = bool(names) and told.roles.measures[names[0]].measure.name == "cost"
    if told.amounts("cost") and not is_cost:
        who = "they" if first and "calls" in first[0] else "the calls"
        yield from [*first[:1], *list(_money(told, "cost", who))[:1]]
    else:
        yield from first[:2]


def _about(told: _Told, name: str) -> Iterator[str]:
    entry = told.roles.measures[name].measure
    if entry.name == "success_rate" and told.column("calls") is not None:
        yield from _success(told)
    elif not entry.additive or entry.kind not in ("money", "count", "tokens"):
        yield from _extremes(told, name)
    elif entry.kind == "money":
        yield from _money(told, entry.name)
    else:
        yield from _amount(told, name)


def _title(told: _Told, measure: str) -> str:
    return next(entry.measure.title for entry in told.roles.measures.values() if entry.measure.name == measure)


def _calls(number: Any) -> str:
    return f"{wording.count(number)} call{'' if number == 1 else 's'}"


def _exact(amount: Any) -> Decimal:
    return amount if isinstance(amount, Decimal) else Decimal(str(amount))


_ENDED = {
    "failed_count": "failed",
    "timeout_count": "timed out",
    "rate_limited_count": "were rate limited",
    "cancelled_count": "were cancelled",
}
_QUESTIONS: Mapping[str, Callable[[_Told], Iterator[str]]] = MappingProxyType(
    {
        "cost": _cost,
        "latency": _latency,
        "token_rate": _token_rate,
        "success_rate": _success,
        "summary": _summary,
    }
)
