"""Recording inside agents: what is accepted is not lost, and nothing of it is in the way of a chat.

```
record(), hand_over()          any thread, any task
  documents.py                 one document of JSON per chat, as it comes: validated later
  privacy.py                   what of a message may be kept
  outbox/                      one framed write into this process's file; or memory
  ...
delivery.py                    one thread with an event loop of its own
  documents.py                 records again; what is none is a dead letter
  pricing.py                   with prices
  saving.py                    sessions, messages, calls; halves what is refused until it knows why
  outbox/                      settled: counted, and deleted
```

An integration needs two things of a `Recorder`. `recorder.identity` says whose call it is, and is asked when the call
begins; `recorder.hand_over(document, scope)` accepts what it saw when the call has ended, and never raises, waits or
awaits. A document is described in `documents.py`; all of a chat goes into one, so that it is there whole or not at all.
The integration makes the ids (UUIDv7), so that the records refer to each other.

An agent with a memory, and a plugin for those who have one, are in `agents/`; `turns.py` is how they and a recorder
know of each other. Recorded clients are in `sdks/`, and the callbacks of frameworks in modules named like them.

Importing this loads neither asyncio nor SQLAlchemy: that happens in the thread that delivers. The names of agents are
loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mofa_usage.recording.recorder import Recorder, RecorderStats
from mofa_usage.recording.scope import Identity, Scope, ScopeUsage

if TYPE_CHECKING:
    from mofa_usage.recording.agents.agent import LLMAgent
    from mofa_usage.recording.agents.builder import LLMAgentBuilder
    from mofa_usage.recording.agents.chat_clients import ChatClient, ChatRequest, ChatSettings
    from mofa_usage.recording.agents.context import PersistenceContext
    from mofa_usage.recording.agents.keeping import PluginStats
    from mofa_usage.recording.agents.plugin import AgentPlugin, PersistencePlugin
    from mofa_usage.recording.turns import ChatMetadata

__all__ = [
    "AgentPlugin",
    "ChatClient",
    "ChatMetadata",
    "ChatRequest",
    "ChatSettings",
    "Identity",
    "LLMAgent",
    "LLMAgentBuilder",
    "PersistenceContext",
    "PersistencePlugin",
    "PluginStats",
    "Recorder",
    "RecorderStats",
    "Scope",
    "ScopeUsage",
]

_HOMES = {
    "AgentPlugin": "agents.plugin",
    "ChatClient": "agents.chat_clients",
    "ChatMetadata": "turns",
    "ChatRequest": "agents.chat_clients",
    "ChatSettings": "agents.chat_clients",
    "LLMAgent": "agents.agent",
    "LLMAgentBuilder": "agents.builder",
    "PersistenceContext": "agents.context",
    "PersistencePlugin": "agents.plugin",
    "PluginStats": "agents.keeping",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
