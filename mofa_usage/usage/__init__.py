"""What a notebook holds in its hand: the calls of a source, and everything that can be asked about them.

`frame` loads them and answers, `held` is where they are, `looks` keeps their names' colours, `queries` is SQL over
them, `card` is what a notebook shows.
"""

from mofa_usage.usage.frame import UsageFrame, load_usage, load_usage_async

__all__ = ["UsageFrame", "load_usage", "load_usage_async"]
