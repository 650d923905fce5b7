"""How well calls are served: shares within limits, error budgets, concurrency, throughput.

`promises` says what a good call is, `levels` how many there are and what that leaves of the error budget,
`concurrency` how many calls were in flight, `courses` that and the throughput over time, `answers` puts them together.
"""

from mofa_usage.service.answers import ServiceLevel, ServiceOptions, service_level

__all__ = ["ServiceLevel", "ServiceOptions", "service_level"]
