"""The client for a `Provider` record: whose SDK it is follows from `provider_type`.

| provider_type | client |
|---|---|
| `openai`, `compatible`, `local`, `ollama`, and other names of those who speak OpenAI's language | `AsyncOpenAI` |
| `azure` | `AsyncOpenAI` for an address that ends in `/openai/v1`, else `AsyncAzureOpenAI` of its `?api-version=` |
| `gemini`, `google` | `AsyncOpenAI`, at Google's compatible address |
| `anthropic` | `AsyncAnthropic` |
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from mofa_usage.errors import UsageError, require
from mofa_usage.records import Provider

__all__ = ["client_of", "known_types"]

_SPEAK_OPENAI = frozenset(
    {
        *("openai", "compatible", "openai-compatible", "openai_compatible", "local", "custom", "ollama", "vllm"),
        *("cerebras", "deepseek", "fireworks", "groq", "mistral", "moonshot", "openrouter", "qwen", "together", "x-ai"),
        *("xai", "zhipu"),
    }
)
_OTHERS = ("anthropic", "azure", "gemini", "google")


def known_types() -> list[str]:
    """Every `provider_type` for which a client can be made."""
    return sorted({*_SPEAK_OPENAI, *_OTHERS})


def client_of(provider: Provider) -> Any:
    """A new asynchronous client with the address and the key of the record; close it when you are done.

    Raises:
        UsageError: the provider is disabled, or of a type for which there is no client.
        MissingExtraError: the SDK is not installed.
    """
    kind, base = provider.provider_type.strip().lower(), provider.api_base.strip().rstrip("/")
    if not provider.enabled:
        raise UsageError(f"the provider {provider.provider_name!r} is disabled (enabled is false)")
    key = provider.api_key.get_secret_value() or "none"  # servers of one's own ask for none, the SDKs do
    if kind == "anthropic":
        return require("anthropic", extra="anthropic").AsyncAnthropic(
            base_url=base.removesuffix("/v1") or None, api_key=key
        )
    if kind == "azure" and not base.endswith("/v1"):
        return _azure(provider, base, key)
    if kind in ("gemini", "google"):
        base = _google(base)
    elif kind == "ollama" and not base.endswith("/v1"):
        base = f"{base or 'http://localhost:11434'}/v1"
    elif kind not in _SPEAK_OPENAI and kind != "azure":
        raise UsageError(
            f"the provider {provider.provider_name!r} is of the type {provider.provider_type!r}, for which no client "
            f"is known: {', '.join(known_types())}; give with_provider() a client of yours"
        )
    if not base and kind != "openai":
        raise UsageError(f"the provider {provider.provider_name!r} of the type {kind!r} needs an address (api_base)")
    return require("openai", extra="openai").AsyncOpenAI(base_url=base or None, api_key=key)


def _azure(provider: Provider, base: str, key: str) -> Any:
    parts = urlsplit(base)
    version = parse_qs(parts.query).get("api-version")
    if not parts.netloc or not version:
        raise UsageError(
            f"the provider {provider.provider_name!r} of Azure needs an address (api_base) that ends in /openai/v1, or "
            "says its version: https://NAME.openai.azure.com?api-version=2024-10-21"
        )
    azure = require("openai", extra="openai").AsyncAzureOpenAI
    return azure(azure_endpoint=f"{parts.scheme}://{parts.netloc}", api_version=version[0], api_key=key)


def _google(base: str) -> str:
    if base.endswith("/openai"):
        return base
    root = base or "https://generativelanguage.googleapis.com"
    return f"{root if '/v1' in root else root + '/v1beta'}/openai"
