"""A made-up month of three companies' LLM usage, realistic enough to learn the analyses on.

```python
usage = generate_usage(calls=2_000, seed=7, end=datetime(2026, 6, 1, tzinfo=UTC))
await write_usage(store, usage)
```

Nothing here was measured: models carry well-known names, but their **prices and speeds are illustrative**, not
anybody's price list. What is in it, because it is what one looks for in real usage:

- growth over the period, working weeks and days in three parts of the world, sessions with several turns whose prompts
  grow with the conversation and are partly read from a cache;
- labels (company, feature, environment, user) on every call, and a plan in the metadata of sessions, to charge by;
- 10 models of 6 providers; one model runs on own machines and has no price, so cost has a coverage below 1;
- reasoning tokens, streamed calls with a time to first token, latencies that follow from the tokens;
- the everyday failures, paid for or not, and one incident: some hours in which a provider times out and limits rates.

The same seed, period and number of calls give the same usage on every machine.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from mofa_usage.demo.world import (
    CANCELLED,
    COMPANIES,
    FILTERED,
    FIRST_NAMES,
    GROWTH,
    HOURS,
    IN_INCIDENT,
    INCIDENT_HOURS,
    INCIDENT_PROVIDER,
    LAST_NAMES,
    MODELS,
    STAGING,
    TIMEOUT,
    TIMEOUT_MS,
    USUAL,
    WEEKDAYS,
    Bot,
    Company,
    Failure,
    Model,
)
from mofa_usage.errors import UsageError
from mofa_usage.records import (
    Agent,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    Provider,
)
from mofa_usage.values import text_uuid

if TYPE_CHECKING:
    from mofa_usage.stores import Store

__all__ = ["DemoUsage", "generate_usage", "write_usage"]

_PER_MILLION = Decimal(1_000_000)
_USUAL_WAYS, _INCIDENT_WAYS = (
    ([way for way, _ in outcomes], list(accumulate(often for _, often in outcomes)))
    for outcomes in (USUAL, IN_INCIDENT)
)
_NAMESPACE = uuid5(NAMESPACE_URL, "https://pypi.org/project/mofa-usage/demo")


@dataclass(frozen=True, slots=True)
class DemoUsage:
    """What `generate_usage` made up.

    Attributes:
        start, end: the period, half-open, UTC; every call begins and ends in it.
        incident: the hours of the incident, half-open, UTC.
        calls: oldest first.
    """

    start: datetime
    end: datetime
    incident: tuple[datetime, datetime]
    providers: tuple[Provider, ...]
    agents: tuple[Agent, ...]
    sessions: tuple[ChatSession, ...]
    calls: tuple[LLMApiCall, ...]


@dataclass(slots=True)
class _Month:
    """The period and its dice."""

    start: datetime
    end: datetime
    incident: tuple[datetime, datetime]
    dice: random.Random
    calls: list[LLMApiCall] = field(default_factory=list)
    sessions: list[ChatSession] = field(default_factory=list)

    def spread(self, middle: float, sigma: float) -> float:
        """A lognormal value whose median is `middle`."""
        return middle * self.dice.lognormvariate(0.0, sigma)

    def new_id(self, time: datetime) -> UUID:
        """A UUID version 7 of `time`, from the dice."""
        milliseconds = int(time.timestamp() * 1000)
        noise = self.dice.getrandbits(74)
        return UUID(int=milliseconds << 80 | 7 << 76 | (noise >> 62) << 64 | 2 << 62 | noise & (2**62 - 1))


def generate_usage(*, calls: int = 50_000, days: int = 30, end: datetime | None = None, seed: int = 2026) -> DemoUsage:
    """Make up `calls` calls in the `days` days before `end`.

    Args:
        end: a time with a zone; by default the last full hour before now. Fix it for usage that is the same tomorrow.
        seed: another seed is another month of the same companies.

    Raises:
        UsageError: there is less than one call or day, or `end` has no zone.
    """
    if calls < 1 or days < 1:
        raise UsageError(f"demo usage needs at least one call and one day, not {calls} and {days}")
    if end is not None and end.tzinfo is None:
        raise UsageError("end needs a time zone")
    stop = (end or datetime.now(UTC).replace(minute=0, second=0, microsecond=0)).astimezone(UTC)
    start = stop - timedelta(days=days)
    month = _Month(start, stop, _incident(start, days), random.Random(seed))  # noqa: S311  (dice, not secrets)
    providers = {
        (company.name, name): _provider(company, name, start) for company in COMPANIES for name in _providers(company)
    }
    agents = {bot.code: _agent(company, bot, providers, start) for company in COMPANIES for bot in company.bots}
    for begin, company in _session_starts(month):
        _hold_session(month, company, begin, agents, wanted=calls)
        if len(month.calls) >= calls:
            break
    month.calls.sort(key=lambda call: (call.create_time, call.id))
    return DemoUsage(
        start,
        stop,
        month.incident,
        tuple(providers.values()),
        tuple(agents.values()),
        tuple(month.sessions),
        tuple(month.calls),
    )


async def write_usage(
    store: "Store", usage: DemoUsage, *, advance: Callable[[int, str], None] | None = None, batch_size: int = 5_000
) -> None:
    """Save `usage`. Doing it twice saves it once.

    Args:
        advance: is told after every batch how many of the calls are saved.
    """
    async with store.transaction() as transaction:
        for provider in usage.providers:
            await transaction.save_provider(provider)
        for agent in usage.agents:
            await transaction.save_agent(agent)
        await transaction._save_sessions(usage.sessions)
    for first in range(0, len(usage.calls), batch_size):
        batch = usage.calls[first : first + batch_size]
        await store.save_api_calls(batch)
        if advance is not None:
            advance(first + len(batch), "")


def _incident(start: datetime, days: int) -> tuple[datetime, datetime]:
    """Working hours of a working day, about two thirds into the period."""
    day = (start + timedelta(days=days * 2 // 3)).replace(hour=13, minute=0, second=0, microsecond=0)
    while day.weekday() > 3 and days > 6:
        day -= timedelta(days=1)
    return day, day + timedelta(hours=INCIDENT_HOURS)


@cache
def _id(*names: str) -> UUID:
    return uuid5(_NAMESPACE, "/".join(names))


def _providers(company: Company) -> list[str]:
    return sorted({MODELS[bot.models[0]].provider for bot in company.bots})


def _provider(company: Company, name: str, made: datetime) -> Provider:
    return Provider(
        id=_id("provider", company.name, name),
        tenant_id=text_uuid("tenant_id", company.name),
        provider_name=name,
        provider_type="vllm" if name == "own-cluster" else name,
        api_base=f"https://{name}.example/v1",
        api_key="demo: not a key",  # pydantic makes a secret of it
        create_time=made,
        update_time=made,
    )


def _agent(company: Company, bot: Bot, providers: dict[tuple[str, str], Provider], made: datetime) -> Agent:
    return Agent(
        id=_id("agent", bot.code),
        tenant_id=text_uuid("tenant_id", company.name),
        agent_code=bot.code,
        agent_name=bot.name,
        agent_order=company.bots.index(bot),
        model_name=bot.models[0],
        provider_id=providers[company.name, MODELS[bot.models[0]].provider].id,
        system_prompt=f"You are {company.name}'s {bot.name}.",
        stream=bot.streamed,
        create_time=made,
        update_time=made,
    )


def _session_starts(month: _Month) -> Iterator[tuple[datetime, Company]]:
    """Sessions without end: when they begin and whose they are, in no order of time."""
    hours = int((month.end - month.start) / timedelta(hours=1))
    places: list[tuple[datetime, Company]] = []
    weights: list[float] = []
    for number in range(hours):
        hour = month.start + timedelta(hours=number)
        for company in COMPANIES:
            local = hour + timedelta(hours=company.utc_offset)
            growth = 1 + GROWTH * number / hours
            places.append((hour, company))
            weights.append(company.weight * growth * HOURS[local.hour] * WEEKDAYS[local.weekday()])
    sums = list(accumulate(weights))
    while True:
        for hour, company in month.dice.choices(places, cum_weights=sums, k=1000):
            yield hour + timedelta(microseconds=month.dice.randrange(3_600_000_000)), company


def _hold_session(month: _Month, company: Company, begin: datetime, agents: dict[str, Agent], *, wanted: int) -> None:
    """Add one session's calls, up to the end of the period or the `wanted` number of calls."""
    dice = month.dice
    bot = dice.choices(company.bots, cum_weights=list(accumulate(bot.weight for bot in company.bots)))[0]
    # Few users do most: the number of a user is drawn twice as often near 0 as in the middle.
    user = int(company.users * dice.random() ** 2)
    ids = {
        "chat_session_id": month.new_id(begin),
        "agent_id": agents[bot.code].id,
        "user_id": text_uuid("user_id", _email(company, user)),
        "tenant_id": text_uuid("tenant_id", company.name),
    }
    labels = _labels(company, bot, user, staging=dice.random() < STAGING)
    time, history, last = begin, 0, None
    while len(month.calls) < wanted:
        call = _call(month, bot, {**ids, "labels": labels}, time, history)
        if call.update_time >= month.end:
            break
        month.calls.append(call)
        last = call
        history = call.total_tokens if call.status is ApiCallStatus.SUCCESS else history
        if dice.random() < 1 / bot.turns:
            break
        time = call.update_time + timedelta(seconds=month.spread(25, 0.8))
    if last is not None:
        month.sessions.append(_session(ids, company, bot, begin, last.update_time))


