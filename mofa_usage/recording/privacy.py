"""What of a message may be kept: decided before anything touches the disk."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.records import NIL_UUID, LLMMessage, MessageContent

__all__ = ["Privacy", "Redact"]

Redact = Callable[[MessageContent], MessageContent | str | None]
"""What is kept of a content; None leaves the message out."""

_REMEMBERED = 20_000  # messages that were left out

_log = logging.getLogger(__name__)


class Privacy:
    """Decides what is kept of messages. A redaction that raises keeps nothing of the content, and is counted."""

    def __init__(self, *, capture: bool, redact: Redact | None) -> None:
        if redact is not None and not callable(redact):
            raise UsageError(f"redact is a function of a MessageContent, not {redact!r:.80}")
        if not isinstance(capture, bool):
            raise UsageError(f"capture_content is True or False, not {capture!r:.80}")
        self._capture = capture
        self._redact = redact
        self._lock = threading.Lock()
        self._left_out: dict[Any, Any] = {}  # messages by their ids, with what was before them
        self.dropped = 0

    @property
    def captures(self) -> bool:
        """Whether anything of a message is kept."""
        return self._capture

    @property
    def redacts(self) -> bool:
        """Whether what is kept may be something else than what was said."""
        return self._redact is not None

    def begin_anew(self) -> None:
        """In a child that was forked: it counts from 0."""
        self._lock = threading.Lock()
        self.dropped = 0

    def apply(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The document with what may be kept of its messages; the same where that is all of them."""
        if "messages" not in document or (self._capture and self._redact is None):
            return document
        kept = {kind: records for kind, records in document.items() if kind != "messages"}
        if self._capture:
            messages = []
            for message in document["messages"]:
                if (redacted := self._redacted(message)) is not None:
                    messages.append(redacted)
                elif isinstance(message, dict):
                    self._leave_out(message)
            if messages:
                kept["messages"] = messages
        return self._without_them(kept) if self._left_out else kept

    def _leave_out(self, message: dict[str, Any]) -> None:
        """What an integration says later may refer to it."""
        with self._lock:
            self._left_out[message["id"]] = message.get("parent_message_id")
            while len(self._left_out) > _REMEMBERED:
                del self._left_out[next(iter(self._left_out))]

    def _without_them(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document of an integration, in which nothing refers to messages that are left out."""
        if "checked" in document:
            return document
        for message in document.get("messages", ()):
            parent = message.get("parent_message_id")
            while parent in self._left_out:
                parent = self._left_out[parent]
            message["parent_message_id"] = parent
        for call in document.get("calls", ()):
            if call.get("response_message_id") in self._left_out:
                call["response_message_id"] = NIL_UUID
        return document

    def _redacted(self, message: Any) -> Any:
        is_record = isinstance(message, LLMMessage)
        content = self._of(message.content if is_record else message.get("content"))
        if content is None:
            return None
        return message.model_copy(update={"content": content}) if is_record else {**message, "content": content}

    def _of(self, content: Any) -> MessageContent | None:
        assert self._redact is not None  # noqa: S101 (for the type checker)
        try:
            whole = content if isinstance(content, MessageContent) else MessageContent.model_validate(content)
            left = self._redact(whole)
            if left is None or isinstance(left, MessageContent):
                return left
            return MessageContent(text=left)
        except Exception as error:
            with self._lock:
                self.dropped += 1
                is_first = self.dropped == 1
            if is_first:  # not the error itself, which may hold what was to be hidden
                _log.warning("redact raised %s: such contents are dropped (said once)", type(error).__name__)
            return MessageContent()
