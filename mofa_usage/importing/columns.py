"""Which column of a source is which field of a call.

A field is found by the caller's mapping, else by a known name: our own field names and the columns of our Parquet
export, the names of OpenAI's, Anthropic's and OpenTelemetry's usage, of LiteLLM's logs and of the Azure traces. A
target is the name of a field of `LLMApiCall`, or of a key in one of its details: `prompt_tokens_details.cached_tokens`.
A source name with dots is a path into nested JSON: `usage.prompt_tokens`.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from mofa_usage.errors import UsageError
from mofa_usage.records import LLMApiCall, PriceDetails, TokenDetails

__all__ = ["DETAILS", "check_targets", "field_kind", "find_columns", "look_up"]

DETAILS: Mapping[str, type[TokenDetails] | type[PriceDetails]] = {
    "prompt_tokens_details": TokenDetails,
    "completion_tokens_details": TokenDetails,
    "price_details": PriceDetails,
}
"""The fields that are JSON objects, and what they hold."""

_KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "chat_session_id": ("session_id", "gen_ai.conversation.id"),
    "model_name": ("model", "gen_ai.response.model", "gen_ai.request.model"),
    "error_message": ("error.message",),
    "error_code": ("error.code", "error.type"),
    "prompt_tokens": (
        "usage.prompt_tokens",
        "usage.input_tokens",
        "input_tokens",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "ContextTokens",
    ),
    "completion_tokens": (
        "usage.completion_tokens",
        "usage.output_tokens",
        "output_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "GeneratedTokens",
    ),
    "total_tokens": ("usage.total_tokens", "llm.token_count.total"),
    "prompt_tokens_details": ("usage.prompt_tokens_details", "usage.input_tokens_details", "input_tokens_details"),
    "prompt_tokens_details.cached_tokens": (
        "cached_tokens",
        "usage.cache_read_input_tokens",
        "cache_read_input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "prompt_tokens_details.cache_write_tokens": (
        "cache_write_tokens",
        "usage.cache_creation_input_tokens",
        "cache_creation_input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "prompt_tokens_details.audio_tokens": ("prompt_audio_tokens",),
    "completion_tokens_details": (
        "usage.completion_tokens_details",
        "usage.output_tokens_details",
        "output_tokens_details",
    ),
    "completion_tokens_details.reasoning_tokens": (
        "reasoning_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "completion_tokens_details.audio_tokens": ("completion_audio_tokens",),
    "total_price": ("total_cost", "cost", "response_cost", "gen_ai.usage.cost"),
    "price_details.input_price": ("input_price", "input_cost"),
    "price_details.output_price": ("output_price", "output_cost"),
    "price_details.currency": ("currency",),
    "latency_ms": ("duration_ms", "response_time_ms"),
    "time_to_first_token_ms": ("ttft_ms",),
    "api_response_id": ("response_id", "gen_ai.response.id"),
    "create_time": ("created_at", "timestamp", "TIMESTAMP", "start_time", "startTime", "request_time", "created"),
    "update_time": ("updated_at", "end_time", "endTime"),
}

_TARGETS: tuple[str, ...] = tuple(dict.fromkeys((*LLMApiCall.model_fields, *_KNOWN_NAMES)))


def field_kind(target: str) -> type | None:
    """The kind of value `target` holds: `int`, `Decimal`, `UUID`, ...; None for a further key of the details."""
    field, _, key = target.partition(".")
    fields = DETAILS[field].model_fields if key else LLMApiCall.model_fields
    name = key or field
    return _bare_kind(fields[name].annotation) if name in fields else None


def _bare_kind(annotation: Any) -> type:
    """`int` of `Annotated[int, ...] | None`."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _bare_kind(typing.get_args(annotation)[0])
    if origin in (types.UnionType, typing.Union):
        return _bare_kind(next(part for part in typing.get_args(annotation) if part is not type(None)))
    return typing.cast(type, annotation)


def check_targets(targets: Iterable[str], what: str) -> None:
    """Check the targets of a mapping or of defaults (`what`).

    Raises:
        UsageError: a target is neither a field nor a key of a field's details, or a whole field of details is given
            together with one of its keys.
    """
    chosen = set(targets)
    for target in sorted(chosen):
        field, dot, key = target.partition(".")
        if field not in LLMApiCall.model_fields or (dot and (field not in DETAILS or not key)):
            close = difflib.get_close_matches(target, _TARGETS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(LLMApiCall.model_fields)}"
            raise UsageError(f"{what}: a call has no field {target!r}; {hint}")
        if dot and field in chosen:
            raise UsageError(f"{what}: {field} is given as a whole and as {target}; give one of the two")


def find_columns(columns: Sequence[str] | None, mapping: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """For every target its source names, the first with a value being the one that counts.

    `columns` are the source's; None when every row names its own, then all known names are candidates. `mapping` goes
    before the known names, and a target mapped to None is left out.

    Raises:
        UsageError: a mapped column is not there, or a column that is needed is there twice.
    """
    check_targets(mapping, "mapping")
    for target, name in mapping.items():
        if columns is not None and name is not None and name not in columns:
            raise UsageError(
                f"mapping: {target} is mapped to the column {name!r}, which is not there; {_have(columns)}"
            )
    found: dict[str, tuple[str, ...]] = {}
    for target in dict.fromkeys((*_TARGETS, *mapping)):
        if target in mapping:
            name = mapping[target]
            names: tuple[str, ...] = () if name is None else (name,)
        elif _is_settled_by(mapping, target):
            names = ()
        else:
            names = _known_names(target, columns)
        if names:
            found[target] = names
    for name in (name for names in found.values() for name in names):
        if columns is not None and columns.count(name) > 1:
            raise UsageError(f"the column {name!r} is there {columns.count(name)} times; rename all but one")
    return found


def _is_settled_by(mapping: Mapping[str, str | None], target: str) -> bool:
    """Whether the mapping of the whole details, or of one of their keys, already says where `target` comes from."""
    field, dot, _ = target.partition(".")
    if dot:
        return field in mapping
    return any(mapped.startswith(f"{field}.") for mapped in mapping)


def _known_names(target: str, columns: Sequence[str] | None) -> tuple[str, ...]:
    names = (target, *_KNOWN_NAMES.get(target, ()))
    if columns is None:
        return names
    # In a table the case, blanks and dashes of a header do not matter.
    by_key = {_key(column): column for column in reversed(columns) if column}
    return tuple(dict.fromkeys(by_key[_key(name)] for name in names if _key(name) in by_key))


def _key(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _have(columns: Sequence[str]) -> str:
    return f"the columns are {', '.join(column for column in columns if column)}"


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """The value of `row` under `name`, or at the path that `name` is; None when there is none."""
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for key in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
