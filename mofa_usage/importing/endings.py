"""How the call of a row ended: what its columns say, put to `mofa_usage.outcomes`.

What our own records hold stands as it is: one of the five statuses in the column `status`, and the error beside it to
the last blank. Everything else is interpreted.
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.importing import values as convert
from mofa_usage.importing.values import ValueRefusedError
from mofa_usage.outcomes import Outcome, UnknownStatusError, outcome_of, status_of
from mofa_usage.records import ApiCallStatus

__all__ = ["ending_of"]

_OWN = {status.value: status for status in ApiCallStatus}
_ERRORS = ("error", "error_message", "error_code")
_OTHERS = ("is_error", "timed_out", "status_code", "finish_reason")
_TRUE = {"true", "t", "yes", "1", "1.0"}


def ending_of(said: Mapping[str, Any], default: ApiCallStatus | None) -> Outcome:
    """The outcome that a row says; `said` are its values by the names under `outcome.` in `names.py`.

    `default` is the status of a row that says at most an error.

    Raises:
        ValueRefusedError: what the row says is no status that anybody knows.
    """
    said = {name: value for name, value in said.items() if name != "status" or not isinstance(value, Mapping)}
    status = said.get("status")
    if isinstance(status, str) and status in _OWN and not isinstance(said.get("error"), Mapping):
        return Outcome(_OWN[status], _text(said.get("error_message", said.get("error"))), _text(said.get("error_code")))
    arguments = {name: value for name, value in said.items() if name not in _OTHERS}
    if arguments.get("level") is not None and not _is_known(arguments["level"]):
        del arguments["level"]  # of some other log
    if (code := said.get("status_code")) is not None:
        arguments.setdefault("http_status" if _is_http(code) else "otel_status", code)
    if _is_true(said.get("timed_out")):
        arguments["status"] = ApiCallStatus.TIMEOUT.value
    if _is_true(said.get("is_error")) or said.get("finish_reason") == "error":
        arguments["success"] = False
    if said.get("finish_reason") in ("aborted", "cancelled", "canceled"):
        arguments["cancelled"] = True
    try:
        outcome = outcome_of(**arguments)
    except UnknownStatusError as error:
        raise ValueRefusedError(
            f"status {error.rule}" if error.rule.startswith("is ") else error.rule, error.value
        ) from None
    if default is not None and not set(arguments).difference(_ERRORS):
        return outcome._replace(status=default)
    return outcome


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, bool | Mapping) else convert.to_text(value)


def _is_known(level: Any) -> bool:
    try:
        status_of(level)
    except UnknownStatusError:
        return False
    return True


def _is_http(code: Any) -> bool:
    """Whether what a column calls a status code is one of HTTP; else it is OpenTelemetry's, a number or a word."""
    return str(code).strip()[:1].isdigit() and str(code).strip() not in ("0", "1", "2")


def _is_true(value: Any) -> bool:
    return value is not None and str(value).strip().casefold() in _TRUE
