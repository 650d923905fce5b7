"""What wrapping does to the clients of Google, Mistral and Ollama, and to those of HTTP inside; keys are nowhere."""

import asyncio
from typing import Any

import httpx
import httpx2
import ollama
import pytest
from google import genai
from google.genai import types
from mistralai.azure.client import MistralAzure
from mistralai.azure.client.models import UserMessage
from mistralai.client import Mistral

from mofa_usage import InMemoryStore, LLMApiCall, Recorder, UsageError
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, ModelServer
from tests.recording.sdks.more.clients import (
    KEY,
    NO_TLS,
    QUESTION,
    SDKS,
    aclosing,
    ask,
    closing,
    create,
    is_async,
    made,
)

SYNC = [sdk for sdk in SDKS if not is_async(sdk)]


@pytest.mark.parametrize("sdk", SDKS)
def test_the_client_stays_what_it_is(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    async def run() -> None:
        async with aclosing(made(sdk, server)) as plain:
            kind = type(plain)
            client = recorded.recorder.wrap(plain)
            assert client is plain
            assert isinstance(client, kind)
            assert repr(type(client)) == repr(kind)
            assert recorded.recorder.wrap(client) is client
            await ask(sdk, client)

    def run_sync() -> None:
        with closing(made(sdk, server)) as plain:
            assert recorded.recorder.wrap(recorded.recorder.wrap(plain)) is plain
            ask(sdk, plain)

    if is_async(sdk):
        asyncio.run(run())
    else:
        run_sync()
    assert len(recorded.calls()) == 1


@pytest.mark.parametrize("sdk", SYNC)
def test_two_recorders_see_the_same(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    store = InMemoryStore()
    with Recorder(store, prices=None) as other:
        with closing(recorded.recorder.wrap(other.wrap(made(sdk, server, retries=True)))) as client:
            server.plan(*[429, "ok"] if sdk != "ollama" else ["ok"])
            ask(sdk, client)
        assert other.flush(30)
    others = list(reversed(asyncio.run(store.query_api_calls())))
    mine = recorded.calls()
    assert [facts(call) for call in others] == [facts(call) for call in mine]
    assert len({call.id for call in (*others, *mine)}) == 2 * len(mine)


def facts(call: LLMApiCall) -> Any:
    return call.status, call.total_tokens, dict(call.labels)


def test_parts_of_mistral_that_were_there_before(server: ModelServer, recorded: Recorded) -> None:
    with closing(made("mistral", server, retries=True)) as client:
        chat, beta = client.chat, client.beta
        assert recorded.recorder.wrap(client).chat is chat
        assert type(beta.conversations).__name__ == "Conversations"
        server.plan(500, "ok")
        chat.complete(model="mistral-small", messages=[{"role": "user", "content": QUESTION}])
    assert [call.labels.get("retried") for call in recorded.calls()] == ["true", None]


@pytest.mark.parametrize("client", [types.Part(text=KEY), ollama.Message(role="user", content=KEY)])
def test_what_is_no_client_is_refused(client: Any, recorded: Recorded) -> None:
    with pytest.raises(UsageError, match="of its package it takes") as refused:
        recorded.recorder.wrap(client)
    assert KEY not in str(refused.value)


def test_another_version_of_an_sdk_is_refused(
    server: ModelServer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("google.genai._api_client.BaseApiClient._request_once")
    with (
        closing(made("google", server)) as client,
        pytest.raises(UsageError, match=r"no _request_once: pip install 'mofa-usage\[google-genai\]'"),
    ):
        recorded.recorder.wrap(client)


def test_a_client_of_http_that_is_no_httpx_is_refused(recorded: Recorded) -> None:
    class Sender:
        def send(self, request: Any, **_: Any) -> Any: ...

        def build_request(self, *_: Any, **__: Any) -> Any: ...

        def close(self) -> None: ...

    with pytest.raises(UsageError, match=r"Sender cannot be recorded: a client of httpx or httpx2 is needed"):
        recorded.recorder.wrap(Mistral(api_key=KEY, client=Sender()))


# What the transport does

DONE = {"model": "llama3", "done": True, "message": {"role": "assistant", "content": ANSWER}}


def test_transports_for_some_addresses(server: ModelServer, recorded: Recorded) -> None:
    proxied = httpx.MockTransport(lambda request: httpx.Response(200, json=DONE))
    client = recorded.recorder.wrap(ollama.Client(host="http://far.example", mounts={"http://far.example": proxied}))
    with closing(client):
        assert client.chat("llama3").done
        assert client._client._mounts[next(iter(client._client._mounts))].handler is proxied.handler
    assert recorded.call().token_source == "none"


def test_a_request_that_is_sent_elsewhere_is_one(server: ModelServer, recorded: Recorded) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/old/api/chat":
            return httpx.Response(307, headers={"location": "/new/api/chat"})
        return httpx.Response(200, json={**DONE, "prompt_eval_count": 1, "eval_count": 1})

    plain = ollama.Client(host="http://far.example/old", transport=httpx.MockTransport(answer))
    with closing(recorded.recorder.wrap(plain)) as client:
        client.chat("llama3", [{"role": "user", "content": QUESTION}])
    assert (recorded.call().status, recorded.call().total_tokens) == ("success", 2)


def test_an_answer_that_sends_elsewhere_without_the_question(recorded: Recorded) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(302, headers={"location": "/login"}, text="no"))
    plain = ollama.Client(host="http://far.example", transport=transport, follow_redirects=False)
    with closing(recorded.recorder.wrap(plain)) as client, pytest.raises(ollama.ResponseError):
        client.chat("llama3")
    assert (recorded.call().status, recorded.call().error_code) == ("failed", "unreadable_answer")


def test_vertex(recorded: Recorded) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(":predict"):
            embeddings = {"values": [0.5], "statistics": {"token_count": 3.0}}
            return httpx2.Response(200, json={"predictions": [{"embeddings": embeddings}]})
        candidate = {"content": {"role": "model", "parts": [{"text": ANSWER}]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 7, "candidatesTokenCount": 4, "totalTokenCount": 11}
        return httpx2.Response(200, json={"candidates": [candidate], "usageMetadata": usage})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = types.HttpOptions(httpx_client=http, async_client_args={"ssl": NO_TLS})
    plain = genai.Client(vertexai=True, api_key=KEY, http_options=options)
    with closing(http), closing(recorded.recorder.wrap(plain)) as client:
        client.models.generate_content(model="gemini-3-flash", contents=QUESTION)
        client.models.embed_content(model="text-embedding-005", contents=QUESTION)
    first, second = recorded.calls()
    assert (first.model_name, first.total_tokens, first.labels.get("operation")) == ("gemini-3-flash", 11, None)
    assert (second.model_name, second.total_tokens, second.labels["operation"]) == (
        "text-embedding-005",
        3,
        "embeddings",
    )


def test_mistral_of_azure(recorded: Recorded) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    whole = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(200, json=whole)))
    client = recorded.recorder.wrap(
        MistralAzure(api_key=KEY, server_url="https://x.services.ai.azure.com", client=http)
    )
    with closing(http):
        client.chat.complete(model="m", messages=[UserMessage(content=QUESTION)])
    assert (recorded.call().total_tokens, recorded.call().labels["provider"]) == (11, "azure")


@pytest.mark.parametrize("sdk", SDKS)
def test_keys_are_nowhere(sdk: str, server: ModelServer, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    server.plan("key")
    with pytest.raises(Exception, match=KEY):
        create(sdk, server, recorded.recorder, stream=False)
    call = recorded.call()
    assert call.error_message
    assert "***" in call.error_message
    for text in (call.model_dump_json(), caplog.text):
        assert KEY not in text


def test_a_key_in_the_address_is_nowhere(recorded: Recorded) -> None:
    def echo(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(403, json={"error": {"message": f"no such address: {request.url}"}})

    http = httpx2.Client(transport=httpx2.MockTransport(echo), params={"key": "key-in-the-address"})
    options = types.HttpOptions(httpx_client=http)
    with (
        closing(http),
        closing(recorded.recorder.wrap(genai.Client(api_key=KEY, http_options=options))) as client,
        pytest.raises(genai.errors.ClientError, match="key-in-the-address"),
    ):
        client.models.generate_content(model="gemini", contents=QUESTION)
    assert "key-in-the-address" not in recorded.call().model_dump_json()


@pytest.mark.parametrize("sdk", SYNC)
def test_what_cannot_be_read_does_not_reach_the_user(
    sdk: str, server: ModelServer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    with closing(recorded.recorder.wrap(made(sdk, server))) as client:
        monkeypatch.setattr("mofa_usage.recording.observed.Observer.request", fail)
        assert ask(sdk, client)
        assert list(ask(sdk, client, stream=True))
    assert caplog.text.count("could not be observed") == 1
    assert recorded.calls() == []
    caplog.clear()
