"""How a call ended: whatever a provider, a tool or a protocol says about it, as one of the five statuses.

| what is said | status |
|---|---|
| 200 to 399, `OK`, `UNSET`, `success=true`, Langfuse's `DEBUG`, `DEFAULT`, `WARNING` | success |
| 408, 504, 524, `DEADLINE_EXCEEDED`, `APITimeoutError`, `timeout` | timeout |
| 429, `RESOURCE_EXHAUSTED`, `RateLimitError`, `ThrottlingException`, `insufficient_quota` | rate_limited |
| 499, `CANCELLED`, `CancelledError`, `AbortError`, `cancelled=true` | cancelled |
| other numbers from 400, `ERROR`, `overloaded_error`, any other error code or text, `success=false` | failed |

Numbers are HTTP's; gRPC's (0 to 16) and OpenTelemetry's (0 to 2) are taken only where they are given as such. What a
message says in words is never interpreted: "Rate limit exceeded" alone is a call that failed. An empty error is none.

A call that was refused before any work used no tokens (429 and other 4xx); of one that timed out, was cancelled or
failed otherwise nobody knows (`used_nothing`).
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from mofa_usage.values import ApiCallStatus, read_nested

__all__ = [
    "STATUS_WORDS",
    "Outcome",
    "UnknownStatusError",
    "outcome_of",
    "status_of",
    "status_of_code",
    "used_nothing",
]

_SUCCESS, _FAILED, _TIMEOUT, _RATE_LIMITED, _CANCELLED = ApiCallStatus

# A status that says all: no error beside it changes it.
_FIRM: Mapping[str, ApiCallStatus] = {
    **{status.value.replace("_", ""): status for status in ApiCallStatus},
    **dict.fromkeys(["ok", "succeeded", "successful", "completed", "complete", "incomplete", "statuscodeok"], _SUCCESS),
    **dict.fromkeys(["done", "finished"], _SUCCESS),
    **dict.fromkeys(["failure", "fail"], _FAILED),
    **dict.fromkeys(["timedout", "deadlineexceeded"], _TIMEOUT),
    **dict.fromkeys(["ratelimit", "throttled", "resourceexhausted", "toomanyrequests"], _RATE_LIMITED),
    **dict.fromkeys(["canceled", "aborted", "interrupted"], _CANCELLED),
}
# A status that leaves the details to what else is said: an error, or its code.
_OPEN: Mapping[str, ApiCallStatus] = {
    **dict.fromkeys(["unset", "statuscodeunset", "default", "debug", "info", "warning", "warn"], _SUCCESS),
    **dict.fromkeys(["error", "errored", "statuscodeerror", "fatal", "critical"], _FAILED),
}
STATUS_WORDS: Mapping[str, ApiCallStatus] = {**_FIRM, **_OPEN}
"""What each word says by itself; in lower case, and with nothing between its letters."""
# The statuses of gRPC in the order of their numbers, with the HTTP codes that google.rpc maps them to.
_GRPC: Mapping[str, int] = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
_HTTP: Mapping[int, ApiCallStatus] = {
    **dict.fromkeys((408, 504, 524), _TIMEOUT),
    429: _RATE_LIMITED,
    499: _CANCELLED,
}
# Parts of the names of errors: of exception classes (`openai.RateLimitError`) and of providers' error types and codes.
_CODE_PARTS: tuple[tuple[re.Pattern[str], ApiCallStatus], ...] = (
    (re.compile(r"timeout|timedout|deadlineexceeded|econnaborted"), _TIMEOUT),
    (re.compile(r"ratelimit|toomanyrequests|throttl|resourceexhausted|insufficientquota|quotaexceeded"), _RATE_LIMITED),
    (
        re.compile(
            r"cancell?ed|useraborte?d?|^abort(ed|error)$|clientclosed|clientdisconnect|generatorexit|^keyboardint"
        ),
        _CANCELLED,
    ),
)
# Names of errors that are answers of 4xx: the request was refused before a model worked on it.
_REFUSALS = re.compile(
    r"badrequest|invalidrequest|invalidapikey|authentication|unauthorized|permission"
    r"|forbidden|accessdenied|notfound|unprocessable|validation|paymentrequired|billing|toolarge|contextlength"
    r"|contextwindow|contentpolicy|contentfilter|conflict"
)
_HTTP_TEXT = re.compile(r"(?:http(?:/\d(?:\.\d)?)?[\s_-]*)?([2-5]\d\d)(?:\.0+)?(?=$|[\s:,_-])", re.IGNORECASE)
_CODE_KEYS = ("code", "type", "status", "name", "status_code", "statusCode")
"""Where an error that is an object has its code; JavaScript's have a `name`."""
_NO_ERROR = {"", "null", "none", "nan", "undefined", "[]", "{}"}
_TRUTH = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}


