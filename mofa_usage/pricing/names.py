"""Names of models: how one model is called, and which of the ways a price book may know.

| a call says | looked for as |
|---|---|
| `openai/gpt-4o`, `openai:gpt-4o` | as it is, then `gpt-4o` of openai |
| `openrouter/openai/gpt-4o` | `openai/gpt-4o` of openrouter, then `gpt-4o` |
| `models/gemini-2.5-pro`, `projects/.../publishers/google/models/gemini-2.5-pro` | `gemini-2.5-pro` of google |
| `claude-sonnet-4@20250514` (Vertex) | as it is, of google |
| `us.anthropic.claude-sonnet-4-20250514-v1:0`, or an ARN that ends in it (Bedrock) | as it is, of aws |
| `ft:gpt-4o-mini-2024-07-18:org::id` | as it is, of openai: what was tuned is priced apart from its base |
| `gpt-4o-2029-01-01`, a date that no book knows | `gpt-4o`, and that is not exact: dated models differ in price |

The model that served a call comes first. The one that was asked for stands for it where they differ in the date only;
else it is the second choice, and not exact. The name of an Azure deployment is anybody's: such a call is found by the
model that served it, or by a price file.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Form", "Spelling", "forms_of", "spellings"]

_DATE = re.compile(r"[-@](?:20\d{2}-\d{2}-\d{2}|20\d{6})$")
_BEDROCK = re.compile(
    r"(?:[a-z]{2,6}(?:-gov)?\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|stability"
    r"|twelvelabs|writer|zai)\.[a-z0-9]"
)
_PATH = re.compile(r"(?:(?:projects/.*/)?publishers/[^/]+/|projects/.*/)?models/(?P<model>[^/]+)$")
# What frameworks put before a colon. Other colons belong to the name: `llama3.1:8b`, `gpt-oss:20b`.
_BEFORE_COLON = re.compile(
    r"anthropic|azure(_(ai|openai))?|bedrock(_converse)?|cerebras|cohere|deepseek|fireworks|gateway"
    r"|google([-_](gla|vertex|genai|vertexai))?|grok|groq|huggingface|mistral(ai)?|moonshotai|ollama"
    r"|openai(-(chat|responses))?|openrouter|perplexity|together|xai",
    re.IGNORECASE,
)


class Form(NamedTuple):
    """One way to write a name: the text, and who the parts that were cut off say sells it, the outermost first."""

    text: str
    sellers: tuple[str, ...] = ()


class Spelling(NamedTuple):
    """A name to look for.

    Attributes:
        text: the name.
        is_exact: whether a price under this name is that of the call.
        is_second: whether it is the model that was asked for, and another one served the call.
    """

    text: str
    is_exact: bool = True
    is_second: bool = False


def forms_of(name: str) -> Iterator[Form]:
    """The ways to write a name, from as it is to with nothing before it."""
    text, sellers = name, list[str]()
    if text.startswith("arn:"):
        text = text.rpartition("/")[2]
        sellers.append("aws")
        yield Form(name, ("aws",))
    while True:
        yield Form(text, (*sellers, *_seller_of(text)))
        if match := _PATH.fullmatch(text):
            text = match["model"]
            sellers.append("google")
            continue
        head, separator, rest = text.partition("/")
        if not separator:
            head, separator, rest = text.partition(":")
            separator = separator if _BEFORE_COLON.fullmatch(head) else ""
        if not separator or not rest:
            return
        text = rest
        sellers.append(head)


def _seller_of(text: str) -> tuple[str, ...]:
    """Who sells what is written so."""
    if text.startswith("ft:"):
        return ("openai",)
    if _BEDROCK.match(text):
        return ("aws",)
    if "@20" in text:
        return ("google",)
    return ()


def undated(name: str) -> str:
    """The name without a date at its end."""
    return _DATE.sub("", name)


def spellings(asked: str, served: str | None = None) -> Iterator[Spelling]:
    """The names to look for, the best first."""
    if not served or served == asked:
        served, asked = asked, ""
    yield Spelling(served)
    is_same = bool(asked) and _plain(served) == _plain(asked)
    if is_same:
        yield Spelling(asked)
    if undated(served) != served:
        yield Spelling(undated(served), is_exact=False)
    if asked and not is_same:
        yield Spelling(asked, is_exact=False, is_second=True)


def _plain(name: str) -> str:
    *_, last = forms_of(name)
    return undated(last.text).lower()
