"""The plugin of an agent that saves what is said and what it used: the seed's, with a state for each chat.

An agent calls its hooks, an `LLMAgent` or one of your own:

```python
from uuid import uuid4

plugin = PersistencePlugin.from_store("persistence", store, session_id=uuid4(), agent_id=uuid4(), user_id=uuid4())

question = await plugin.before_chat_with_model("What is Rust?", "gpt-4o")
try:
    answer = "A language."                                     # ... your call to the model ...
except Exception as error:
    await plugin.on_error(error)
    raise
await plugin.after_chat_with_metadata(answer, ChatMetadata(usage={"prompt_tokens": 4, "completion_tokens": 2}))
```

Any number of chats may be under way at once, each in its task. A recorded client that is asked in between has its own
record of the call: then the plugin saves the messages, and the recorder the call, linked to them.

No hook waits long for a database, or raises because of one. What cannot be saved is logged once for each kind of
failure, counted in `stats()`, and kept in memory, to be saved with the next chat.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from mofa_usage.recording.agents.keeping import Keeper, PluginStats
from mofa_usage.recording.documents import read_call
from mofa_usage.recording.failures import CLOSED, failure_of
from mofa_usage.recording.pricing import Pricing
from mofa_usage.recording.scope import Identity
from mofa_usage.recording.turns import (
    ChatMetadata,
    Turn,
    answer_of,
    begin,
    calls_of,
    current_turn,
    question_of,
    whose,
)
from mofa_usage.records import NIL_UUID, ChatSession, LLMMessage, MessageRole, Record
from mofa_usage.stores.base import Store

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook

__all__ = ["AgentPlugin", "PersistencePlugin"]


class AgentPlugin:
    """What an agent calls around a chat. Derive from it, and override what you need; these let everything pass.

    A hook that raises ends the chat with its error: one before the model is asked is a way to say no.
    """

    async def before_chat(self, text: str) -> str | None:
        """Before the model is asked: the question that it gets; None to ask nothing, and answer nothing."""
        return text

    async def before_chat_with_model(self, text: str, model: str) -> str | None:
        """The same, by an agent that knows the model."""
        return await self.before_chat(text)

    async def after_chat(self, response: str) -> str | None:
        """After the answer: what the user gets, None for the answer as it is. What was streamed is his already."""
        return response

    async def after_chat_with_metadata(self, response: str, metadata: ChatMetadata) -> str | None:
        """The same, by an agent that knows more of the answer."""
        return await self.after_chat(response)

    async def on_error(self, error: BaseException) -> str | None:
        """There is no answer, or none to its end: a cancelled task and an abandoned stream are errors, too. What this
        returns is the answer instead; None raises the error. A stream always raises it.
        """
        return None


class PersistencePlugin(AgentPlugin):
    """Saves the messages and the calls of chats. See the module for what it promises."""

    def __init__(
        self, plugin_id: str, store: Store, identity: Identity, *, prices: "PriceBook | Literal['auto'] | None" = "auto"
    ) -> None:
        self.plugin_id = plugin_id
        self.store = store
        self._identity = identity
        self._keeper = Keeper(plugin_id, store, Pricing(prices))

    @classmethod
    def from_store(
        cls,
        plugin_id: str,
        store: Store,
        *,
        session_id: UUID | str,
        agent_id: UUID | str,
        user_id: UUID | str,
        tenant_id: UUID | str = NIL_UUID,
        prices: "PriceBook | Literal['auto'] | None" = "auto",
    ) -> "PersistencePlugin":
        """A plugin that saves into an open store.

        Args:
            plugin_id: its name, in the log.
            store: stays yours to close.
            session_id, agent_id, user_id, tenant_id: whose chats they are: ids, or names, which become the same id
                every time, and a label of calls.
            prices: a book of prices, "auto" for list prices where the extra `pricing` is installed, or None.

        Raises:
            UsageError: an id is none.
        """
        ids = {"session": session_id, "agent": agent_id, "user": user_id, "tenant": tenant_id}
        return cls(plugin_id, store, Identity().within(ids, {}), prices=prices)

    @property
    def session_id(self) -> UUID:
        """The session that a chat belongs to when it begins."""
        return self._identity.chat_session_id

    @property
    def user_id(self) -> UUID:
        """Whose chats they are."""
        return self._identity.user_id

    @property
    def agent_id(self) -> UUID:
        """Which agent's chats they are."""
        return self._identity.agent_id

    @property
    def tenant_id(self) -> UUID:
        """Which tenant's chats they are."""
        return self._identity.tenant_id

    def with_session_id(self, session_id: UUID | str) -> "PersistencePlugin":
        """Go on in another session: this plugin itself, for the chats that begin from now on."""
        self._identity = self.identity_in(session_id)
        return self

    def identity_in(self, session_id: UUID | str | None) -> Identity:
        """Whose a chat in this session is; in the present one for None."""
        return self._identity.within({"session": session_id}, {})

    # By hand: what the store raises is raised

    async def load_history(self) -> list[LLMMessage]:
        """The messages of the session, oldest first.

        Raises:
            PersistenceError: the store cannot be read.
        """
        return await self.store.get_session_messages(self.session_id)

    async def save_user_message(self, text: str) -> UUID:
        """Save what the user says; the id of the message.

        Raises:
            PersistenceError: the store cannot.
        """
        return await self._save_message(MessageRole.USER, text)

    async def save_assistant_message(self, text: str) -> UUID:
        """Save what the agent says; the id of the message.

        Raises:
            PersistenceError: the store cannot.
        """
        return await self._save_message(MessageRole.ASSISTANT, text)

    async def _save_message(self, role: MessageRole, text: str) -> UUID:
        message = LLMMessage.new(**whose(self._identity), role=role, content=text)
        await self._keeper.save(message)
        return message.id

    async def delete_session(self, session_id: UUID) -> bool:
        """Delete a session and its messages; false where there is none. Its calls stay: they are the ledger.

        Raises:
            PersistenceError: the store cannot.
        """
        return await self._keeper.delete_session(session_id)

    # Hooks

    def turn(self, session_id: UUID | str | None = None) -> Turn:
        """A new chat, which the hooks save when it is the one of their context (`turns.entering`)."""
        return Turn(self, self.identity_in(session_id))

    async def before_chat_with_model(self, text: str, model: str) -> str | None:
        """A chat begins: its question is saved."""
        self._begun().model = model
        return await self.before_chat(text)

    async def before_chat(self, text: str) -> str | None:
        """A chat begins, nobody says with which model: its question is saved."""
        turn = self._begun()
        turn.has_begun = True
        message = question_of(turn, text)
        await self._keeper.keep(message)
        turn.ask()
        return text

    def _begun(self) -> Turn:
        turn = current_turn(self)
        if turn is None or turn.has_begun:
            begin(turn := self.turn())
        return turn

    async def after_chat(self, response: str) -> str | None:
        """The chat has its answer, which is saved. What it used is unknown."""
        return await self.after_chat_with_metadata(response, ChatMetadata())

    async def after_chat_with_metadata(self, response: str, metadata: ChatMetadata | Mapping[str, Any]) -> str | None:
        """The chat has its answer, which is saved with the call."""
        turn, metadata = current_turn(self) or self.turn(), ChatMetadata.of(metadata)
        said = answer_of(turn, response, metadata)
        calls = calls_of(turn, metadata, said, {"status": "success"}) if turn.has_begun else []
        await self._end(turn, said, calls)
        return response

    async def on_error(self, error: BaseException) -> str | None:
        """The chat has no answer, or a part of one: that is saved, and how the call ended."""
        turn = current_turn(self)
        if turn is not None and turn.has_begun:
            failure = CLOSED if isinstance(error, GeneratorExit) else failure_of(error, secrets=turn.secrets)
            said = answer_of(turn, "".join(turn.said), turn.metadata)
            ending: dict[str, Any] = {
                "status": failure.status,
                "error_code": failure.code,
                "error_message": failure.message,
            }
            if failure.was_refused:
                ending["usage"] = {"prompt_tokens": 0, "completion_tokens": 0}
            await self._end(turn, said, calls_of(turn, turn.metadata, said, ending))
        return None

    async def _end(self, turn: Turn, said: LLMMessage | None, calls: list[dict[str, Any]]) -> None:
        turn.is_over = True
        records: list[Record] = [] if said is None else [said]
        for fields in calls:
            if (call := read_call(fields)) is None:
                self._keeper.lose("InvalidCall: what is known of a call makes no record")
            else:
                records.append(call)
        await self._keeper.keep(*records)

    # The store, never in the way

    async def create_session(self) -> None:
        """Make the row of the session where there is none."""
        fields = whose(self._identity)
        title = self._identity.labels.get("session")
        await self._keeper.keep(ChatSession(id=fields.pop("chat_session_id"), title=title, **fields))

    async def history(self, session_id: UUID, rounds: int | None = None) -> list[LLMMessage]:
        """The messages of a session, oldest first, or at least those of so many rounds. Never raises: where the store
        cannot be read, they are those that this process knows.
        """
        return await self._keeper.history(session_id, rounds)

    async def flush(self) -> bool:
        """Try now to save what waits; whether nothing waits any more."""
        return await self._keeper.flush()

    def stats(self) -> PluginStats:
        """What became of what was to be saved."""
        return self._keeper.stats()

    def __repr__(self) -> str:
        return f"<PersistencePlugin {self.plugin_id!r} in session {self.session_id}>"
