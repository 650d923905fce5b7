"""Clients of Google, Mistral and Ollama, plain or recorded, pointed at the tests' server; each is asked in one way."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import ollama
from google import genai
from google.genai import types
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

from mofa_usage import Recorder
from tests.recording.sdks.clients import KEY, QUESTION
from tests.recording.sdks.model_server import ModelServer

__all__ = [
    "KEY",
    "MODELS",
    "NO_TLS",
    "QUESTION",
    "SDKS",
    "aclosing",
    "ask",
    "closing",
    "create",
    "is_async",
    "made",
    "outcome",
    "provider_of",
    "says_prompt_first",
]

Client = Any
# `aiohttp` is what Google's asynchronous client takes where it is installed; the others send by httpx2 or httpx.
SDKS = (
    "google",
    "async google",
    "async google by aiohttp",
    "google interactions",
    "async google interactions",
    "mistral",
    "async mistral",
    "ollama",
    "async ollama",
)
# Certificates are slow to load, and there are none here.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
MODELS = {"google": "gemini-3-flash", "mistral": "mistral-small", "ollama": "llama3"}


def provider_of(sdk: str) -> str:
    return next(name for name in MODELS if name in sdk)


def says_prompt_first(sdk: str) -> bool:
    """Whether each chunk of its streams has the count of the prompt."""
    return "google" in sdk and "interactions" not in sdk


def is_async(sdk: str) -> bool:
    return sdk.startswith("async")


def made(sdk: str, server: ModelServer, *, retries: bool = False, timeout: float = 30) -> Client:
    """A client that tries again at once, or never."""
    return _MAKERS[provider_of(sdk)](sdk, server, retries, timeout)


def _google(sdk: str, server: ModelServer, retries: bool, timeout: float) -> Client:
    again = types.HttpRetryOptions(attempts=3 if retries else 1, initial_delay=0, max_delay=0, jitter=0)
    given: dict[str, Any] = {"client_args": {"verify": False}, "async_client_args": {"verify": False, "ssl": NO_TLS}}
    if sdk == "async google":
        given["httpx_async_client"] = httpx2.AsyncClient(verify=False)
    options = types.HttpOptions(base_url=server.url, timeout=int(timeout * 1000), retry_options=again, **given)
    client = genai.Client(api_key=KEY, http_options=options)
    return client.aio if is_async(sdk) else client


def _mistral(sdk: str, server: ModelServer, retries: bool, timeout: float) -> Client:
    http, async_http = httpx2.Client(verify=False), httpx2.AsyncClient(verify=False)
    again = RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, 10_000, jitter_ms=0), True)
    options: dict[str, Any] = {"retry_config": again} if retries else {}
    options |= {"client": http, "async_client": async_http, "timeout_ms": int(timeout * 1000)}
    return Mistral(api_key=KEY, server_url=f"{server.url}/mistral", **options)


def _ollama(sdk: str, server: ModelServer, retries: bool, timeout: float) -> Client:
    kind = ollama.AsyncClient if is_async(sdk) else ollama.Client
    return kind(host=server.url, timeout=timeout, verify=False, headers={"authorization": f"Bearer {KEY}"})


_MAKERS: Mapping[str, Callable[[str, ModelServer, bool, float], Client]] = {
    "google": _google,
    "mistral": _mistral,
    "ollama": _ollama,
}


@contextmanager
def closing(client: Client) -> Any:
    try:
        yield client
    finally:
        if isinstance(client, Mistral):
            both: Any = client.sdk_configuration
            both.client.close()
            asyncio.run(both.async_client.aclose())
        else:
            client.close()


@asynccontextmanager
async def aclosing(client: Client) -> AsyncIterator[Client]:
    try:
        yield client
    finally:
        if isinstance(client, Mistral):
            both: Any = client.sdk_configuration
            both.client.close()
            await both.async_client.aclose()
        elif isinstance(client, ollama.AsyncClient):
            await client._client.aclose()
        else:
            await client.aclose()
            given = client._api_client._http_options.httpx_async_client
            if given is not None:
                await given.aclose()


def ask(sdk: str, client: Client, history: Any = QUESTION, *, stream: bool = False) -> Any:
    """Ask one question, or go on with a history in the SDK's own words: an answer, a stream, or something to await."""
    model = MODELS[provider_of(sdk)]
    if "interactions" in sdk:
        return client.interactions.create(model=model, input=history, **({"stream": True} if stream else {}))
    if "google" in sdk:
        models = client.models
        return (models.generate_content_stream if stream else models.generate_content)(model=model, contents=history)
    messages = [{"role": "user", "content": history}] if isinstance(history, str) else history
    if "ollama" in sdk:
        return client.chat(model=model, messages=messages, stream=stream)
    name = ("stream" if stream else "complete") + ("_async" if is_async(sdk) else "")
    return getattr(client.chat, name)(model=model, messages=messages)


def create(sdk: str, server: ModelServer, recorder: Recorder | None = None, *, stream: bool, **options: Any) -> Any:
    """Call the SDK to the end: the answer, or the list of what the stream gave; raises what it raises."""

    def make() -> Client:
        client = made(sdk, server, **options)
        return client if recorder is None else recorder.wrap(client)

    if not is_async(sdk):
        with closing(make()) as client:
            answer = ask(sdk, client, stream=stream)
            return list(answer) if stream else answer

    async def run() -> Any:
        async with aclosing(make()) as client:
            answer = await ask(sdk, client, stream=stream)
            return [item async for item in answer] if stream else answer

    return asyncio.run(run())


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What came of a call, to be compared: the answers, or the kind of error with what it says."""
    try:
        answer = call()
    except Exception as error:
        said = [getattr(error, name, None) for name in ("status_code", "code", "status", "message", "body", "details")]
        return (type(error), str(error), type(error.__cause__), said)
    items = answer if isinstance(answer, list) else [answer]
    return tuple((type(item), _dump(item)) for item in items)


def _dump(item: Any) -> Any:
    said = item.model_dump(exclude_unset=True) if hasattr(item, "model_dump") else {"text": item}
    if "sdk_http_response" in said:
        said["sdk_http_response"]["headers"] = _undated(said["sdk_http_response"]["headers"])
    return said


def _undated(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "date"}
