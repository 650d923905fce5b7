"""One row of a source to one `LLMApiCall`.

What a row does not say is completed: from the caller's defaults, else

| field | without a value |
|---|---|
| id | derived from the row, see `mofa_usage.importing.identity` |
| chat_session_id, agent_id, user_id, tenant_id, ..._message_id | the nil UUID |
| model_name | `unknown` |
| status | `failed` when the row has an error, else `success` |
| prompt_tokens, completion_tokens | the total less the other; 0 for a call that failed |
| total_tokens | prompt + completion |
| update_time | create_time + latency |
| everything else | None: unknown is not zero |

`create_time` is never made up, nor are the tokens of a successful call.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from mofa_usage.errors import UsageError
from mofa_usage.importing import values as convert
from mofa_usage.importing.columns import DETAILS, check_targets, field_kind, find_columns, look_up
from mofa_usage.importing.values import ValueRefusedError
from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall, PriceDetails, TokenDetails

__all__ = ["CallBuilder", "RowRefusedError"]

UNKNOWN_MODEL = "unknown"
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_NIL_IDS = {name: NIL_UUID for name in LLMApiCall.model_fields if name.endswith("_id") and field_kind(name) is UUID}
_VALUES_IN_MESSAGE = re.compile(r" \([^()]*\)")


class RowRefusedError(Exception):
    """A row that is no call. `kind` is the reason without the row's own values, so that like rows can be counted."""

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(reason or kind)
        self.kind = kind


class _Binding(NamedTuple):
    target: str
    field: str
    key: str  # inside the field's details, else ""
    names: tuple[str, ...]  # where the value may stand
    is_mapped: bool  # by the caller, not by a known name
    is_missing: Callable[[Any], bool]
    convert: Callable[[Any], Any]
    default: Any  # converted, None for none


