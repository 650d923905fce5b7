"""What is said on the wire, read without any SDK: pieces make the whole, and nothing that is odd does harm."""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import ApiCallStatus, LLMApiCall
from mofa_usage.recording.completing import completed
from mofa_usage.recording.conversations import Conversations, Said
from mofa_usage.recording.failures import failure_of, failure_said, plain_text
from mofa_usage.recording.formats import Format
from mofa_usage.recording.formats.anthropic_messages import ANTHROPIC_MESSAGES
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.formats.framework_messages import FRAMEWORK_MESSAGES
from mofa_usage.recording.formats.others import EMBEDDINGS, TEXT_COMPLETIONS
from mofa_usage.recording.formats.responses import RESPONSES
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.sdks.wire import Wire
from tests.proofs import trials
from tests.recording.sdks.model_server import TOOL, _events, _whole

PATHS: dict[str, Format] = {
    "/v1/chat/completions": CHAT_COMPLETIONS,
    "/v1/responses": RESPONSES,
    "/v1/messages": ANTHROPIC_MESSAGES,
}
FORMATS: list[Format] = [*PATHS.values(), EMBEDDINGS, TEXT_COMPLETIONS]
NAMES = ["id", "type", "model", "usage", "choices", "delta", "output", "item", "messages", "content", "input"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("step", ["ok", "tool"])
@pytest.mark.parametrize("path", PATHS)
def test_the_events_of_a_stream_say_what_the_whole_says(path: str, step: str) -> None:
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "messages": [], "input": "a b"}
    whole, pieces = PATHS[path].reader(), PATHS[path].reader()
    whole.add(_whole(path, body, step))
    for event in _events(path, body, step):
        assert not pieces.answer.is_done or path.endswith("completions")
        if isinstance(event["data"], dict):
            pieces.add(event["data"])
    assert pieces.content() == whole.content()
    assert (pieces.content() or {}).get("tool_calls", [{}])[0].get("arguments", TOOL) == TOOL
    assert pieces.answer.is_done
    assert pieces.answer.has_content
    for name in ("response_id", "model", "service_tier"):
        assert getattr(pieces.answer, name) == getattr(whole.answer, name)
    counts = [completed({"usage": reader.answer.usage, "status": "success"}) for reader in (pieces, whole)]
    assert counts[0]["total_tokens"] == counts[1]["total_tokens"] > 0


@pytest.mark.proof
@pytest.mark.parametrize("form", [*FORMATS, FRAMEWORK_MESSAGES])
@settings(max_examples=trials(20, 100))
@given(data=st.dictionaries(st.sampled_from(NAMES), json_values))
def test_nothing_odd_does_harm(form: Format, data: dict[str, Any]) -> None:
    """What raises is of the kinds that an attempt passes over."""
    reader = form.reader()
    for method in (reader.add, form.said):
        try:
            method(data)
        except (AttributeError, TypeError, ValueError):
            continue
    assert reader.content() is None or isinstance(reader.content(), dict)


