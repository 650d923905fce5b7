"""What is near a name that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["near", "suggestion"]


def near(name: object, names: Iterable[str]) -> list[str]:
    """At most five of `names` that look like `name`, whatever the case, or hold it."""
    sought, known = str(name).lower(), {entry: entry.lower() for entry in names}
    like = get_close_matches(sought, known.values(), n=3, cutoff=0.6)
    found = [entry for lower in like for entry in known if known[entry] == lower]
    found += [entry for entry in known if len(sought) > 2 and sought in known[entry]]
    return list(dict.fromkeys(found))[:5]


def suggestion(name: object, names: Iterable[str], further: Iterable[str] = ()) -> str:
    """Those of `names` and `further` that look like `name`, or else all of `names`, as the end of a sentence."""
    known = tuple(names)
    found = near(name, (*known, *further))
    return f"near it: {', '.join(found)}" if found else f"there are: {', '.join(known) or 'none'}"
