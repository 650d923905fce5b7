"""An answer in words: each column with its title and its values as text, for whoever shows it as a table.

What a column is, its roles say: measures are numbers with units, money in its currency; dimensions are names and times;
any other column is shown as it is, under its own name. The marks of the group "other" and of slices without a value are
no columns of their own, nor is the one currency of an answer whose amounts say it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.asking import OTHER_MARK
from mofa_usage.measures import Dimension, Roles, measure_of_column
from mofa_usage.measures import measure as known
from mofa_usage.measures.bounds import level_of
from mofa_usage.measures.percentiles import PER_CALL

__all__ = ["Written", "written"]

_ALL = "All"
_EDGES = ("bin_start", "bin_end")
_TITLES = {"first_call": "First call", "last_call": "Last call", **dict(zip(_EDGES, ("From", "To"), strict=True))}
"""Columns of an answer that are neither dimensions nor measures."""
_PLAIN = Dimension("value")


@dataclass(frozen=True, slots=True)
class Written:
    """A column in words.

    Attributes:
        name: Its name in the frame.
        heading: Its title, with the currency where it is of one of several; the name where somebody gave it one.
        unit: The unit of its numbers, where they do not bear it.
        texts: Its values, then that of the whole where there is one. Names are whole, and untrusted.
        aside: Which of them are no names: "(none)", and "other" for the rest of a group.
        is_name: Whether they are names, which may be cut.
        is_number: Whether they are numbers.
        is_interval: Whether they are the intervals of the column before.
    """

    name: str
    heading: str
    texts: list[str]
    aside: list[bool]
    unit: str = ""
    is_name: bool = False
    is_number: bool = False
    is_interval: bool = False


def written(frame: pl.DataFrame, roles: Roles, whole: tuple[pl.DataFrame, Roles] | None = None) -> list[Written]:
    """The columns of an answer whose columns have those roles, in its order, and of the row of the whole."""
    hidden = {OTHER_MARK} | ({"currency"} if "currency" not in roles.dimensions and roles.measures else set())
    intervals = {name: ends for name, ends in roles.intervals.items() if name in frame.columns}
    hidden.update(end for ends in intervals.values() for end in ends)
    found = []
    for name in frame.columns:
        if name not in hidden:
            found.append(_column(frame, name, roles, whole))
        if name in intervals:
            found.append(_interval(frame, intervals[name], roles, whole))
    return found


def _column(frame: pl.DataFrame, name: str, roles: Roles, whole: tuple[pl.DataFrame, Roles] | None) -> Written:
    if name in roles.measures:
        return _measure(frame, name, roles, whole)
    values = frame[name].to_list()
    end = [_ALL if name == frame.columns[0] else ""] if whole else []
    if name in roles.dimensions:
        entry = roles.dimensions[name]
        is_folded = OTHER_MARK in frame.columns and roles.categories[:1] == [name]
        is_other = frame[OTHER_MARK].to_list() if is_folded else [False] * len(values)
        is_any = roles.of_slices
        texts = ["" if value is None and is_any else wording.dimension_text(value, entry) for value in values]
        aside = [value is None or bool(other) for value, other in zip(values, is_other, strict=True)]
        title = entry.title if name == entry.name else name
        is_name = entry.kind == "category" and frame.schema[name] == pl.String
        return Written(name, title, texts + end, aside + [False] * len(end), is_name=is_name)
    if frame.schema[name].is_numeric() and roles.question == "measures_beside":
        texts = [_beside(*row) for row in zip(values, frame["measure"], frame["unit"], strict=True)]
        return Written(name, name, texts, [False] * len(texts), is_number=True)
    if frame.schema[name].is_numeric():
        unit, texts = _edges(frame, roles, values) if name in _EDGES else wording.column_texts(values, "count")
        return Written(name, _TITLES.get(name, name), texts + end, [False] * len(texts + end), unit, is_number=True)
    texts = ["" if value is None else _text(value) for value in values]
    is_name = frame.schema[name] == pl.String
    return Written(name, _TITLES.get(name, name), texts + end, [False] * len(texts + end), is_name=is_name)


def _beside(value: float | None, measure: str, unit: str) -> str:
    """A value in a column of several measures, by that of its row."""
    found = measure_of_column(measure)
    kind = "count" if found is None else known(found[0]).kind
    return wording.count(None) if value is None else wording.value_text(value, kind, unit)


def _edges(frame: pl.DataFrame, roles: Roles, values: Sequence[object]) -> tuple[str, list[str]]:
    """The edges of bins, in what their distribution is of; of a frame written by hand that is milliseconds."""
    of = next((one for one in PER_CALL.values() if one.value == roles.about), PER_CALL["latency"])
    unit, texts = wording.column_texts(values, of.kind, _currencies(frame, None, roles))
    return unit or (of.unit if of.kind == "tokens" else ""), texts


def _text(value: object) -> str:
    return wording.dimension_text(value.replace(microsecond=0) if isinstance(value, datetime) else value, _PLAIN)


def _measure(frame: pl.DataFrame, name: str, roles: Roles, whole: tuple[pl.DataFrame, Roles] | None) -> Written:
    column, (values, currencies, is_whole) = roles.measures[name], _numbers(frame, name, roles, whole)
    unit, texts = wording.column_texts(values, column.measure.kind, currencies)
    if not is_whole:
        texts[-1] = ""  # it tells currencies apart that are rows here
    usual = column.measure.name if column.currency is None else f"{column.measure.name}_{column.currency}"
    title = wording.heading(column) if name == usual else name
    return Written(name, title, texts, [False] * len(texts), unit, is_number=frame.schema[name].is_numeric())


def _numbers(
    frame: pl.DataFrame, name: str, roles: Roles, whole: tuple[pl.DataFrame, Roles] | None
) -> tuple[list[object], list[str | None], bool]:
    """The values of a column and their currencies, then those of the whole, if the whole has them."""
    column, same = roles.measures[name], None
    values, currencies = frame[name].to_list(), _currencies(frame, column.currency, roles)
    if whole is not None:
        above, its = whole
        same = next((there for there, other in its.measures.items() if other == column), None)
        values.append(None if same is None else above[same][0])
        currencies.append(column.currency or next(iter(its.currencies), None))
    return values, currencies, whole is None or same is not None


def _interval(
    frame: pl.DataFrame, ends: tuple[str, str], roles: Roles, whole: tuple[pl.DataFrame, Roles] | None
) -> Written:
    """Both ends of the intervals in one column; where neither is known a dash."""
    column = roles.measures[ends[0]]
    (lows, currencies, is_whole), (highs, _, _) = (_numbers(frame, end, roles, whole) for end in ends)
    unit, texts = wording.column_texts([*lows, *highs], column.measure.kind, currencies * 2)
    known = [text if value is not None else None for text, value in zip(texts, [*lows, *highs], strict=True)]
    rows = zip(known[: len(lows)], known[len(lows) :], strict=True)
    shown = [wording.between(*row) or wording.count(None) for row in rows]
    if not is_whole:
        shown[-1] = ""
    name, title = ", ".join(ends), wording.interval_name(level_of(column.measure))
    return Written(name, title, shown, [False] * len(shown), unit, is_number=True, is_interval=True)


def _currencies(frame: pl.DataFrame, apart: str | None, roles: Roles) -> list[str | None]:
    """The currency of the amount in each row; `apart` is that of a column of one of several."""
    said = roles.by_currency
    if apart is None and said is not None:
        return frame[said].to_list()
    return [apart or next(iter(roles.currencies), None)] * frame.height
