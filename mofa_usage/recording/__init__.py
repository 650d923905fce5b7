"""Recording inside agents: what is accepted is not lost, and nothing of it is in the way of a chat.

```
record(), hand_over()          any thread, any task
  documents.py                 one document of JSON per chat, as it comes: validated later
  privacy.py                   what of a message may be kept
  segments.py, outbox.py       one framed write into this process's file; or memory: backlog.py
  ...
delivery.py                    one thread with an event loop of its own
  documents.py                 records again; what is none is a dead letter
  pricing.py                   with prices
  saving.py                    sessions, messages, calls; halves what is refused until it knows why
  segments.py                  settled: counted, and deleted
```

An integration needs two things of a `Recorder`. `recorder.identity` says whose call it is, and is asked when the call
begins; `recorder.hand_over(document, scope)` accepts what it saw when the call has ended, and never raises, waits or
awaits. A document is described in `documents.py`; all of a chat goes into one, so that it is there whole or not at all.
The integration makes the ids (UUIDv7), so that the records refer to each other.

Importing this loads neither asyncio nor SQLAlchemy: that happens in the thread that delivers.
"""

from mofa_usage.recording.recorder import Recorder, RecorderStats
from mofa_usage.recording.scope import Identity, Scope, ScopeUsage

__all__ = ["Identity", "Recorder", "RecorderStats", "Scope", "ScopeUsage"]