class UnknownStatusError(ValueError):
    """A status in words or numbers that nobody here knows, or a truth value that is none. `value` is what was there."""

    def __init__(self, rule: str, value: object) -> None:
        super().__init__(f"{rule}: {str(value)[:60]!r}")
        self.rule = rule
        self.value = value


class Outcome(NamedTuple):
    """How a call ended, its error's text and code; None where nothing was said."""

    status: ApiCallStatus
    error_message: str | None = None
    error_code: str | None = None


def _squeezed(text: str) -> str:
    """`Rate-limit_Error` as `ratelimiterror`."""
    return "".join(character for character in text.casefold() if character.isalnum())


def _http(value: object) -> int | None:
    """The HTTP code in a number or in text like `429`, `HTTP 429` or `429 Too Many Requests`."""
    match = None if isinstance(value, bool) else _HTTP_TEXT.match(str(value).strip())
    return int(match.group(1)) if match else None


def _of_http(code: int) -> ApiCallStatus:
    return _HTTP.get(code, _FAILED if code >= 400 else _SUCCESS)


def _is_empty(value: object) -> bool:
    """Whether a value says nothing: null, blank, or an object or a list of such, as a struct of a table is."""
    if isinstance(value, Mapping):
        return all(inner in (False, 0) or _is_empty(inner) for inner in value.values())
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or (not value and not isinstance(value, bool | int)) or _text(value).casefold() in _NO_ERROR


def _text(value: object) -> str:
    return str(value).strip()


def _flag(value: object, what: str) -> bool | None:
    if _is_empty(value):
        return None
    word = _text(value).casefold().removesuffix(".0")
    if word not in _TRUTH:
        raise UnknownStatusError(f"{what} is neither true nor false", value)
    return _TRUTH[word]


def status_of(value: object) -> ApiCallStatus:
    """The status that one value says by itself: a word, in any case and writing, or an HTTP code.

    Raises:
        UnknownStatusError: it is no status that we know.
    """
    word = _squeezed(_text(value))
    if word in _FIRM:
        return _FIRM[word]
    if word in _OPEN:
        return _OPEN[word]
    if (code := _http(value)) is not None:
        return _of_http(code)
    status = status_of_code(value)
    if status is not None and (status is not _FAILED or word.endswith(("error", "exception", "failed"))):
        return status
    raise UnknownStatusError(f"is not one of {', '.join(ApiCallStatus)}", value)


def status_of_code(code: object) -> ApiCallStatus | None:
    """The status that an error code says: an HTTP code, a gRPC status by name, an exception class or an error type.

    Every other code is an error that says no more than that: failed. None where there is no code, or it is no error
    (200, `OK`).
    """
    text = _text(code)
    if _is_empty(code) or text == "0" or _squeezed(text) in ("ok", "unset", "false"):
        return None
    if (number := _http(code)) is not None:
        return None if number < 400 else _of_http(number)
    if text in _GRPC:
        return _of_http(_GRPC[text])
    word = _squeezed(re.split(r"[.:]", text)[-1] or text)
    return next((status for part, status in _CODE_PARTS if part.search(word)), _FAILED)


def _of_grpc(value: object) -> ApiCallStatus | None:
    text = _text(value)
    name = list(_GRPC)[int(text)] if text.isdecimal() and int(text) < len(_GRPC) else text.upper().replace(" ", "_")
    if name not in _GRPC:
        raise UnknownStatusError("is no status of gRPC", value)
    return _of_http(_GRPC[name])


def _of_otel(value: object) -> ApiCallStatus:
    return (_SUCCESS, _SUCCESS, _FAILED)[int(_text(value))] if _text(value) in ("0", "1", "2") else status_of(value)