def _labels(company: Company, bot: Bot, user: int, *, staging: bool) -> dict[str, str]:
    return {
        "company": company.name,
        "feature": bot.feature,
        "environment": "staging" if staging else "production",
        "user": _email(company, user),
    }


def _email(company: Company, user: int) -> str:
    """The name that a user has among a recorder's."""
    last, first = divmod(user, len(FIRST_NAMES))
    return f"{FIRST_NAMES[first]}.{LAST_NAMES[last]}@{company.name}.example"


def _session(ids: dict[str, UUID], company: Company, bot: Bot, begin: datetime, end: datetime) -> ChatSession:
    return ChatSession(
        id=ids["chat_session_id"],
        user_id=ids["user_id"],
        agent_id=ids["agent_id"],
        tenant_id=ids["tenant_id"],
        title=bot.name,
        metadata={"plan": company.plan},
        create_time=begin,
        update_time=end,
    )


def _call(month: _Month, bot: Bot, ids: dict[str, Any], time: datetime, history: int) -> LLMApiCall:
    """One call. `history` are the tokens of the conversation so far, which the prompt repeats."""
    dice = month.dice
    others = bot.models[1:]
    name = dice.choice(others) if others and dice.random() < 0.1 else bot.models[0]
    model = MODELS[name]
    outcome = _outcome(month, bot, model, time, history)
    failure = outcome.failure
    return LLMApiCall.model_validate(
        {
            **ids,
            "id": month.new_id(time),
            "model_name": name,
            "status": ApiCallStatus.SUCCESS if failure is None else failure.status,
            "error_code": None if failure is None else failure.code,
            "error_message": None if failure is None else failure.message,
            **_tokens_and_price(dice, bot, model, outcome, history),
            "latency_ms": outcome.latency_ms,
            "time_to_first_token_ms": outcome.first_ms if bot.streamed and outcome.completion else None,
            "tokens_per_second": None if failure else round(outcome.completion / outcome.latency_ms * 1000, 3),
            "api_response_id": None if failure else f"demo-{dice.getrandbits(96):024x}",
            "create_time": time,
            "update_time": time + timedelta(milliseconds=outcome.latency_ms),
        }
    )


