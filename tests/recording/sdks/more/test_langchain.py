"""LangChain's handler: any way to ask a model, and a recorded client inside it, which sees more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from mofa_usage import ApiCallStatus
from mofa_usage.recording.formats.framework_messages import FRAMEWORK_MESSAGES
from mofa_usage.recording.langchain import LangChainCallback
from tests.recording.sdks.clients import KEY, QUESTION, make
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, CACHED, TOOL, ModelServer, Step

# Of counts that a provider leaves out LangChain has its doubts when it adds them up.
pytestmark = pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning")

SUCCESS, FAILED, CANCELLED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED, ApiCallStatus.CANCELLED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())
WAYS = ["invoke", "stream", "ainvoke", "astream"]


class Models:
    """Models with our handler, and ways to ask them to the end."""

    def __init__(self, recorded: Recorded, server: ModelServer) -> None:
        self.recorded, self.server = recorded, server
        self.handler = LangChainCallback(recorded.recorder)

    @contextmanager
    def model(self, *, has_client: bool = False, **options: Any) -> Iterator[ChatOpenAI]:
        http = httpx2.Client(verify=False)
        self.server.clients.append(http)
        usual = {"model": "gpt-4o", "base_url": f"{self.server.url}/v1", "api_key": KEY, "stream_usage": True}
        model = ChatOpenAI(**{**usual, "callbacks": [self.handler], "http_client": http, **options})
        if has_client:
            self.recorded.recorder.wrap(model.root_client)
        yield model

    def ask(self, way: str, question: Any = QUESTION, *, has_client: bool = False, **options: Any) -> Any:
        """The answer, or the list of what the stream gave."""
        if not way.startswith("a"):
            with self.model(has_client=has_client, **options) as model:
                return model.invoke(question) if way == "invoke" else list(model.stream(question))

        async def run() -> Any:
            async with httpx2.AsyncClient(verify=False) as http:
                with self.model(http_async_client=http, **options) as model:
                    if has_client:
                        self.recorded.recorder.wrap(model.root_async_client)
                    if way == "ainvoke":
                        return await model.ainvoke(question)
                    return [chunk async for chunk in model.astream(question)]

        return asyncio.run(run())

    def said(self) -> list[tuple[str, str | None]]:
        return [(message.role.value, message.content.text) for message in self.recorded.messages()]


@pytest.fixture
def models(recorded: Recorded, server: ModelServer) -> Iterator[Models]:
    with recorded.recorder.scope(user="alice", session="t-1", labels={"feature": "search"}):
        yield Models(recorded, server)


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer(way: str, api: str, models: Models) -> None:
    options = {"use_responses_api": True} if api == "responses" else {}
    models.ask(way, [SystemMessage("Be kind"), HumanMessage(QUESTION)], **options)
    call = models.recorded.call()
    assert (call.status, call.model_name, call.error_code) == (SUCCESS, "gpt-4o", None)
    prompt = PROMPT + 2
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (prompt, COMPLETION, "provider")
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.cached_tokens == CACHED
    assert call.completion_tokens_details is not None
    assert call.completion_tokens_details.reasoning_tokens == 1
    # Of a chat that is streamed LangChain does not give the id.
    assert call.api_response_id == (None if api == "chat" and "stream" in way else "c-1")
    wanted = {"provider": "openai", "served_model": "gpt-4o-2026", "service_tier": "default"}
    assert call.labels.items() >= {**wanted, "user": "alice", "feature": "search"}.items()
    assert call.latency_ms is not None
    assert (call.time_to_first_token_ms is not None) == ("stream" in way)
    assert (call.time_to_first_token_ms or 0) <= call.latency_ms
    assert models.said() == [("system", "Be kind"), ("user", QUESTION), ("assistant", ANSWER)]
    _, user, answer = models.recorded.messages()
    assert (call.request_message_id, call.response_message_id) == (user.id, answer.id)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_that_says_no_usage_has_none(way: str, models: Models) -> None:
    models.ask(way, stream_usage=False)
    call = models.recorded.call()
    assert (call.status, call.token_source, call.total_tokens) == (SUCCESS, "none", 0)


@pytest.mark.parametrize("way", WAYS)
def test_tools_and_what_they_said(way: str, models: Models, server: ModelServer) -> None:
    server.plan("tool")
    models.ask(way)
    calls = [{"name": "weather", "args": TOOL, "id": "call-1"}]
    history = [HumanMessage(QUESTION), AIMessage("", tool_calls=calls), ToolMessage("sunny", tool_call_id="call-1")]
    models.ask(way, history)
    first, second = models.recorded.calls()
    assert (first.time_to_first_token_ms is not None) == ("stream" in way)
    user, asked, told, answered = models.recorded.messages()
    assert asked.content.tool_calls is not None
    assert [(call.id, call.name, call.arguments) for call in asked.content.tool_calls] == [("call-1", "weather", TOOL)]
    assert told.content.tool_result is not None
    assert (told.content.tool_result.tool_call_id, told.content.tool_result.content) == ("call-1", "sunny")
    line = [message.parent_message_id for message in (user, asked, told, answered)]
    assert line == [None, user.id, asked.id, told.id]
    assert (first.request_message_id, first.response_message_id) == (user.id, asked.id)
    assert (second.request_message_id, second.response_message_id) == (told.id, answered.id)


def test_a_text_is_gone_on_with(models: Models, server: ModelServer) -> None:
    http = httpx2.Client(verify=False)
    server.clients.append(http)
    address = f"{server.url}/v1"
    model = OpenAI(model="gpt-instruct", api_key=KEY, base_url=address, http_client=http, callbacks=[models.handler])
    assert model.invoke(QUESTION) == ANSWER
    call = models.recorded.call()
    assert (call.labels["operation"], call.prompt_tokens, call.completion_tokens) == ("text_completion", PROMPT, 4)
    assert models.said() == [("user", QUESTION), ("assistant", ANSWER)]


def test_a_batch_and_a_chain(models: Models) -> None:
    with models.model() as model:
        chain: Any = RunnableLambda(lambda text: [HumanMessage(text)]) | model
        chain.batch(["one", "two", "three"], config={"callbacks": [models.handler]})
        model.generate([[HumanMessage("four")], [HumanMessage("five")]])
    assert [call.prompt_tokens for call in models.recorded.calls()] == [1] * 5
    assert {text for role, text in models.said() if role == "user"} == {"one", "two", "three", "four", "five"}


def test_embeddings_have_no_callbacks(models: Models, server: ModelServer) -> None:
    http = httpx2.Client(verify=False)
    server.clients.append(http)
    options: dict[str, Any] = {"model": "e", "api_key": KEY, "base_url": f"{server.url}/v1", "http_client": http}
    embeddings = OpenAIEmbeddings(check_embedding_ctx_length=False, **options)
    embeddings.embed_query(QUESTION)
    assert models.recorded.calls() == []


def test_an_answer_out_of_a_cache_is_no_call(models: Models, server: ModelServer) -> None:
    with models.model(cache=InMemoryCache()) as model:
        assert model.invoke(QUESTION).content == model.invoke(QUESTION).content == ANSWER
    assert len(server.asked) == 1
    assert models.recorded.call().status is SUCCESS


def test_a_model_of_ones_own(models: Models) -> None:
    """It says neither tokens nor why it ended."""
    model = FakeListChatModel(responses=[ANSWER, ANSWER], callbacks=[models.handler])
    model.invoke(QUESTION)
    list(model.stream(QUESTION))
    assert [(call.status, call.token_source) for call in models.recorded.calls()] == [(SUCCESS, "none")] * 2


REFUSALS = {400: FAILED, 401: FAILED, 404: FAILED, 422: FAILED, 429: LIMITED, 500: FAILED, 503: FAILED}


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("way", WAYS[::3])
def test_a_refusal(way: str, status: int, models: Models, server: ModelServer) -> None:
    server.plan(status)
    with pytest.raises(Exception, match=str(status)):
        models.ask(way, max_retries=0)
    call = models.recorded.call()
    assert call.status is REFUSALS[status]
    assert call.error_code
    assert call.error_message
    assert KEY not in repr(call)
    assert call.labels["request_id"] == "req-7"
    assert (call.total_tokens, call.token_source) == (0, "none" if status >= 500 else "provider")
    assert models.said() == [("user", QUESTION)]


def test_retries(models: Models, server: ModelServer) -> None:
    """Those of the SDK are invisible; LangChain's own are calls of their own."""
    server.plan(429, 500, "ok")
    models.ask("invoke", max_retries=2)
    assert (models.recorded.call().status, len(server.asked)) == (SUCCESS, 3)
    server.plan(429, "ok")
    with models.model(max_retries=0) as model:
        model.with_retry(wait_exponential_jitter=False).invoke(QUESTION)
    assert [call.status for call in models.recorded.calls()] == [SUCCESS, LIMITED, SUCCESS]


