"""What breakdowns say, as one or two plain sentences made of their numbers.

What adds up is told as a total, with who has most of it and, in a course of time, the highest bucket and whether the
later half differs from the earlier. What does not (rates, percentiles, means) is told by its highest and lowest value,
in each currency; only the row of the whole, where there is one, says more. Of a sum so far the last value is told. A
cost says for how many calls it is known.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.asking import OTHER_MARK
from mofa_usage.analysis.told import Told
from mofa_usage.measures import Cumulative, Derived, Dimension, Quantity, Share

__all__ = ["USUAL", "breakdown", "distribution"]

_FEW = 100
"""A rate or percentile of fewer calls says of how many."""
_ENOUGH = 20
"""Of fewer calls no success rate is called the lowest."""
_BUCKETS, _CHANGE = 6, 0.1
"""From so many buckets on a change of so much between the halves is told."""


def _cost(told: Told) -> Iterator[str]:
    yield from _money(told, "cost")


def _money(told: Told, measure: str, who: str = "the calls") -> Iterator[str]:
    """The total of a measure of money in each currency, who has most of it, and its course."""
    amounts = {code: values for code, values in told.amounts(measure).items() if values.null_count() < len(values)}
    if not amounts or (measure == "cost" and _priced(told) == 0):
        unknown = f"what {who} cost is unknown: none of them has a price"
        yield unknown if measure == "cost" else f"{_title(told, measure)}: not known"
        return
    totals = {code: values.sum() for code, values in amounts.items()}
    text = " and ".join(wording.money(_exact(total), code or "USD") for code, total in totals.items())
    start = f"{who} cost {text}" if measure == "cost" else f"{_title(told, measure)}: {text}"
    yield "; ".join([f"{start} in total{_priced_share(told, measure, who)}", *_heaviest(told, amounts, "is", "it")])
    if len(amounts) == 1 and told.time is not None:
        ((code, values),) = amounts.items()
        yield from _course(told, told.time, values, lambda amount: wording.money(_exact(amount), code or "USD"))


def _priced_share(told: Told, measure: str, who: str) -> str:
    """For how many calls the amounts are known; without numbers, where rows are unknown, that not all are."""
    calls, priced = told.total("calls"), _priced(told)
    if calls and priced is not None:
        among = "them" if who == "they" else f"the {wording.calls(calls)}"
        return f" ({', '.join([f'{wording.percent(priced / calls)} of {among} priced', *_not_recorded(told, priced)])})"
    columns = [name for name, entry in told.roles.measures.items() if entry.measure.name == measure]
    unknown = told.frame.select(pl.all_horizontal(pl.col(columns).is_null())).to_series()
    return ", as far as prices are known" if unknown.any() else ""


_ORIGINS = {"computed_calls": "by a price book", "estimated_calls": "as an estimate", "converted_calls": "converted"}


def _not_recorded(told: Told, priced: int) -> Iterator[str]:
    """How many of the prices are not those that were recorded."""
    for measure, said in _ORIGINS.items():
        if number := told.total(measure):
            yield f"{wording.percent(number / priced)} of these {said}"


def _priced(told: Told) -> int | None:
    """How many calls have a price."""
    if (priced := told.total("priced_calls")) is not None:
        return int(priced)
    coverage, calls = told.column("coverage"), told.column("calls")
    if coverage is None or calls is None:
        return None
    return int((told.frame[coverage] * told.frame[calls]).round().sum())


def _heaviest(told: Told, amounts: Mapping[str | None, pl.Series], verb: str, whole: str) -> Iterator[str]:
    """Who has most of it, with the share; nothing where nobody can have more than others."""
    category, shares = told.category, []
    if category is None or told.frame.select(pl.col(f"^{OTHER_MARK}$"), category).n_unique() < 2:
        return
    for code, values in amounts.items():
        groups = told.by(category, values)
        total: Any = values.sum()
        least: Any = values.min()
        # Who has as much as the next has not most of it.
        if (
            total > 0
            and least >= 0
            and groups["sum"][0] > 0
            and (groups.height < 2 or groups["sum"][0] > groups["sum"][1])
        ):
            most = f"{told.name(category, groups['key'][0])} {verb} {wording.percent(groups['sum'][0] / total)}"
            shares.append(f"{most} of {f'the {code}' if len(amounts) > 1 else whole}")
    if shares:
        yield ", ".join(shares)


def _course(told: Told, time: str, values: pl.Series, text: Callable[[Any], str]) -> Iterator[str]:
    """The highest bucket of time, and whether the later half differs from the earlier."""
    sums = told.by(time, values).drop_nulls()
    if sums.height < 2 or not sums["sum"][0] > 0:
        return
    entry, parts = told.roles.dimensions[time], []
    if sums["sum"][0] > sums["sum"][1]:
        of_all = f"{told.name(time, sums['key'][0])} with {text(sums['sum'][0])}"
        parts.append(f"the highest {entry.title.lower()} is {of_all}")
    if parts := [*parts, *_trend(entry, sums)]:
        yield "; ".join(parts)


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


def _amount(told: Told, name: str) -> Iterator[str]:
    """The total of what adds up and is no money."""
    entry, values = told.roles.measures[name], told.frame[name]
    if values.null_count() == len(values):
        yield f"{entry.measure.title}: not known for any call"
        return
    total: Any = values.sum()
    if entry.measure.name == "calls":
        start = f"there {'is' if total == 1 else 'are'} {wording.calls(total)}"
    else:
        start = f"{entry.measure.title}: {wording.count(total)} in total"
    yield "; ".join([start, *_heaviest(told, {None: values}, "has", "them")])
    if told.time is not None:
        yield from _course(told, told.time, values, wording.count)


def _extremes(told: Told, name: str) -> Iterator[str]:
    """The highest and the lowest of what does not add up, in each currency."""
    measure = told.roles.measures[name].measure
    columns = [other for other, entry in told.roles.measures.items() if entry.measure == measure]
    said = told.currency if measure.of_money and len(columns) == 1 else None
    parts = []
    for column in columns:
        rows = _comparable(told, column)
        usual = told.roles.measures[column].currency or next(iter(told.roles.currencies), None)
        for code in [usual] if said is None else rows[said].drop_nulls().unique().sort():
            compared = rows if said is None else rows.filter(pl.col(said) == code)
            ends = ", ".join(_ends(told, column, compared, code or "USD"))
            is_amount = measure.kind == "money" or len(columns) == 1
            parts.append(ends if is_amount or not ends else f"of the {code} {ends}")
    yield f"{measure.title}: {'; '.join(filter(None, parts)) or 'not known for any call'}"


def _comparable(told: Told, name: str) -> pl.DataFrame:
    """The rows whose values stand beside each other, with their number in `row` and the value in `value`, lowest first.

    Those of "other" are none of them, nor are sums so far but the last of each group.
    """
    rows = told.frame.with_columns(row=pl.int_range(pl.len()), value=name).filter(pl.col("value").is_not_null())
    if OTHER_MARK in rows.columns:
        rows = rows.filter(~pl.col(OTHER_MARK))
    time = next((dimension for dimension, one in told.roles.dimensions.items() if one.kind == "time"), None)
    if isinstance(told.roles.measures[name].measure.formula, Cumulative) and time is not None:
        others = [dimension for dimension in told.roles.dimensions if dimension != time]
        rows = rows.sort(time, maintain_order=True)
        rows = rows.unique(others, keep="last", maintain_order=True) if others else rows.tail(1)
    return rows.sort("value", maintain_order=True)


def _ends(told: Told, name: str, rows: pl.DataFrame, currency: str) -> Iterator[str]:
    """What the column is in these rows: one value, or the highest and the lowest."""
    measure, found = told.roles.measures[name].measure, list(zip(rows["row"], rows["value"], strict=True))
    if not found:
        return
    (low, least), (high, most) = found[0], found[-1]
    text = {value: wording.value_text(value, measure.kind, currency) for value in (least, most)}
    if not told.roles.dimensions:
        yield " to ".join(text.values())
    elif len(found) == 1:
        yield f"{text[most]}{_of_few(told, name, high)} for {told.label(high)}"
    elif least == most:
        yield f"{text[most]} throughout"
    else:
        overall = told.whole and told.only(measure.name)
        if overall is not None and not isinstance(measure.formula, Share):  # of all calls it is everything
            yield f"{wording.value_text(overall, measure.kind, currency)} for all calls"
        for end, row, value in (("highest", high, most), ("lowest", low, least)):
            yield f"{end} for {told.label(row)} ({text[value]}{_of_few(told, name, row)})"


def _of_few(told: Told, name: str, row: int) -> str:
    """Of how many calls a value is, and how sure, where they are few and it is of the calls of the row alone."""
    calls, measure = told.column("calls"), told.roles.measures[name].measure
    if calls is None or measure.kind == "count" or isinstance(measure.formula, Derived):
        return ""
    number = told.frame[calls][row]
    if number is None or number >= _FEW:
        return ""
    return ", ".join(filter(None, [f" of {wording.calls(number)}", told.interval(name, row)]))


def _latency(told: Told) -> Iterator[str]:
    half, most = told.only("latency_p50"), told.only("latency_p95")
    calls = told.only("latency_calls")
    if half is not None and most is not None:
        among = "the calls" if calls is None else f"the {wording.count(calls)} calls"
        yield f"half of {among} took at most {wording.duration(half)}, 95% at most {wording.duration(most)}"
    slow = told.column("latency_p95") or told.column("latency_p50") or told.column("latency_mean")
    if slow is not None and (told.frame.height > 1 or half is None or most is None):
        yield from _extremes(told, slow)


def _token_rate(told: Told) -> Iterator[str]:
    usual = told.column("token_rate_p50") or told.column("token_rate_overall")
    if usual is not None:
        yield from _extremes(told, usual)


def _success(told: Told) -> Iterator[str]:
    """How many calls succeeded, where fewest did, and how the others ended."""
    calls, successes = _counted(told)
    if calls is None or successes is None:
        return
    total, good = int(calls.sum()), int(successes.sum())
    interval = told.interval_of_all("success_rate") if total < _FEW else ""
    sure = f" ({interval})" if interval else ""
    if total == 1:
        yield "the only call succeeded" if good else "the only call did not succeed"
    elif good in (0, total):
        yield f"{'all' if good else 'none of the'} {wording.calls(total)} succeeded{sure}"
    else:
        start = f"{wording.percent(good / total)} of {wording.calls(total)} succeeded{sure}"
        yield "; ".join([start, *_lowest(told, calls, successes)])
    ended = [f"{wording.count(number)} {text}" for name, text in _ENDED.items() if (number := told.total(name))]
    if ended and total > 1:
        yield f"the others: {', '.join(ended)}"


def _counted(told: Told) -> tuple[pl.Series | None, pl.Series | None]:
    """Calls and successes in each row."""
    calls, successes, rate = map(told.column, ("calls", "success_count", "success_rate"))
    if calls is None:
        return None, None
    if successes is not None:
        return told.frame[calls], told.frame[successes]
    return told.frame[calls], None if rate is None else (told.frame[calls] * told.frame[rate]).round().fill_null(0)


def _lowest(told: Told, calls: pl.Series, successes: pl.Series) -> Iterator[str]:
    """Where the fewest calls succeeded."""
    dimension = told.category or told.time
    if dimension is None or told.roles.dimensions[dimension].name == "status":
        return
    good = dict(told.by(dimension, successes).iter_rows())
    numbers = told.by(dimension, calls).iter_rows()
    rates = [(good[key] / number, number, key) for key, number in numbers if number >= _ENOUGH]
    rate, number, key = min(rates, key=lambda found: found[0], default=(0.0, 0, None))
    if len(rates) > 1 and rate < max(found[0] for found in rates):
        yield f"it was lowest for {told.name(dimension, key)} ({wording.percent(rate)} of {wording.count(number)})"


def distribution(told: Told) -> Iterator[str]:
    """Below what half of the calls and 95% of them lie, as far as the bins tell; of prices in each currency."""
    calls = told.column("calls")
    if calls is None:
        return
    verb, noun, kind = _SPREAD.get(told.roles.about, _SPREAD["latency_ms"])
    said, codes = told.currency, [next(iter(told.roles.currencies), None)]
    if said is not None and kind == "money":
        codes = told.frame.filter(pl.col(calls) > 0)[said].drop_nulls().unique().sort().to_list()
    parts = []
    for code in codes:
        rows = told.frame if len(codes) < 2 else told.frame.filter(pl.col(said or "") == code)
        bins = rows.group_by(_last("bin_end", rows.schema)).agg(pl.col(calls).sum().alias("calls")).sort("bin_end")
        total, upto = int(bins["calls"].sum()), bins["calls"].cum_sum()
        ends = (bins["bin_end"].filter(upto >= total * part)[0] for part in (0.5, 0.95))
        half, most = (wording.value_text(end, kind, code or "USD") for end in ends)
        parts.append(f"at least half of the {wording.calls(total)} {verb} at most {half}{noun}, and 95% at most {most}")
    yield "; ".join(parts)


def _last(edge: str, schema: pl.Schema) -> pl.Expr:
    """The largest value that a bin can hold, which its end is above."""
    dtype = schema[edge]
    unit = Decimal(1).scaleb(-dtype.scale) if isinstance(dtype, pl.Decimal) else int(dtype.is_integer())
    return pl.col(edge) - unit


def _summary(told: Told) -> Iterator[str]:
    outcome = list(_success(told))[:1]
    yield from outcome
    if told.amounts("cost"):
        yield from list(_money(told, "cost", "they" if outcome else "the calls"))[:1]
    else:
        yield from _latency(told)


def breakdown(told: Told) -> Iterator[str]:
    """The first measure, and what the calls cost."""
    names = list(told.roles.measures)
    first = list(_about(told, names[0])) if names else []
    about = told.roles.measures[names[0]].measure.name if names else ""
    if told.amounts("cost") and about != "cost":
        is_of_calls = about in ("calls", "success_rate") and told.column("calls") is not None
        who = "they" if is_of_calls else "the calls"
        yield from [*first[:1], *list(_money(told, "cost", who))[:1]]
    else:
        yield from first[:2]


def _about(told: Told, name: str) -> Iterator[str]:
    entry = told.roles.measures[name].measure
    if entry.name == "success_rate" and told.column("calls") is not None:
        yield from _success(told)
    elif not entry.additive or entry.kind not in ("money", "count", "tokens"):
        yield from _extremes(told, name)
    elif entry.kind == "money":
        yield from _money(told, entry.name)
    else:
        yield from _amount(told, name)


def _title(told: Told, measure: str) -> str:
    return next(entry.measure.title for entry in told.roles.measures.values() if entry.measure.name == measure)


def _exact(amount: Any) -> Decimal:
    return amount if isinstance(amount, Decimal) else Decimal(str(amount))


_SPREAD: Mapping[str, tuple[str, str, Quantity]] = MappingProxyType(
    {
        "latency_ms": ("took", "", "ms"),
        "time_to_first_token_ms": ("waited", " for the first token", "ms"),
        "total_price": ("cost", "", "money"),
        "total_tokens": ("had", " tokens", "count"),
        "prompt_tokens": ("had", " prompt tokens", "count"),
        "completion_tokens": ("had", " completion tokens", "count"),
    }
)
"""What calls do whose distribution it is, by the column; a frame that was written by hand is of latencies."""

_ENDED = {
    "failed_count": "failed",
    "timeout_count": "timed out",
    "rate_limited_count": "were rate limited",
    "cancelled_count": "were cancelled",
}
USUAL: Mapping[str, Callable[[Told], Iterator[str]]] = MappingProxyType(
    {
        "cost": _cost,
        "latency": _latency,
        "token_rate": _token_rate,
        "success_rate": _success,
        "summary": _summary,
    }
)
