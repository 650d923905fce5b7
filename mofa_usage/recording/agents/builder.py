"""Makes an agent of its parts, and says at once what is missing."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from mofa_usage.errors import UsageError
from mofa_usage.recording.agents.agent import LLMAgent, Parts
from mofa_usage.recording.agents.chat_clients import ChatRequest, ChatSettings, sdk_chat
from mofa_usage.recording.agents.plugin import AgentPlugin, PersistencePlugin
from mofa_usage.recording.agents.providers import client_of
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.turns import Witness
from mofa_usage.records import AgentConfig, Provider
from mofa_usage.stores.memory import InMemoryStore

__all__ = ["LLMAgentBuilder"]


class _EitherWay:
    """`from_agent_config` of the class begins a builder, that of a builder goes on with it."""

    def __get__(
        self, builder: "LLMAgentBuilder | None", owner: "type[LLMAgentBuilder]"
    ) -> "Callable[[AgentConfig | None], LLMAgentBuilder]":
        return partial(_configured, owner() if builder is None else builder)


class LLMAgentBuilder:
    """Makes an `LLMAgent`; each `with_...` changes this builder and returns it."""

    from_agent_config = _EitherWay()
    """Take all from an agent's record and its provider's: `LLMAgentBuilder.from_agent_config(await
    store.get_agent_by_code_with_provider("support"))`. Model, system prompt, temperature, the most tokens, response
    format, thinking, custom parameters, streaming, the provider, and `context_limit` as the sliding window (in rounds,
    as MoFA has it). A client given to `with_provider` afterwards is asked instead.

    Raises:
        UsageError: there is no such agent (None), it or its provider is disabled, or a parameter cannot be used.
    """

    def __init__(self) -> None:
        self._provider: Any = None
        self._plugins: list[AgentPlugin] = []
        self._session: UUID | str | None = None
        self._name = self._model = ""
        self._system: str | None = None
        self._window: int | None = None
        self._settings = ChatSettings()

    def with_provider(self, provider: Any) -> "LLMAgentBuilder":
        """Whom to ask: a client of OpenAI or Anthropic, synchronous or asynchronous, plain or recorded; a `Provider`
        record, for which a client is made; or a `ChatClient`, any object with its method.

        Raises:
            UsageError: it is none of these.
        """
        is_known = isinstance(provider, Provider) or sdk_chat(provider) is not None
        if not is_known and (isinstance(provider, type) or not callable(getattr(provider, "chat", None))):
            raise UsageError(
                "with_provider takes a client of OpenAI or Anthropic, a Provider record, or a ChatClient (an object "
                f"with an asynchronous generator `chat`), not a {type(provider).__module__}.{type(provider).__name__}"
            )
        self._provider = provider
        return self

    def with_plugin(self, plugin: AgentPlugin) -> "LLMAgentBuilder":
        """Call the hooks of a plugin around each chat, in the order in which plugins are given.

        Raises:
            UsageError: it has not all of the hooks.
        """
        missing = [name for name in _HOOKS if not callable(getattr(plugin, name, None))]
        if missing or isinstance(plugin, type):
            raise UsageError(
                f"a plugin is a PersistencePlugin, or derives from AgentPlugin: {type(plugin).__name__} lacks "
                f"{', '.join(missing) or 'its being made: it is a class'}"
            )
        self._plugins.append(plugin)
        return self

    def with_name(self, name: str) -> "LLMAgentBuilder":
        """What it is called: the label `agent` of its calls.

        Raises:
            UsageError: it is no text; so for the others.
        """
        self._name = _text("name", name)
        return self

    def with_model(self, model: str) -> "LLMAgentBuilder":
        """Which model is asked."""
        self._model = _text("model", model)
        return self

    def with_system_prompt(self, prompt: str) -> "LLMAgentBuilder":
        """What the model is told before each conversation."""
        self._system = _text("system prompt", prompt)
        return self

    def with_session_id(self, session_id: UUID | str) -> "LLMAgentBuilder":
        """Begin in this session, as `PersistencePlugin.with_session_id` does."""
        self._session = session_id
        return self

    def with_sliding_window(self, rounds: int) -> "LLMAgentBuilder":
        """Tell the model only of so many rounds before the present one: a question with all that came of it.

        Raises:
            UsageError: it is negative, or no whole number.
        """
        if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 0:
            raise UsageError(f"a sliding window is a number of rounds from 0, not {rounds!r:.40}")
        self._window = rounds
        return self

    def build(self) -> LLMAgent:
        """The agent. Without a `PersistencePlugin` it remembers its sessions as long as it lives.

        Raises:
            UsageError: there is nobody to ask, no model, more than one `PersistencePlugin`, or a setting that the
                provider has not.
            MissingExtraError: the SDK of a `Provider` record is not installed.
        """
        if self._provider is None:
            raise UsageError("an agent needs somebody to ask: with_provider(...)")
        memories = [plugin for plugin in self._plugins if isinstance(plugin, PersistencePlugin)]
        if len(memories) > 1:
            names = ", ".join(repr(plugin.plugin_id) for plugin in memories)
            raise UsageError(f"an agent has one PersistencePlugin, and these are {len(memories)}: {names}")
        owned = client_of(self._provider) if isinstance(self._provider, Provider) else None
        asked = sdk_chat(self._provider if owned is None else owned)
        if asked is not None and not self._model:
            raise UsageError("an agent needs a model: with_model(...)")
        witness = Witness()
        if asked is not None:
            asked.check(ChatRequest(self._model, self._system, [], self._settings, stream=False))
            asked = asked.observed(Observer(witness)) if memories else asked
        memory = memories[0] if memories else _own_memory()
        if self._session is not None:
            memory.with_session_id(self._session)
        plugins = self._plugins if memories else [memory, *self._plugins]
        client = self._provider if asked is None else asked
        said = (self._name, self._model, self._system, self._window, self._settings)
        return LLMAgent(Parts(client, list(plugins), memory, not memories, witness, owned, *said))


_HOOKS = [name for name in vars(AgentPlugin) if not name.startswith("_")]


def _text(what: str, given: object) -> str:
    if not isinstance(given, str):
        raise UsageError(f"a {what} is text, not {type(given).__name__} {given!r:.40}")
    return given


def _own_memory() -> PersistencePlugin:
    ids = {"session_id": uuid7(), "agent_id": uuid7(), "user_id": uuid7()}
    return PersistencePlugin.from_store("memory", InMemoryStore(), **ids, prices=None)


def _configured(builder: LLMAgentBuilder, config: AgentConfig | None) -> LLMAgentBuilder:
    if not isinstance(config, AgentConfig):
        raise UsageError(
            "from_agent_config takes the AgentConfig that get_agent_with_provider and its like return, not "
            f"{'None: there is no such agent, or its provider is missing' if config is None else type(config).__name__}"
        )
    agent = config.agent
    for what, name, is_on in (
        ("agent", agent.agent_code, agent.agent_status),
        ("provider", config.provider.provider_name, config.provider.enabled),
    ):
        if not is_on:
            raise UsageError(f"the {what} {name!r} is disabled")
    builder._settings = ChatSettings(
        temperature=agent.temperature,
        max_tokens=agent.max_completion_tokens,
        response_format=agent.response_format,
        thinking=agent.thinking,
        custom_params=agent.custom_params or {},
        stream=agent.stream,
    )
    builder._system = agent.system_prompt or None
    if agent.context_limit:  # 0 is no limit, as in MoFA
        builder.with_sliding_window(agent.context_limit)
    return builder.with_name(agent.agent_name).with_model(agent.model_name).with_provider(config.provider)
