"""Tokens: what any provider or tool calls usage, as inclusive counts and their parts.

Providers count alike and name it differently, and some leave out of the prompt what came from a cache. Here every
usage becomes one thing: a prompt count that holds the cached tokens, a completion count that holds the reasoning
tokens, and details that say which part was of a kind.

```python
from mofa_usage.tokens import read_tokens

counts = read_tokens({"input_tokens": 3, "output_tokens": 159, "cache_read_input_tokens": 22137})
print(counts.prompt_tokens, counts.prompt_details["cached_tokens"], counts.token_source)  # 22140 22137 provider
```

Of a file, where many rows use the same names, all are read alike:

```python
from mofa_usage.tokens import Readings, count_tokens, find_usage

rows = [
    {"input_tokens": "1163", "output_tokens": "50", "cache_read_input_tokens": "1000", "total_tokens": "1213"},
    {"input_tokens": "1200", "output_tokens": "70", "cache_read_input_tokens": "1100", "total_tokens": ""},
]
usages = [usage for row in rows if (usage := find_usage(row)) is not None]
readings = Readings()
for usage in usages:
    readings.add(usage)
print([count_tokens(usage, readings.of(usage)).prompt_tokens for usage in usages])  # [1163, 1200]
print(readings.sentences())  # ('input_tokens read as inclusive of cached ones (decided by 1 row)',)
```

`finding.py` finds the usage in a row, `names.py` knows the names and what they mean, `reading.py` decides and counts.
Nothing here guesses a count: what a row does not say stays None.
"""

from mofa_usage.tokens.finding import ReportedUsage, TokenValueError, find_usage, token_columns
from mofa_usage.tokens.reading import (
    Evidence,
    Reading,
    Readings,
    TokenCounts,
    TokensOption,
    TokenSource,
    count_tokens,
    evidence_of,
    read_tokens,
)

__all__ = [
    "Evidence",
    "Reading",
    "Readings",
    "ReportedUsage",
    "TokenCounts",
    "TokenSource",
    "TokenValueError",
    "TokensOption",
    "count_tokens",
    "evidence_of",
    "find_usage",
    "read_tokens",
    "token_columns",
]
