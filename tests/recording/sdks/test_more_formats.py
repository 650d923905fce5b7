"""The formats of Google, Mistral and Ollama, and compressed answers, without any SDK."""

import sys
import types
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage.recording.completing import completed
from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats import Format
from mofa_usage.recording.formats.google_contents import GOOGLE_CONTENTS, GOOGLE_EMBEDDINGS
from mofa_usage.recording.formats.google_interactions import GOOGLE_INTERACTIONS
from mofa_usage.recording.formats.mistral_chat import MISTRAL_CHAT, MISTRAL_FIM
from mofa_usage.recording.formats.ollama_chat import OLLAMA_CHAT, OLLAMA_EMBEDDINGS, OLLAMA_GENERATE
from mofa_usage.recording.sdks.wire import Wire
from tests.proofs import trials
from tests.recording.sdks.counted import TOOL
from tests.recording.sdks.more_answers import speech_of
from tests.recording.sdks.test_formats import feed, json_values

PATHS: dict[str, Format] = {
    "/v1beta/models/m:streamGenerateContent": GOOGLE_CONTENTS,
    "/v1beta/interactions": GOOGLE_INTERACTIONS,
    "/mistral/v1/chat/completions": MISTRAL_CHAT,
    "/api/chat": OLLAMA_CHAT,
    "/api/generate": OLLAMA_GENERATE,
}
FORMATS: list[Format] = [*PATHS.values(), GOOGLE_EMBEDDINGS, MISTRAL_FIM, OLLAMA_EMBEDDINGS]
NAMES = [
    "contents",
    "candidates",
    "usageMetadata",
    "choices",
    "messages",
    "message",
    "error",
    "done",
    "prompt",
    "model",
]
BODY = {"model": "m", "messages": [{"content": "a b"}], "contents": [{"parts": [{"text": "a b"}]}], "prompt": "a b"}
BODY["input"] = "a b"


@pytest.mark.parametrize("step", ["ok", "tool"])
@pytest.mark.parametrize("path", PATHS)
def test_the_events_of_a_stream_say_what_the_whole_says(path: str, step: str) -> None:
    speech = speech_of(path)
    assert speech is not None
    said = speech.whole(path, BODY, step)
    whole, pieces = PATHS[path].reader(), PATHS[path].reader()
    whole.add(said)
    for event in speech.events(said, step):
        data = event.get("data", event.get("line"))
        if isinstance(data, dict):
            assert not pieces.answer.is_complete
            pieces.add(data)
    assert pieces.content() == whole.content()
    assert (pieces.content() or {}).get("tool_calls", [{}])[0].get("arguments", TOOL) == TOOL
    for name in ("response_id", "model", "usage", "is_complete", "has_content"):
        assert getattr(pieces.answer, name) == getattr(whole.answer, name)
    assert completed({"usage": whole.answer.usage, "status": "success"})["total_tokens"] > 4


@pytest.mark.proof
@pytest.mark.parametrize("form", FORMATS)
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


# Google


def google(usage: Mapping[str, Any], *, finish: str | None = "STOP", parts: Any = ()) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts)}, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "usageMetadata": usage}


def counted(*chunks: Mapping[str, Any]) -> tuple[int, int, str]:
    reader = GOOGLE_CONTENTS.reader()
    for chunk in chunks:
        reader.add(chunk)
    whole = completed({"usage": reader.answer.usage, "status": "success"})
    details = whole["completion_tokens_details"] or {}
    return whole["prompt_tokens"], whole["completion_tokens"], details.get("token_source", "provider")


def test_google_counts_tools_and_thoughts() -> None:
    usage = {"promptTokenCount": 10, "toolUsePromptTokenCount": 3, "thoughtsTokenCount": 5, "candidatesTokenCount": 2}
    assert counted(google({**usage, "totalTokenCount": 20})) == (13, 7, "provider")


