"""Where money goes for nothing: unsuccessful calls, caches that are not read, conversations that grow.

`waste` has the calls that gave nothing, `caches` what prompt caches saved, `sessions` what conversations and their
turns cost, with the SQL for it in `conversations`.
"""

from mofa_usage.efficiency.caches import CacheOptions, cache_savings
from mofa_usage.efficiency.sessions import SessionOptions, Sessions, sessions
from mofa_usage.efficiency.waste import WasteOptions, waste

__all__ = ["CacheOptions", "SessionOptions", "Sessions", "WasteOptions", "cache_savings", "sessions", "waste"]
