"""The usage inside a row: where it stands, which names it uses, what they say.

A row is a JSON object of a log line, a line of a table or a provider's answer. Objects are entered only where a usage
can be (`message.usage`, `usageMetadata`, ...), so that a long conversation beside it costs nothing. Nothing is
interpreted here but what is certain: Gemini's tool-use prompts belong to the prompt, and cache writes by lifetime add
up to the cache writes.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from mofa_usage.tokens.names import (
    COMPLETION,
    PROMPT,
    Convention,
    Name,
    classify,
    convention_of,
    details_of,
    holds_counts,
    leads_to_counts,
    place_rank,
    plain_name,
)
from mofa_usage.values import read_nested

__all__ = ["ReportedUsage", "TokenValueError", "find_usage", "token_columns"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MAY_BE_THOUSANDS = re.compile(r"[1-9]\d{0,2}\.\d{3}", re.ASCII)  # to a German spreadsheet 1.000 is a thousand
_JSON_STARTS = ("{", "[")
_DEPTH = 8  # of nested objects, usages and their details included
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_LIFETIMES = tuple(f"cache_write_{lifetime}_tokens" for lifetime in ("5m", "1h", "30m", "12h"))


class TokenValueError(ValueError):
    """A count that is none: negative, broken, a truth value, text.

    Attributes:
        name: what the source calls it.
        kind: the rule that it breaks, with the field and without the value, so that like rows can be counted.
    """

    def __init__(self, field: str, rule: str, name: str, value: object) -> None:
        self.name = name
        self.kind = f"{field} {rule}"
        where = "" if name == field else f" in {name!r}"
        super().__init__(f"{self.kind}: {str(value)[:40]!r}{where}")


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What a row says about its tokens, found and not yet interpreted.

    Attributes:
        prompt, completion, total: the three counts as they are; None where the row does not say.
        cached, written, reasoning: the parts that a count may hold or not.
        prompt_parts, completion_parts: all parts by the keys of `TokenDetails`, further keys as they are.
        terms: what prices follow besides counts: `service_tier`, `inference_geo`, `speed`, `web_search_requests`, ...
        source: how the counts came about, where the row says so (`token_source`).
        convention: what its names mean where nothing else decides.
        names: field -> what the row calls it, for all that was found: the columns that were used.
        prompt_key, completion_key: the sets of names; usages of one file with the same are read alike.
    """

    prompt: int | None
    completion: int | None
    total: int | None
    prompt_parts: Mapping[str, Any]
    completion_parts: Mapping[str, Any]
    terms: Mapping[str, Any]
    source: str | None
    convention: Convention
    names: Mapping[str, str]
    prompt_key: tuple[str, ...]
    completion_key: tuple[str, ...]

    @property
    def cached(self) -> int | None:
        """The tokens read from a cache."""
        return self.prompt_parts.get("cached_tokens")

    @property
    def written(self) -> int | None:
        """The tokens written to a cache."""
        return self.prompt_parts.get("cache_write_tokens")

    @property
    def reasoning(self) -> int | None:
        """The tokens that the model thought in."""
        return self.completion_parts.get("reasoning_tokens")


class _Entry(NamedTuple):
    name: Name
    path: str
    value: Any


def token_columns(columns: Iterable[str]) -> dict[str, str]:
    """Those of a table's columns that say something about tokens: column -> the field that it can fill.

    Fields are `prompt_tokens`, `completion_tokens`, `total_tokens`, keys of the details
    (`prompt_tokens_details.cached_tokens`), `terms.service_tier` and the like; of a column that holds JSON the whole
    details, or `usage`. Which of several columns of one field counts is said by `ReportedUsage.names`.
    """
    understood: dict[str, str] = {}
    for column in columns:
        if (name := classify(column)) is not None:
            understood[column] = name.field
        elif holds_counts(column) and plain_name(column) != "tokens":  # that is rather a number of unknown kind
            understood[column] = details_of(column) or "usage"
    return understood


