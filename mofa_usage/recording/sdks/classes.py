"""A recorded object is given a subclass of its class, which differs in nothing but the methods that are looked at.

So whoever holds the object has the recorded one, `isinstance` holds, and what it makes of itself is of that class too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.recording.observed import Observer

__all__ = ["check_methods", "give_class", "is_recorded"]

_MARK = "_mofa_usage_observer"


def check_methods(kind: type, names: Iterable[str], package: str, extra: str) -> None:
    """Refuse a class of an SDK that lacks what we look at.

    Raises:
        UsageError: the installed version of the package is built in another way; with the extra that helps.
    """
    if missing := [name for name in names if not hasattr(kind, name)]:
        raise UsageError(
            f"this version of {package} cannot be recorded, it has no {', '.join(missing)}: "
            f"pip install 'mofa-usage[{extra}]' installs one that can"
        )


def is_recorded(thing: Any) -> bool:
    """Whether any observer looks at an object by a class of its own."""
    return hasattr(type(thing), _MARK)


def give_class(thing: Any, observer: Observer, methods: Callable[[Any], Mapping[str, Any]]) -> bool:
    """Give an object a subclass of its class; whether it had none of this observer yet.

    Args:
        thing: any object whose class can be changed.
        observer: who looks at it.
        methods: what the subclass has of its own, made of the class.
    """
    plain = type(thing)
    if any(vars(cls).get(_MARK) is observer for cls in plain.__mro__):
        return False
    names = {name: getattr(plain, name) for name in ("__module__", "__qualname__", "__doc__")}
    thing.__class__ = type(plain.__name__, (plain,), {**methods(plain), _MARK: observer, **names})
    return True
