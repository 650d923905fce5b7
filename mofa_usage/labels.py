"""Labels: what is said of a call in text, under names that anybody may choose.

Some names have a meaning, so their values are checked: `RESERVED` lists them. Labels never change, like the record that
has them, so records and stores share them without copies; `model_copy(update={"labels": {...}})` makes a new record.

What another program wrote into a table is read, not judged: a value that is no text is read as its JSON text.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

from pydantic import PlainValidator, ValidationInfo
from pydantic_core import to_json

from mofa_usage.values import MAX_INT, check_text

__all__ = ["KEPT", "NO_LABELS", "OF_A_USER", "RESERVED", "CallLabels", "Labels", "check_label"]

_NAME_LENGTH = 100


class Labels(dict[str, str]):
    """Names and texts that do not change; equal to a dict of the same items."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("the labels of a record do not change: make another with model_copy(update={'labels': ...})")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __copy__(self) -> "Labels":
        return self

    def __deepcopy__(self, memo: Any) -> "Labels":
        return self

    def __reduce__(self) -> tuple[type["Labels"], tuple[dict[str, str]]]:
        return Labels, (dict(self),)


NO_LABELS = Labels()


def _check_retried(value: str) -> str | None:
    return None if value == "true" else "must be 'true', or the label absent"


def _check_attempt(value: str) -> str | None:
    whole = re.fullmatch("[1-9][0-9]{0,9}", value) is not None and int(value) <= MAX_INT
    return None if whole else "must be a whole number from 1, such as '2'"


def _check_operation(value: str) -> str | None:
    return None if value.strip() else "must not be empty: a call without the label is a chat"


def _any_text(value: str) -> None:
    return None


RESERVED: Mapping[str, Callable[[str], str | None]] = MappingProxyType(
    {
        "retried": _check_retried,
        "attempt": _check_attempt,
        "operation": _check_operation,
        **dict.fromkeys(
            ("provider", "service_tier", "request_id", "served_model", "user", "session", "agent", "environment"),
            _any_text,
        ),
    }
)
"""The labels that have a meaning, each with what checks its value: the rule that it breaks, `None` where it is good.

`retried`: the attempt was tried again ("true"). `attempt`: its number, where there was more than one. `operation`: what
was asked for, as OpenTelemetry calls it (`embeddings`, `image_generation`); absent for a chat. `provider`,
`service_tier`, `request_id`, `environment`: as they say. `served_model`: the model that answered, where it was not the
one asked for. `user`, `session`, `agent`: names.
"""

OF_A_USER = frozenset({"user", "session"})
KEPT = frozenset(RESERVED) - OF_A_USER - {"request_id"}
"""The labels that say what a call was and not for whom it was: they stay when a user is forgotten. A `request_id` leads
to the prompt in a provider's log.
"""


def check_label(name: object, value: object) -> None:
    """Refuse what is no label.

    Raises:
        ValueError: with the name and the rule.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name {name!r} is of kind {type(name).__name__}, names of labels are text")
    if not 0 < len(name) <= _NAME_LENGTH:
        raise ValueError(f"the name {name[:20]!r} has {len(name)} characters, names of labels have 1 to {_NAME_LENGTH}")
    if not isinstance(value, str):
        raise ValueError(f"{name} is of kind {type(value).__name__}, values of labels are text")
    try:
        check_text(name)
        check_text(value)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None
    if name in RESERVED and (rule := RESERVED[name](value)):
        raise ValueError(f"{name} is {value[:40]!r}, it {rule}")


def _read_labels(value: object) -> Labels:
    if not isinstance(value, Mapping):
        return NO_LABELS
    texts = {
        name: item if isinstance(item, str) else to_json(item).decode()
        for name, item in value.items()
        if item is not None
    }
    return Labels(texts) if texts else NO_LABELS


def _to_labels(value: object, info: ValidationInfo) -> Labels:
    if type(value) is Labels:
        return value
    if info.context is not None:
        return _read_labels(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"labels are a mapping of text to text, not of kind {type(value).__name__}")
    for name, item in value.items():
        check_label(name, item)
    return Labels(value) if value else NO_LABELS


CallLabels = Annotated[Mapping[str, str], PlainValidator(_to_labels)]
"""The labels of a record: a mapping of text to text, checked when the record is made."""
