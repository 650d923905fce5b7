"""What is accepted at once is one document of JSON, and how it becomes records again when it is delivered.

```python
from uuid import uuid4

whose = {"chat_session_id": uuid4(), "user_id": uuid4(), "agent_id": uuid4()}
tokens = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
document = {
    "messages": [{"id": uuid4(), **whose, "role": "user", "content": {"text": "Hi"}}],
    "calls": [{"id": uuid4(), **whose, "model_name": "gpt-4o", "status": "success", **tokens}],
}
```

Each list holds the fields of records as JSON, or as what JSON is made of by pydantic (UUIDs, datetimes, decimals). That
is all that happens on the caller's thread: making validated records takes five times as long, and waits until delivery.
A record that is not valid then is dead, and the others of its document are not. Every record needs its own `id`, which
makes it the same one however often it is delivered.

A call may have the provider's `usage` instead of tokens: `completing.py` reads it, at delivery too.

`of` holds the fields that all messages and calls of a document share: whose they are. `checked` says that the fields
come from records, which were validated when they were made.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from mofa_usage.errors import UsageError
from mofa_usage.records import ChatSession, LLMApiCall, LLMMessage, Record

__all__ = [
    "KINDS",
    "Item",
    "Unreadable",
    "document_of",
    "fields_of",
    "read_call",
    "read_calls",
    "read_document",
    "records_in",
    "write_document",
]

KINDS: Mapping[str, type[Record]] = {"sessions": ChatSession, "messages": LLMMessage, "calls": LLMApiCall}
"""The lists of a document, in the order in which they are saved: what others refer to comes first."""

_KIND_OF = {record: kind for kind, record in KINDS.items()}
_BESIDE = frozenset({"checked", "of"})
_STORED = {"stored": True}  # what a record may hold that was read from a table is not judged again


class Item(NamedTuple):
    """A record of a document: its kind, which of this kind it is, and the record. What its fields were, `fields_of`
    says: few are asked for, and to keep those of a whole batch would be work for the garbage collector.
    """

    kind: str
    number: int
    record: Record


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a document holds that is no record, and why; `kind` is empty where it is the whole document."""

    kind: str
    fields: Any
    reason: str


def document_of(records: Iterable[Record]) -> dict[str, Any]:
    """The document of these records.

    Raises:
        UsageError: one is of another kind. A `Provider`, for example, holds a key, which has no place in a file.
    """
    document: dict[str, Any] = {"checked": True}
    for record in records:
        kind = _KIND_OF.get(type(record))
        if kind is None:
            raise UsageError(
                "record() takes calls, messages and sessions (LLMApiCall, LLMMessage, ChatSession), not a "
                f"{type(record).__name__}"
            )
        document.setdefault(kind, []).append(record)
    return document


def records_in(document: Mapping[str, Any]) -> int:
    """How many records a document holds.

    Raises:
        ValueError: it is no document.
    """
    count = 0
    for kind, records in document.items():
        if kind in KINDS and type(records) is list:
            count += len(records)
        elif kind not in _BESIDE:
            raise ValueError(f"a document has lists of {', '.join(KINDS)}, not {kind!r}")
    return count


def write_document(document: Mapping[str, Any]) -> bytes:
    """A document as JSON.

    Raises:
        ValueError: something in it is no JSON. The message does not repeat it.
    """
    try:
        return to_json(document, inf_nan_mode="constants")
    except Exception as error:  # an object's own serializer may raise anything
        raise ValueError(f"it is no JSON: {type(error).__name__}") from None


def read_document(body: bytes) -> Iterator[Item | Unreadable]:
    """The records of a document, and what in it is none."""
    try:
        document = from_json(body)
        records_in(document)
    except (ValueError, AttributeError, TypeError) as error:
        yield Unreadable("", body.decode(errors="replace"), f"not a document: {error}")
        return
    for kind in KINDS:
        yield from _records(document, kind)


def read_calls(body: bytes) -> Iterator[LLMApiCall]:
    """The calls of a document that are any."""
    for item in _records(from_json(body), "calls"):
        if isinstance(item, Item) and isinstance(item.record, LLMApiCall):
            yield item.record


def read_call(fields: Any) -> LLMApiCall | None:
    """The call that these fields make; None where they make none."""
    try:
        return next(read_calls(write_document({"calls": [fields]})), None)
    except ValueError:
        return None


def _records(document: Mapping[str, Any], kind: str) -> Iterator[Item | Unreadable]:
    shared = document.get("of") if kind != "sessions" else None
    context = _STORED if document.get("checked") else None
    for number, fields in enumerate(document.get(kind, ())):
        yield _read(kind, number, _whole(fields, shared), context)


def _whole(fields: Any, shared: Any) -> Any:
    return {**shared, **fields} if isinstance(shared, dict) and isinstance(fields, dict) else fields


def load() -> None:
    """Import what `read_document` needs and nobody who records."""
    import_module("mofa_usage.recording.completing")


def fields_of(body: bytes, item: Item) -> Any:
    """The fields of a record of this document, as they were accepted."""
    document = from_json(body)
    return _whole(document[item.kind][item.number], document.get("of") if item.kind != "sessions" else None)


def _read(kind: str, number: int, fields: Any, context: Any) -> Item | Unreadable:
    if not isinstance(fields, dict) or "id" not in fields:
        return Unreadable(kind, fields, "it has no id")
    from mofa_usage.recording.completing import completed  # with all that is known of tokens: only delivery needs it

    try:
        whole = completed(fields) if kind == "calls" else fields
        return Item(kind, number, KINDS[kind].model_validate_json(to_json(whole), context=context))
    except ValidationError as error:
        lines: Sequence[Any] = error.errors(include_url=False, include_input=False, include_context=False)
        reasons = (f"{'.'.join(map(str, line['loc'])) or kind}: {line['msg']}" for line in lines)
        return Unreadable(kind, fields, "; ".join(reasons))
    except ValueError as error:
        return Unreadable(kind, fields, str(error))
