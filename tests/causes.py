"""Made-up calls of two fortnights between which one slice changed, to see whether it is found.

A case is a world of its own, drawn by its seed: 8 models of 4 providers, 12 agents with their habits (which models,
which features), 60 users, 3 environments; sizes differ as Zipf says. In each fortnight there are some 40,000 calls,
fewer on weekends. All use grows or shrinks by the same factor, from 0.85 to 1.3, and each day every agent, model,
feature, user and environment, and each habit, differs from its usual number of calls by a lognormal noise of 5%. What a
call costs is lognormal, too (sigma 0.8 of its model, 0.8 of its own).

Then one slice, of one dimension or of two, of 5% to 50% of the measure, gets worse by its *severity*, drawn between
20% and 100%: it has so many more calls or they are so much dearer (`cost`), it has so many more calls (`calls`), its
calls are so much dearer (`cost_per_call`), so many of its successes fail (`success_rate`), or so much less of its
prompts is cached (`cache_hit_rate`). A pair differs from its single dimensions by at least 2% of all calls; else it
would be the same slice under two names.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

__all__ = ["AFTER", "BEFORE", "MEASURES", "Case", "case"]

BEFORE, AFTER = ("2026-05-04", "2026-05-18"), ("2026-05-18", "2026-06-01")
MEASURES = ("cost", "calls", "cost_per_call", "success_rate", "cache_hit_rate")
DIMENSIONS = ("model_name", "provider_name", "agent_name", "labels.feature", "user_id", "environment")
_DAYS = 14
_WEIGHTS = np.array([1, 1, 1, 1, 1, 0.6, 0.5] * 2)

Slice = tuple[tuple[int, int], ...]
"""Pairs of the place of a dimension and the number of a value."""


@dataclass(frozen=True)
class Case:
    """Calls, and the slice in which something happened: dimension -> value, None being a missing one."""

    calls: pl.DataFrame
    cause: dict[str, str | None]
    measure: str
    severity: float


class _World:
    """Who calls what."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.provider = np.sort(random.integers(0, 4, 8))
        self.agents, self.users = random.permutation(_zipf(12, 0.8)), random.permutation(_zipf(60, 0.6))
        self.environments = np.array([0.8, 0.15, 0.05])
        models, features = random.permutation(_zipf(8, 0.8)), random.permutation(_zipf(8, 0.8))
        self.models = random.dirichlet(models * 6 + 0.05, 12)
        self.features = random.dirichlet(features * 6 + 0.05, 12)
        self.price = np.exp(random.normal(0, 0.8, 8))
        self.failing, self.cached = random.uniform(0.01, 0.05, 8), random.uniform(0.3, 0.7, 8)

    def noise(self, *shape: int) -> Any:
        return np.exp(self.random.normal(0, 0.05, shape))

    def fortnight(self, calls: float) -> dict[str, Any]:
        """Arrays of calls: `codes`, a row for each dimension, the `day`, and numbers."""
        codes, days = [], []
        for day, weight in enumerate(_WEIGHTS / _WEIGHTS.sum()):
            agents, users = self.agents * self.noise(12), self.users * self.noise(60)
            environments = self.environments * self.noise(3)
            models = self.models * self.noise(8) * self.noise(12, 8)
            features = self.features * self.noise(8) * self.noise(12, 8)
            joint = agents[:, None, None] * models[:, :, None] * features[:, None, :]
            number = self.random.poisson(calls * weight * joint.sum() * users.sum() * environments.sum())
            places = self.random.choice(joint.size, number, p=joint.ravel() / joint.sum())
            agent, model, feature = np.unravel_index(places, joint.shape)
            user = self.random.choice(60, number, p=users / users.sum())
            environment = self.random.choice(3, number, p=environments / environments.sum())
            codes.append(np.stack([model, self.provider[model], agent, feature, user, environment]))
            days.append(np.full(number, day))
        return self._numbers(np.concatenate(codes, 1), np.concatenate(days))

    def _numbers(self, codes: Any, day: Any) -> dict[str, Any]:
        number = codes.shape[1]
        prompt = np.exp(self.random.normal(7, 0.8, number)).astype(int) + 1
        share = np.clip(self.random.normal(self.cached[codes[3]], 0.2), 0, 1)
        return {
            "codes": codes,
            "day": day,
            "price": self.price[codes[0]] * np.exp(self.random.normal(0, 0.8, number)),
            "good": self.random.random(number) > self.failing[codes[0]],
            "prompt": prompt,
            "cached": (prompt * share).astype(int),
        }


