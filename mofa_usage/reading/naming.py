"""Which column of somebody's frame, Parquet file or relation is which column of a frame of calls.

A column is found by the caller's mapping, else by its own name, else by a name that is known to mean it (`names.py`,
and `mofa_usage.tokens` for counts), as an import finds it. A name inside a struct is a path: `usage.prompt_tokens`.
What is left over stays under its own name, as a further column that is a dimension.

A column is said as SQL that Polars and DuckDB share, because some have to be worked out: a duration in seconds, a
prompt count that leaves out what came from a cache. Whether it does is decided by the rows that can decide, as many as
`_VOTERS` of them, and where there are none by what the names mean.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mofa_usage.errors import UsageError
from mofa_usage.names import FIELD_NAMES, milliseconds_of_unit, plain_name, says_unit
from mofa_usage.reading.columns import CALL_COLUMNS, JSON_COLUMNS, LABEL, LABEL_COLUMNS, call_column, quoted
from mofa_usage.tokens import Reading, Readings, ReportedUsage, TokenValueError, find_usage, token_columns

__all__ = ["VOTERS", "Fields", "Given", "name_columns", "paths"]

VOTERS = 10_000
"""How many rows decide how tokens are read."""

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_WRITTEN = "prompt_tokens_details.cache_write_tokens"
_CACHE = ("prompt_tokens_details.cached_tokens", _WRITTEN)
_LIFETIMES = ("prompt_tokens_details.cache_write_5m_tokens", "prompt_tokens_details.cache_write_1h_tokens")
_TOOL_USE = "prompt_tokens_details.tool_use_tokens"
_REASONING = "completion_tokens_details.reasoning_tokens"
_DURATIONS = ("latency_ms", "time_to_first_token_ms")
# What a field of an import is called in a frame, where that differs. Labels that every frame has are columns; others
# (`labels.team`) stay what they are called in the source.
_DETAILS = {f"{one.source}.{one.key}": name for name, one in CALL_COLUMNS.items() if one.key and one.source != "labels"}
_COLUMNS = {
    **_DETAILS,
    **{f"{LABEL}{name}": name for name in LABEL_COLUMNS},
    **{"labels.provider": "provider_name", "labels.agent": "agent_name"},
    **{f"outcome.{name}": name for name in ("status", "error_message", "error_code")},
}
_FIELDS = {column: field for field, column in _DETAILS.items()}
_COUNTS = {*_TOKENS, *(name for name in _FIELDS if name.endswith("_tokens"))}


Fields: TypeAlias = Mapping[str, "Fields"]
"""What is inside a column: the fields of a struct, each with what is inside it. Nothing where it is none."""


@dataclass(frozen=True)
class Given:
    """What a source has.

    Attributes:
        names: every name of the source as SQL, as `paths` says.
        durations: the names whose type says the unit.
        structs: the names that hold others, and no value themselves.
        fits: whether a column of the frame (first) can be made of the type of a name of the source.
        sample: some rows of the names (first), at most `VOTERS`, in which one of the others (second) is above 0.
        quote: how a column of the source is said.
    """

    names: Mapping[str, str]
    durations: Collection[str]
    structs: Collection[str]
    fits: Callable[[str, str], bool]
    sample: Callable[[Sequence[str], Sequence[str]], list[dict[str, Any]]]
    quote: Callable[[str], str] = quoted

    def is_column(self, name: str) -> bool:
        """Whether a name is that of a column, and no way into one."""
        return self.names[name] == self.quote(name)


def paths(
    columns: Mapping[str, Fields],
    quote: Callable[[str], str] = quoted,
    field_of: Callable[[str], str] = quoted,
) -> dict[str, str]:
    """Every name of a source as SQL: its columns, and what is inside those that are structs, however deep."""

    def inside(name: str, sql: str, fields: Fields) -> Iterator[tuple[str, str]]:
        for field, deeper in fields.items():
            path, way = f"{name}.{field}", f"{sql}.{field_of(field)}"
            yield path, way
            yield from inside(path, way, deeper)

    nested = (found for name, fields in columns.items() for found in inside(name, quote(name), fields))
    return dict(nested) | {name: quote(name) for name in columns}


def name_columns(given: Given, mapping: Mapping[str, str | None]) -> dict[str, str] | None:
    """The columns of the frame, and further ones, each as SQL over the source's; None where all is named as it must be.

    Args:
        given: what the source has.
        mapping: column of the frame, or field as an import knows it, to a name of the source; None leaves it out.

    Raises:
        UsageError: the mapping names a column that is not there, or that no frame has.
    """
    names, mapped = given.names, _mapped(given.names, mapping)
    own = {name for name in names if name not in mapped and name not in mapped.values() and _is_own(name, given)}
    chosen = {column: name for column, name in mapped.items() if column not in _COUNTS}
    tokens = {column: name for column, name in mapped.items() if column in _COUNTS}
    counts, counted = _counts(given, own, tokens)
    used = {*own, *counted, *mapped.values()}
    others = _by_name(given, [name for name in names if name not in used], {*own, *mapped})
    chosen |= others
    found = {name: names[name] for name in own}
    found |= {column: _value(column, name, given) for column, name in chosen.items() if name is not None}
    found |= counts
    if not mapping and found.keys() == own:
        return None
    used |= {*others.values()}
    others_too = (name for name in names if name not in used and name not in mapped and given.is_column(name))
    kept = {name: names[name] for name in others_too}
    return found | kept


def _is_own(name: str, given: Given) -> bool:
    """Whether a column of the source is called what a frame calls it."""
    return call_column(name) is not None and given.is_column(name)


def _value(column: str, name: str, given: Given) -> str:
    factor = milliseconds_of_unit(name) if column in _DURATIONS and name not in given.durations else "1"
    if factor == "1":
        return given.names[name]
    # A number of 8 or 16 bits has no room for milliseconds.
    return f"({given.names[name]} * {f'CAST({factor} AS BIGINT)' if factor.isdigit() else factor})"


def _mapped(names: Collection[str], mapping: Mapping[str, str | None]) -> dict[str, str | None]:
    mapped: dict[str, str | None] = {}
    for target, name in mapping.items():
        column = _COLUMNS.get(target, target)
        if call_column(column) is None:
            close = difflib.get_close_matches(target, [*CALL_COLUMNS, *_COLUMNS], n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CALL_COLUMNS)}"
            raise UsageError(f"mapping: no column is called {target!r}; {hint}")
        if name is not None and name not in names:
            raise UsageError(f"mapping: {target} is mapped to the column {name!r}; there are {', '.join(names)}")
        mapped[column] = name
    return mapped


def _by_name(given: Given, free: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Columns of the frame that are there under another known name; counts are not among them.

    A name says little: what has a type that cannot be that column is taken for something else. But a time that lacks
    its zone is refused and not overlooked.
    """
    by_plain_name: dict[str, list[str]] = {}
    for name in free:
        by_plain_name.setdefault(plain_name(name), []).append(name)
    found: dict[str, str] = {}
    for field, called in FIELD_NAMES.items():
        column = _COLUMNS.get(field, field)
        if column not in CALL_COLUMNS or column in (*known, *JSON_COLUMNS, *_COUNTS):
            continue
        there = (name for plain in called for name in by_plain_name.get(plain, ()) if name not in found.values())
        for name in there:
            has_unit = column not in _DURATIONS or name in given.durations or says_unit(name)
            if has_unit and given.fits(column, name):
                found[column] = name
                break
    return found


