"""Spans of OpenTelemetry as calls: what emitters make, read by its real SDK's processor and exporter."""

import gc
import importlib
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from mofa_usage import MissingExtraError
from mofa_usage.recording.opentelemetry import UsageSpanExporter, UsageSpanProcessor
from tests.recording.sdks.clients import KEY, asked, create
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.emitted import (
    ANSWER,
    ANTHROPIC_OWN,
    AROUND,
    CALLS,
    GENAI_OPENAI,
    OPENINFERENCE_ANTHROPIC,
    OPENINFERENCE_OPENAI,
    PYDANTIC_AGENT,
    PYDANTIC_AI,
    QUESTION,
    TRACELOOP_ANTHROPIC,
    TRACELOOP_OPENAI,
    Emitted,
    parts,
)
from tests.recording.sdks.model_server import ModelServer
from tests.recording.sdks.tracing import SECOND, START, Tracing


@pytest.fixture
def tracing(recorded: Recorded) -> Iterator[Tracing]:
    tracing = Tracing(UsageSpanProcessor(recorded.recorder))
    yield tracing
    tracing.provider.shutdown()


# One span


@pytest.mark.parametrize("emitted", CALLS.values(), ids=CALLS.keys())
def test_what_an_emitter_says_is_in_the_row(recorded: Recorded, tracing: Tracing, emitted: Emitted) -> None:
    with recorded.recorder.scope(user="alice", session="ticket-7"):
        tracing.emit(emitted)
    call = recorded.call()
    model = "claude" if "anthropic" in emitted.labels["provider"] else "gpt-4o"
    assert (call.model_name, call.status, call.error_code, call.error_message) == (model, "success", None, None)
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (9, 4, 13)
    assert call.token_source == "provider"
    parts = [part.model_dump() for part in (call.prompt_tokens_details, call.completion_tokens_details) if part]
    assert {name: count for part in parts for name, count in part.items() if count is not None} == emitted.details
    assert call.labels == {"user": "alice", "session": "ticket-7", **emitted.labels}
    assert call.api_response_id == emitted.response_id
    assert (call.latency_ms, call.time_to_first_token_ms) == (1000, emitted.first_ms)
    assert call.create_time.timestamp() == START // SECOND
    assert call.update_time.timestamp() == START // SECOND + 1
    if emitted.says_content:
        system, user, answer = recorded.messages()
        assert [message.content.text for message in (system, user, answer)] == ["Be brief", QUESTION, ANSWER]
        assert [message.role for message in (system, user, answer)] == ["system", "user", "assistant"]
        assert (call.request_message_id, call.response_message_id) == (user.id, answer.id)
        assert answer.parent_message_id == user.id
    else:
        assert recorded.messages() == []


@pytest.mark.parametrize("emitted", AROUND.values(), ids=AROUND.keys())
def test_what_is_around_calls_is_none(recorded: Recorded, tracing: Tracing, emitted: Emitted) -> None:
    with tracing.around(emitted) as outer:
        tracing.emit(GENAI_OPENAI, outer)
        tracing.emit(GENAI_OPENAI, outer, gen_ai__response__id="c-2")
    tracing.emit(emitted)
    assert [call.api_response_id for call in recorded.calls()] == ["c-1", "c-2"]