def case(seed: int, measure: str) -> Case:
    """The case of that number; the same one for the same seed and measure."""
    random = np.random.default_rng([seed, MEASURES.index(measure)])
    world = _World(random)
    before = world.fortnight(40_000)
    after = world.fortnight(40_000 * random.uniform(0.85, 1.3))
    severity = random.uniform(0.2, 1.0)
    cause = _cause(before, measure, random)
    _happen(after, _inside(after["codes"], cause), measure, severity, random)
    names = {DIMENSIONS[place]: _name(place, value) for place, value in cause}
    return Case(pl.concat([_frame(before, 0), _frame(after, _DAYS)]), names, measure, severity)


def _cause(calls: dict[str, Any], measure: str, random: np.random.Generator) -> Slice:
    codes = calls["codes"]
    one = np.ones(codes.shape[1])
    weights = {"cost": calls["price"], "cost_per_call": calls["price"], "cache_hit_rate": calls["prompt"]}
    weight = weights.get(measure, one)
    while True:
        places = np.sort(random.choice(len(DIMENSIONS), random.integers(1, 3), replace=False))
        call = random.integers(codes.shape[1])
        found = tuple((int(place), int(codes[place][call])) for place in places)
        inside = _inside(codes, found)
        beside = min((_inside(codes, (part,)) & ~inside).mean() for part in found) if len(found) > 1 else 1.0
        if 0.05 <= weight[inside].sum() / weight.sum() <= 0.5 and beside >= 0.02:
            return found


def _inside(codes: Any, cause: Slice) -> Any:
    return np.all([codes[place] == value for place, value in cause], axis=0)


def _happen(calls: dict[str, Any], inside: Any, measure: str, severity: float, random: np.random.Generator) -> None:
    """Let something happen to the calls inside."""
    if measure == "calls" or (measure == "cost" and random.random() < 0.5):
        more = np.flatnonzero(inside & (random.random(inside.size) < severity))
        for name, values in calls.items():
            calls[name] = np.concatenate([values, values[..., more]], -1)
    elif measure in ("cost", "cost_per_call"):
        calls["price"] = np.where(inside, calls["price"] * (1 + severity), calls["price"])
    elif measure == "success_rate":
        calls["good"] = calls["good"] & ~(inside & (random.random(inside.size) < severity))
    else:
        calls["cached"] = np.where(inside, (calls["cached"] * (1 - severity)).astype(int), calls["cached"])


def _frame(calls: dict[str, Any], first: int) -> pl.DataFrame:
    columns = {name: _names(place, calls["codes"][place]) for place, name in enumerate(DIMENSIONS)}
    start = datetime(2026, 5, 4, 12, tzinfo=UTC) + timedelta(days=first)
    day = pl.Series(calls["day"], dtype=pl.Int64) * 86_400_000_000
    return pl.DataFrame(
        {
            **columns,
            "create_time": pl.select(pl.lit(start) + day.cast(pl.Duration("us"))).to_series(),
            "status": pl.Series(np.where(calls["good"], "success", "failed")),
            "total_price": pl.Series(np.round(calls["price"] * 1000).astype(np.int64)).cast(pl.Decimal(38, 10)),
            "prompt_tokens": pl.Series(calls["prompt"], dtype=pl.Int64),
            "cached_tokens": pl.Series(calls["cached"], dtype=pl.Int64),
        }
    )


def _names(place: int, codes: Any) -> pl.Series:
    names = [_name(place, value) for value in range(60)]
    return pl.Series(codes, dtype=pl.Int64).replace_strict(list(range(60)), names, return_dtype=pl.String)


def _name(place: int, value: int) -> str | None:
    """A name; one of the features is that of calls without any."""
    return None if (place, value) == (3, 7) else f"{DIMENSIONS[place]} {value:02}"


def _zipf(number: int, power: float) -> Any:
    weights = 1 / np.arange(1, number + 1) ** power
    return weights / weights.sum()
