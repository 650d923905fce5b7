"""Which column of a source is which field of a call.

A field is found by the caller's mapping, else by a known name (`names.py`), whatever its case and punctuation and
whether it stands in a column of its own or inside an object that only wraps it (`attributes`, `message`). A target of a
mapping is the name of a field of `LLMApiCall`, a key in one of its details (`prompt_tokens_details.cached_tokens`) or
a label (`labels.team`). A source name with dots is a path into nested JSON: `usage.prompt_tokens`.
"""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.names import FIELD_NAMES, plain_name
from mofa_usage.records import LLMApiCall, PriceDetails, TokenDetails
from mofa_usage.schema import bare_type
from mofa_usage.tokens import TokenValueError, find_usage, token_columns
from mofa_usage.tokens.names import holds_counts

__all__ = [
    "DETAILS",
    "OUTCOME_FIELDS",
    "TOKEN_FIELDS",
    "check_complete",
    "check_targets",
    "field_kind",
    "find_columns",
    "is_call",
    "is_token_target",
    "look_up",
    "names_in",
]

DETAILS: Mapping[str, type[TokenDetails] | type[PriceDetails]] = {
    "prompt_tokens_details": TokenDetails,
    "completion_tokens_details": TokenDetails,
    "price_details": PriceDetails,
}
"""The fields that are JSON objects, and what they hold."""

TOKEN_FIELDS = ("prompt_tokens", "completion_tokens", "total_tokens")
OUTCOME_FIELDS = ("status", "error_message", "error_code")

_WITH_KEYS = (*DETAILS, "labels")
_TARGETS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *LLMApiCall.model_fields,
            *(f"{field}.{key}" for field, kind in DETAILS.items() for key in kind.model_fields),
            *(name for name in FIELD_NAMES if name.startswith("labels.")),
        )
    )
)
# Objects in which the fields of a call stand as if they were in the row itself.
_WRAPPERS = {"attributes", "span_attributes", "message", "response", "body", "payload", "data", "result", "context"}
# Objects in which a few fields stand under names of their own: `usage.cost`, `status.code`.
_ENTERED = {*_WRAPPERS, "usage", "status", "gen_ai", "llm", "openinference", "metrics", "cost", "cost_details"}
_DEPTH = 5


def field_kind(target: str) -> type | None:
    """The kind of value `target` holds: `int`, `Decimal`, `UUID`, ...; None for a further key of the details."""
    field, _, key = target.partition(".")
    if field == "labels" and key:
        return str
    fields = DETAILS[field].model_fields if key else LLMApiCall.model_fields
    name = key or field
    return bare_type(fields[name].annotation) if name in fields else None


def is_token_target(target: str) -> bool:
    """Whether a target is a count of tokens, their details or a key of them: what `mofa_usage.tokens` finds."""
    return target.partition(".")[0] in (*TOKEN_FIELDS, "prompt_tokens_details", "completion_tokens_details")


