"""What went wrong with an attempt: an exception of any SDK, or the answer of a server, as status, code and message.

The code is the provider's own where it has one (`context_length_exceeded`, `overloaded_error`), else the class of the
exception. SDKs name alike what they take from their servers: `status_code`, `code`, `type`, `body`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mofa_usage.outcomes import outcome_of, status_of_code, used_nothing
from mofa_usage.values import ApiCallStatus

__all__ = ["CLOSED", "TRUNCATED", "UNREADABLE", "Failure", "failure_of", "failure_said", "plain_json", "plain_text"]

_LONGEST = 2_000  # characters of a message: some SDKs repeat the whole answer of a server
_LONGEST_CODE = 50  # in MoFA's tables
_CANCELS = ("CancelledError", "Cancelled", "GeneratorExit", "KeyboardInterrupt", "SystemExit")  # asyncio's, trio's


class Failure(NamedTuple):
    """How an attempt failed.

    Attributes:
        status, code, message: as a record has them.
        was_refused: nothing was worked on, so nothing was used.
    """

    status: ApiCallStatus
    code: str | None
    message: str
    was_refused: bool = False


CLOSED = Failure(ApiCallStatus.CANCELLED, "closed", "the stream was closed before its end")
TRUNCATED = Failure(ApiCallStatus.FAILED, "truncated", "the stream ended without its final event")
UNREADABLE = Failure(ApiCallStatus.FAILED, "unreadable_answer", "the server's answer is none of a model")


def failure_of(error: BaseException, *, secrets: Sequence[str] = ()) -> Failure:
    """What an exception says. `secrets` are left out of the message."""
    name = type(error).__name__
    if name in _CANCELS:
        return Failure(ApiCallStatus.CANCELLED, name, "the caller cancelled it")
    http = _http_status(error)
    code = _code(getattr(error, "code", None), getattr(error, "type", None), getattr(error, "status", None)) or name
    status = _status(http, code)
    if status is ApiCallStatus.FAILED and http is None:
        status = status_of_code(name) or status
    return Failure(status, code, _message(error, secrets), _is_refused(status, http))


def failure_said(http: int | None, body: Any, *, name: str, secrets: Sequence[str] = ()) -> Failure:
    """What the body of an answer says, or an event in a stream: an object with `message`, `code`, `type`, maybe under
    the key `error`. `name` is the code where it says none, `http` the code of the answer if that is an error's.
    """
    said = body.get("error", body) if isinstance(body, Mapping) else body
    code, message = None, ""
    if isinstance(said, Mapping):
        code = _code(*(said.get(key) for key in ("code", "type", "status")))
        message = said.get("message") or ""
    elif isinstance(said, str):
        message = said
    code = code or name
    status = _status(http, code)
    shown = _without(str(message) or (f"HTTP {http}" if http else code), secrets)
    return Failure(status, code, plain_text(shown[:_LONGEST]), _is_refused(status, http))


def _status(http: int | None, code: str) -> ApiCallStatus:
    status = outcome_of(http_status=http, error_code=code).status
    return ApiCallStatus.FAILED if status is ApiCallStatus.SUCCESS else status


def _is_refused(status: ApiCallStatus, http: int | None) -> bool:
    """Whether the server refused it before any work: only the code of its answer says so for sure."""
    return http is not None and used_nothing(status, str(http))


def _http_status(error: BaseException) -> int | None:
    for value in (getattr(error, "status_code", None), getattr(error, "code", None)):
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None  # Anthropic's error event in a stream has 200


def _code(*said: object) -> str | None:
    """The first that is a word: some servers repeat the HTTP code as the error's."""
    return next(
        (plain_text(word[:_LONGEST_CODE]) for word in said if isinstance(word, str) and word and not word.isdigit()),
        None,
    )


def _message(error: BaseException, secrets: Sequence[str]) -> str:
    text = str(error) or type(error).__name__
    if (cause := error.__cause__) is not None:
        text += f" ({type(cause).__name__})" if not str(cause) else f" ({type(cause).__name__}: {cause})"
    return plain_text(_without(text, secrets)[:_LONGEST])


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) > 3:
            text = text.replace(secret, "***")
    return text


def plain_text(text: str) -> str:
    """The text as a record takes it: without NUL, and halves of characters that came apart put together again."""
    if text.isascii() and "\0" not in text:
        return text
    whole = text.replace("\0", "\ufffd")
    try:
        whole.encode()
    except UnicodeEncodeError:
        return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole


def plain_json(value: Any) -> Any:
    """JSON with such texts only."""
    if isinstance(value, str):
        return plain_text(value)
    if type(value) is dict or isinstance(value, Mapping):
        return {plain_text(str(key)): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value