def find_usage(row: Mapping[str, Any], mapping: Mapping[str, str | None] | None = None) -> ReportedUsage | None:
    """The usage in `row`; None where it has none.

    Args:
        row: nested as JSON has it, or flat with dotted or underscored names as a table has them. Values are whole
            numbers, floats and text that are ones; null, NaN and blank text are missing.
        mapping: field -> the row's name or dotted path, which goes before the known names; None leaves a field out.
            Fields that are no tokens are ignored, so an import's whole mapping can be given.

    Raises:
        TokenValueError: a count is no whole number of at least 0.
    """
    places: dict[str, dict[str, _Entry]] = {}
    for entry in _entries(row, "", 0):
        fields = places.setdefault(entry.name.place, {})
        seen = fields.get(entry.name.field)
        if seen is None or (entry.name.rank, entry.path) < (seen.name.rank, seen.path):
            fields[entry.name.field] = entry
    found = _mapped(row, mapping or {}, places) if mapping else _best(places)
    return _reported(found) if any(field in found for field in (*_COUNTS, PROMPT + "cached_tokens")) else None


def _is_missing(value: object) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return isinstance(value, float) and math.isnan(value)


def _entries(row: Mapping[str, Any], before: str, depth: int) -> Iterator[_Entry]:
    """Every name in `row` that is a token count of a usage or a part of one, and has a value."""
    for key, path, name in _relevant(tuple(row), before):
        value = row[key]
        if value is None:
            continue
        if isinstance(value, bytes):
            value = value.decode(errors="backslashreplace")  # as some writers of Parquet keep text
        if isinstance(value, str) and value[:1] in _JSON_STARTS and holds_counts(path):
            value = _nested(value)
        if isinstance(value, Mapping) and leads_to_counts(path) and depth < _DEPTH:
            yield from _entries(value, path, depth + 1)
        elif isinstance(value, list) and holds_counts(path):
            yield from _entries(_by_modality(value), path, depth + 1)
        elif name is not None and not _is_missing(value):
            yield _Entry(name, path, value)


@lru_cache(maxsize=256)  # the rows of a file mostly have the same keys, and most keys are about something else
def _relevant(keys: tuple[object, ...], before: str) -> tuple[tuple[str, str, Name | None], ...]:
    """Those of the keys of an object that can be or hold counts, with their paths and what they are."""
    paths = ((key, f"{before}.{key}" if before else key) for key in keys if isinstance(key, str))
    named = ((key, path, classify(path)) for key, path in paths)
    return tuple(
        (key, path, name)
        for key, path, name in named
        if name is not None or leads_to_counts(path) or holds_counts(path)
    )


def _nested(text: str) -> Any:
    for read in (_lenient_json, read_nested):
        try:
            return read(text)
        except (ValueError, RecursionError):
            pass
    return text


def _lenient_json(text: str) -> Any:
    """Also with NaN, which says that a count is missing."""
    return json.loads(text, parse_float=Decimal)


def _by_modality(items: list[Any]) -> dict[str, Any]:
    """Gemini's `[{"modality": "AUDIO", "tokenCount": 7}]` as `{"audio_tokens": 7}`."""
    counts = {}
    for item in items:
        if isinstance(item, Mapping) and isinstance(modality := item.get("modality"), str):
            counts[f"{modality.lower()}_tokens"] = item.get("tokenCount", item.get("token_count"))
    return counts


def _best(places: Mapping[str, Mapping[str, _Entry]]) -> Mapping[str, _Entry]:
    """The place that says most of the three counts; of equal ones the row's own columns.

    A log may have the counts in columns and the same ones with their parts in an object: then the object is taken.
    """
    ranked = sorted(
        places, key=lambda place: (-sum(field in places[place] for field in _COUNTS[:2]), place_rank(place))
    )
    if not ranked:
        return {}
    best = places[ranked[0]]
    if not _has_parts(best):
        for place in ranked[1:]:
            other = places[place]
            if _has_parts(other) and all(
                field in other and str(other[field].value) == str(best[field].value)
                for field in _COUNTS[:2]
                if field in best
            ):
                return other
    return best


def _has_parts(found: Mapping[str, _Entry]) -> bool:
    return any(field.startswith((PROMPT, COMPLETION)) for field in found)


