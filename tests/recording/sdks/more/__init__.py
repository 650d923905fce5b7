"""The SDKs that weigh much: some 100 packages, which `.ci/run` installs and README's command does not (extra `sdks`).

Without them their tests and their pages of the documentation are left out, and the end of the test run says so.
"""

from importlib.util import find_spec

__all__ = ["PAGES", "missing"]

PAGES = {"frameworks.md", "more_sdks.md"}
"""The pages of the documentation that show them."""

_PACKAGES = ("agents", "google.genai", "langchain_openai", "litellm", "mistralai", "ollama", "pydantic_ai")


def missing() -> list[str]:
    """Those that are not installed."""
    return [name for name in _PACKAGES if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that it lies in
        return False