def _counts(given: Given, own: Collection[str], mapped: Mapping[str, str | None]) -> tuple[dict[str, str], set[str]]:
    """The counts of tokens that are not there as a frame calls them, and the source's columns that they are made of."""
    known = {name: field for name, field in token_columns(given.names).items() if name not in given.structs}
    candidates = [name for name, field in known.items() if field in (*_TOKENS, *_DETAILS, _TOOL_USE)]
    candidates += [name for name in mapped.values() if name is not None and name not in candidates]
    fields = {_FIELDS.get(column, column): name for column, name in mapped.items()}
    # Which column counts for which field is asked of a row that has a number in all of them.
    usage = find_usage(dict.fromkeys(candidates, 1), fields)
    if usage is None:
        return {}, set()
    names = {field: name for field, name in usage.names.items() if name in candidates}
    is_ours = {"prompt_tokens", "completion_tokens", *names.values()} <= set(own) and not mapped
    counts = {field: given.names[name] for field, name in names.items()}
    # What is no number is refused by its name, and not by the engine that adds it.
    if not is_ours and all(given.fits("total_tokens", name) for name in names.values()):
        # A number of 8 or 16 bits has no room for a sum.
        wide = {field: f"({sql} + CAST(0 AS BIGINT))" for field, sql in counts.items()}
        counts = _completed(_inclusive(wide, _reading(given, usage, candidates, fields)))
    counts.pop(_TOOL_USE, None)
    return {_COLUMNS.get(field, field): sql for field, sql in counts.items()}, {*names.values()}