def test_a_cut_message_knows_its_prompt_only() -> None:
    reader = ANTHROPIC_MESSAGES.reader()
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 3}}
    usage |= {"cache_creation_input_tokens": 3, "service_tier": "priority"}
    reader.add({"type": "message_start", "message": {"id": "m", "model": "c", "usage": usage}})
    cut = completed({"usage": dict(reader.answer.usage or {}), "status": "failed"})
    assert (cut["prompt_tokens"], cut["completion_tokens"]) == (8, 0)
    assert cut["completion_tokens_details"] == {"token_source": "partial"}
    reader.add({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
    whole = completed({"usage": reader.answer.usage, "status": "success"})
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (8, 9)
    assert whole["prompt_tokens_details"]["cache_write_1h_tokens"] == 3
    assert whole["labels"]["service_tier"] == "priority"


def test_a_compaction_is_billed_apart() -> None:
    reader = ANTHROPIC_MESSAGES.reader()
    iterations = [{"type": "message", "input_tokens": 5}, {"type": "compaction", "input_tokens": 7, "output_tokens": 2}]
    usage = {"input_tokens": 5, "output_tokens": 1, "iterations": iterations}
    reader.add({"type": "message", "id": "m", "content": [], "usage": usage})
    assert [
        completed({"usage": further, "status": "success"})["total_tokens"] for further in reader.answer.further
    ] == [9]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (0, 0, "none")),
        ({}, (0, 0, "none")),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4, None)),
        ({"prompt_tokens": 3}, (3, 0, "partial")),
        ({"prompt_tokens": -3, "completion_tokens": 4}, (0, 0, "none")),
        ({"prompt_tokens": 2**31 - 1, "completion_tokens": 1}, (0, 0, "none")),
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 10}, (13, 4, None)),
    ],
)
def test_usage_becomes_counts_that_a_record_takes(usage: Any, expected: tuple[int, int, str | None]) -> None:
    nil = UUID(int=0)
    call = {"chat_session_id": nil, "agent_id": nil, "user_id": nil, "model_name": "m", "status": "success"}
    whole = completed({**call, "usage": usage, "latency_ms": 500})
    details = whole["completion_tokens_details"] or {}
    assert (whole["prompt_tokens"], whole["completion_tokens"], details.get("token_source")) == expected
    assert whole.get("tokens_per_second") == (expected[1] * 2 if expected[2] is None else None)
    assert LLMApiCall.model_validate(whole).total_tokens == sum(expected[:2])


