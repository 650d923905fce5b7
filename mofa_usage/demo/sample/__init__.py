"""Real usage to try things on: the Azure LLM inference trace of 2023, shipped with the package.

```python
from mofa_usage.demo.sample import sample_path

result = await import_calls(store, sample_path("azure-code"))  # 8,819 calls of one hour
```

Its licence (CC BY 4.0), source and citation are in `ATTRIBUTION.md` beside the data. It holds times and token counts
only; a database with models, prices, agents, latencies and failures is made up by `mofa_usage.demo`.
"""

from pathlib import Path

from mofa_usage.errors import UsageError

__all__ = ["SAMPLES", "sample_path"]

SAMPLES = {"azure-code": "azure_llm_inference_2023_code.csv.gz"}
"""The samples that ship with the package: name -> file."""


def sample_path(name: str = "azure-code") -> Path:
    """Where the sample `name` lies on this machine, ready for `import_calls`.

    Raises:
        UsageError: there is no sample of that name.
    """
    if name not in SAMPLES:
        raise UsageError(f"there is no sample {name!r}; there is: {', '.join(sorted(SAMPLES))}")
    return Path(__file__).with_name(SAMPLES[name])
