"""An agent with a memory, as MoFA has it, for those who have none; and a plugin for those who have one.

```
agent.py, builder.py             asks, remembers, calls the hooks of plugins
  chat_clients.py, providers.py  whom to ask
  histories.py                   what a model is told of what was said before
plugin.py, keeping.py            saves messages and calls straight into a store, and never raises into a chat
context.py                       a session in one's hand
```

How a plugin and a recorder know of each other, so that a call is one row, is in `mofa_usage.recording.turns`.
"""
