"""Whose a call is, and which model of a bill it is of.

A bill has the calls of one provider. Who was asked a call says itself, by the name of its provider; where that is no
name of a provider that is known here, its model does. What was bought from somebody who resells (Azure, Bedrock,
Vertex, a router) is on their bill.

Bills name dated models (`gpt-4o-2024-08-06`), and calls often what was asked for (`gpt-4o`). Names of one family are
told apart as long as both sides use the same ones, or names with dates. Where one side has a name of the family that
the other has not and that says no date, both are compared as a family.

>>> provider_of(None, "us.anthropic.claude-sonnet-4-20250514-v1:0"), provider_of(None, "claude-sonnet-4-20250514")
(None, 'anthropic')
>>> same = matched({"gpt-4o-2024-08-06", "o3"}, {"gpt-4o", "o3"})
>>> same["gpt-4o"], same["gpt-4o-2024-08-06"], same["o3"]
('gpt-4o-2024-08-06', 'gpt-4o-2024-08-06', 'o3')
>>> matched({"Claude Haiku 3.5"}, {"claude-3-5-haiku-20241022"})["Claude Haiku 3.5"]
'claude-3-5-haiku-20241022'
"""

import re
from collections import defaultdict
from collections.abc import Collection

from mofa_usage.pricing.names import forms_of, undated

__all__ = ["family", "matched", "provider_of"]

_OPENAI = re.compile(
    r"(ft[:-])?(gpt|chatgpt|codex|o\d|text-embedding|text-moderation|omni-moderation|whisper|tts|dall-e|davinci|babbage"
    r"|sora|computer-use)\b.*",
    re.IGNORECASE,
)
_ANTHROPIC = re.compile(r"claude\b.*", re.IGNORECASE)
_OTHERS = re.compile(
    r"azure|aws|amazon|bedrock|google|vertex|gemini|openrouter|router|litellm|portkey|helicone|cloudflare|vercel|groq"
    r"|mistral|cohere|deepseek|together|fireworks|ollama|vllm|local|xai|perplexity|databricks|snowflake|github",
    re.IGNORECASE,
)


def provider_of(name: str | None, model: str) -> str | None:
    """Whose bill a call is on: `openai`, `anthropic`, or None for others.

    `name` is what the call says its provider is, `model` the model that served it.
    """
    said = (name or "").lower()
    if _OTHERS.search(said):
        return None
    known = next((one for one in ("openai", "anthropic") if one in said), None)
    if known is not None:
        return known
    *_, last = forms_of(model)
    sellers = [seller.lower() for seller in last.sellers]
    if sellers:
        return sellers[0] if sellers[0] in ("openai", "anthropic") else None
    if _ANTHROPIC.fullmatch(model):
        return "anthropic"
    return "openai" if _OPENAI.fullmatch(model) else None


def matched(billed: Collection[str], recorded: Collection[str]) -> dict[str, str]:
    """By each name of a model, the name that it is compared under; a family's is that of its bill, where it has one."""
    families: dict[object, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in {*billed, *recorded}:
        families[family(name)][_spelling(name)].add(name)
    found: dict[str, str] = {}
    for spellings in families.values():
        # However it is spelled, `anthropic/Claude-...`, it is called as in its bill.
        called = {
            name: min(alike, key=lambda one: (one not in billed, one)) for alike in spellings.values() for name in alike
        }
        names = {*called.values()}
        only_one_side = (names & set(billed)) ^ {called[name] for name in called if name in recorded}
        if any(not _is_dated(name) for name in only_one_side) and len(names) > 1:
            found |= dict.fromkeys(called, _title(names, billed))
        else:
            found |= called
    return found


def _spelling(name: str) -> str:
    """What the spellings of one model have in common; tuned models are of their own."""
    return name if name.startswith("ft:") else _plain(name)


def _title(names: Collection[str], billed: Collection[str]) -> str:
    """What a family is called: as its one dated model, else as the family."""
    dated = sorted(name for name in names if _is_dated(name) and " " not in name)
    if len(dated) == 1:
        return dated[0]
    plain = sorted(names, key=lambda name: (" " in name, len(name), name not in billed, name))
    return plain[0]


def _plain(name: str) -> str:
    """The name with nothing before it; a tuned model is called in costs as its kind is: `ft-gpt-4o-2024-08-06`."""
    if name.startswith("ft:"):
        return f"ft-{name.split(':')[1]}".lower()
    *_, last = forms_of(name)
    return last.text.lower()


def _is_dated(name: str) -> bool:
    return not name.startswith("ft:") and undated(_plain(name)) != _plain(name)


def family(name: str) -> object:
    """What names of one model have in common. Titles of Claude's order their words otherwise than names do."""
    plain = undated(_plain(name)).removesuffix("-latest")
    if plain.startswith("claude"):
        return tuple(sorted(re.split(r"[-. ]+", plain)))
    return plain
