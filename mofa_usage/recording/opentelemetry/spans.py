"""What a span says, whoever emitted it: one table of attributes, the best name of a field first.

| names | whose |
|---|---|
| `gen_ai.*` | OpenTelemetry's of all generations, pydantic-ai's, Anthropic's own, Traceloop's |
| `llm.request.*`, `llm.usage.*`, `traceloop.*` | Traceloop's older ones |
| `llm.*`, `embedding.*`, `openinference.*` | OpenInference's |
| `anthropic.*`, `openai.*` | what providers have of their own |

A span is a call where it says so: by its operation, its kind, or by tokens. A model alone does not: agents have one,
and requests that count tokens. The usage is handed over as it is, and read at delivery (`mofa_usage.tokens`).

What a span does not say is not known. Two things that are said are none: the count of an Anthropic stream that has no
reason to have stopped is a place holder, which OpenInference and Traceloop leave there when it is cut or left.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from mofa_usage.names import NO_CALLS, operation_label
from mofa_usage.outcomes import used_nothing
from mofa_usage.recording.failures import Failure, failure_said, plain_text
from mofa_usage.recording.formats.answers import mapping
from mofa_usage.recording.sdks.hosts import provider_at

__all__ = ["Key", "Request", "Seen", "is_around", "is_call", "request_of", "said_of"]

Key = tuple[int, int]
"""The ids of a trace and of a span in it."""

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "asked": ("gen_ai.request.model", "llm.request.model_name", "llm.request.model"),
    "served": (
        *("gen_ai.response.model", "llm.response.model_name", "llm.response.model"),
        *("llm.model_name", "embedding.model_name"),
    ),
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "host": ("server.address",),
    "response_id": ("gen_ai.response.id",),
    "request_id": ("anthropic.request.id",),
    "service_tier": (
        *("openai.response.service_tier", "anthropic.response.service_tier"),
        "gen_ai.openai.response.service_tier",
    ),
    "session": ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id"),
    "user": ("user.id", "enduser.id", "traceloop.association.properties.user_id"),
    "agent": ("gen_ai.agent.name", "gen_ai.agent.id"),
    "stop": ("llm.finish_reason", "anthropic.message.stop_reason"),
}
_KINDS = ("openinference.span.kind", "traceloop.span.kind")
_CALL_KINDS = ("LLM", "EMBEDDING")
_PROMPTS = (
    *("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    *("llm.token_count.prompt", "llm.usage.prompt_tokens"),
)
_COMPLETIONS = (
    *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("llm.token_count.completion", "llm.usage.completion_tokens"),
)
_TOTALS = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
_USAGES = ("gen_ai.usage.", "llm.usage.", "llm.token_count.", "anthropic.usage.cache_creation.")
_COMPACTION = "anthropic.usage.compaction."
_FIRST_CHUNKS = ("gen_ai.response.time_to_first_chunk", "gen_ai.client.operation.time_to_first_chunk")
_FIRST_EVENTS = ("First Token Stream Event", "gen_ai.content.completion.chunk", "llm.content.completion.chunk")
_LONGEST = 2**20  # characters of JSON that are read on the thread of the application
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def said_of(attributes: Mapping[str, Any], field: str) -> str:
    """What the attributes say of a field, by its best name; empty where they say nothing."""
    for name in _FIELDS[field]:
        if isinstance(value := attributes.get(name), str) and value.strip():
            return plain_text(value)
    return ""


def _number(attributes: Mapping[str, Any], names: Sequence[str]) -> int | None:
    found = (attributes.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def is_around(attributes: Mapping[str, Any]) -> bool:
    """Whether a span says that it is something around calls: an agent, a chain, a tool."""
    operation = attributes.get("gen_ai.operation.name")
    said = [("span.operation", operation), *(("span.kind", attributes.get(name)) for name in _KINDS)]
    return any(isinstance(value, str) and value.strip().casefold() in NO_CALLS[field] for field, value in said)


def is_call(attributes: Mapping[str, Any]) -> bool:
    """Whether a span says that it is a call of a model."""
    if is_around(attributes):
        return False
    return (
        bool(said_of(attributes, "operation"))
        or attributes.get("openinference.span.kind") in _CALL_KINDS
        or _number(attributes, _PROMPTS) is not None
        or _number(attributes, _COMPLETIONS) is not None
    )


class Request(NamedTuple):
    """What tells one request from another: its models and operation; None where that is not known."""

    asked: str
    served: str
    operation: str | None


def request_of(attributes: Mapping[str, Any]) -> Request:
    """What a span says so far of the request that it is of."""
    operation = said_of(attributes, "operation")
    if attributes.get("openinference.span.kind") == "EMBEDDING":
        operation = "embeddings"
    elif attributes.get("llm.request.type") == operation == "completion":  # Traceloop's old word; LiteLLM's is a chat
        operation = "text_completion"
    asked = said_of(attributes, "asked") or _model_in(attributes)
    return Request(asked, said_of(attributes, "served"), operation_label(operation) if operation else None)


def _model_in(attributes: Mapping[str, Any]) -> str:
    """OpenInference's spans of OpenAI say which model was asked for among the parameters only."""
    for name in ("llm.invocation_parameters", "embedding.invocation_parameters"):
        model = _json(attributes.get(name)).get("model")
        if isinstance(model, str):
            return plain_text(model)
    return ""


