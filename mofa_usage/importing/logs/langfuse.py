"""Langfuse's observations, as its API, its user interface and its exports to a blob storage write them.

A row is an observation; those of the types `GENERATION` and `EMBEDDING` are calls, the others what is around them. The
names differ from export to export (`providedModelName`, `model`; `usageDetails`, `usage_details`, `promptTokens`),
times without a zone are UTC, and durations are seconds. A cost of 0 for which there are no `costDetails` is one that
Langfuse does not know.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.parts import as_object, as_utc, is_zero
from mofa_usage.importing.source import Identity, SourceRow
from mofa_usage.importing.values import is_missing_text
from mofa_usage.names import plain_name

__all__ = ["LANGFUSE"]

_CALLS = {"GENERATION", "EMBEDDING"}
_AROUND = "observations that are no generations"
_TYPES = _CALLS | {"SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL"}
# What a call takes from an observation, by its plain names; of several the first that has a value.
_TAKEN: Mapping[str, str] = {
    "start_time": "start_time",
    "end_time": "end_time",
    "completion_start_time": "completion_start_time",
    "model": "provided_model_name model model_name",
    "session_id": "session_id trace_session_id",
    "user": "user_id trace_user_id",
    "environment": "environment",
    "labels.version": "version",
    "labels.trace": "trace_name",
    "labels.generation": "name",
    "labels.prompt": "prompt_name",
    "level": "level",
    "error_message": "status_message",
    "span_id": "id",
    "parent_observation_id": "parent_observation_id",
    "total_cost": "total_cost calculated_total_cost",
    "input_cost": "input_cost calculated_input_cost",
    "output_cost": "output_cost calculated_output_cost",
}
_USAGES = ("usage_details", "usage")
# What a part is called, by a word in its key.
_PARTS = (
    ("ephemeral_5m", "cache_write_5m_tokens"),
    ("ephemeral_1h", "cache_write_1h_tokens"),
    ("cache_creation", "cache_write_tokens"),
    ("cache_write", "cache_write_tokens"),
    ("cache", "cached_tokens"),
    ("audio", "audio_tokens"),
    ("reasoning", "reasoning_tokens"),
)
_LIFETIMES = ("cache_write_5m_tokens", "cache_write_1h_tokens")
_COUNTS = {
    "input": "prompt_tokens input_tokens input_usage",
    "output": "completion_tokens output_tokens output_usage",
    "total": "total_tokens total_usage",
}


def _call(row: Mapping[str, Any], by_name: Mapping[str, str], kind: str) -> dict[str, Any]:
    def said(names: str) -> Any:
        values = (row.get(by_name[name]) for name in names.split() if name in by_name)
        return next((value for value in values if not is_missing_text(value)), None)

    values = {field: said(names) for field, names in _TAKEN.items()}
    for name in ("start_time", "end_time", "completion_start_time"):
        values[name] = as_utc(values[name])
    costs = as_object(said("cost_details"))
    if not costs and is_zero(values["total_cost"]):
        for name in ("total_cost", "input_cost", "output_cost"):
            del values[name]
    else:
        values["total_cost"] = values["total_cost"] or costs.get("total")
        values["input_cost"] = values["input_cost"] or costs.get("input")
        values["output_cost"] = values["output_cost"] or costs.get("output")
    if str(values["level"]).upper() != "ERROR":
        del values["error_message"]  # what it says then is no error
    values["usage_details"] = _usage(said)
    values["operation"] = "embeddings" if kind == "EMBEDDING" else None
    return values


def _usage(said: Any) -> Mapping[str, Any]:
    """The counts: with their parts, else as columns of their own. A total of 0 is one that was never told."""
    for name in _USAGES:
        usage = {key: value for key, value in as_object(said(name)).items() if not isinstance(value, str)}
        if any(usage.values()):
            return _added_up(usage)
    usage = {key: said(names) for key, names in _COUNTS.items()}
    return {} if all(value is None or is_zero(value) for value in usage.values()) else usage


def _added_up(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Counts that are parts of their total, added up to what was sent and what came back; others as they are."""
    parts = {key: count for key, count in usage.items() if key != "total"}
    if len(parts) <= 2 or any(type(count) is not int for count in parts.values()):
        return usage
    lifetimes = {key: parts[key] for key in parts if _part(key) in _LIFETIMES}
    by_lifetime = sum(lifetimes.values())
    is_said_twice = 0 < by_lifetime == sum(parts[key] for key in parts if _part(key) == "cache_write_tokens")
    whole = sum(parts.values())
    if usage.get("total") not in (whole, whole - by_lifetime if is_said_twice else whole):
        return usage
    sides: dict[bool, int] = {False: 0, True: 0}
    details: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for key, count in parts.items():
        is_output = any(word in key for word in ("output", "completion", "reasoning"))
        if not (is_said_twice and key in lifetimes):
            sides[is_output] += count
        if (part := _part(key)) is not None:
            details[is_output][part] = details[is_output].get(part, 0) + count
    if lifetimes and not is_said_twice:
        details[False]["cache_write_tokens"] = details[False].get("cache_write_tokens", 0) + by_lifetime
    return {
        "prompt_tokens": sides[False],
        "completion_tokens": sides[True],
        "prompt_tokens_details": details[False],
        "completion_tokens_details": details[True],
    }


def _part(key: str) -> str | None:
    """What a part is called, where it is no plain text."""
    return next((part for word, part in _PARTS if word in key), None)


def _recognises(sample: Sample) -> bool:
    columns = {plain_name(name): name for name in sample.columns}
    if not columns.keys() >= {"id", "trace_id", "type", "start_time"} or "parent_observation_id" not in columns:
        return False
    return any(str(row.get(columns["type"])) in _TYPES for row in sample.rows)


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    shape: tuple[str, ...] = ()
    by_name: dict[str, str] = {}
    for row in rows:
        if row.values is None:
            yield row
            continue
        if tuple(row.values) != shape:
            shape = tuple(row.values)
            by_name = {plain_name(name): name for name in shape}
        kind = str(row.values.get(by_name.get("type", "")))
        values = _call(row.values, by_name, kind)
        if kind in _TYPES - _CALLS:
            yield row._replace(values=values, left_out=_AROUND)
            continue
        said = values["span_id"]
        yield row._replace(values=values, identity=Identity(f"langfuse:{said}") if said else None)


LANGFUSE = LogFormat("Langfuse observations", _recognises, _calls)
