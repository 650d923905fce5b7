"""How much dearer it is to write to a cache for an hour than for five minutes, by the price book where there is one."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from mofa_usage.errors import MissingExtraError
from mofa_usage.pricing import PriceBook
from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall

__all__ = ["extra_of_an_hour"]

_TOKENS = 100_000  # below the sizes from which prompts cost more
_OF_FIVE_MINUTES = Decimal("0.6")
"""An hour costs 2 times the price of input and five minutes 1.25 times (`costs`): 0.6 of the latter more."""


def extra_of_an_hour(provider: str, model: str, day: datetime, tokens: int) -> Decimal | None:
    """What so many tokens cost more when they are written for an hour; None where no book knows the model.

    The model is looked up as the provider's own, at noon of the day.
    """
    per_token = _per_token(provider, model, day)
    return None if per_token is None else per_token * tokens


@lru_cache(maxsize=4096)
def _per_token(provider: str, model: str, day: datetime) -> Decimal | None:
    try:
        book = PriceBook.default()
    except MissingExtraError:
        return None
    found = []
    for lifetime in ("5m", "1h"):
        details = {"cache_write_tokens": _TOKENS, f"cache_write_{lifetime}_tokens": _TOKENS}
        call = LLMApiCall(
            id=UUID(int=1),
            chat_session_id=NIL_UUID,
            agent_id=NIL_UUID,
            user_id=NIL_UUID,
            model_name=model,
            status=ApiCallStatus.SUCCESS,
            prompt_tokens=_TOKENS,
            completion_tokens=0,
            total_tokens=_TOKENS,
            prompt_tokens_details=details,
            labels={"provider": provider},
            create_time=day.astimezone(UTC),
            update_time=day.astimezone(UTC),
        )
        price = book.price(call)
        if price is None:
            return None
        found.append(price.total / _TOKENS)
    return found[1] - found[0] or found[0] * _OF_FIVE_MINUTES
