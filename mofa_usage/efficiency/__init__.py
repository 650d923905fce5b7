"""Where money goes for nothing: unsuccessful calls, caches that are not read, conversations that grow.

`waste` has the calls that gave nothing.
"""

from mofa_usage.efficiency.waste import WasteOptions, waste

__all__ = ["WasteOptions", "waste"]