FAULTS: list[tuple[str, Step, ApiCallStatus]] = [
    ("invoke", "slow", TIMEOUT),
    ("invoke", "drop", FAILED),
    ("invoke", "garbage", FAILED),
    ("invoke", "page", FAILED),
    ("invoke", "empty", FAILED),
    ("stream", "slow", TIMEOUT),
    ("stream", "stall", TIMEOUT),
    ("stream", "cut", FAILED),
    ("stream", "error", FAILED),
    ("stream", "garbage", FAILED),
]


@pytest.mark.parametrize(("way", "step", "status"), FAULTS)
@pytest.mark.parametrize("colour", ["", "a"])
def test_a_failure(
    colour: str, way: str, step: Step, status: ApiCallStatus, models: Models, server: ModelServer
) -> None:
    server.plan(step)
    options: dict[str, Any] = {"timeout": TIMEOUT_SECONDS} if step in ("slow", "stall") else {}
    with pytest.raises(Exception):  # noqa: B017, PT011 (what each is, is LangChain's matter)
        models.ask(colour + way, max_retries=0, **options)
    call = models.recorded.call()
    assert (call.status, call.token_source) == (status, "none")
    assert call.error_code
    assert call.error_message
    assert KEY not in repr(call)
    said = models.said()
    assert said[0] == ("user", QUESTION)
    has_begun = step in ("stall", "cut", "error")
    assert len(said) == 1 + has_begun
    assert ANSWER.startswith(said[-1][1] or "") == has_begun


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_without_its_end(way: str, models: Models, server: ModelServer) -> None:
    """LangChain takes it for an answer."""
    server.plan("truncated")
    models.ask(way)
    call = models.recorded.call()
    assert (call.status, call.error_code, call.token_source) == (FAILED, "truncated", "none")