def _mapped(
    row: Mapping[str, Any], mapping: Mapping[str, str | None], places: Mapping[str, Mapping[str, _Entry]]
) -> Mapping[str, _Entry]:
    """What the caller's mapping names, completed from the place that it names it in, else from the best one."""
    mine = {
        field: path for field, path in mapping.items() if field in _COUNTS or field.startswith((PROMPT, COMPLETION))
    }
    wholes = {field: path for field, path in mapping.items() if f"{field}." in (PROMPT, COMPLETION)}
    taken = {path for path in (*mine.values(), *wholes.values()) if path is not None}
    chosen: dict[str, _Entry] = {}
    named_places = []
    for field, path in mine.items():
        value = None if path is None else _at(row, path)
        if path is None or _is_missing(value):
            continue
        name = classify(path)
        if name is None or name.field != field:
            name = Name(field, "", field.rpartition(".")[2], 0)
        else:
            named_places.append(name.place)
        chosen[field] = _Entry(name, path, value)
    for field, path in wholes.items():
        value = None if path is None else _at(row, path)
        value = _nested(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            chosen |= {entry.name.field: entry._replace(path=str(path)) for entry in _entries(value, field, 0)}
    rest = places.get(named_places[0], {}) if named_places else _best(places)
    kept = {
        field: entry
        for field, entry in rest.items()
        if field not in mine and f"{field.partition('.')[0]}" not in wholes and entry.path not in taken
    }
    return {**kept, **chosen}


def _at(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _count(entry: _Entry) -> int:
    value, field = entry.value, entry.name.field
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str) and _MAY_BE_THOUSANDS.fullmatch(value.strip()):
        raise TokenValueError(field, "may be in thousands, or a decimal fraction", entry.path, value)
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip()):
        value = int(text) if text.isdigit() and len(text) < 19 else Decimal(text)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TokenValueError(field, "is not a number", entry.path, value)
    number = Decimal(value)
    if not number.is_finite() or number.adjusted() > 18:
        raise TokenValueError(field, "is out of range", entry.path, entry.value)
    if number != int(number):
        raise TokenValueError(field, "is not a whole number", entry.path, entry.value)
    if number < 0:
        raise TokenValueError(field, "must not be negative", entry.path, entry.value)
    return int(number)


def _reported(found: Mapping[str, _Entry]) -> ReportedUsage:
    counts: dict[str, int] = {}
    parts: dict[str, dict[str, Any]] = {PROMPT: {}, COMPLETION: {}}
    terms: dict[str, Any] = {}
    source = None
    for field, entry in found.items():
        group, _, key = field.partition(".")
        if field in _COUNTS:
            counts[field] = _count(entry)
        elif field == COMPLETION + "token_source":
            source = str(entry.value)
        elif group == "terms":
            terms[key] = _count(entry) if key.endswith("_requests") else entry.value
        else:
            parts[f"{group}."][key] = _count(entry) if entry.name.is_known else entry.value
    prompt, prompt_parts = counts.get("prompt_tokens"), parts[PROMPT]
    if prompt is not None:
        prompt += prompt_parts.get("tool_use_tokens", 0)
    if not prompt_parts.get("cache_write_tokens") and (written := sum(prompt_parts.get(key, 0) for key in _LIFETIMES)):
        prompt_parts["cache_write_tokens"] = written  # LangChain says 0 beside the lifetimes
    convention, prompt_key, completion_key = _set_of_names(tuple(entry.name for entry in found.values()))
    return ReportedUsage(
        prompt=prompt,
        completion=counts.get("completion_tokens"),
        total=counts.get("total_tokens"),
        prompt_parts=prompt_parts,
        completion_parts=parts[COMPLETION],
        terms=terms,
        source=source,
        convention=convention,
        names={field: entry.path for field, entry in found.items()},
        prompt_key=prompt_key,
        completion_key=completion_key,
    )


@lru_cache(maxsize=1024)
def _set_of_names(names: tuple[Name, ...]) -> tuple[Convention, tuple[str, ...], tuple[str, ...]]:
    """What the names of a usage mean together, and under which keys usages with the same names are decided alike."""
    plain = {name.field: name.plain for name in names}
    place = next((name.place for field in _COUNTS for name in names if name.field == field), "")
    prompt, completion = plain.get("prompt_tokens", ""), plain.get("completion_tokens", "")
    cache = frozenset(name for field, name in plain.items() if field.startswith(f"{PROMPT}cache"))
    convention = convention_of(place, prompt, cache, plain.values())
    return convention, (place, convention.owner, prompt), (place, completion)