def _error_parts(error: object) -> tuple[str | None, str | None]:
    """Message and code of an `error`: a text, an object of `_CODE_KEYS` and `message`, or a truth value."""
    if isinstance(error, list) and len(error) == 1:
        error = error[0]
    if _is_empty(error):
        return None, None
    if not isinstance(error, Mapping):
        return (None if _text(error).casefold() in _TRUTH else _text(error)), None
    inner = error.get("error")
    if isinstance(inner, Mapping) and not _is_empty(inner):
        return _error_parts(inner)  # as Anthropic's answers have it
    message, *codes = (_one_text(error.get(key)) for key in ("message", *_CODE_KEYS))
    said = [code for code in codes if code is not None and status_of_code(code) is not None]
    # Of several the one that says more than that it failed: `{"code": "ERR_BAD_REQUEST", "status": 429}`.
    code = next((code for code in said if status_of_code(code) is not _FAILED), said[0] if said else None)
    return (message, code) if message or code else (_text(dict(error)), None)


def _one_text(value: object) -> str | None:
    return None if _is_empty(value) or isinstance(value, Mapping | list | bool) else _text(value)


def _opened(error: object) -> object:
    """What the text of an object holds, as a CSV has one; anything else as it is."""
    if isinstance(error, str) and error.lstrip()[:1] in ("{", "["):
        with suppress(ValueError):
            return read_nested(error)
    return error


def outcome_of(
    *,
    status: object = None,
    error: object = None,
    error_message: object = None,
    error_code: object = None,
    level: object = None,
    http_status: object = None,
    grpc_status: object = None,
    otel_status: object = None,
    success: object = None,
    cancelled: object = None,
) -> Outcome:
    """How a call ended, by all that is said about it. Values are text, numbers or truth values; empty ones say nothing.

    A status in words that says all (`success`, `failed`, `cancelled`, ...) stands. One that does not (`ERROR`, `UNSET`,
    200) is completed by the others: by what names a timeout, a limit or a cancel, else by whether there is an error.

    Args:
        status: a word or an HTTP code, whatever the column called status holds.
        error: text, an object with `message`, `code` and `type`, or whether there was one.
        error_message, error_code: where they stand apart. A code is HTTP's, gRPC's by name, an exception's class or a
            provider's type of error.
        level: Langfuse's level.
        http_status, grpc_status, otel_status: codes of their protocols, as numbers or by name.
        success, cancelled: truth values.

    Raises:
        UnknownStatusError: a status, a level or a truth value is none that we know.
    """
    error = _opened(error)
    message, code = _error_parts(error)
    message = message if _is_empty(error_message) else _text(error_message)
    code = code if _is_empty(error_code) or status_of_code(error_code) is None else _text(error_code)
    if _flag(cancelled, "cancelled"):
        return Outcome(_CANCELLED, message, code)
    if not _is_empty(status) and (firm := _FIRM.get(_squeezed(_text(status)))) is not None:
        return Outcome(firm, message, code)
    succeeded = _flag(success, "success")
    said: list[Any] = [
        None if _is_empty(value) else read(value)
        for read, value in (
            (status_of, status),
            (status_of, http_status),
            (_of_grpc, grpc_status),
            (_of_otel, otel_status),
            (status_of, level),
            (status_of_code, code),
        )
    ]
    if succeeded is False or message or _TRUTH.get(_text(error).casefold(), False):
        said.append(_FAILED)
    ended = next(
        (one for one in said if one not in (None, _SUCCESS, _FAILED)), _FAILED if _FAILED in said else _SUCCESS
    )
    if ended is not _SUCCESS and code is None:
        numbers = (_http(value) for value in (http_status, status))
        code = next((str(number) for number in numbers if number is not None and number >= 400), None)
    return Outcome(ended, message, code)


def used_nothing(status: ApiCallStatus, error_code: object = None) -> bool:
    """Whether a call without counts used 0 tokens because it was refused before any work; else they are unknown.

    That is so for 429 and other 4xx, by number or by name, and not for timeouts, cancelled calls and 5xx.
    """
    if status is _RATE_LIMITED:
        return True
    if status is not _FAILED or _is_empty(error_code):
        return False
    coded = status_of_code(error_code)
    if coded is not _FAILED:
        return coded is _RATE_LIMITED
    text = _text(error_code)
    number = _GRPC[text] if text in _GRPC else _http(text)
    if number is not None:
        return 400 <= number < 500
    return _REFUSALS.search(_squeezed(text)) is not None