ERRORS: list[tuple[Emitted, dict[str, Any], dict[str, str], tuple[str, str, str, int | None]]] = [
    (GENAI_OPENAI, {"error.type": "openai.RateLimitError"}, {}, ("rate_limited", "RateLimitError", "said", 0)),
    (GENAI_OPENAI, {"error.type": "openai.APITimeoutError"}, {}, ("timeout", "APITimeoutError", "said", None)),
    (GENAI_OPENAI, {"error.type": "openai.BadRequestError"}, {}, ("failed", "BadRequestError", "said", 0)),
    (GENAI_OPENAI, {"error.type": "openai.InternalServerError"}, {}, ("failed", "InternalServerError", "said", None)),
    (GENAI_OPENAI, {"error.type": "CancelledError"}, {}, ("cancelled", "CancelledError", "said", None)),
    (GENAI_OPENAI, {"error.type": "429"}, {}, ("rate_limited", "429", "said", 0)),
    (GENAI_OPENAI, {"error.type": "_OTHER"}, {}, ("failed", "error", "said", None)),
    (
        ANTHROPIC_OWN,
        {"error.type": "overloaded_error", "http.response.status_code": 529},
        {},
        ("failed", "overloaded_error", "said", None),
    ),
    (
        ANTHROPIC_OWN,
        {"error.type": "rate_limit_error", "http.response.status_code": 429},
        {},
        ("rate_limited", "rate_limit_error", "said", 0),
    ),
    (
        OPENINFERENCE_OPENAI,
        {},
        {"exception.type": "openai.RateLimitError", "exception.message": "too many"},
        ("rate_limited", "RateLimitError", "too many", 0),
    ),
]


@pytest.mark.parametrize(("emitted", "attributes", "exception", "expected"), ERRORS)
def test_how_a_call_failed(
    recorded: Recorded,
    tracing: Tracing,
    emitted: Emitted,
    attributes: dict[str, Any],
    exception: dict[str, str],
    expected: tuple[str, str, str, int | None],
) -> None:
    kept = {name: value for name, value in emitted.attributes.items() if "usage" not in name and "count" not in name}
    span = tracing.start(Emitted(emitted.scope, emitted.name, {**kept, **attributes}))
    if exception:
        span.add_event("exception", exception)
    span.set_status(Status(StatusCode.ERROR, "said"))
    span.end()
    call = recorded.call()
    status, code, message, tokens = expected
    assert (call.status, call.error_code, call.error_message) == (status, code, message)
    assert call.token_source == ("none" if tokens is None else "provider")


def test_what_an_emitter_calls_good_is_not_judged(recorded: Recorded, tracing: Tracing) -> None:
    """Streams that were cut or left, of which Traceloop says `OK`: what they used is not known."""
    kept = {name: value for name, value in TRACELOOP_OPENAI.attributes.items() if "usage" not in name}
    tracing.emit(Emitted(TRACELOOP_OPENAI.scope, "openai.chat", kept, status="OK"))
    call = recorded.call()
    assert (call.status, call.token_source, call.total_tokens) == ("success", "none", 0)


@pytest.mark.parametrize(
    ("emitted", "changes"),
    [
        (OPENINFERENCE_ANTHROPIC, {"llm__finish_reason": None, "output__value": '{"id": "c-1", "stop_reason": null}'}),
        (TRACELOOP_ANTHROPIC, {"gen_ai__response__finish_reasons": None, "gen_ai__is_streaming": True}),
    ],
)
def test_a_place_holder_is_no_count(
    recorded: Recorded, tracing: Tracing, emitted: Emitted, changes: dict[str, Any]
) -> None:
    tracing.emit(emitted, **changes)
    call = recorded.call()
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (9, 0, "partial")


def test_parts_of_a_count_that_was_lost_are_not_recorded(recorded: Recorded, tracing: Tracing) -> None:
    tracing.emit(GENAI_OPENAI, gen_ai__usage__input_tokens=None, gen_ai__usage__output_tokens=None)
    call = recorded.call()
    assert (call.token_source, call.total_tokens, call.prompt_tokens_details) == ("none", 0, None)


def test_embeddings(recorded: Recorded, tracing: Tracing) -> None:
    tokens = {"llm.token_count.prompt": 3, "llm.token_count.total": 3}
    openinference = {
        "openinference.span.kind": "EMBEDDING",
        "embedding.model_name": "emb-2026",
        "embedding.invocation_parameters": '{"model": "emb"}',
        **tokens,
    }
    traceloop = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "emb",
        "gen_ai.response.model": "emb-2026",
        "gen_ai.input.messages": parts(("user", "What is Rust")),
        "gen_ai.usage.input_tokens": 3,
    }
    with recorded.recorder.scope(session="ticket-7"):
        tracing.emit(Emitted("openinference.instrumentation.openai", "CreateEmbeddings", openinference))
        tracing.emit(Emitted("opentelemetry.instrumentation.openai.v1", "openai.embeddings", traceloop))
    for call in recorded.calls():
        assert (call.model_name, call.labels["served_model"]) == ("emb", "emb-2026")
        assert (call.labels["operation"], call.prompt_tokens, call.token_source) == ("embeddings", 3, "provider")
    assert recorded.messages() == []


