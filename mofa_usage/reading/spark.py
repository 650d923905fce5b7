"""Calls on a Spark cluster: somebody's Spark frame, as a lazy one with the columns of a frame of calls.

Nothing is read here but what a column's name does not tell (how tokens are counted, which labels there are), and of
that only counts and a sample come to this machine. The frame is a projection, as that of DuckDB is in `relation.py`:
the cluster reads the columns that a question needs. Values become exact by `spark_values`; what does not fit is an
error, which a worker raises when it comes to that row.

The session stays as it is: everything is said as expressions of the frame, so nothing is registered there and no
setting is changed. Its zone does not matter, since instants are counted in microseconds and times without a zone are
refused. Inside, columns are called by their `bare` names, for a dot is a way into a struct to Spark.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    LABEL_COLUMNS,
    PRICES,
    bare,
    call_column,
    completion,
    is_further,
    needed_columns,
    origin,
    status_in_words,
)
from mofa_usage.reading.details import NUMBER, NUMBERS
from mofa_usage.reading.exact import STRICT, Leeway, rule_of
from mofa_usage.reading.labels import MOST, label_columns, labels_among
from mofa_usage.reading.naming import VOTERS, Fields, Given, name_columns, paths
from mofa_usage.reading.relation import as_calls, told
from mofa_usage.reading.selection import Selection, offered
from mofa_usage.reading.spark_frames import SparkFrame
from mofa_usage.reading.spark_values import exact, field_name, moment, named, text_inside, text_literal

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = ["SparkCalls"]

_ROUNDED = "rounded prices"


class SparkCalls:
    """The calls of a Spark frame."""

    def __init__(
        self,
        frame: SparkFrame,
        leeway: Leeway = STRICT,
        mapping: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        self._frame, self._types, self._fields = _named(frame, mapping)
        self._leeway = leeway
        self._labels: tuple[str, ...] | None = None

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """See `Calls`. The labels are counted on the cluster."""
        if self._labels is None and selection.columns is None:
            self._labels = label_columns(self._label_counts())
        return offered(self._types, selection, self._labels or ())

    def _label_counts(self) -> Counter[str]:
        """How many calls have each label, of those that may become columns."""
        given, labels = self._types.get("labels", ""), named("labels")
        if given.startswith("struct<"):
            names = list(self._fields["labels"])
            counts = (f"count({labels}.{field_name(name)})" for name in names)
            with told():
                (row,) = self._frame.selectExpr(*counts).collect()
            found = dict(zip(names, row, strict=True))
        elif given == "string" or given.startswith("map<string,"):
            keys = "json_object_keys" if given == "string" else "map_keys"
            counted = self._frame.selectExpr(f"explode({keys}({labels})) AS name").groupBy("name").count()
            heaviest = counted.orderBy("count", "name", ascending=[False, True]).limit(MOST + len(LABEL_COLUMNS) + 1)
            with told():
                found = {row[0]: row[1] for row in heaviest.collect()}
        else:
            return Counter()
        return labels_among(found.items())

    def frame(self, selection: Selection) -> Any:
        """The selected calls as a Spark frame, lazily, whose columns have their names."""
        columns = self.columns(selection)
        needed = needed_columns(list(dict.fromkeys((*columns, *selection.conditions))), self._types)
        if "id" in self._types and any(map(self._is_inside, needed)):
            needed = list(dict.fromkeys((*needed, "id")))  # by which a refusal names a call
        calls = self._frame
        for step in (self._taken_apart, self._numbers, self._exact, self._said):
            calls = calls.selectExpr(*(f"{step(name)} AS {named(name)}" for name in needed))
        known = [name for name in needed if origin(name, self._types)]
        wanted = dict.fromkeys((*columns, *selection.conditions))
        calls = calls.selectExpr(*(f"{completion(name, known, named)} AS {named(name)}" for name in wanted))
        for condition in _conditions(selection):
            calls = calls.where(condition)
        if selection.ordered:
            calls = calls.orderBy("create_time", "id", ascending=False).offset(selection.offset)
            calls = calls if selection.limit is None else calls.limit(selection.limit)
        return calls.selectExpr(*map(named, columns)).toDF(*columns)

    def count(self, selection: Selection) -> int:
        """See `Calls`."""
        with told():
            return int(self.frame(selection).count())

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """See `Calls`. All of them come to this machine."""
        with told():
            calls = as_calls(self.frame(selection).toArrow())
        yield calls.sort("create_time") if by_time else calls

    def rounded_prices(self, selection: Selection) -> int:
        """See `Calls`. The prices are read for it."""
        if not self._leeway.round_prices:
            return 0
        strict = {
            name: exact(CALL_COLUMNS[name], named(name), given, STRICT)
            for name, given in self._types.items()
            if name in PRICES and given != "void"
        }
        rounded = [f"int({price} IS NULL AND {named(name)} IS NOT NULL)" for name, price in strict.items()]
        counted = self._frame.selectExpr("*", f"{' + '.join(('0', *rounded))} AS {named(_ROUNDED)}")
        calls = SparkCalls(counted.toDF(*self._types, _ROUNDED))
        found = calls.frame(replace(selection, columns=(_ROUNDED,))).toDF("rounded").selectExpr("sum(rounded)")
        with told():
            return int(found.collect()[0][0] or 0)

    def _taken_apart(self, name: str) -> str:
        """The column as it is, or as text where it stands inside JSON, a map or a struct."""
        column, source = call_column(name), origin(name, self._types)
        if source == name:
            return named(name)
        if source is None or column is None:
            return "NULL"
        given = self._types[source]
        if not given.startswith(("struct<", "map<string,")) and given not in ("string", "void"):
            raise UsageError(f"the column {source} is {given}; details are read from JSON text, maps and structs")
        return text_inside(column, named(source), given, self._fields.get(source, {}), self._which)

    def _numbers(self, name: str) -> str:
        """The number that text from inside JSON says."""
        column, text = call_column(name), named(name)
        if column is None or column.kind not in NUMBERS or not self._is_inside(name):
            return text
        number = f"try_cast({text} AS double)"
        is_number = f"{text} rlike {text_literal(NUMBER)} AND abs({number}) < double('Infinity')"
        said = text_literal(f"{column.source} of the call ")
        refusal = f"raise_error({said} || {self._which} || ' cannot be read: {name} is no number')"
        return f"CASE WHEN {text} IS NULL THEN NULL WHEN {is_number} THEN {number} ELSE {refusal} END"

    @property
    def _which(self) -> str:
        return f"coalesce(CAST({named('id')} AS string), '?')" if "id" in self._types else "'?'"

    def _is_inside(self, name: str) -> bool:
        return origin(name, self._types) not in (name, None)

    def _exact(self, name: str) -> str:
        """The values exactly.

        Raises:
            UsageError: their type has no exact cast.
        """
        value, column = named(name), call_column(name)
        if column is None or is_further(name, self._types):
            return value
        given, leeway = self._types.get(name, "void"), self._leeway
        if self._is_inside(name):
            given, leeway = "double" if column.kind in NUMBERS else "string", Leeway(round_prices=True)
        found, rule = exact(column, value, given, leeway), rule_of(column)
        if found is None:
            hint = "; its zone is unknown: to_utc_timestamp gives it one" if given == "timestamp_ntz" else ""
            raise UsageError(f"the column {name} is {given}, where a frame of calls has a {rule.meaning}{hint}")
        if found == value or given == "void":
            return found
        # The id is not named, because that would read the ids of all calls.
        said = f"left(CAST({value} AS string), 80)"
        refusal = (
            f"raise_error({text_literal(f'{name} is ')} || {said} || {text_literal(f', which is no {rule.meaning}')})"
        )
        return f"coalesce({found}, CASE WHEN {value} IS NOT NULL THEN {refusal} END)"

    def _said(self, name: str) -> str:
        """A status may be said in other words than ours."""
        return status_in_words(named(name)) if name == "status" else named(name)


def _named(
    frame: SparkFrame, mapping: Mapping[str, str | None]
) -> tuple[Any, dict[str, str], dict[str, dict[str, str]]]:
    """The frame with its columns called as a frame of calls calls them (see `naming`), their types, and what structs
    hold.
    """
    twice = next((name for name, number in Counter(frame.columns).items() if number > 1), None)
    if twice is not None:
        raise UsageError(f"two columns of the Spark frame are called {twice!r}")
    calls = frame.toDF(*map(bare, frame.columns))
    types, fields = _types_of(frame.columns, calls)
    inside = {name: _inside(field.dataType) for name, field in zip(types, calls.schema.fields, strict=True)}
    names = paths(inside, named, field_name)
    kinds = dict(zip(names, _types_of(names, calls.selectExpr(*names.values()))[0].values(), strict=True))

    def fits(column: str, name: str) -> bool:
        given = kinds[name]
        is_one = given == "void" or given.startswith("timestamp")
        return is_one or exact(CALL_COLUMNS[column], "x", given, STRICT) is not None

    def sample(wanted: Sequence[str], parts: Sequence[str]) -> list[dict[str, Any]]:
        deciding = " OR ".join(f"try_cast({names[part]} AS double) > 0" for part in parts)
        with told():
            rows = calls.where(deciding).limit(VOTERS).selectExpr(*(names[name] for name in wanted)).collect()
        return [dict(zip(wanted, row, strict=True)) for row in rows]

    durations = [name for name, kind in kinds.items() if kind.startswith("interval ")]
    structs = [name for name, kind in kinds.items() if kind.startswith("struct<")]
    found = name_columns(Given(names, durations, structs, fits, sample, named), mapping)
    if found is not None:
        calls = calls.selectExpr(*(f"{sql} AS {named(name)}" for name, sql in found.items()))
        types, fields = _types_of(found, calls)
    return calls, types, fields


def _inside(kind: Any) -> Fields:
    """The fields of a struct."""
    return {field.name: _inside(field.dataType) for field in getattr(kind, "fields", ())}


def _types_of(names: Sequence[str] | Mapping[str, str], frame: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """The types of the columns as Spark names them, and of structs the fields with theirs."""
    kinds = {name: field.dataType for name, field in zip(names, frame.schema.fields, strict=True)}
    fields = {
        name: {field.name: field.dataType.simpleString() for field in kind.fields}
        for name, kind in kinds.items()
        if hasattr(kind, "fields")
    }
    return {name: kind.simpleString() for name, kind in kinds.items()}, fields


def _conditions(selection: Selection) -> Iterator[str]:
    for column, value in selection.equal.items():
        yield f"{named(column)} = {text_literal(value)}"
    if selection.start is not None:
        yield f"create_time >= {moment(selection.start)}"
    if selection.end is not None:
        yield f"create_time < {moment(selection.end)}"
