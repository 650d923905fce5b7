"""Tables that OpenAI's console exports from its pages of usage and costs.

They are the pages of the admin API with a row for each result: `start_time`, `end_time` (seconds since the epoch),
`start_time_iso`, ..., then the fields of the result; `amount` is taken apart into `amount_value` and `amount_currency`.
A day without usage is a row with nothing behind its times, and counts may be written `10.0`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mofa_usage.audit.bills.formats.openai_results import cost_line, usage_line
from mofa_usage.audit.bills.formats.tables import buckets_of_rows
from mofa_usage.audit.bills.pages import COSTS, Bucket, Document, Line, Page, Report, moment_of

__all__ = ["OpenAICostCsv", "OpenAIUsageCsv"]


class OpenAIUsageCsv:
    """The export of usage; of completions, as far as it counts output."""

    name = "OpenAI usage export"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return {"start_time", "end_time", "num_model_requests", "input_tokens"} <= set(document.columns)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""
        kind = "completions" if "output_tokens" in document.columns else "embeddings"
        yield _page(document, kind, usage_line, "num_model_requests")


class OpenAICostCsv:
    """The export of costs."""

    name = "OpenAI cost export"

    def recognises(self, document: Document) -> bool:
        """See `BillFormat`."""
        return {"start_time", "end_time", "amount_value"} <= set(document.columns)

    def read(self, document: Document) -> Iterable[Page]:
        """See `BillFormat`."""

        def line(row: Mapping[str, Any]) -> Line:
            return cost_line(row["amount_value"], row.get("amount_currency") or "usd", row)

        yield _page(document, COSTS, line, "amount_value")


def _page(document: Document, kind: str, line: Callable[[Mapping[str, Any]], Line], said: str) -> Page:
    def bucket(row: Mapping[str, str]) -> Bucket:
        start, end = (moment_of(row[name], name) for name in ("start_time", "end_time"))
        return Bucket(start, end, (line(row),) if row.get(said) else ())

    buckets, doubled = buckets_of_rows(document.rows, bucket)
    return Page(document.where, Report("openai", kind), buckets, doubled=doubled)