def test_a_stream_that_is_left(models: Models) -> None:
    with models.model() as model:
        for chunk in model.stream(QUESTION):
            if chunk.content:
                break
    call = models.recorded.call()
    assert (call.status, call.error_code, call.token_source) == (CANCELLED, "closed", "none")
    assert models.said() == [("user", QUESTION), ("assistant", ANSWER.split()[0])]


def test_a_stream_that_is_cancelled(models: Models, server: ModelServer) -> None:
    async def consume(model: ChatOpenAI, begun: asyncio.Event) -> None:
        async for chunk in model.astream(QUESTION):
            if chunk.content == " is":  # and nothing more for a while: what LangChain has already got it gives
                begun.set()

    async def run() -> None:
        begun = asyncio.Event()
        async with httpx2.AsyncClient(verify=False) as http:
            with models.model(http_async_client=http, stream_usage=False) as model:
                task = asyncio.create_task(consume(model, begun))
                await begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    server.plan("stall")
    asyncio.run(run())
    call = models.recorded.call()
    assert (call.status, call.error_code, call.token_source) == (CANCELLED, "CancelledError", "none")


def test_oddities_do_not_reach_the_user(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    run = models.recorded.recorder.identity.user_id
    models.handler.on_chat_model_start(None, None, run_id=run)
    models.handler.on_llm_new_token("", run_id=run)
    models.handler.on_llm_end(None, run_id=run)
    models.handler.on_llm_error(ValueError(), run_id=run)
    assert "could not be observed" in caplog.text
    caplog.clear()
    models.handler.on_chat_model_start({}, [[HumanMessage(QUESTION)]], run_id=run)
    models.handler.on_llm_end(7, run_id=run)
    assert models.recorded.call().status is SUCCESS


# With a recorded client inside


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("way", WAYS)
def test_a_recorded_client_inside_sees_each_attempt(way: str, api: str, models: Models, server: ModelServer) -> None:
    """And the handler leaves the call to it."""
    server.plan(429, "ok")
    options = {"use_responses_api": True} if api == "responses" else {}
    models.ask(way, has_client=True, stream_usage=False, **options)
    first, second = models.recorded.calls()
    assert (first.status, first.labels["retried"], first.labels["attempt"]) == (LIMITED, "true", "1")
    assert (second.status, second.labels["attempt"], second.token_source) == (SUCCESS, "2", "provider")
    assert second.api_response_id == "c-1"
    assert models.said() == [("user", QUESTION), ("assistant", ANSWER)]


def test_a_recorded_client_sees_what_is_cancelled(models: Models, server: ModelServer) -> None:
    async def run() -> None:
        async with httpx2.AsyncClient(verify=False) as http:
            with models.model(http_async_client=http) as model:
                models.recorded.recorder.wrap(model.root_async_client)
                await asyncio.wait_for(model.ainvoke(QUESTION), TIMEOUT_SECONDS)

    server.plan("slow")
    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert (models.recorded.call().status, models.recorded.call().error_code) == (CANCELLED, "CancelledError")


def test_a_recorded_client_inside_a_batch(models: Models) -> None:
    with models.model(has_client=True) as model:
        model.generate([[HumanMessage("one")], [HumanMessage("two")]])
        model.batch(["three", "four"])
    assert len(models.recorded.calls()) == 4


def test_a_client_of_ones_own_beside_a_stream_is_another_call(models: Models, server: ModelServer) -> None:
    client = make("openai", server, models.recorded.recorder)
    with models.model() as model:
        for index, _ in enumerate(model.stream(QUESTION)):
            if index == 1:
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": QUESTION}])
    client.embeddings.create(model="e", input="x")
    assert len(models.recorded.calls()) == 3


def test_what_is_asked_for_something_else_meanwhile_is_another_call(models: Models, server: ModelServer) -> None:
    """A cache that finds what is alike asks for embeddings in the midst of a chat."""
    client = make("openai", server, models.recorded.recorder)

    class Cache(InMemoryCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            client.embeddings.create(model="e", input=prompt)
            return super().lookup(prompt, llm_string)

    with models.model(cache=Cache()) as model:
        model.invoke(QUESTION)
    assert [call.labels.get("operation") for call in models.recorded.calls()] == [None, "embeddings"]


def test_both_see_the_same_messages(models: Models) -> None:
    """Whoever of them records a turn, the next one finds what was said before."""
    first = models.ask("invoke")
    models.ask("invoke", [HumanMessage(QUESTION), first, HumanMessage("More")], has_client=True)
    models.ask("invoke", [HumanMessage(QUESTION), first, HumanMessage("More"), AIMessage(ANSWER), HumanMessage("Go")])
    assert [text for _, text in models.said()] == [QUESTION, ANSWER, "More", ANSWER, "Go", ANSWER]
    ids = [message.id for message in models.recorded.messages()]
    assert [message.parent_message_id for message in models.recorded.messages()] == [None, *ids[:-1]]


# What other providers' models say


def test_blocks_of_other_providers_are_read() -> None:
    reader = FRAMEWORK_MESSAGES.reader()
    parts = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "So."}]},
        {"type": "text", "text": ANSWER},
        {"type": "tool_use", "id": "call-1", "name": "weather", "input": TOOL},
        "!",
    ]
    reader.add({"content": parts, "tool_calls": [{"id": "call-1", "name": "weather", "args": TOOL}], "is_complete": 1})
    call = {"id": "call-1", "name": "weather", "arguments": TOOL}
    assert reader.content() == {"text": f"{ANSWER}!", "tool_calls": [call], "reasoning": "Hm.So."}
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    said = FRAMEWORK_MESSAGES.said(
        {
            "messages": [
                {"role": "human", "content": [{"type": "text", "text": QUESTION}, image], "name": "alice"},
                {"role": "tool", "content": "no", "tool_call_id": "call-1", "is_error": True},
                {"role": "chat", "content": None},
                7,
            ]
        }
    )
    assert [message.content for message in said] == [
        {"text": QUESTION, "parts": [image], "name": "alice"},
        {"tool_result": {"tool_call_id": "call-1", "content": "no", "is_error": True}},
        {},
    ]
