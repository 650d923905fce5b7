"""The clients of the SDKs, plain or recorded, pointed at the tests' server; and ways to use each that end alike."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import httpx2
import openai

from mofa_usage import Recorder
from tests.recording.sdks.model_server import PAUSE, ModelServer

TIMEOUT = PAUSE / 2  # of the calls that are to take too long
QUESTION = "What is Rust in a few words"
KEY = "sk-very-secret-key"
Client = Any
Use = Callable[[Client, Any], Any]


def make(sdk: str, server: ModelServer, recorder: Recorder | None = None, **options: Any) -> Client:
    """A client: of `openai`, `async openai`, `anthropic`, `async anthropic`."""
    kinds: Mapping[str, Callable[..., Any]] = {
        "openai": openai.OpenAI,
        "async openai": openai.AsyncOpenAI,
        "anthropic": anthropic.Anthropic,
        "async anthropic": anthropic.AsyncAnthropic,
    }
    base = server.url if "anthropic" in sdk else f"{server.url}/v1"
    # Certificates are slow to load, and there are none here.
    http: Any = (httpx2.AsyncClient if sdk.startswith("async") else httpx2.Client)(verify=False)
    server.clients.append(http)
    usual = {"api_key": KEY, "base_url": base, "max_retries": 2, "timeout": 30, "http_client": http}
    client = kinds[sdk](**{**usual, **options})
    return client if recorder is None else recorder.wrap(client)


def asked(form: str, **further: Any) -> dict[str, Any]:
    """The arguments of a call with one question."""
    body: dict[str, Any] = {"model": "gpt-4o"}
    if form == "responses":
        body["input"] = QUESTION
    else:
        body["messages"] = [{"role": "user", "content": QUESTION}]
    if form == "messages":
        body |= {"model": "claude-sonnet", "max_tokens": 100}
    return {**body, **further}


def resource(client: Client, form: str) -> Any:
    """What `create` is called on."""
    return {"chat": lambda: client.chat.completions, "responses": lambda: client.responses}.get(
        form, lambda: client.messages
    )()


FORMS = [("openai", "chat"), ("openai", "responses"), ("anthropic", "messages")]


def create(sdk: str, form: str, server: ModelServer, recorder: Recorder | None = None, **further: Any) -> Any:
    """Call the SDK to the end: the answer, or the list of what the stream gave; raises what it raises."""
    options = {name: further.pop(name) for name in ("max_retries", "timeout") if name in further}
    if not sdk.startswith("async"):
        with make(sdk, server, recorder, **options) as client:
            answer = resource(client, form).create(**asked(form, **further))
            return list(answer) if further.get("stream") else answer

    async def run() -> Any:
        async with make(sdk, server, recorder, **options) as client:
            answer = await resource(client, form).create(**asked(form, **further))
            return [item async for item in answer] if further.get("stream") else answer

    return asyncio.run(run())


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """What came of a call, to be compared: the answer, or the kind of error with what it says."""
    try:
        answer = call()
    except Exception as error:
        cause = error.__cause__
        said = (str(error), getattr(error, "status_code", None), getattr(error, "request_id", None))
        return (type(error), said, type(cause), getattr(error, "code", None), getattr(error, "type", None))
    items = answer if isinstance(answer, list) else [answer]
    return tuple((type(item), dump(item)) for item in items)


def dump(item: Any) -> Any:
    """All of an object of an SDK, what was not set left out."""
    return item.model_dump(exclude_unset=True) if hasattr(item, "model_dump") else item
