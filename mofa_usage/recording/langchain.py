"""LangChain: a callback handler that records the calls of any of its models (extra `langchain`).

A handler is told of the messages of a call, of each piece of its answer, and of its end, under the id of a run. It runs
inline, in the context of who asks: that is where the scope is, and where a recorded client inside the model is heard.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from mofa_usage.errors import require
from mofa_usage.recording.callbacks import Run, Runs
from mofa_usage.recording.formats.answers import Format, mapping, text_or_none
from mofa_usage.recording.formats.framework_messages import FRAMEWORK_COMPLETIONS, FRAMEWORK_MESSAGES
from mofa_usage.recording.recorder import Recorder
from mofa_usage.recording.sdks.hosts import provider_at, provider_named

require("langchain_core", extra="langchain")

from langchain_core.callbacks import BaseCallbackHandler  # noqa: E402 (first it is looked for)

__all__ = ["LangChainCallback"]

_FINISHED = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_SAYS_FINISHED = ("anthropic", "azure", "deepseek", "openai", "x-ai")
_ADDRESSES = ("openai_api_base", "base_url", "anthropic_api_url")


class LangChainCallback(BaseCallbackHandler):
    """Records the calls of models: `config={"callbacks": [LangChainCallback(recorder)]}`, or `callbacks=` of a model.

    Chats and text completions, also in streams; embeddings have no callbacks. It never raises and never waits. Attempts
    that the SDK below tries again, and an `ainvoke` that is cancelled, no callback of LangChain sees: a recorded client
    inside the model does, and then the callback leaves the call to it. An answer out of LangChain's cache is no call.
    """

    run_inline = True
    ignore_agent = ignore_chain = ignore_custom_event = ignore_retriever = ignore_retry = True

    def __init__(self, recorder: Recorder) -> None:
        self._runs = Runs(recorder.observer)

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: Any = None,
        metadata: Any = None,
        **further: Any,
    ) -> None:
        """A chat begins."""
        with self._runs.guarded():
            said = [_message(message) for message in messages[0]]
            self._begin(FRAMEWORK_MESSAGES, said, run_id, parent_run_id, (serialized, metadata, further))

    def on_llm_start(
        self,
        serialized: Any,
        prompts: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: Any = None,
        metadata: Any = None,
        **further: Any,
    ) -> None:
        """A text is to be gone on with."""
        with self._runs.guarded():
            said = [{"role": "user", "content": prompts[0]}]
            self._begin(FRAMEWORK_COMPLETIONS, said, run_id, parent_run_id, (serialized, metadata, further))

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **further: Any) -> None:
        """A piece of an answer has come, perhaps an empty one."""
        if (run := self._runs.open(run_id)) is None or run.attempt.answer.has_content:
            return
        with self._runs.guarded():
            _begin_stream(run)
            message = getattr(chunk, "message", None)
            calls = getattr(message, "tool_call_chunks", None)
            run.attempt.add({"content": token, "tool_calls": [{}] if calls else None})

    def on_llm_end(self, response: Any, *, run_id: UUID, **further: Any) -> None:
        """It is answered, or its stream is at its end."""
        if (run := self._runs.take(run_id)) is None:
            return
        with self._runs.guarded():
            answer = _answer(response, run)
            if mapping(answer["usage"]).get("total_cost") == 0:
                run.leave()  # it is out of LangChain's cache
            if run.attempt.http_status is None:
                run.attempt.answered(200, request_id=answer["request_id"])
            run.attempt.add(answer)
            run.end()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **further: Any) -> None:
        """It failed, was cancelled, or its stream was closed."""
        if (run := self._runs.take(run_id)) is None:
            return
        with self._runs.guarded():
            is_closed = isinstance(error, GeneratorExit)
            if is_closed or run.attempt.answer.has_content:
                _begin_stream(run)
                run.attempt.add(_answer(further.get("response"), run))
            run.attempt.request_id = text_or_none(getattr(error, "request_id", None)) or run.attempt.request_id
            run.end(None if is_closed else error, was_closed=is_closed)

    def _begin(self, form: Format, said: list[Any], run_id: UUID, parent: UUID | None, told: Sequence[Any]) -> None:
        serialized, metadata, further = map(mapping, told)
        options = mapping(further.get("invocation_params"))
        model = metadata.get("ls_model_name") or options.get("model") or options.get("model_name")
        body = {"model": model, "messages": said}
        if (outer := self._runs.open(parent)) is not None:
            outer.leave()  # a model that asks another one
        run = Run(self._runs, form, body, provider=_provider(serialized, metadata, options))
        self._runs.begun(run_id, run)


def _begin_stream(run: Run) -> None:
    run.answers()
    if run.attempt.http_status is None:
        run.attempt.answered(200, is_stream=True)


def _provider(serialized: Mapping[str, Any], metadata: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    name = provider_named(str(metadata.get("ls_provider") or options.get("_type") or "unknown"))
    made = mapping(serialized.get("kwargs"))
    address = next((text for key in _ADDRESSES if (text := text_or_none(made.get(key)))), "")
    return provider_at(address.partition("://")[2].partition("/")[0].partition(":")[0], name)


def _message(message: Any) -> dict[str, Any]:
    """One of LangChain's messages."""
    role = getattr(message, "type", None)
    return {
        "role": getattr(message, "role", None) if role == "chat" else role,
        "content": getattr(message, "content", None),
        "tool_calls": getattr(message, "tool_calls", None),
        "tool_call_id": getattr(message, "tool_call_id", None),
        "is_error": getattr(message, "status", None) == "error",
        "name": getattr(message, "name", None),
    }


def _answer(response: Any, run: Run) -> dict[str, Any]:
    """The first of the generations of a result, and what is said beside them."""
    generations = getattr(response, "generations", None) or [[]]
    first = next(iter(generations[0]), None)
    beside = mapping(getattr(response, "llm_output", None))
    message = getattr(first, "message", None)
    said: dict[str, Any]
    said = {"role": "ai", "content": getattr(first, "text", "")} if message is None else _message(message)
    metadata = {**beside, **mapping(getattr(first, "generation_info", None))}
    metadata |= mapping(getattr(message, "response_metadata", None))
    usage = getattr(message, "usage_metadata", None) or metadata.get("token_usage") or metadata.get("usage")
    is_stream = run.attempt.http_status is not None
    has_finished = any(metadata.get(key) for key in _FINISHED)
    name = text_or_none(metadata.get("id")) or text_or_none(getattr(message, "id", None))
    return {
        **said,
        "usage": dict(usage) if isinstance(usage, Mapping) and usage else None,
        "model": metadata.get("model_name") or metadata.get("model"),
        "id": None if name is None or name.startswith(("run-", "lc_run-")) else name,  # LangChain's own
        "service_tier": metadata.get("service_tier"),
        "request_id": text_or_none(metadata.get("request_id")),
        "is_complete": has_finished or not is_stream or run.request.provider not in _SAYS_FINISHED,
    }
