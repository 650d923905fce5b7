"""Whom an agent asks: an object with one method, which anybody can write; and those for the clients of SDKs.

```python
from mofa_usage import ChatClient, ChatMetadata, ChatRequest

class Echo:
    async def chat(self, request: ChatRequest):
        yield request.messages[-1].content.text.upper()                          # pieces of the answer, as they come
        yield ChatMetadata(model="echo-1", usage={"prompt_tokens": 3, "completion_tokens": 3})   # what else is known

client: ChatClient = Echo()
```

A client of OpenAI or Anthropic is asked by a task, a synchronous one in a thread. It is the user's, and stays as it is:
to see each attempt, the agent asks a copy of a plain one, which shares its connections.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mofa_usage.errors import UsageError
from mofa_usage.recording.agents.histories import anthropic_messages, openai_messages
from mofa_usage.recording.formats.answers import Format, Reader
from mofa_usage.recording.formats.anthropic_messages import ANTHROPIC_MESSAGES
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.classes import is_recorded
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.turns import ChatMetadata
from mofa_usage.records import LLMMessage

__all__ = ["ChatClient", "ChatRequest", "ChatSettings", "SDKChat", "sdk_chat"]

_MAX_TOKENS = 4096  # of an answer: Anthropic insists on a number, and this is MoFA's
_END: Any = object()
_OWN = ("messages", "model", "stream", "system")


@dataclass(frozen=True)
class ChatSettings:
    """How a model is to answer; what is None is the provider's to choose.

    Attributes:
        response_format: `text`, `json_object`, or the JSON of what the provider takes.
        thinking: any JSON; a word is OpenAI's `reasoning_effort`.
        custom_params: further keys of the request's body, which win.
        stream: whether answers are streamed; None where the caller decides.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    response_format: str | None = None
    thinking: Any = None
    custom_params: Mapping[str, Any] = field(default_factory=dict)
    stream: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.custom_params, Mapping):
            raise UsageError(f"custom_params is a JSON object, not a {type(self.custom_params).__name__}")
        if own := [key for key in _OWN if key in self.custom_params]:
            raise UsageError(f"custom_params holds {', '.join(own)}, which the agent itself says")
        _format(self.response_format)


@dataclass(frozen=True)
class ChatRequest:
    """What a model is asked.

    Attributes:
        model: its name; empty where the agent was given none.
        system: the system prompt.
        messages: the conversation, oldest first; the last one is the question.
        settings: how to answer.
        stream: pieces are wanted as they come.
    """

    model: str
    system: str | None
    messages: Sequence[LLMMessage]
    settings: ChatSettings
    stream: bool


class ChatClient(Protocol):
    """Asks a model."""

    def chat(self, request: ChatRequest) -> AsyncIterator[str | ChatMetadata]:
        """The pieces of the answer, and what is known beside them: an asynchronous generator. It may be closed before
        its end, and raises what goes wrong.
        """


@dataclass(frozen=True)
class _Wire:
    """How the clients of one SDK are asked.

    Attributes:
        form: how their answers look.
        create: the method that asks.
        body: its arguments.
        piece: the text in an event of a stream.
    """

    form: Format
    create: Callable[[Any], Callable[..., Any]]
    body: Callable[[ChatRequest, Any], dict[str, Any]]
    piece: Callable[[Mapping[str, Any]], str | None]


class SDKChat:
    """A client of OpenAI or Anthropic, as a `ChatClient`."""

    def __init__(self, client: Any, wire: _Wire, *, is_async: bool) -> None:
        self._client = client
        self._wire = wire
        self._is_async = is_async

    @property
    def secrets(self) -> list[str]:
        """The client's keys."""
        keys = (getattr(self._client, name, None) for name in ("api_key", "auth_token"))
        return [key for key in keys if isinstance(key, str) and key]

    def observed(self, observer: Observer) -> "SDKChat":
        """The same, asking a copy of a plain client that the observer sees; itself where the client is recorded.

        Raises:
            UsageError: it cannot be copied.
        """
        if is_recorded(self._client):
            return self
        from mofa_usage.recording.sdks import wrap

        try:
            copy = self._client.copy()
        except Exception as error:  # of a class of the user's own
            name = type(self._client).__name__
            raise UsageError(
                f"a {name} cannot be copied ({type(error).__name__}): give one that a recorder wraps"
            ) from error
        return SDKChat(wrap(copy, observer), self._wire, is_async=self._is_async)

    def check(self, request: ChatRequest) -> None:
        """Whether it can be asked so.

        Raises:
            UsageError: a setting that the provider has not.
        """
        self._wire.body(request, self._client)

    async def chat(self, request: ChatRequest) -> AsyncIterator[str | ChatMetadata]:
        """Ask, and give what comes."""
        reader = self._wire.form.reader()
        body = self._wire.body(request, self._client)
        answer = await self._run(self._wire.create(self._client), **body)
        if not request.stream:
            reader.add(_data(answer))
            if text := (reader.content() or {}).get("text"):
                yield text
        else:
            try:
                while (event := await self._next(answer)) is not _END:
                    data = _data(event)
                    reader.add(data)
                    if piece := self._wire.piece(data):
                        yield piece
            finally:
                if self._is_async:
                    await answer.close()
                else:
                    answer.close()
        yield _metadata(reader)

    async def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._is_async:
            return await function(*args, **kwargs)
        call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
        call.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear it
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])  # a thread cannot be stopped, and what it uses is known at its end
            raise

    async def _next(self, stream: Any) -> Any:
        return await (anext(stream, _END) if self._is_async else self._run(next, stream, _END))


