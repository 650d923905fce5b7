"""What is near a name that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["suggestion"]


def suggestion(name: object, names: Iterable[str]) -> str:
    """Those of `names` that look like `name`, or else all of them, as the end of a sentence."""
    known = tuple(names)
    near = get_close_matches(str(name).lower(), known, n=3, cutoff=0.6)
    near += [entry for entry in known if len(str(name)) > 2 and str(name).lower() in entry and entry not in near]
    return f"near it: {', '.join(near[:5])}" if near else f"there are: {', '.join(known) or 'none'}"
