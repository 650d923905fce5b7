"""What records keep as JSON: what a message says, which kinds of tokens there were, how a price is made up.

All but the inner values of a message take further keys, which are kept flat beside their own, because providers add to
what they report faster than anybody adds columns.
"""

from typing import Any

from mofa_usage.values import DEFAULT_CURRENCY, Count, Currency, Flag, Json, Money, OpenValue, Text, Value

__all__ = [
    "MessageContent",
    "PriceDetails",
    "TokenDetails",
    "ToolCallContent",
    "ToolResultContent",
    "told_source",
]


class ToolCallContent(Value):
    """A tool that the model asked for. `arguments` is any JSON value."""

    id: Text
    name: Text
    arguments: Json


class ToolResultContent(Value):
    """What a tool answered."""

    tool_call_id: Text
    content: Text
    is_error: Flag = False


class MessageContent(OpenValue):
    """What a message says: text, tool calls, a tool's result, and any further JSON keys beside them.

    ```python
    MessageContent(text="What is Rust?")
    MessageContent(text="Look:", image_url="https://example.org/crab.png")  # a further key
    ```
    """

    text: Text | None = None
    tool_calls: list[ToolCallContent] | None = None
    tool_result: ToolResultContent | None = None


class TokenDetails(OpenValue):
    """Which part of a token count was of a kind. Parts are subsets of the count, and may overlap each other.

    The further key `token_source` of a completion's details says how the counts of the call came about.
    """

    cached_tokens: Count | None = None
    audio_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class PriceDetails(OpenValue):
    """How a price is made up, in units of `currency`: an ISO 4217 code, whose blanks and case do not matter."""

    input_price: Money | None = None
    output_price: Money | None = None
    currency: Currency = DEFAULT_CURRENCY


def told_source(details: TokenDetails | None) -> Any:
    """What the details of a completion say of where the token counts come from; `None` where they say nothing."""
    return None if details is None else (details.__pydantic_extra__ or {}).get("token_source")
