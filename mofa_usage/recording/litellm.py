"""LiteLLM: a callback that records its calls (extra `litellm`).

LiteLLM tells of a call by an id: `log_pre_api_call` before it is sent, on the caller's side, and one or two events of
success or failure, in whatever thread or loop, perhaps long after. So the scope and the times before are taken at the
first, and the times of the rest are those that LiteLLM has measured.

What it says is not always what the provider said. Taken are only what is:

| LiteLLM | here |
|---|---|
| counts of a stream that was not asked for them | `estimated`, without the cost that LiteLLM makes of them |
| a cost of 0, also where it knows no price | no price; the book of prices is asked |
| tokens 0 of a failure | unknown |
| `chatcmpl-...` in place of another provider's id, its own name of a response | no id, the id that is in it |
| the asked model as that of a stream | what the provider said, which is in `_hidden_params` |
| an answer out of its cache | no call |
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mofa_usage.errors import require
from mofa_usage.recording.callbacks import Run, Runs
from mofa_usage.recording.formats.answers import Format, mapping, mappings, text_or_none
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.formats.others import EMBEDDINGS, IMAGES, SPEECH, TEXT_COMPLETIONS, TRANSCRIPTIONS
from mofa_usage.recording.formats.responses import RESPONSES
from mofa_usage.recording.recorder import Recorder
from mofa_usage.recording.sdks.hosts import provider_at, provider_named

require("litellm", extra="litellm")

from litellm.integrations.custom_logger import CustomLogger  # noqa: E402 (first it is looked for)

__all__ = ["LiteLLMCallback"]

_FORMATS: Mapping[str, Format] = {
    "completion": CHAT_COMPLETIONS,
    "embedding": EMBEDDINGS,
    "image_edit": IMAGES,
    "image_generation": IMAGES,
    "responses": RESPONSES,
    "speech": SPEECH,
    "text_completion": TEXT_COMPLETIONS,
    "transcription": TRANSCRIPTIONS,
}
_PATIENCE = 5.0  # seconds
_POLL = 0.005
_SECRETS = ("key", "token", "secret", "password")
_INVENTED = "chatcmpl-"
_REQUEST_IDS = ("llm_provider-x-request-id", "llm_provider-request-id")


class LiteLLMCallback(CustomLogger):
    """Records what LiteLLM asks for: `litellm.callbacks = [LiteLLMCallback(recorder)]`.

    Chats, responses, text completions, embeddings, images, speech and transcriptions. It never raises and never waits.
    Attempts that the SDK below tries again, and calls that are cancelled or closed early, no callback of LiteLLM sees:
    a recorded client does (`client=recorder.wrap(OpenAI())`), and then the callback leaves the call to it.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._runs = Runs(recorder.observer)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """It is about to be sent."""
        with self._runs.guarded():
            self._begin(kwargs)

    def log_post_api_call(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It was answered; of some providers there is no such event."""
        with self._runs.guarded():
            if (run := self._runs.open(kwargs.get("litellm_call_id"))) is not None:
                run.answers()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It is answered, to the end."""
        with self._runs.guarded():
            self._succeed(kwargs, response_obj, start_time, end_time)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """The same; of some calls both come."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It failed, in whole or in the midst of a stream."""
        with self._runs.guarded():
            # What failed before it was sent has asked nothing of a model.
            if (run := self._runs.take(kwargs.get("litellm_call_id"))) is not None:
                error = kwargs.get("exception")
                error = error if isinstance(error, BaseException) else RuntimeError("it failed")
                seconds, first = _measured(run, kwargs, end_time)
                run.happened(seconds, first=first, error=error)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """The same of an asynchronous call."""
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def flush(self, timeout: float = _PATIENCE) -> bool:
        """Wait until LiteLLM has told how its calls ended, which it does a little later; whether it has, of all.

        At most so many seconds: of a call that was cancelled or left it never tells. Do so before the recorder closes.
        """
        end = time.monotonic() + timeout
        while not self._runs.are_over and time.monotonic() < end:
            time.sleep(_POLL)
        return self._runs.are_over

    async def aflush(self, timeout: float = _PATIENCE) -> bool:  # noqa: ASYNC109 (as `flush` has it)
        """`flush` for a task of the event loop that LiteLLM is used in."""
        end = time.monotonic() + timeout
        while not self._runs.are_over:
            if time.monotonic() >= end:
                break
            await asyncio.sleep(_POLL)
        return self._runs.are_over

    def _begin(self, kwargs: Mapping[str, Any]) -> Run | None:
        """A call, or another attempt at it: LiteLLM's own retries and fallbacks keep its id."""
        form = _FORMATS.get(str(kwargs.get("call_type")).removeprefix("a"))
        if form is None:
            return None
        key, body = kwargs.get("litellm_call_id"), _body(kwargs)
        sent = mapping(kwargs.get("additional_args")).get("complete_input_dict")
        sent = sent if isinstance(sent, Mapping) else None
        provider, secrets = _provider(kwargs), _secrets(kwargs)
        if (run := self._runs.open(key) or self._runs.ended(key)) is not None:
            run.again(body, kwargs.get("exception"), provider=provider, secrets=secrets, sent=sent)
        else:
            run = Run(self._runs, form, body, provider=provider, secrets=secrets, sent=sent)
        self._runs.begun(key, run)
        return run

    def _succeed(self, kwargs: Mapping[str, Any], response: Any, start: Any, end: Any) -> None:
        key = kwargs.get("litellm_call_id")
        if kwargs.get("cache_hit"):
            return
        run = self._runs.take(key)
        if run is None:
            # Some of LiteLLM's providers, such as those of users, are asked without a word before.
            if self._runs.ended(key) is not None or self._begin(kwargs) is None:
                return
            if (run := self._runs.take(key)) is None:
                return
            if isinstance(start, datetime):
                run.attempt.started = start.astimezone(UTC)
        hidden = mapping(getattr(response, "_hidden_params", None))
        headers = mapping(hidden.get("additional_headers"))
        request_id = next((headers[name] for name in _REQUEST_IDS if text_or_none(headers.get(name))), None)
        run.attempt.answered(200, request_id=request_id)
        run.attempt.add(_answer(kwargs, response, hidden))
        seconds, first = _measured(run, kwargs, end)
        run.happened(seconds, first=first)


def _body(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, as its format has it."""
    said, options = kwargs.get("messages"), mapping(kwargs.get("optional_params"))
    asked = kwargs.get("input")
    body: dict[str, Any] = {"model": kwargs.get("model"), "instructions": options.get("instructions")}
    if isinstance(said, list):
        body["messages"] = said = [_plain(message) for message in said]  # users give its answers back to it
    body["input"] = list(asked) if isinstance(asked, list) else asked
    prompts = [asked] if isinstance(asked, str) else [message.get("content") for message in mappings(said)]
    body["prompt"] = prompts[0] if len(prompts) == 1 else None
    return body


def _answer(kwargs: Mapping[str, Any], response: Any, hidden: Mapping[str, Any]) -> dict[str, Any]:
    """What is answered, without what LiteLLM made up."""
    data = _plain(response)
    usage = _plain(getattr(response, "usage", None) or data.get("usage"))
    cost, said_cost = kwargs.get("response_cost"), usage.pop("cost", None)
    if _is_estimate(kwargs, usage):
        usage |= {"token_source": "estimated"}
    elif price := cost or said_cost:
        usage["cost"] = price
    data["usage"] = usage or None
    data["model"] = hidden.get("provider_response_model") or data.get("model")
    data["id"] = _response_id(data.get("id"), kwargs)
    return data


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    return dict(dump(warnings=False)) if dump is not None else {}  # its types are not always what they say


def _is_estimate(kwargs: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    """Whether LiteLLM may have counted itself, which it does without a word where a stream says no usage.

    Its own counts never have details of the prompt.
    """
    options = mapping(kwargs.get("optional_params"))
    if not (kwargs.get("stream") or options.get("stream")) or usage.get("prompt_tokens_details"):
        return False
    return not mapping(options.get("stream_options")).get("include_usage")


def _response_id(said: Any, kwargs: Mapping[str, Any]) -> str | None:
    name = text_or_none(said)
    if name is None:
        return None
    if name.startswith(_INVENTED) and _provider(kwargs) not in ("openai", "azure"):
        return None
    if name.startswith("resp_"):
        try:
            whole = base64.b64decode(name.removeprefix("resp_"), validate=True).decode()
        except (binascii.Error, ValueError):
            return name  # the provider's own
        return whole.partition("response_id:")[2] or name
    return name


def _provider(kwargs: Mapping[str, Any]) -> str:
    params = mapping(kwargs.get("litellm_params"))
    name = provider_named(str(kwargs.get("custom_llm_provider") or params.get("custom_llm_provider") or "unknown"))
    if name != "openai":
        return name
    address = mapping(kwargs.get("additional_args")).get("api_base") or params.get("api_base") or ""
    host = getattr(address, "hostname", None) or str(address).partition("://")[2].partition("/")[0].partition(":")[0]
    return provider_at(host, name)


def _secrets(kwargs: Mapping[str, Any]) -> list[str]:
    """The keys of a call, which no message of an error may show."""
    named = [*mapping(kwargs.get("litellm_params")).items(), ("api_key", kwargs.get("api_key"))]
    return [key for name, value in named if any(word in name for word in _SECRETS) and (key := text_or_none(value))]


def _measured(run: Run, kwargs: Mapping[str, Any], end: Any) -> tuple[float, float | None]:
    """The seconds since it was sent, and until the first chunk. LiteLLM's clock has no zone."""
    began = run.attempt.started
    sent = kwargs.get("current_attempt_api_call_start_time") or kwargs.get("api_call_start_time")
    since = sent if isinstance(sent, datetime) else began.astimezone().replace(tzinfo=None)
    if not isinstance(end, datetime):
        return (datetime.now(UTC) - began).total_seconds(), None
    first = kwargs.get("completion_start_time") if kwargs.get("stream") else None
    seconds = max(0.0, (end - since).total_seconds())
    if not isinstance(first, datetime):
        return seconds, None
    return seconds, min(seconds, max(0.0, (first - since).total_seconds()))