def check_targets(targets: Iterable[str], what: str) -> None:
    """Check the targets of a mapping or of defaults (`what`).

    Raises:
        UsageError: a target is neither a field nor a key of a field's details, or a whole field of details is given
            together with one of its keys.
    """
    chosen = set(targets)
    for target in sorted(chosen):
        field, dot, key = target.partition(".")
        if field not in LLMApiCall.model_fields or (dot and (field not in _WITH_KEYS or not key)):
            close = difflib.get_close_matches(target, _TARGETS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the fields are {', '.join(LLMApiCall.model_fields)}"
            raise UsageError(f"{what}: a call has no field {target!r}; {hint}")
        if dot and field in chosen:
            raise UsageError(f"{what}: {field} is given as a whole and as {target}; give one of the two")


def check_complete(columns: Sequence[str], mapping: Mapping[str, str | None], defaults: Collection[str]) -> None:
    """Check that the columns of a table, with a mapping and defaults, can make calls.

    Raises:
        UsageError: a mapped column is not there, a column that is needed is there twice, or nothing can be the time or
            the tokens of a call.
    """
    have = f"the columns are {', '.join(column for column in columns if column)}"
    for target, name in mapping.items():
        if name is not None and name not in columns:
            raise UsageError(f"mapping: {target} is mapped to the column {name!r}, which is not there; {have}")
    tokens = token_columns(columns)
    _check_once(columns, tokens)
    if "create_time" not in {*find_columns(columns, mapping), *defaults}:
        raise UsageError(f"no column is known to be create_time; map one to it ({have})")
    if any(holds_counts(column) for column in columns):
        return  # JSON, of which every row may hold other counts
    known = {*tokens.values(), *mapping, *defaults} - {target for target, name in mapping.items() if name is None}
    if len(known & set(TOKEN_FIELDS)) < 2:
        absent = [name for name in TOKEN_FIELDS if name not in known]
        raise UsageError(f"no column is known to be {' or '.join(absent[:2])}; map one or give a default ({have})")


def find_columns(columns: Sequence[str], mapping: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """For every field its columns, the first with a value being the one that counts; tokens are not among them.

    `mapping` goes before the known names, and a field mapped to None is left out. Besides fields of calls there are the
    other ones of `names.py`.

    Raises:
        UsageError: a column that is needed is there twice.
    """
    by_name = _by_plain_name(columns)
    wanted = _as_fields(mapping)
    own_labels = [column for column in columns if column.startswith("labels.") and column != "labels."]
    found: dict[str, tuple[str, ...]] = {}
    for target in dict.fromkeys((*FIELD_NAMES, *own_labels, *wanted)):
        if is_token_target(target) or _is_settled_by(wanted, target):
            continue
        if target in wanted:
            name = wanted[target]
            names: tuple[str, ...] = () if name is None else (name,)
        else:
            known = (column for name in FIELD_NAMES.get(target, ()) for column in by_name.get(name, ()))
            names = (*(column for column in own_labels if column == target), *dict.fromkeys(known))
        if names:
            found[target] = names
    if "span.parent" in found and "id" in by_name:
        found.setdefault("span.id", tuple(by_name["id"]))
    if "span.parent" in found and (types := by_name.get("type")):
        found["span.kind"] = (*found.get("span.kind", ()), *types)  # Langfuse's; a plain `type` could be anything
    _check_once(columns, (name for names in found.values() for name in names))
    return found


def _check_once(columns: Sequence[str], names: Iterable[str]) -> None:
    """Check that the columns that are needed are there once.

    Raises:
        UsageError: one is there more often.
    """
    for name in names:
        if (times := columns.count(name)) > 1:
            raise UsageError(f"the column {name!r} is there {times} times; rename all but one")


def _by_plain_name(columns: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for column in columns:
        if not column or column.startswith("labels."):
            continue
        name = _unwrapped(column)
        # The id inside `message` or `response` is the provider's, not one of ours.
        found.setdefault("response_id" if name == "id" and column != "id" else name, []).append(column)
    for named in found.values():
        named.sort(key=lambda column: column.count("."))  # what is the row's own before what is inside an object
    return found


def _as_fields(mapping: Mapping[str, str | None]) -> dict[str, str | None]:
    """The mapping with the names of `names.py` for what says how a call ended, and when."""
    fields = {f"outcome.{target}" if target in OUTCOME_FIELDS else target: name for target, name in mapping.items()}
    if "update_time" in mapping:
        end = mapping["update_time"]
        # A time of a change is no end of the call, whatever it is mapped to.
        fields["time.end"] = None if end is None or plain_name(end) in ("update_time", "updated_at") else end
    return fields


def _is_settled_by(mapping: Mapping[str, str | None], target: str) -> bool:
    """Whether the mapping of the whole details, or of one of their keys, already says where `target` comes from."""
    field, dot, _ = target.partition(".")
    if field not in DETAILS:
        return False
    if dot:
        return field in mapping
    return any(mapped.startswith(f"{field}.") for mapped in mapping)


def _unwrapped(column: str) -> str:
    """The plain name of a column without the objects that only wrap it."""
    head, dot, rest = column.partition(".")
    while dot and plain_name(head) in _WRAPPERS:
        column = rest
        head, dot, rest = column.partition(".")
    return plain_name(column)


def names_in(row: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[str]:
    """The names of a row of JSON: its keys and, as dotted paths, those of the objects in which fields can stand."""
    for key, value in row.items():
        path = f"{before}{key}"
        yield path
        if isinstance(value, dict) and depth < _DEPTH and (before or plain_name(key) in _ENTERED):
            yield from names_in(value, f"{path}.", depth + 1)


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """The value of `row` under `name`, or at the path that `name` is; None when there is none.

    Keys may hold dots themselves: `attributes.llm.model_name` is found in `{"attributes": {"llm.model_name": 1}}`.
    """
    if name in row or "." not in name:
        return row.get(name)
    at = name.find(".")
    while at > 0:
        inner = row.get(name[:at])
        if isinstance(inner, Mapping) and (value := look_up(inner, name[at + 1 :])) is not None:
            return value
        at = name.find(".", at + 1)
    return None


def is_call(row: Mapping[str, Any]) -> bool:
    """Whether an object of a JSON document is a call and no container of calls."""
    found = find_columns(tuple(names_in(row)), {})
    if "create_time" not in found:
        return False
    try:
        return "model_name" in found or find_usage(row) is not None
    except TokenValueError:
        return True  # one that is refused when it is built
