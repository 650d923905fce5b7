"""The contract of the stores, rule by rule. Every test here runs on every backend, unchanged."""