def test_a_compaction_is_a_row_of_its_own(recorded: Recorded, tracing: Tracing) -> None:
    compaction = {"anthropic.usage.compaction.input_tokens": 1000, "anthropic.usage.compaction.output_tokens": 50}
    tracing.emit(Emitted(ANTHROPIC_OWN.scope, ANTHROPIC_OWN.name, {**ANTHROPIC_OWN.attributes, **compaction}))
    calls = {call.labels.get("operation"): call for call in recorded.calls()}
    assert (calls[None].prompt_tokens, calls[None].completion_tokens) == (9, 4)
    assert (calls["compaction"].prompt_tokens, calls["compaction"].completion_tokens) == (1000, 50)


def test_a_span_that_counts_what_it_sent_again_is_the_last_attempt(recorded: Recorded, tracing: Tracing) -> None:
    tracing.emit(ANTHROPIC_OWN, http__request__resend_count=2)
    assert recorded.call().labels["attempt"] == "3"


def test_the_provider_is_who_is_at_the_address(recorded: Recorded, tracing: Tracing) -> None:
    tracing.emit(GENAI_OPENAI, server__address="api.deepseek.com")
    assert recorded.call().labels["provider"] == "deepseek"


def test_lost_attributes_are_said_once_and_stay_unknown(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_attributes=12))
    provider.add_span_processor(UsageSpanProcessor(recorded.recorder))
    for _ in range(2):
        span = provider.get_tracer(OPENINFERENCE_OPENAI.scope).start_span("ChatCompletion")
        span.set_attributes(dict(OPENINFERENCE_OPENAI.attributes))
        span.end()
    calls = recorded.calls()
    assert [(call.model_name, call.prompt_tokens, call.completion_tokens) for call in calls] == [
        ("gpt-4o-2026", 9, 4)
    ] * 2
    assert "provider" not in calls[0].labels
    assert len([text for text in caplog.messages if "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in text]) == 1


# Several spans of one request


def test_the_innermost_counts_and_those_around_it_say_what_was_said(recorded: Recorded, tracing: Tracing) -> None:
    with recorded.recorder.scope(session="ticket-7"), tracing.around(OPENINFERENCE_ANTHROPIC) as outer:
        tracing.emit(ANTHROPIC_OWN, outer)
    call = recorded.call()
    assert call.labels["request_id"] == "req-7"
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.model_dump()["cache_write_1h_tokens"] == 2
    assert [message.content.text for message in recorded.messages()] == ["Be brief", QUESTION, ANSWER]
    assert call.response_message_id == recorded.messages()[-1].id


def test_a_span_that_was_not_made_the_current_one(recorded: Recorded, tracing: Tracing) -> None:
    with recorded.recorder.scope(session="ticket-7"):
        outer = tracing.start(TRACELOOP_ANTHROPIC)
        tracing.emit(ANTHROPIC_OWN)
        tracing.finish(outer, TRACELOOP_ANTHROPIC, seconds=5)
        failed = Emitted(TRACELOOP_ANTHROPIC.scope, "anthropic.chat", {"gen_ai.request.model": "claude", **CHAT_ONLY})
        outer = tracing.start(failed)
        tracing.emit(Emitted(ANTHROPIC_OWN.scope, "x", {"gen_ai.request.model": "claude", **CHAT_ONLY}))
        tracing.finish(outer, failed, seconds=5)
    assert len(recorded.calls()) == 2
    assert recorded.messages()[-1].content.text == ANSWER


CHAT_ONLY = {"gen_ai.operation.name": "chat", "error.type": "RateLimitError"}


def test_three_of_one_request(recorded: Recorded, tracing: Tracing) -> None:
    """An agent's call of a model, an instrumentation's span of it, and another's, through a span of HTTP."""
    with (
        tracing.around(PYDANTIC_AGENT) as agent,
        tracing.around(PYDANTIC_AI, agent) as outer,
        tracing.around(AROUND["another request"], outer) as between,
        tracing.around(GENAI_OPENAI, between) as inner,
    ):
        tracing.emit(OPENINFERENCE_OPENAI, inner)
    call = recorded.call()
    assert call.labels["session"] == "ticket-7"  # from the agent's span
    assert [message.content.text for message in recorded.messages()] == ["Be brief", QUESTION, ANSWER]


def test_those_that_failed_inside_were_tried_again(recorded: Recorded, tracing: Tracing) -> None:
    failing = {"gen_ai__response__id": None, "gen_ai__response__model": None, "error__type": "InternalServerError"}
    counts = {"gen_ai__usage__input_tokens": None, "gen_ai__usage__output_tokens": None}
    with recorded.recorder.scope(session="ticket-7"), tracing.around(PYDANTIC_AI) as outer:
        tracing.emit(GENAI_OPENAI, outer, **failing, **counts)
        tracing.emit(GENAI_OPENAI, outer)
    first, last = recorded.calls()
    assert (first.status, first.labels["retried"], first.labels["attempt"]) == ("failed", "true", "1")
    assert (last.status, last.labels["attempt"]) == ("success", "2")
    assert first.request_message_id == last.request_message_id
    assert len(recorded.messages()) == 3


def test_different_requests_all_count(recorded: Recorded, tracing: Tracing) -> None:
    with tracing.around(PYDANTIC_AI) as outer:
        tracing.emit(GENAI_OPENAI, outer, gen_ai__response__id="c-2", gen_ai__usage__input_tokens=100)
        tracing.emit(GENAI_OPENAI, outer, gen_ai__operation__name="embeddings")
        with tracing.around(AROUND["tool"], outer) as tool:
            tracing.emit(GENAI_OPENAI, tool, gen_ai__response__id=None, gen_ai__usage__input_tokens=50)
    assert sorted(call.prompt_tokens for call in recorded.calls()) == [9, 9, 50, 100]


def test_a_sum_of_calls_is_none(recorded: Recorded, tracing: Tracing) -> None:
    total = PYDANTIC_AI.but(gen_ai__usage__input_tokens=18, gen_ai__usage__output_tokens=8, gen_ai__response__id="sum")
    with tracing.around(total) as outer, tracing.around(AROUND["tool"], outer) as tool:
        for number in range(2):
            tracing.emit(GENAI_OPENAI, tool, gen_ai__response__id=f"c-{number}")
    assert [call.api_response_id for call in recorded.calls()] == ["c-0", "c-1"]


def test_a_sum_of_calls_of_which_each_has_two_spans(recorded: Recorded, tracing: Tracing) -> None:
    total = PYDANTIC_AI.but(
        gen_ai__usage__input_tokens=18,
        gen_ai__usage__output_tokens=8,
        gen_ai__response__id="sum",
        gen_ai__request__model="router",
    )
    with tracing.around(total) as outer:
        for number in range(2):
            beside = tracing.start(TRACELOOP_ANTHROPIC.but(gen_ai__response__id=f"c-{number}"), outer)
            tracing.emit(ANTHROPIC_OWN, outer, gen_ai__response__id=f"c-{number}")
            tracing.finish(beside, TRACELOOP_ANTHROPIC, seconds=15)
    assert [call.api_response_id for call in recorded.calls()] == ["c-0", "c-1"]


def test_an_answer_that_two_emitters_name_counts_once(recorded: Recorded, tracing: Tracing) -> None:
    """Wherever their spans are, as long as they are at the same time: a provider names each answer once."""
    for emitted in (GENAI_OPENAI, PYDANTIC_AI):
        tracing.finish(tracing.start(emitted, at=START), emitted)
    tracing.emit(GENAI_OPENAI)
    assert len(recorded.calls()) == 2


def test_what_waits_is_not_lost_with_the_span_around_it(recorded: Recorded, tracing: Tracing) -> None:
    outer = tracing.start(OPENINFERENCE_ANTHROPIC)
    tracing.emit(ANTHROPIC_OWN, outer)
    assert tracing.provider.force_flush()
    assert recorded.call().labels["request_id"] == "req-7"
    tracing.finish(outer, OPENINFERENCE_ANTHROPIC)
    assert len(recorded.calls()) == 1


def test_a_span_that_is_dropped_is_not_waited_for(recorded: Recorded, tracing: Tracing) -> None:
    """As Traceloop drops its span of a stream that was left."""
    outer = tracing.start(TRACELOOP_ANTHROPIC)
    tracing.emit(ANTHROPIC_OWN)
    assert recorded.recorder.stats().accepted == 0
    del outer
    gc.collect()
    assert recorded.call().labels["request_id"] == "req-7"


def test_a_call_beside_another_waits_for_the_one_around_it(recorded: Recorded, tracing: Tracing) -> None:
    with recorded.recorder.scope(session="ticket-7"), tracing.around(OPENINFERENCE_ANTHROPIC) as outer:
        other = TRACELOOP_OPENAI.but(gen_ai__response__id="c-2", gen_ai__usage__input_tokens=50)
        beside = tracing.start(other, outer)  # a stream of another model, that is still read
        tracing.emit(ANTHROPIC_OWN, outer)
    tracing.finish(beside, other)
    assert sorted(call.model_name for call in recorded.calls()) == ["claude", "gpt-4o"]
    assert ANSWER in [message.content.text for message in recorded.messages()]


def test_older_names(recorded: Recorded, tracing: Tracing) -> None:
    names = {"llm.request.type": "completion", "gen_ai.system": "OpenAI", "gen_ai.request.model": "davinci"}
    tracing.emit(Emitted("traceloop", "c", {**names, "llm.usage.total_tokens": 13, **OLD_COUNTS}))
    call = recorded.call()
    assert (call.labels["operation"], call.labels["provider"]) == ("text_completion", "openai")
    assert (call.prompt_tokens, call.completion_tokens) == (9, 4)


OLD_COUNTS = {"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 4}


# A recorded client in the same place


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_current", [True, False])
def test_a_recorded_client_inside_a_span_tells_of_it(
    recorded: Recorded, tracing: Tracing, server: ModelServer, stream: bool, is_current: bool
) -> None:
    with recorded.recorder.scope(session="ticket-7"):
        if is_current:
            with tracing.around(GENAI_OPENAI):
                create("openai", "chat", server, recorded.recorder, stream=stream)
        else:
            span = tracing.start(TRACELOOP_OPENAI)
            create("openai", "chat", server, recorded.recorder, stream=stream)
            tracing.finish(span, TRACELOOP_OPENAI)
    call = recorded.call()
    assert call.labels["request_id"] == "req-7"  # which spans do not say
    assert len(recorded.messages()) == 2


def test_a_span_inside_a_recorded_request_is_the_same(
    recorded: Recorded, tracing: Tracing, server: ModelServer
) -> None:
    """Anthropic's own, from the real SDK."""
    with anthropic.Anthropic(
        api_key=KEY, base_url=server.url, open_telemetry={"tracer_provider": tracing.provider}
    ) as client:
        body: Any = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": QUESTION}]}
        client.messages.create(**body)
        assert recorded.call().latency_ms is not None
        recorded.recorder.wrap(client)
        client.messages.create(**body)
        with client.messages.stream(**body) as stream:
            stream.get_final_text()
    assert len(recorded.calls()) == 3


def test_a_span_told_of_afterwards_is_the_same(recorded: Recorded, tracing: Tracing, server: ModelServer) -> None:
    """Traceloop begins the spans of responses when they are there, with the time at which they began."""
    create("openai", "chat", server, recorded.recorder)
    tracing.finish(tracing.start(TRACELOOP_OPENAI, at=START), TRACELOOP_OPENAI)
    assert recorded.call().labels["request_id"] == "req-7"


class _Both:
    """A stream in another's hands, which have the methods of both kinds: OpenInference's."""

    def __init__(self, stream: Any) -> None:
        object.__setattr__(self, "stream", stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.stream, name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stream)

    def __anext__(self) -> Any:
        return self.stream.__anext__()


class _Instrumented(openai.OpenAI):
    def request(self, *args: Any, **kwargs: Any) -> Any:
        result = super().request(*args, **kwargs)
        return _Both(result) if kwargs.get("stream") else result


def test_a_stream_that_an_instrumentation_has_wrapped(recorded: Recorded, server: ModelServer) -> None:
    with _Instrumented(api_key=KEY, base_url=f"{server.url}/v1") as client:
        recorded.recorder.wrap(client)
        chunks = list(client.chat.completions.create(**asked("chat"), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert recorded.call().token_source == "provider"


def test_another_model_in_a_span_is_another_call(recorded: Recorded, tracing: Tracing, server: ModelServer) -> None:
    with tracing.around(GENAI_OPENAI.but(gen_ai__request__model="gpt-5")):
        create("openai", "chat", server, recorded.recorder)
    assert sorted(call.model_name for call in recorded.calls()) == ["gpt-4o", "gpt-5"]


# Whose calls they are


def test_the_scope_is_that_in_which_a_span_began(recorded: Recorded, tracing: Tracing) -> None:
    with recorded.recorder.scope(user="alice", labels={"feature": "search"}) as scope:
        span = tracing.start(GENAI_OPENAI)
    with recorded.recorder.scope(user="bob"):
        thread = threading.Thread(target=tracing.finish, args=(span, GENAI_OPENAI))
        thread.start()
        thread.join()
    call = recorded.call()
    assert (call.labels["user"], call.labels["feature"]) == ("alice", "search")
    assert (scope.usage.calls, scope.usage.total_tokens) == (1, 13)


@pytest.mark.parametrize(
    "names",
    [
        {"gen_ai.conversation.id": "ticket-7", "enduser.id": "alice", "gen_ai.agent.name": "helper"},
        {"session.id": "ticket-7", "user.id": "alice", "gen_ai.agent.name": "helper"},
    ],
)
def test_without_a_scope_spans_say_it(recorded: Recorded, tracing: Tracing, names: dict[str, str]) -> None:
    with recorded.recorder.scope(user="bob"), tracing.around(Emitted("any", "root", names)) as root:
        tracing.emit(GENAI_OPENAI, root)
    call = recorded.call()
    assert {name: call.labels[name] for name in ("session", "user", "agent")} == {
        "session": "ticket-7",
        "user": "bob",
        "agent": "helper",
    }
    assert len(recorded.messages()) == 3


def test_without_a_session_no_messages(recorded: Recorded, tracing: Tracing) -> None:
    tracing.emit(GENAI_OPENAI)
    assert recorded.messages() == []


def test_a_history_that_comes_again_is_saved_once(recorded: Recorded, tracing: Tracing) -> None:
    turns = [("system", "Be brief"), ("user", QUESTION), ("assistant", ANSWER), ("user", "And Cargo?")]
    with recorded.recorder.scope(session="ticket-7"):
        tracing.emit(GENAI_OPENAI)
        for _ in range(2):
            tracing.emit(
                GENAI_OPENAI,
                gen_ai__response__id=None,
                gen_ai__input__messages=parts(*turns),
                gen_ai__output__messages=parts(("assistant", "A tool.")),
            )
    texts = [message.content.text for message in recorded.messages()]
    assert texts == ["Be brief", QUESTION, ANSWER, "And Cargo?", "A tool."]


# What was said, by its other names

Event = tuple[str, dict[str, Any]]
ARGUMENTS = {"city": "Paris"}
TOOLS: dict[str, dict[str, Any]] = {
    "parts": {
        "gen_ai.input.messages": json.dumps(
            [
                {"role": "assistant", "parts": [{"type": "tool_call", "id": "x", "name": "w", "arguments": ARGUMENTS}]},
                {"role": "user", "parts": [{"type": "tool_call_response", "id": "x", "response": "sunny"}]},
            ]
        ),
        "gen_ai.output.messages": json.dumps(
            [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "It is"},
                        {"type": "tool_call", "id": "y", "name": "w", "arguments": '{"city": "Paris"}'},
                    ],
                }
            ]
        ),
    },
    "openinference": {
        "llm.input_messages.0.message.role": "assistant",
        "llm.input_messages.0.message.contents.0.message_content.type": "tool_use",
        "llm.input_messages.0.message.tool_calls.0.tool_call.id": "x",
        "llm.input_messages.0.message.tool_calls.0.tool_call.function.name": "w",
        "llm.input_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Paris"}',
        "llm.input_messages.1.message.role": "tool",
        "llm.input_messages.1.message.tool_call_id": "x",
        "llm.input_messages.1.message.content": "sunny",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.contents.0.message_content.type": "text",
        "llm.output_messages.0.message.contents.0.message_content.text": "It is",
        "llm.output_messages.0.message.contents.1.message_content.type": "tool_use",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "y",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "w",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Paris"}',
    },
    "traceloop, older": {
        "gen_ai.prompt.0.role": "assistant",
        "gen_ai.prompt.0.tool_calls.0.id": "x",
        "gen_ai.prompt.0.tool_calls.0.name": "w",
        "gen_ai.prompt.0.tool_calls.0.arguments": '{"city": "Paris"}',
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": '[{"type": "tool_result", "tool_use_id": "x", "content": "sunny"}]',
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "It is",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "y",
        "gen_ai.completion.0.tool_calls.0.name": "w",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Paris"}',
    },
    "events in an attribute": {
        "events": json.dumps(
            [
                {
                    "event.name": "gen_ai.assistant.message",
                    "tool_calls": [{"id": "x", "function": {"name": "w", "arguments": '{"city": "Paris"}'}}],
                },
                {"event.name": "gen_ai.tool.message", "id": "x", "content": "sunny"},
                {
                    "event.name": "gen_ai.choice",
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "It is",
                        "tool_calls": [{"id": "y", "function": {"name": "w", "arguments": '{"city": "Paris"}'}}],
                    },
                },
            ]
        )
    },
}


