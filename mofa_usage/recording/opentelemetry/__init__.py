"""Spans of OpenTelemetry as calls: of an application that is instrumented already.

```python
from opentelemetry.sdk.trace import TracerProvider

from mofa_usage import Recorder
from mofa_usage.recording.opentelemetry import UsageSpanProcessor

recorder = Recorder("sqlite:usage.db")
provider = TracerProvider()
provider.add_span_processor(UsageSpanProcessor(recorder))
```

| file | what |
|---|---|
| `spans.py` | what a span says, whoever emitted it: whether it is a call, its models, ids, times, how it ended |
| `contents.py` | what was said, by all the names that it is captured under |
| `nesting.py` | which of several spans of one request counts |
| `telling.py` | what is left, told to the recorder |
| `processor.py` | OpenTelemetry's two interfaces |

Only the last loads OpenTelemetry.
"""

from mofa_usage.errors import require

require("opentelemetry.sdk.trace", extra="opentelemetry")

from mofa_usage.recording.opentelemetry.processor import UsageSpanExporter, UsageSpanProcessor  # noqa: E402

__all__ = ["UsageSpanExporter", "UsageSpanProcessor"]