def test_counts_of_google_before_the_end_are_of_the_prompt_only() -> None:
    begun = google({"promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11}, finish=None)
    assert counted(begun) == (10, 0, "partial")
    assert counted(begun, google({"promptTokenCount": 10, "candidatesTokenCount": 4})) == (10, 4, "provider")


def test_google_leaves_out_a_count_of_nothing() -> None:
    usage = {"promptTokenCount": 10, "thoughtsTokenCount": 8, "totalTokenCount": 18}
    assert counted(google(usage, finish="MAX_TOKENS")) == (10, 8, "provider")
    assert counted(google({"promptTokenCount": 10}, finish="STOP")) == (10, 0, "partial")


def test_a_prompt_that_google_refuses_is_answered() -> None:
    reader = GOOGLE_CONTENTS.reader()
    usage = {"promptTokenCount": 10, "totalTokenCount": 10}
    reader.add({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage})
    assert reader.answer.is_complete
    assert completed({"usage": reader.answer.usage, "status": "success"})["total_tokens"] == 10
    assert reader.content() is None


def test_parts_of_google() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    thought = {"text": "hm", "thought": True, "thoughtSignature": "x"}
    call = {"functionCall": {"id": "f-1", "name": "weather", "args": TOOL}, "thoughtSignature": "x"}
    reader = GOOGLE_CONTENTS.reader()
    reader.add(google({}, parts=[thought, {"text": "Look"}, call, {"thoughtSignature": "x"}]))
    tool = {"id": "f-1", "name": "weather", "arguments": TOOL}
    assert reader.content() == {"text": "Look", "tool_calls": [tool], "reasoning": "hm"}
    failed = {"functionResponse": {"id": "f-1", "name": "weather", "response": {"error": "no way"}}}
    contents = [
        {"role": "user", "parts": [image, {"text": "What is it?"}]},
        {"role": "model", "parts": [thought, {"text": "Lo"}]},
        {"role": "model", "parts": [{"text": "ok"}, call]},
        {"role": "user", "parts": [failed]},
    ]
    system = {"parts": [{"text": "Be short."}]}
    result = {"tool_call_id": "f-1", "content": '{"error": "no way"}', "is_error": True}
    assert GOOGLE_CONTENTS.said({"systemInstruction": system, "contents": contents}) == [
        Said("system", {"text": "Be short."}),
        Said("user", {"text": "What is it?", "parts": [image]}),
        Said("assistant", {"text": "Look", "tool_calls": [tool], "reasoning": "hm"}),
        Said("tool", {"tool_result": result}),
    ]


def test_embeddings_of_vertex_say_their_tokens() -> None:
    reader = GOOGLE_EMBEDDINGS.reader()
    item = {"embeddings": {"values": [0.5], "statistics": {"token_count": 3.0}}}
    reader.add({"predictions": [item, item]})
    assert (reader.answer.is_complete, reader.answer.usage) == (True, {"prompt_tokens": 6})


# Mistral


def test_what_mistral_thinks_aloud() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm, "}]}
    reader = MISTRAL_CHAT.reader()
    for content in ([thinking], [thinking, {"type": "text", "text": "It "}], "is."):
        reader.add({"choices": [{"index": 0, "delta": {"content": content}}]})
    assert reader.content() == {"text": "It is.", "reasoning": "hm, hm, "}
    message = {"role": "assistant", "content": [thinking, {"type": "text", "text": "It is."}]}
    assert MISTRAL_CHAT.said({"messages": [message]}) == [Said("assistant", {"text": "It is."})]


def test_an_error_in_a_stream_of_mistral() -> None:
    reader = MISTRAL_CHAT.reader()
    error = {"object": "error", "message": "too much", "type": "overloaded", "code": "3000"}
    reader.add(error)
    assert reader.answer.error == error


# Ollama


def test_ollama_thinks_and_sees() -> None:
    reader = OLLAMA_CHAT.reader()
    reader.add({"message": {"thinking": "hm"}, "done": False})
    assert reader.answer.has_content
    reader.add({"message": {"content": "A cat"}, "done": False})
    reader.add({"message": {}, "done": True, "eval_count": 4})
    assert reader.content() == {"text": "A cat", "reasoning": "hm"}
    assert reader.answer.usage == {"eval_count": 4}
    asked = {"role": "user", "content": "What is it?", "images": ["aGk="]}
    image = {"type": "image", "data": "aGk="}
    assert OLLAMA_CHAT.said({"messages": [asked]}) == [Said("user", {"text": "What is it?", "parts": [image]})]
    texts = OLLAMA_GENERATE.said({"system": "Be short.", "prompt": "What is it?", "images": ["aGk="]})
    assert texts == [Said("system", {"text": "Be short."}), Said("user", {"text": "What is it?", "parts": [image]})]


# Compressed answers


@pytest.mark.parametrize("method", ["process", "decompress"])
def test_what_another_package_can_decompress(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of that name have one of two methods; this one undoes what Python itself can."""
    module = types.ModuleType("brotli")
    decompressor = type("Decompressor", (), {method: lambda self, data: zlib.decompress(data)})
    module.Decompressor = decompressor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brotli", module)
    assert feed("application/json", zlib.compress(b'{"a": 1}'), [], encoding="br") == [{"a": 1}]


def garbled(data: bytes) -> bool:
    wire = Wire({"content-type": "text/event-stream"}, lambda document: None, lambda: False)
    wire.feed(data)
    wire.end()
    return wire.garbled is not None


def test_what_is_garbled_is_known_from_what_was_cut_off() -> None:
    assert garbled(b'data: {"a": 1}\n\ndata: {"a":\n\ndata: [DONE]\n\n')
    assert not garbled(b'data: {"a": 1}\n\ndata: {"a":')
    assert not garbled(b"data: [DONE]\n\n")
