"""How well calls are served: shares within limits, error budgets, concurrency, throughput."""