def _reading(
    given: Given, usage: ReportedUsage, candidates: Sequence[str], fields: Mapping[str, str | None]
) -> Reading:
    """How the counts are read: as the rows say that have a part which a count may hold or not."""
    readings = Readings()
    deciding = (*_CACHE, *_LIFETIMES, _REASONING)
    parts = [name for field, name in usage.names.items() if field in deciding and name in candidates]
    for row in given.sample(candidates, parts) if parts else ():
        try:
            said = find_usage(row, fields)
        except TokenValueError:
            continue  # it will be refused by name
        if said is not None:
            readings.add(said)
    return readings.of(usage)


def _inclusive(said: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """The counts with all that belongs into them, as `mofa_usage.tokens` has it for one row."""
    counts = dict(said)
    if written := [counts[field] for field in _LIFETIMES if field in counts]:
        known = [f"nullif({counts[_WRITTEN]}, 0)"] if _WRITTEN in counts else []
        counts[_WRITTEN] = f"coalesce({', '.join([*known, _sum(written[0], written[1:]), *written])})"
    if "prompt_tokens" in counts:
        beside = [_TOOL_USE] if reading.holds_cached else [_TOOL_USE, *_CACHE]
        counts["prompt_tokens"] = _sum(counts["prompt_tokens"], [counts[part] for part in beside if part in counts])
    if not reading.holds_reasoning and _REASONING in counts:
        # Gemini leaves out a count that is 0: of an answer that was only thought there are no candidates.
        whole, reasoning = counts.get("completion_tokens", "0"), counts[_REASONING]
        counts["completion_tokens"] = f"coalesce({_sum(whole, [reasoning])}, {reasoning})"
    if {*_TOKENS} <= counts.keys() and not (reading.holds_cached and reading.holds_reasoning):
        # Where the counts left something out, the total may do so too: it is their sum.
        counts["total_tokens"] = (
            f"coalesce({counts['prompt_tokens']} + {counts['completion_tokens']}, {said['total_tokens']})"
        )
    return counts


def _completed(said: Mapping[str, str]) -> dict[str, str]:
    """A count that is missing is the total less the other, and a total that is missing their sum."""
    counts = dict(said)
    if "total_tokens" not in counts or not {"prompt_tokens", "completion_tokens"} & counts.keys():
        return counts
    for name, other in (("prompt_tokens", "completion_tokens"), ("completion_tokens", "prompt_tokens")):
        if other in said:
            rest = f"CASE WHEN {said['total_tokens']} >= {said[other]} THEN {said['total_tokens']} - {said[other]} END"
            counts[name] = f"coalesce({said[name]}, {rest})" if name in said else rest
    if {*_TOKENS} <= said.keys():
        total = f"{said['prompt_tokens']} + {said['completion_tokens']}"
        counts["total_tokens"] = f"coalesce({said['total_tokens']}, {total})"
    return counts


def _sum(whole: str, parts: Sequence[str]) -> str:
    return " + ".join((whole, *(f"coalesce({part}, 0)" for part in parts)))
