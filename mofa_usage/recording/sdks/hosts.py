"""Who is asked: by an address, for many providers speak another's language; or by the name that a framework has."""

from functools import lru_cache

__all__ = ["provider_at", "provider_named"]

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

_NAMES = {  # LiteLLM's and LangChain's
    "amazon_bedrock": "aws",
    "azure_ai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "custom_openai": "openai",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "google_genai": "google",
    "google_vertexai": "gcp.vertex_ai",
    "mistralai": "mistral",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x-ai",
}


@lru_cache(maxsize=256)
def provider_at(host: str, default: str) -> str:
    """The provider of a host; `default`, whose language is spoken there, of one that nobody knows."""
    name = host.lower().rstrip(".")
    known = (provider for end, provider in _HOSTS.items() if name == end or name.endswith("." + end))
    return next(known, default)


def provider_named(name: str) -> str:
    """The provider that a framework calls so."""
    return _NAMES.get(name, name)