class CallBuilder:
    """Makes calls of rows; remembers what it found in them.

    Args:
        columns: the source's columns; None when every row names its own.
        mapping: target -> column; None leaves a field out that would be found by its name.
        defaults: target -> the value where the source has none, as the source would write it or as the record holds it.
        zone: of times that have none.
        from_csv: whether empty text is a missing value.
        round_prices: round prices with more than ten decimal places, half to even, instead of refusing them.
        text_ids: make UUIDs of ids that are none, instead of refusing them.

    Raises:
        UsageError: the mapping or the defaults do not fit, or the columns can never make a call.
    """

    def __init__(
        self,
        columns: Sequence[str] | None,
        *,
        mapping: Mapping[str, str | None],
        defaults: Mapping[str, Any],
        zone: tzinfo,
        from_csv: bool = False,
        round_prices: bool = False,
        text_ids: bool = False,
    ) -> None:
        self._zone = zone
        self._from_csv = from_csv
        self._round_prices = round_prices
        self._text_ids = text_ids
        self.zoneless_times = 0
        self.used: dict[str, str] = {}  # target -> the column that its values came from
        self._is_mapped = bool({"id", "api_response_id"} & set(mapping))
        found = find_columns(columns, mapping)
        fixed = self._convert_defaults(defaults)
        self._bindings = [
            _Binding(
                target,
                *_split(target),
                names=found.get(target, ()),
                is_mapped=target in mapping,
                is_missing=self._missing(target),
                convert=self._converter(target),
                default=fixed.get(target),
            )
            for target in dict.fromkeys((*found, *fixed))
        ]
        # The whole of the details before its keys: keys complete what the whole does not say.
        self._bindings.sort(key=lambda binding: bool(binding.key))
        if columns is not None:
            _check_complete(columns, {*found, *fixed})

    def build(self, row: Mapping[str, Any], derived_id: Callable[[UUID], UUID]) -> LLMApiCall:
        """The call of `row`. When it has no id, `derived_id` is asked for the one of a call of the tenant given to it.

        Raises:
            RowRefusedError: the row is no valid call.
        """
        data: dict[str, Any] = {}
        if not self._is_mapped and _is_api_response(row):
            # Its id is the provider's, not one of ours.
            row = {**row, "id": None, "api_response_id": row.get("id")}
        for binding in self._bindings:
            value = self._value(binding, row)
            if value is None:
                continue
            if not binding.key:
                data[binding.field] = dict(value) if binding.field in DETAILS else value
            elif (details := data.setdefault(binding.field, {})).get(binding.key) is None:
                details[binding.key] = value
        _complete(data)
        if "id" not in data:
            data["id"] = derived_id(data["tenant_id"])
        try:
            return LLMApiCall.model_validate(data)
        except ValidationError as error:
            raise _refused_by_record(error) from None

    def _value(self, binding: _Binding, row: Mapping[str, Any]) -> Any:
        for name in binding.names:
            value = look_up(row, name)
            if not binding.is_missing(value):
                break
        else:
            return binding.default
        if binding.target not in self.used:
            self.used[binding.target] = name
        try:
            if binding.field == "prompt_tokens" and not binding.is_mapped and name.endswith("input_tokens"):
                return binding.convert(value) + _anthropic_cache(row, name)
            return binding.convert(value)
        except ValueRefusedError as refusal:
            where = "" if name == binding.target else f" in column {name!r}"
            kind = f"{binding.target} {refusal.rule}"
            raise RowRefusedError(kind, f"{kind}: {_shown(refusal.value)}{where}") from None
        except (OverflowError, ArithmeticError):
            kind = f"{binding.target} is out of range"
            raise RowRefusedError(kind, f"{kind}: {_shown(value)}") from None

    def _missing(self, target: str) -> Callable[[Any], bool]:
        if field_kind(target) is not str:
            return convert.is_missing
        # Text may be empty, where the source can tell empty from missing; a CSV cannot.
        return convert.is_missing_text if self._from_csv else convert.is_null

    def _converter(self, target: str) -> Callable[[Any], Any]:
        kind = field_kind(target)
        if kind is UUID:
            return partial(convert.text_id, target) if self._text_ids else convert.to_uuid
        if kind is datetime:
            return self._time
        if kind is int:
            return convert.to_milliseconds if target.endswith("_ms") else convert.to_count
        if kind is Decimal:
            return partial(convert.to_money, rounded=self._round_prices)
        if target == "labels":
            return convert.to_json_object
        if target in DETAILS:
            known = {key: self._converter(f"{target}.{key}") for key in DETAILS[target].model_fields}
            return partial(_to_details, known)
        simple = {float: convert.to_rate, str: convert.to_text, ApiCallStatus: convert.to_status}
        return simple[kind] if kind is not None else convert.to_plain

    def _time(self, value: Any) -> datetime:
        time, zoneless = convert.to_time(value, self._zone)
        self.zoneless_times += zoneless
        return time

    def _convert_defaults(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        check_targets(defaults, "defaults")
        if "id" in defaults:
            raise UsageError(
                "defaults: every call needs an id of its own; rows without one get one derived from the row"
            )
        fixed: dict[str, Any] = {}
        for target, value in defaults.items():
            try:
                fixed[target] = self._converter(target)(value)
            except (ValueRefusedError, OverflowError, ArithmeticError) as error:
                rule = error.rule if isinstance(error, ValueRefusedError) else "is out of range"
                raise UsageError(f"defaults: {target} {rule}: {_shown(value)}") from None
        self.zoneless_times = 0
        return fixed


def _to_details(known: Mapping[str, Callable[[Any], Any]], value: Any) -> dict[str, Any]:
    """A details object; `known` converts its declared keys. For them null says nothing, a further key keeps it."""
    if isinstance(value, TokenDetails | PriceDetails):
        value = value.model_dump()
    return {
        key: known.get(key, convert.to_plain)(item)
        for key, item in convert.to_json_object(value).items()
        if item is not None or key not in known
    }


def _split(target: str) -> tuple[str, str]:
    field, _, key = target.partition(".")
    return field, key


def _check_complete(columns: Sequence[str], targets: set[str]) -> None:
    have = f"the columns are {', '.join(column for column in columns if column)}"
    if "create_time" not in targets:
        raise UsageError(f"no column is known to be create_time; map one to it ({have})")
    if len(targets & set(_TOKENS)) < 2:
        absent = [name for name in _TOKENS if name not in targets]
        raise UsageError(f"no column is known to be {' or '.join(absent[:2])}; map one or give a default ({have})")


def _is_api_response(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("usage"), Mapping) and "id" in row


def _anthropic_cache(row: Mapping[str, Any], name: str) -> int:
    """Cached tokens that Anthropic reports beside `input_tokens`, not in them; our prompt tokens contain them."""
    prefix = name.removesuffix("input_tokens")
    parts = (look_up(row, f"{prefix}{part}_input_tokens") for part in ("cache_read", "cache_creation"))
    return sum(convert.to_count(part) for part in parts if not convert.is_missing(part))


def _complete(data: dict[str, Any]) -> None:
    """Fill in what the row did not say; the table is in the module's docstring."""
    if "create_time" not in data:
        raise RowRefusedError("create_time is missing")
    for name, nil in _NIL_IDS.items():
        data.setdefault(name, nil)
    data.setdefault("model_name", UNKNOWN_MODEL)
    has_error = "error_message" in data or "error_code" in data
    status = data.setdefault("status", ApiCallStatus.FAILED if has_error else ApiCallStatus.SUCCESS)
    _complete_tokens(data, status)
    if "update_time" not in data:
        try:
            data["update_time"] = data["create_time"] + timedelta(milliseconds=data.get("latency_ms", 0))
        except OverflowError:
            raise RowRefusedError("latency_ms is out of range") from None


def _complete_tokens(data: dict[str, Any], status: ApiCallStatus) -> None:
    total = data.get("total_tokens")
    for name, other in (("prompt_tokens", "completion_tokens"), ("completion_tokens", "prompt_tokens")):
        if name in data:
            continue
        if total is not None and other in data:
            data[name] = total - data[other]
        elif status is not ApiCallStatus.SUCCESS and total is None:
            data[name] = 0
        else:
            raise RowRefusedError(f"{name} is missing")
    if total is None:
        data["total_tokens"] = data["prompt_tokens"] + data["completion_tokens"]


def _refused_by_record(error: ValidationError) -> RowRefusedError:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return RowRefusedError(_VALUES_IN_MESSAGE.sub("", message), message)
    kind = f"{where}: {message}"
    return RowRefusedError(kind, f"{kind}: {_shown(first['input'])}")


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