@pytest.mark.parametrize("cost", [0.00015, {"request_cost": 0.0001, "total_cost": 0.00015}])
def test_the_providers_own_price_is_kept(cost: Any) -> None:
    whole = completed({"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}, "status": "success"})
    assert (str(whole["total_price"]), whole["price_details"]["price_source"]) == ("0.0001500000", "provider")


# The wire


def feed(kind: str, data: bytes, sizes: Sequence[int], *, encoding: str = "", eager: bool = True) -> list[Any]:
    found: list[Any] = []
    wire = Wire({"content-type": kind, "content-encoding": encoding}, found.append, lambda: eager)
    place = 0
    for size in sizes:
        wire.feed(data[place : place + size])
        place += size
    wire.feed(data[place:])
    wire.end()
    return found


documents = st.lists(st.dictionaries(st.sampled_from("abc"), st.text(), max_size=3), max_size=5)


@given(
    documents,
    st.lists(st.integers(1, 40), max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_events_are_read_however_they_are_cut(
    said: list[dict[str, str]], sizes: list[int], eager: bool, end: str, is_gzip: bool
) -> None:
    events = [f": a comment{end}event: x{end}data: {json.dumps(document)}{end}{end}" for document in said]
    data = "".join([*events, f"data: [DONE]{end}{end}"]).encode()
    encoding = ""
    if is_gzip:
        compress = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        data, encoding = compress.compress(data) + compress.flush(), "gzip"
    assert feed("text/event-stream", data, sizes, encoding=encoding, eager=eager) == said


@given(documents, st.lists(st.integers(1, 40), max_size=8))
def test_lines_and_whole_answers(said: list[dict[str, str]], sizes: list[int]) -> None:
    lines = "".join(json.dumps(document) + "\n" for document in said).encode()
    assert feed("application/x-ndjson", lines, sizes) == said
    assert feed("application/json", json.dumps(said).encode(), sizes) == [said]


def test_what_nobody_can_read_is_passed_over() -> None:
    assert feed("application/json", b"<html>", []) == []
    assert feed("application/json", b"\x1f\x8bnonsense", [], encoding="gzip") == []
    assert feed("application/json", b"xx", [], encoding="br") == []


# Failures


class SomeError(Exception):
    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.__dict__ |= fields


@pytest.mark.parametrize(
    ("error", "status", "code", "was_refused"),
    [
        (SomeError("x", status_code=429, code="rate_limit_exceeded"), "rate_limited", "rate_limit_exceeded", True),
        (SomeError("x", status_code=400, code="context_length_exceeded"), "failed", "context_length_exceeded", True),
        (SomeError("x", status_code=400, code=None, type="invalid"), "failed", "invalid", True),
        (SomeError("x", status_code=504, code="504"), "timeout", "SomeError", False),
        (SomeError("x", status_code=200, type="overloaded_error"), "failed", "overloaded_error", False),
        (SomeError("x", status_code=200, type="rate_limit_error"), "rate_limited", "rate_limit_error", False),
        (SomeError("x", code=429, status="RESOURCE_EXHAUSTED"), "rate_limited", "RESOURCE_EXHAUSTED", True),
        (SomeError("x", status_code=400, code="c" * 99), "failed", "c" * 50, True),
        (TimeoutError(), "timeout", "TimeoutError", False),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt", False),
        (ValueError("x"), "failed", "ValueError", False),
    ],
)
def test_what_an_exception_says(error: BaseException, status: str, code: str, was_refused: bool) -> None:
    failure = failure_of(error)
    assert (failure.status, failure.code, failure.was_refused) == (ApiCallStatus(status), code, was_refused)
    assert failure.message


def test_groqs_stream_has_its_usage_elsewhere() -> None:
    reader = CHAT_COMPLETIONS.reader()
    reader.add({"choices": [{"index": 0, "delta": {"content": "x"}}]})
    reader.add(
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "x_groq": {"usage": {"prompt_tokens": 1}}}
    )
    assert reader.answer.usage == {"prompt_tokens": 1}
    assert reader.answer.is_done


def test_a_whole_answer_needs_no_reason_to_end() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": None}
    reader, chunks = CHAT_COMPLETIONS.reader(), CHAT_COMPLETIONS.reader()
    reader.add({"choices": [choice]})
    assert reader.answer.is_complete
    chunks.add({"choices": [{**choice, "delta": {"content": "x"}}], "usage": {"prompt_tokens": 1}})
    assert not chunks.answer.is_complete, "some servers say the whole so far in every chunk"


@pytest.mark.parametrize("body", [None, "text", {}, {"error": "text"}, {"error": {"message": "m", "type": "t"}}, [1]])
def test_what_a_body_says(body: Any) -> None:
    failure = failure_said(500, body, name="InternalServerError")
    is_object = isinstance(body, Mapping) and isinstance(body.get("error"), Mapping)
    assert failure.code == ("t" if is_object else "InternalServerError")
    assert failure.message


@given(st.text(), st.sampled_from(["", "\0", "\ud83d\ude00", "\ud83d"]))
def test_texts_are_what_a_record_takes(text: str, odd: str) -> None:
    plain = plain_text(text + odd)
    assert "\0" not in plain
    plain.encode()
    if odd == "":
        assert plain == text.replace("\0", "\ufffd")


def test_halves_of_a_character_are_put_together() -> None:
    assert plain_text("\ud83d\ude00") == "\U0001f600"


# Conversations


said_things = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), st.sampled_from("ab")), max_size=9
)


@given(said_things)
def test_ids_follow_from_what_came_before(things: list[tuple[str, str]]) -> None:
    history = [Said(role, {"text": text}) for role, text in things]
    session = str(UUID(int=1))
    place, again = (Conversations().place(session, history) for _ in range(2))
    assert place == again
    assert Conversations().place(str(UUID(int=2)), history).new != place.new or not place.new
    ids = [message.id for message in place.new if message.said.role != "system"]
    assert len(set(ids)) == len(ids)
    longer = Conversations().place(session, [*history, Said("assistant", {"text": "c"}), Said("user", {"text": "d"})])
    assert [message.said.content["text"] for message in longer.new] == ["d"]
    known = {message.id for message in place.new}
    assert not known & {message.id for message in longer.new}


def test_providers_are_known_by_their_hosts() -> None:
    assert provider_at("my-thing.openai.azure.com", "openai") == "azure"
    assert provider_at("API.DeepSeek.com.", "openai") == "deepseek"
    assert provider_at("not-openrouter.ai", "openai") == "openai"
    assert provider_at("localhost", "anthropic") == "anthropic"