def _json(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, str) or len(value) > _LONGEST or not value.startswith("{"):
        return {}
    try:
        return mapping(json.loads(value))
    except (ValueError, RecursionError):
        return {}


class Seen:
    """A span that has ended, read once."""

    def __init__(self, span: Any) -> None:
        context = span.get_span_context()
        self.key: Key = (context.trace_id, context.span_id)
        self.parent: Key | None = None if span.parent is None else (span.parent.trace_id, span.parent.span_id)
        self.emitter: str = span.instrumentation_scope.name if span.instrumentation_scope is not None else ""
        self.attributes: dict[str, Any] = dict(span.attributes or {})
        self.events: Sequence[Any] = span.events
        self.dropped: int = span.dropped_attributes
        self._dropped_events: int = span.dropped_events
        self._status = span.status
        self.begin: int = span.start_time or 0  # nanoseconds
        self.end: int = max(self.begin, span.end_time or 0)

    @cached_property
    def is_call(self) -> bool:
        """Whether it is a call of a model."""
        return is_call(self.attributes)

    @cached_property
    def is_around(self) -> bool:
        """Whether it says that it is none, but something around calls."""
        return is_around(self.attributes)

    @cached_property
    def request(self) -> Request:
        """The request that it is of."""
        return request_of(self.attributes)

    def text(self, field: str) -> str:
        """A field of the table; empty where it is not said."""
        return said_of(self.attributes, field)

    @cached_property
    def _output(self) -> Mapping[str, Any]:
        """OpenInference's spans have the whole answer, which alone says some things."""
        return _json(self.attributes.get("output.value")) if "openinference.span.kind" in self.attributes else {}

    @cached_property
    def response_id(self) -> str | None:
        """The provider's name of the answer."""
        said = self.text("response_id") or self._output.get("id")
        return plain_text(said) if isinstance(said, str) and said else None

    @property
    def service_tier(self) -> str | None:
        """As the provider says it."""
        said = self.text("service_tier") or self._output.get("service_tier")
        return said if isinstance(said, str) and said else None

    @property
    def provider(self) -> str:
        """Who was asked; by the address where the emitter names the one whose language is spoken there."""
        return provider_at(self.text("host"), self.text("provider").lower())

    @property
    def resends(self) -> int:
        """How often it was tried again within the span."""
        return max(0, _number(self.attributes, ("http.request.resend_count",)) or 0)

    @property
    def started(self) -> datetime:
        """When it began."""
        return _EPOCH + timedelta(microseconds=self.begin // 1000)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.begin) / 1e9

    @property
    def first(self) -> float | None:
        """After how many seconds the first piece of a stream came."""
        for name in _FIRST_CHUNKS:
            value = self.attributes.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return float(value)
        if self._dropped_events:
            return None  # the first ones
        found = (event.timestamp for event in self.events if event.name in _FIRST_EVENTS)
        first = next(found, None)
        return None if first is None else max(0, first - self.begin) / 1e9

    @cached_property
    def counts(self) -> tuple[int | None, int | None]:
        """Prompt and completion tokens, to be compared with those of other spans."""
        return _number(self.attributes, _PROMPTS), _number(self.attributes, _COMPLETIONS)

    @property
    def usage(self) -> dict[str, Any] | None:
        """The attributes that say tokens; None without any."""
        left_out = (*_COMPLETIONS, *_TOTALS) if self._has_place_holder else ()
        usage = {
            name: value for name, value in self.attributes.items() if name.startswith(_USAGES) and name not in left_out
        }
        return usage or None

    @property
    def _has_place_holder(self) -> bool:
        if self.text("provider").lower() != "anthropic" or self.text("stop"):
            return False
        if "gen_ai.is_streaming" in self.attributes:
            return bool(self.attributes["gen_ai.is_streaming"]) and not any(
                self.attributes.get("gen_ai.response.finish_reasons") or ()
            )
        return "stop_reason" in self._output and self._output["stop_reason"] is None

    @property
    def compaction(self) -> dict[str, Any] | None:
        """What Anthropic used to shorten the conversation, which is in no other count."""
        names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
        found = {ours: self.attributes.get(_COMPACTION + theirs) for theirs, ours in names.items()}
        return {"type": "compaction", **found} if any(found.values()) else None

    @property
    def http_status(self) -> int | None:
        """The code of the last answer."""
        return _number(self.attributes, ("http.response.status_code", "http.status_code"))

    @cached_property
    def failure(self) -> Failure | None:
        """How it failed; None where nothing says so. What an emitter leaves unset, or calls good, is not judged."""
        kind, http = self.attributes.get("error.type"), self.http_status
        http = http if http is not None and http >= 400 else None
        if self._status.status_code.name != "ERROR" and not kind and http is None:
            return None
        raised = next((event.attributes or {} for event in reversed(self.events) if event.name == "exception"), {})
        name = kind if isinstance(kind, str) and kind and kind != "_OTHER" else raised.get("exception.type")
        code = plain_text(str(name).rpartition(".")[2]) if name else "error"
        message = raised.get("exception.message") or self._status.description or ""
        failure = failure_said(http, {"message": str(message), "code": code}, name=code)
        return failure._replace(was_refused=used_nothing(failure.status, code if http is None else str(http)))
