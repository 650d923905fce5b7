"""The clients of Mistral, and Google's of interactions, which one generator (Speakeasy) wrote: calls of the user.

Such a client is made of parts (`client.chat`, `client.beta.conversations`, ...) of which each sends by `do_request`,
where the client tries again: it is the user's call, and what goes through the transport meanwhile are its attempts. So
each part is given a subclass of its class; parts that are made later are given theirs when they are asked for.
"""

from typing import Any

from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.classes import give_class
from mofa_usage.recording.sdks.transport import calling

__all__ = ["SENDING", "record_part"]

SENDING = ("do_request", "do_request_async")
"""The methods by which a part sends; some have one of them."""


def record_part(part: Any, observer: Observer) -> Any:
    """The same part of a client, and those that it has, recorded; as it is where it is already."""
    if give_class(part, observer, lambda plain: _hooks(plain, observer)):
        for inner in list(vars(part).values()):
            if _is_part(inner):
                record_part(inner, observer)
    return part


def _is_part(value: Any) -> bool:
    return any(hasattr(type(value), name) for name in SENDING)


def _hooks(plain: Any, observer: Observer) -> dict[str, Any]:
    def do_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        with calling(observer):
            return plain.do_request(self, *args, **kwargs)

    async def do_request_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        with calling(observer):
            return await plain.do_request_async(self, *args, **kwargs)

    def look_up(self: Any, name: str) -> Any:
        found = plain.__getattr__(self, name)  # made now
        return record_part(found, observer) if _is_part(found) else found

    hooks: dict[str, Any] = {"do_request": do_request, "do_request_async": do_request_async, "__getattr__": look_up}
    return {name: hook for name, hook in hooks.items() if hasattr(plain, name)}
