"""Who is behind an address: many providers speak another's language, and are asked by another's client."""

from functools import lru_cache

__all__ = ["provider_at"]

_HOSTS = {
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "cognitiveservices.azure.com": "azure",
    "generativelanguage.googleapis.com": "google",
    "openai.azure.com": "azure",
    "openrouter.ai": "openrouter",
    "services.ai.azure.com": "azure",
}


@lru_cache(maxsize=256)
def provider_at(host: str, default: str) -> str:
    """The provider of a host; `default`, whose language is spoken there, of one that nobody knows."""
    name = host.lower().rstrip(".")
    known = (provider for end, provider in _HOSTS.items() if name == end or name.endswith("." + end))
    return next(known, default)
