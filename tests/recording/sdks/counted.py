"""What the tests' server of models says, and how it counts."""

from typing import Any

ANSWER = "Rust is a language"
CACHED = 2
TOOL = {"city": "Paris"}
Step = str | int


def words(value: Any) -> int:
    """The tokens of what was said, however it is nested."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(words(item) for item in value)
    if isinstance(value, dict):
        return sum(words(item) for key, item in value.items() if key in ("content", "text", "input", "parts"))
    return 0


def pieces() -> list[str]:
    """The answer, word by word."""
    first, *rest = ANSWER.split()
    return [first, *(f" {word}" for word in rest)]
