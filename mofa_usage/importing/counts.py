"""The tokens of a row as a record holds them.

A record has room for numbers only: a count that is unknown is 0 there, and `token_source` in the details of the
completion says so. What the columns `prompt_tokens_details` and `completion_tokens_details` hold beside counts is kept.
"""

from collections.abc import Collection, Mapping
from typing import Any

from mofa_usage.importing.columns import TOKEN_FIELDS
from mofa_usage.importing.values import to_plain
from mofa_usage.records import TokenDetails
from mofa_usage.tokens import TokenCounts
from mofa_usage.values import token_source_of

__all__ = ["token_fields"]


def token_fields(
    counts: TokenCounts | None,
    *,
    own: Mapping[str, Mapping[str, Any]],
    defaults: Mapping[str, Any],
    unused: Collection[str],
) -> dict[str, Any]:
    """The fields of a call that are about tokens.

    Args:
        counts: what the row says; None when it says nothing.
        own: details as the row has them under our own names.
        defaults: the caller's, for what the row does not say.
        unused: counts that are 0 unless the row says otherwise, because of what the call is.
    """
    known: dict[str, int | None] = {}
    for name in TOKEN_FIELDS:
        said = None if counts is None else getattr(counts, name)
        known[name] = defaults.get(name, 0 if name in unused else None) if said is None else said
    prompt, completion = known["prompt_tokens"], known["completion_tokens"]
    fields: dict[str, Any] = {
        "prompt_tokens": prompt or 0,
        "completion_tokens": completion or 0,
        "total_tokens": (prompt or 0) + (completion or 0) if known["total_tokens"] is None else known["total_tokens"],
    }
    source = _source(prompt, completion, "provider" if counts is None else counts.token_source)
    for name, whole, found in (
        ("prompt_tokens_details", prompt, counts and counts.prompt_details),
        ("completion_tokens_details", completion, counts and counts.completion_details),
    ):
        parts = {} if whole is None else dict(found or {})
        if name == "completion_tokens_details" and source != "provider":
            parts["token_source"] = source
        fixed = dict(defaults.get(name, {})) | {
            target.partition(".")[2]: value for target, value in defaults.items() if target.startswith(f"{name}.")
        }
        if parts or fixed or name in own:
            fields[name] = fixed | _merged(own.get(name, {}), parts)
    return fields


def _source(prompt: int | None, completion: int | None, said: str) -> str:
    source = token_source_of(prompt, completion)
    return said if source == "provider" and said == "estimated" else source


def _merged(own: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Further keys as the row has them, and the parts that were understood."""
    kept = {key: value for key, value in own.items() if key not in TokenDetails.model_fields}
    if kept.get("token_source") not in (None, "provider"):
        del kept["token_source"]  # what holds now is among the parts
    return kept | {key: to_plain(value) for key, value in parts.items() if key not in kept}
