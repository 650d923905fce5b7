"""A session in your hand: save what is said in it, and ask what was said and used. What the store raises is raised."""

from uuid import UUID

from mofa_usage.recording.saving import Saver
from mofa_usage.recording.scope import Identity
from mofa_usage.records import (
    NIL_UUID,
    ChatSession,
    LLMMessage,
    MessageContent,
    MessageRole,
    QueryFilter,
    UsageStatistics,
)
from mofa_usage.stores.base import Store

__all__ = ["PersistenceContext"]


class PersistenceContext:
    """A chat session of a store. Made by `new` or `from_session`.

    ```python
    from uuid import uuid4

    context = await PersistenceContext.new(store, user_id=uuid4(), agent_id=uuid4())
    await context.save_user_message("Hello")
    await context.save_assistant_message("Good day.")
    assert [message.content.text for message in await context.get_history()] == ["Hello", "Good day."]
    ```
    """

    def __init__(self, store: Store, identity: Identity) -> None:
        self.store = store
        self._identity = identity
        self._saver = Saver(store)

    @classmethod
    async def new(
        cls, store: Store, *, user_id: UUID | str, agent_id: UUID | str, tenant_id: UUID | str = NIL_UUID
    ) -> "PersistenceContext":
        """A context in a new session, whose row is made.

        Args:
            store: an open store, which stays yours to close.
            user_id, agent_id, tenant_id: whose it is: ids, or names, which become the same id every time.

        Raises:
            UsageError: an id is none.
            PersistenceError: the store cannot.
        """
        ids = {"user": user_id, "agent": agent_id, "tenant": tenant_id}
        context = cls(store, Identity().within(ids, {}))
        await context.new_session()
        return context

    @classmethod
    def from_session(
        cls,
        store: Store,
        *,
        session_id: UUID | str,
        user_id: UUID | str,
        agent_id: UUID | str,
        tenant_id: UUID | str = NIL_UUID,
    ) -> "PersistenceContext":
        """A context in a session that is there. Nothing is read: where it is not, the first message makes its row.

        Raises:
            UsageError: an id is none.
        """
        ids = {"session": session_id, "user": user_id, "agent": agent_id, "tenant": tenant_id}
        return cls(store, Identity().within(ids, {}))

    @property
    def session_id(self) -> UUID:
        """The session that messages are saved in."""
        return self._identity.chat_session_id

    async def new_session(self) -> UUID:
        """Begin a new session, and go on in it; its id.

        Raises:
            PersistenceError: the store cannot.
        """
        identity = self._identity
        session = ChatSession.new(identity.user_id, identity.agent_id, tenant_id=identity.tenant_id)
        await self.store.create_session(session)
        self._identity = identity.within({"session": session.id}, {})
        return session.id

    async def save_user_message(self, content: str | MessageContent) -> UUID:
        """Save what the user says; the id of the message.

        Raises:
            PersistenceError: the store cannot.
        """
        return await self._save(MessageRole.USER, content)

    async def save_assistant_message(self, content: str | MessageContent) -> UUID:
        """Save what the agent says; the id of the message.

        Raises:
            PersistenceError: the store cannot.
        """
        return await self._save(MessageRole.ASSISTANT, content)

    async def _save(self, role: MessageRole, content: str | MessageContent) -> UUID:
        identity = self._identity
        message = LLMMessage.new(
            chat_session_id=identity.chat_session_id,
            agent_id=identity.agent_id,
            user_id=identity.user_id,
            tenant_id=identity.tenant_id,
            role=role,
            content=content,
        )
        await self._saver.save_message(message)
        return message.id

    async def get_history(self) -> list[LLMMessage]:
        """The messages of the session, oldest first.

        Raises:
            PersistenceError: the store cannot be read.
        """
        return await self.store.get_session_messages(self.session_id)

    async def get_usage_stats(self) -> UsageStatistics:
        """What the calls of the session used and cost.

        Raises:
            PersistenceError: the store cannot be read.
        """
        return await self.store.get_statistics(QueryFilter(session_id=self.session_id))

    def __repr__(self) -> str:
        return f"<PersistenceContext in session {self.session_id}>"