@pytest.mark.parametrize("attributes", TOOLS.values(), ids=TOOLS.keys())
def test_tools_are_asked_for_and_answer(recorded: Recorded, tracing: Tracing, attributes: dict[str, Any]) -> None:
    with recorded.recorder.scope(session="ticket-7"):
        tracing.emit(Emitted("any", "chat", {"gen_ai.operation.name": "chat", **attributes}))
    result, answer = recorded.messages()
    assert result.content.tool_result is not None
    assert (result.role, result.content.tool_result.tool_call_id) == ("tool", "x")
    assert result.content.tool_result.content == "sunny"
    assert answer.content.text == "It is"
    assert answer.content.tool_calls is not None
    assert [(call.id, call.name, call.arguments) for call in answer.content.tool_calls] == [("y", "w", ARGUMENTS)]


def test_events_of_a_span(recorded: Recorded, tracing: Tracing) -> None:
    asked: Event = ("gen_ai.user.message", {"content": QUESTION, "role": "user"})
    answered: Event = ("gen_ai.choice", {"message": json.dumps({"role": "assistant", "content": ANSWER}), "index": 0})
    details: Event = ("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": parts(("user", QUESTION))})
    chat = {"gen_ai.operation.name": "chat"}
    for number, events in enumerate(([asked, answered], [details, answered])):
        with recorded.recorder.scope(session=f"ticket-{number}"):
            tracing.emit(Emitted("any", "chat", chat, events))
        assert [message.content.text for message in recorded.messages()] == [QUESTION, ANSWER]