def sdk_chat(client: Any) -> SDKChat | None:
    """The client of an SDK as a `ChatClient`; None if it is none that is known here."""
    packages = {cls.__module__.partition(".")[0] for cls in type(client).__mro__}
    if "openai" in packages:
        import openai

        if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
            return SDKChat(client, _OPENAI, is_async=isinstance(client, openai.AsyncOpenAI))
    if "anthropic" in packages:
        from anthropic import _base_client as base

        if isinstance(client, base.SyncAPIClient | base.AsyncAPIClient) and hasattr(client, "messages"):
            return SDKChat(client, _ANTHROPIC, is_async=isinstance(client, base.AsyncAPIClient))
    return None


# What is asked, in the words of each


def _openai_body(request: ChatRequest, client: Any) -> dict[str, Any]:
    settings, extra = request.settings, dict(request.settings.custom_params)
    messages = openai_messages(request.messages)
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.max_tokens is not None:
        # The old name is refused by OpenAI's new models, the new one is not known to some providers.
        is_own = provider_at(client.base_url.host, "openai") in ("openai", "azure")
        body["max_completion_tokens" if is_own else "max_tokens"] = settings.max_tokens
    if (form := _format(settings.response_format)) is not None:
        body["response_format"] = form
    if isinstance(settings.thinking, str):
        body["reasoning_effort"] = settings.thinking
    elif settings.thinking:
        extra.setdefault("thinking", settings.thinking)
    return _whole(body, extra, request)


def _anthropic_body(request: ChatRequest, client: Any) -> dict[str, Any]:
    settings, extra = request.settings, dict(request.settings.custom_params)
    stored = [message.content.text for message in request.messages if message.role == "system"]
    system = request.system or "\n\n".join(text for text in stored if text)
    body: dict[str, Any] = {"model": request.model, "messages": anthropic_messages(request.messages)}
    body["max_tokens"] = settings.max_tokens or _MAX_TOKENS
    if system:
        body["system"] = system
    if settings.temperature is not None:
        extra.setdefault("temperature", settings.temperature)  # today's SDK has no argument for it
    if settings.thinking:
        if not isinstance(settings.thinking, Mapping):
            raise UsageError(
                'for Anthropic, thinking is a JSON object such as {"type": "enabled", "budget_tokens": 2048}, not a '
                f"{type(settings.thinking).__name__}"
            )
        body["thinking"] = dict(settings.thinking)
    form = _format(settings.response_format) or {"type": "text"}
    if form.get("type") == "json_schema":
        extra.setdefault("output_config", {"format": form})
    elif form.get("type") != "text":
        raise UsageError(
            f"for Anthropic, response_format is text or the JSON of a json_schema, not {form.get('type')!r:.40}"
        )
    return _whole(body, extra, request)


def _whole(body: dict[str, Any], extra: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    if extra:
        body["extra_body"] = extra
    if request.stream:
        body["stream"] = True
    return body


def _format(text: str | None) -> dict[str, Any] | None:
    """A response format: a word, or JSON of one."""
    if not text or not text.strip():
        return None
    if not text.lstrip().startswith("{"):
        word = text.strip()
        return {"type": "json_object" if word == "json" else word}
    try:
        form: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"response_format is a word such as json_object, or JSON, and this is neither: {error}"
        ) from None
    return form


# What is answered


def _openai_piece(data: Mapping[str, Any]) -> str | None:
    for choice in data.get("choices") or ():
        if not choice.get("index") and (delta := choice.get("delta")):
            said = delta.get("content") or delta.get("refusal")
            return said if isinstance(said, str) else None
    return None


def _anthropic_piece(data: Mapping[str, Any]) -> str | None:
    delta = data.get("delta") if data.get("type") == "content_block_delta" else None
    return delta.get("text") if delta and delta.get("type") == "text_delta" else None


def _data(answer: Any) -> dict[str, Any]:
    """The JSON of what an SDK gives; nothing where a server answered something else."""
    return answer.model_dump(exclude_unset=True, warnings=False) if hasattr(answer, "model_dump") else {}


def _metadata(reader: Reader) -> ChatMetadata:
    answer = reader.answer
    content = {key: value for key, value in (reader.content() or {}).items() if key != "text"}
    labels = {"service_tier": str(answer.service_tier)} if answer.service_tier else {}
    return ChatMetadata(model=answer.model, id=answer.response_id, usage=answer.usage, content=content, labels=labels)


_OPENAI = _Wire(CHAT_COMPLETIONS, lambda client: client.chat.completions.create, _openai_body, _openai_piece)
_ANTHROPIC = _Wire(ANTHROPIC_MESSAGES, lambda client: client.messages.create, _anthropic_body, _anthropic_piece)
