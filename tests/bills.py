"""Bills made of calls, the way providers would: true to the formats, and by nothing that the package knows of bills.

A call is a row of `plain_analysis.call`. Prices are those of `PRICES`, per million tokens; everything is exact.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall
from mofa_usage.stores import connect
from tests.plain_analysis import Row, call


def _rates(**prices: str) -> dict[str, Decimal]:
    return {name: Decimal(price) for name, price in prices.items()}


PRICES: Mapping[str, Mapping[str, Decimal]] = {
    "gpt-4o-2024-08-06": _rates(input="2.5", cached="1.25", output="10"),
    "o3-2025-04-16": _rates(input="2", cached="0.5", output="8"),
    "claude-sonnet-4-20250514": _rates(input="3", cached="0.3", written="3.75", hour="6", output="15"),
    "claude-3-5-haiku-20241022": _rates(input="0.8", cached="0.08", written="1", hour="1.6", output="4"),
}
FACTORS = {"batch": Decimal("0.5"), "priority": Decimal(2), None: Decimal(1)}
PIECES = ("input", "cached", "written", "hour", "output")


def pieces(row: Row) -> dict[str, int]:
    """Disjoint tokens of a call."""
    cached, written = row["cached_tokens"] or 0, row["cache_write_tokens"] or 0
    hour = row.get("cache_write_1h_tokens") or 0
    return {
        "input": row["prompt_tokens"] - cached - written,
        "cached": cached,
        "written": written - hour,
        "hour": hour,
        "output": row["completion_tokens"],
    }


def piece_prices(row: Row, tier: str | None) -> dict[str, Decimal]:
    rates = PRICES[row["served_model"] or row["model_name"]]
    return {
        name: count * rates.get(name, Decimal(0)) * FACTORS[tier] / 1_000_000 for name, count in pieces(row).items()
    }


def price(row: Row) -> Decimal:
    return sum(piece_prices(row, row["service_tier"]).values(), Decimal(0))


def made(when: datetime, model: str, prompt: int, output: int, **fields: Any) -> Row:
    """A call with its price."""
    row = call(when, model_name=model, prompt_tokens=prompt, completion_tokens=output, total_tokens=prompt + output)
    row |= {"cache_write_1h_tokens": None, "operation": "chat"} | fields
    return row if "total_price" in fields else row | {"total_price": price(row)}


def is_openai(row: Row) -> bool:
    return not (row["served_model"] or row["model_name"]).startswith("claude")


def model_of(row: Row) -> str:
    return str(row["served_model"] or row["model_name"])


def by_day(rows: Iterable[Row], first: date, days: int) -> dict[date, list[Row]]:
    """The rows of each UTC day, those without any, too."""
    found: dict[date, list[Row]] = {first + timedelta(days=number): [] for number in range(days)}
    for row in rows:
        day = row["create_time"].astimezone(UTC).date()
        if day in found:
            found[day].append(row)
    return found


def grouped(rows: Sequence[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return sorted(found.items(), key=str)


def total(rows: Sequence[Row], name: str) -> int:
    return sum(pieces(row)[name] for row in rows)


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _pages(buckets: list[dict[str, Any]], size: int, frame: Mapping[str, Any]) -> list[dict[str, Any]]:
    pages = []
    for start in range(0, len(buckets), size):
        more = start + size < len(buckets)
        pages.append(
            {**frame, "data": buckets[start : start + size], "has_more": more, "next_page": "page_x" if more else None}
        )
    return pages


def openai_usage(rows: Iterable[Row], first: date, days: int, size: int = 7) -> list[dict[str, Any]]:
    """Pages of /v1/organization/usage/completions, grouped by model, batch and service tier."""
    buckets = []
    for day, several in by_day(filter(is_openai, rows), first, days).items():
        results: list[dict[str, Any]] = []
        for (model, batch), same in grouped(several, lambda row: (model_of(row), row["service_tier"] == "batch")):
            results.append(
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": sum(row["prompt_tokens"] for row in same),
                    "output_tokens": total(same, "output"),
                    "input_cached_tokens": total(same, "cached"),
                    "input_audio_tokens": 0,
                    "output_audio_tokens": 0,
                    "num_model_requests": len(same),
                    "project_id": None,
                    "user_id": None,
                    "api_key_id": None,
                    "model": model,
                    "batch": batch,
                    "service_tier": "default",
                }
            )
        buckets.append(
            {"object": "bucket", "start_time": seconds(day), "end_time": seconds(day) + 86_400, "results": results}
        )
    return _pages(buckets, size, {"object": "page"})


def openai_costs(rows: Iterable[Row], first: date, days: int, size: int = 7) -> list[dict[str, Any]]:
    """Pages of /v1/organization/costs, grouped by line item; amounts are numbers and texts in turn."""
    names = {"input": "input", "cached": "cached input", "output": "output"}
    buckets = []
    for day, several in by_day(filter(is_openai, rows), first, days).items():
        results: list[dict[str, Any]] = []
        for (model, tier), same in grouped(several, lambda row: (model_of(row), row["service_tier"])):
            for piece, name in names.items():
                amount = sum((piece_prices(row, tier)[piece] for row in same), Decimal(0))
                item = f"{model}, {name}" if tier is None else f"{tier} | {model}, {name}"
                value = f"{amount:.30f}" if len(results) % 2 else amount
                results.append(
                    {
                        "object": "organization.costs.result",
                        "amount": {"value": value if amount else "0E-6176", "currency": "usd"},
                        "line_item": item,
                        "project_id": None,
                        "organization_id": "org-x",
                    }
                )
        buckets.append(
            {"object": "bucket", "start_time": seconds(day), "end_time": seconds(day) + 86_400, "results": results}
        )
    return _pages(buckets, size, {"object": "page"})


def _stamp(day: date) -> str:
    return f"{day}T00:00:00Z"


def anthropic_usage(rows: Iterable[Row], first: date, days: int, size: int = 7) -> list[dict[str, Any]]:
    """Pages of /v1/organizations/usage_report/messages, grouped by model and service tier."""
    buckets = []
    for day, several in by_day((row for row in rows if not is_openai(row)), first, days).items():
        results = [
            {
                "uncached_input_tokens": total(same, "input"),
                "cache_read_input_tokens": total(same, "cached"),
                "cache_creation": {
                    "ephemeral_1h_input_tokens": total(same, "hour"),
                    "ephemeral_5m_input_tokens": total(same, "written"),
                },
                "output_tokens": total(same, "output"),
                "server_tool_use": {"web_search_requests": 0},
                "api_key_id": None,
                "workspace_id": None,
                "model": model,
                "service_tier": tier,
                "context_window": None,
            }
            for (model, tier), same in grouped(several, lambda row: (model_of(row), row["service_tier"] or "standard"))
        ]
        buckets.append({"starting_at": _stamp(day), "ending_at": _stamp(day + timedelta(1)), "results": results})
    return _pages(buckets, size, {})


def anthropic_costs(rows: Iterable[Row], first: date, days: int, size: int = 7) -> list[dict[str, Any]]:
    """Pages of /v1/organizations/cost_report, grouped by description; amounts are decimal texts in cents."""
    types = {
        "input": "uncached_input_tokens",
        "cached": "cache_read_input_tokens",
        "written": "cache_creation.ephemeral_5m_input_tokens",
        "hour": "cache_creation.ephemeral_1h_input_tokens",
        "output": "output_tokens",
    }
    buckets = []
    paid = [row for row in rows if not is_openai(row) and row["service_tier"] != "priority"]
    for day, several in by_day(paid, first, days).items():
        results: list[dict[str, Any]] = []
        for (model, tier), same in grouped(several, lambda row: (model_of(row), row["service_tier"])):
            for piece, name in types.items():
                amount = sum((piece_prices(row, tier)[piece] for row in same), Decimal(0)) * 100
                if amount:
                    results.append(
                        {
                            "amount": f"{amount:.12f}",
                            "currency": "USD",
                            "cost_type": "tokens",
                            "description": f"{model} Usage - {name}",
                            "model": model,
                            "service_tier": tier or "standard",
                            "token_type": name,
                            "context_window": "0-200k",
                            "workspace_id": None,
                        }
                    )
        buckets.append({"starting_at": _stamp(day), "ending_at": _stamp(day + timedelta(1)), "results": results})
    return _pages(buckets, size, {})


def bill(rows: Sequence[Row], first: date, days: int, size: int = 7) -> list[dict[str, Any]]:
    """All pages of both providers."""
    reports = (openai_usage, openai_costs, anthropic_usage, anthropic_costs)
    return [page for report in reports for page in report(rows, first, days, size)]


def _record(row: Row) -> LLMApiCall:
    """The call as it is stored."""
    details = {name: row[name] or 0 for name in ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens")}
    return LLMApiCall(
        chat_session_id=NIL_UUID,
        agent_id=NIL_UUID,
        user_id=NIL_UUID,
        model_name=row["model_name"],
        status=ApiCallStatus.SUCCESS,
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        total_tokens=row["total_tokens"],
        prompt_tokens_details=details,
        total_price=round(row["total_price"], 10),
        labels={} if row["service_tier"] is None else {"service_tier": row["service_tier"]},
        create_time=row["create_time"],
        update_time=row["create_time"],
    )


async def lay_out(folder: Path) -> None:
    """Calls of a week of May in `usage.db`, all but those of the fourth, and the bills of that week in `bills/2026-05`.

    A batch was recorded at the price of the standard tier.
    """
    first = datetime(2026, 5, 1, tzinfo=UTC)
    rows = [
        made(
            first + timedelta(hours=5 * number),
            sorted(PRICES)[number % 4],
            40_000 + 977 * number,
            3000 + 61 * number,
            cached_tokens=8000,
            service_tier="batch" if number % 4 == 2 else None,
        )
        for number in range(33)
    ]
    kept = [row for row in rows if row["create_time"].date() != date(2026, 5, 4)]
    plain = [row | {"service_tier": None} if row["service_tier"] else row for row in kept]
    async with connect(f"sqlite:{folder}/usage.db") as store:
        await store.save_api_calls([_record(row | {"total_price": price(row)}) for row in plain])
    pages = folder / "bills" / "2026-05"
    pages.mkdir(parents=True)
    for number, page in enumerate(bill(rows, date(2026, 5, 1), 7)):
        (pages / f"{number}.json").write_text(json.dumps(page, default=str))