def test_messages_that_were_cut_off_cost_no_numbers(recorded: Recorded, tracing: Tracing) -> None:
    with recorded.recorder.scope(session="ticket-7"):
        tracing.emit(
            GENAI_OPENAI, gen_ai__input__messages='[{"role": "user", "par', gen_ai__output__messages="[1, null]"
        )
        tracing.emit(OPENINFERENCE_OPENAI, llm__input_messages__0__message__role=None, output__value="{")
    assert [call.total_tokens for call in recorded.calls()] == [13, 13]
    assert QUESTION in [message.content.text for message in recorded.messages()]


# Bursts, faults, batches


def test_a_burst_is_recorded_whole(recorded: Recorded, tracing: Tracing) -> None:
    brief = GENAI_OPENAI.but(gen_ai__input__messages=None, gen_ai__output__messages=None, gen_ai__response__id=None)

    def work() -> None:
        tracer = tracing.provider.get_tracer(brief.scope)
        for _ in range(2_500):
            tracer.start_span("chat", attributes=dict(brief.attributes)).end()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorded.recorder.flush(60)
    stats = recorded.recorder.stats()
    assert (stats.delivered, stats.dead, stats.refused) == (10_000, 0, 0)


def test_nothing_reaches_the_application(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    processor = UsageSpanProcessor(recorded.recorder)
    tracing = Tracing(processor)
    broken: Any = object()
    with caplog.at_level(logging.CRITICAL):  # it is said, and meant here
        processor.on_start(broken)
        processor.on_end(broken)
    tracing.emit(GENAI_OPENAI)
    assert recorded.call().total_tokens == 13
    recorded.recorder.close()
    with caplog.at_level(logging.CRITICAL):
        tracing.emit(GENAI_OPENAI)
    assert recorded.recorder.stats().refused == 1


def test_an_exporter_records_a_batch(recorded: Recorded) -> None:
    tracing = Tracing(BatchSpanProcessor(UsageSpanExporter(recorded.recorder), schedule_delay_millis=60_000))
    with tracing.around(PYDANTIC_AGENT) as agent, tracing.around(OPENINFERENCE_ANTHROPIC, agent) as outer:
        tracing.emit(ANTHROPIC_OWN, outer)
    with recorded.recorder.scope(user="bob"):  # who flushes did not make the calls
        assert tracing.provider.force_flush()
    call = recorded.call()
    assert (call.labels["request_id"], call.labels["session"]) == ("req-7", "ticket-7")
    assert "user" not in call.labels
    assert [message.content.text for message in recorded.messages()] == ["Be brief", QUESTION, ANSWER]
    outer = tracing.start(TRACELOOP_ANTHROPIC)  # beside it, of the same answer
    tracing.finish(tracing.start(ANTHROPIC_OWN), ANTHROPIC_OWN)
    tracing.finish(outer, TRACELOOP_ANTHROPIC, seconds=3)
    tracing.provider.shutdown()
    assert len(recorded.calls()) == 2


def test_an_exporter_says_whether_all_was_accepted(
    recorded: Recorded, tracing: Tracing, caplog: pytest.LogCaptureFixture
) -> None:
    exporter, span = UsageSpanExporter(recorded.recorder), tracing.start(GENAI_OPENAI)
    span.end()
    assert exporter.export([span]) is SpanExportResult.SUCCESS  # type: ignore[list-item]
    assert exporter.force_flush(30_000)
    broken: Any = object()
    with caplog.at_level(logging.CRITICAL):
        assert exporter.export([broken]) is SpanExportResult.FAILURE
        recorded.recorder.close()
        span = tracing.start(GENAI_OPENAI)
        span.end()
        assert exporter.export([span]) is SpanExportResult.FAILURE  # type: ignore[list-item]
    exporter.shutdown()


def test_without_opentelemetry_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mofa_usage.recording.opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"mofa-usage\[opentelemetry\]"):
        importlib.import_module("mofa_usage.recording.opentelemetry")
