"""The ways in which providers write their reports, one file each; `FORMATS` has them in the order of asking."""

from mofa_usage.audit.bills.formats.anthropic_csv import AnthropicCostCsv, AnthropicUsageCsv
from mofa_usage.audit.bills.formats.anthropic_pages import AnthropicCosts, AnthropicEmpty, AnthropicUsage
from mofa_usage.audit.bills.formats.openai_csv import OpenAICostCsv, OpenAIUsageCsv
from mofa_usage.audit.bills.formats.openai_pages import OpenAICosts, OpenAIEmpty, OpenAIUsage
from mofa_usage.audit.bills.pages import BillFormat

__all__ = ["FORMATS"]

FORMATS: tuple[BillFormat, ...] = (
    OpenAIUsage(),
    OpenAICosts(),
    OpenAIEmpty(),
    AnthropicUsage(),
    AnthropicCosts(),
    AnthropicEmpty(),
    OpenAIUsageCsv(),
    OpenAICostCsv(),
    AnthropicUsageCsv(),
    AnthropicCostCsv(),
)
"""Each document is read by the first that recognises it."""