class _Outcome(NamedTuple):
    """How a call went: what went wrong, the tokens that were billed, and milliseconds."""

    failure: Failure | None
    prompt: int
    completion: int
    first_ms: int
    latency_ms: int


def _outcome(month: _Month, bot: Bot, model: Model, time: datetime, history: int) -> _Outcome:
    dice = month.dice
    in_incident = model.provider == INCIDENT_PROVIDER and month.incident[0] <= time < month.incident[1]
    ways, sums = _INCIDENT_WAYS if in_incident else _USUAL_WAYS
    failure = dice.choices(ways, cum_weights=sums)[0]
    prompt = history + int(month.spread(90 if history else bot.prompt, 0.45)) + 8
    completion = int(month.spread(bot.completion, 0.6)) + 2
    if model.reasoning:
        completion = int(completion / (1 - model.reasoning * dice.uniform(0.7, 1.1)))
    slow = 2.6 if in_incident else 1.0
    thinking = model.reasoning * completion / model.tokens_per_second * 1000
    first = slow * (month.spread(model.first_token_ms, 0.35) * (1 + prompt / 25_000) + thinking)
    writing = slow * (1 - model.reasoning) * completion / month.spread(model.tokens_per_second, 0.18) * 1000
    if failure is TIMEOUT or (failure is None and first + writing >= TIMEOUT_MS):
        return _Outcome(TIMEOUT, prompt, 0, 0, TIMEOUT_MS)  # the provider has read the prompt, and bills it
    if failure is None:
        return _Outcome(None, prompt, completion, int(first), int(first + writing) + 1)
    if failure is CANCELLED:
        part = dice.uniform(0.05, 0.7)
        return _Outcome(CANCELLED, prompt, int(completion * part), int(first), int(first + writing * part) + 1)
    if failure is FILTERED:
        return _Outcome(FILTERED, prompt, 0, 0, int(first) + 1)
    return _Outcome(failure, 0, 0, 0, int(month.spread(180, 0.6)) + 5)


def _tokens_and_price(dice: random.Random, bot: Bot, model: Model, outcome: _Outcome, history: int) -> dict[str, Any]:
    prompt, completion = outcome.prompt, outcome.completion
    cached = _cached(dice, bot, model, history, prompt)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        "completion_tokens_details": _reasoning(dice, model, completion),
        **_price(model, prompt, cached or 0, completion),
    }


def _cached(dice: random.Random, bot: Bot, model: Model, history: int, prompt: int) -> int | None:
    """Cached tokens: most of a conversation's history, sometimes the system prompt; None where nobody reports them."""
    if model.prompt is None or model.cached == model.prompt or prompt == 0:
        return None
    if history and dice.random() < 0.8:
        return min(history, prompt) // 128 * 128
    return min(bot.prompt // 2, prompt) // 128 * 128 if dice.random() < 0.3 else 0


def _reasoning(dice: random.Random, model: Model, completion: int) -> dict[str, int] | None:
    if not model.reasoning or not completion:
        return None
    return {"reasoning_tokens": int(completion * model.reasoning * dice.uniform(0.8, 1.1))}


def _price(model: Model, prompt: int, cached: int, completion: int) -> dict[str, Any]:
    """The fields of the price: exact, and none where no price is known."""
    if model.prompt is None or model.cached is None or model.completion is None:
        return {}
    input_price = ((prompt - cached) * Decimal(model.prompt) + cached * Decimal(model.cached)) / _PER_MILLION
    output_price = completion * Decimal(model.completion) / _PER_MILLION
    return {
        "total_price": input_price + output_price,
        "price_details": {"input_price": input_price, "output_price": output_price},
    }
