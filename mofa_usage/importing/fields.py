"""The converter of every field: `values.py` with what the caller asked for, and a count of what was done to values.

A column that was found by its name may turn out to hold something else. What is a field's by the caller's mapping, or
by the field's own name, is refused when it does not fit; what was only guessed to be a label is left out.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from mofa_usage.errors import UsageError
from mofa_usage.importing import values as convert
from mofa_usage.importing.columns import DETAILS, check_targets, field_kind
from mofa_usage.importing.durations import duration_in
from mofa_usage.importing.values import ValueRefusedError
from mofa_usage.names import milliseconds_of_unit, operation_label, says_unit
from mofa_usage.outcomes import UnknownStatusError, status_of
from mofa_usage.records import PriceDetails, TokenDetails

__all__ = ["LABEL_OF_ID", "Converter", "Fields", "NamedId", "shown"]

LABEL_OF_ID = {"user_id": "user", "chat_session_id": "session", "agent_id": "agent"}
"""The ids that people give names to, and the labels that hold the names."""

Converter = Callable[[Any], Any]


class NamedId(NamedTuple):
    """An id of which the source has a name: the UUID, None where there is only the name."""

    id: UUID | None
    name: str | None


class Fields:
    """Converts values to fields of a call.

    Args:
        zone: of times that have none.
        round_prices: round prices with more than ten decimal places, half to even, instead of refusing them.
        text_ids: make UUIDs of ids that are none, instead of refusing them.

    Attributes:
        zoneless_times: how many times of calls had no zone.
        rounded_prices: how many prices of calls were rounded.
    """

    def __init__(self, zone: tzinfo, *, round_prices: bool, text_ids: bool) -> None:
        self.zoneless_times = 0
        self.rounded_prices = 0
        self._zone = zone
        self._round_prices = round_prices
        self._text_ids = text_ids

    def converter(self, target: str, name: str, *, is_sure: bool = True) -> Converter:
        """What converts the values of the column `name` to the field `target`, or raises `ValueRefusedError`.

        `is_sure`: the caller says that they are that; else it was found by its name, and None leaves a value out.
        """
        field, _, key = target.partition(".")
        if field in ("outcome", "span"):
            return _readable
        if field == "time":
            return self._time
        if field == "labels" and key:
            guessed = {"attempt": _attempt, "retried": _retried, "operation": _operation}.get(key, _label)
            return convert.to_text if is_sure else guessed
        if (kind := field_kind(target)) is UUID:
            is_own = is_sure or name.strip().casefold() == target
            return partial(self._id, target, target in LABEL_OF_ID and not is_own)
        if target.endswith("_ms"):
            if not is_sure and not says_unit(name):
                return _duration
            return partial(convert.to_milliseconds, unit=Decimal(milliseconds_of_unit(name)))
        if target in DETAILS:
            known = {key: self.converter(f"{target}.{key}", key) for key in DETAILS[target].model_fields}
            return partial(_to_details, known)
        if target == "labels":
            return _to_labels
        if kind is Decimal and not is_sure:
            return self._amount
        simple: dict[type | None, Converter] = {
            datetime: self._time,
            int: convert.to_count,
            Decimal: self._money,
            float: convert.to_rate,
            str: convert.to_text,
            None: convert.to_plain,
        }
        return simple[kind]

    def defaults(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The caller's defaults, converted.

        Raises:
            UsageError: one is of no field or does not fit it.
        """
        check_targets(defaults, "defaults")
        if "id" in defaults:
            raise UsageError(
                "defaults: every call needs an id of its own; rows without one get one derived from the row"
            )
        fixed: dict[str, Any] = {}
        for target, value in defaults.items():
            try:
                fixed[target] = status_of(value) if target == "status" else self.converter(target, target)(value)
            except (ValueRefusedError, UnknownStatusError, OverflowError, ArithmeticError) as error:
                rule = getattr(error, "rule", "is out of range")
                raise UsageError(f"defaults: {target} {rule}: {shown(value)}") from None
        self.zoneless_times = self.rounded_prices = 0
        return fixed

    def done(self) -> tuple[int, int]:
        """How much was done to values so far."""
        return self.zoneless_times, self.rounded_prices

    def undo(self, done: tuple[int, int]) -> None:
        """Forget what was done since then: to values of a row that was refused."""
        self.zoneless_times, self.rounded_prices = done

    def _time(self, value: Any) -> datetime:
        time, zoneless = convert.to_time(value, self._zone)
        self.zoneless_times += zoneless
        return time

    def _money(self, value: Any) -> Decimal:
        amount, was_rounded = convert.to_money(value, rounded=self._round_prices)
        self.rounded_prices += was_rounded
        return amount

    def _amount(self, value: Any) -> Decimal | None:
        """A price, if it is no object: what is inside one has names of its own (`cost.total`)."""
        return None if isinstance(value, Mapping) else self._money(value)

    def _id(self, target: str, may_be_a_name: bool, value: Any) -> UUID | NamedId:
        try:
            return convert.to_uuid(value)
        except ValueRefusedError as refusal:
            name = convert.to_text(value).strip() if target in LABEL_OF_ID else None
            if self._text_ids:
                return NamedId(convert.text_id(target, value), name)
            if may_be_a_name:
                return NamedId(None, name)
            rule = "is not a UUID; --text-ids (text_ids) makes one of any text"
            raise ValueRefusedError(rule, refusal.value) from None


def _readable(value: Any) -> Any:
    return convert.to_text(value) if isinstance(value, bytes) else value


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return convert.to_text(value).strip() or None
    except ValueRefusedError:
        return None


def _attempt(value: Any) -> str | None:
    try:
        number = convert.to_count(value)
    except ValueRefusedError:
        return None
    return str(number) if number >= 1 else None


def _retried(value: Any) -> str | None:
    return "true" if (_label(value) or "").casefold() in ("true", "1", "yes") else None


def _operation(value: Any) -> str | None:
    operation = _label(value)
    return None if operation is None else operation_label(operation)


def _to_labels(value: Any) -> dict[str, str]:
    """A JSON object as labels: what is no text there as its JSON text; null says nothing."""
    labels = convert.to_json_object(value)
    return {
        name: item if isinstance(item, str) else json.dumps(convert.to_plain(item))
        for name, item in labels.items()
        if item is not None
    }


def _to_details(known: Mapping[str, Converter], value: Any) -> dict[str, Any]:
    """A details object; `known` converts its declared keys. For them null says nothing, a further key keeps it."""
    if isinstance(value, TokenDetails | PriceDetails):
        value = value.model_dump()
    return {
        key: known.get(key, convert.to_plain)(item)
        for key, item in convert.to_json_object(value).items()
        if item is not None or key not in known
    }


def shown(value: object) -> str:
    """A value in a reason: short, text in quotes."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _duration(value: Any) -> int | None:
    """The milliseconds of what is a duration by its type, or says its unit; a number without one says nothing."""
    says_unit = isinstance(value, timedelta) or (isinstance(value, str) and duration_in(value) is not None)
    return convert.to_milliseconds(value) if says_unit else None
