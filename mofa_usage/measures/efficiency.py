"""The numbers about waste, caches and conversations, which `mofa_usage.efficiency` computes."""

from mofa_usage.measures.formulas import Aggregate, Measure, Quantity, Ratio, Reckoned

__all__ = ["EFFICIENCY"]

_WASTE = (
    Measure(
        "waste_share",
        "Share of all cost",
        "rate",
        description="Cost of these wasted calls / cost of all calls of the period.",
        formula=Reckoned("waste"),
        additive=True,
    ),
)


def _session(name: str, title: str, kind: Quantity, unit: str, description: str, *, additive: bool = False) -> Measure:
    return Measure(name, title, kind, unit, description, Reckoned("sessions"), additive=additive)


_OF_SESSIONS = (
    _session(
        "session_duration", "Duration", "ms", "ms", "From the start of the first call to the end of the last, if known."
    ),
    _session("turns", "Turns", "count", "turns", "Requests of the session: calls without retried.", additive=True),
    _session(
        "context_growth",
        "Context growth per turn",
        "tokens",
        "tokens",
        "Prompt tokens of the last request less those of the first, per turn between them, where they are known.",
    ),
    _session("session_cost_mean", "Cost per session", "money", "currency", "Cost / sessions with a priced call."),
    _session("session_cost_p50", "Cost per session p50", "money", "currency", "Median of what sessions cost."),
    _session("session_cost_p95", "Cost per session p95", "money", "currency", "95th percentile of what sessions cost."),
    _session("session_cost_max", "Dearest session", "money", "currency", "What the dearest session cost."),
    _session("cost_from", "Cost from", "money", "currency", "The least that a session of the row cost."),
    _session("cost_to", "Cost below", "money", "currency", "What a session of the row cost less than."),
    _session("session_turns_p50", "Turns p50", "count", "turns", "Median of the turns of sessions."),
    _session("session_turns_max", "Most turns", "count", "turns", "Turns of the longest session."),
    _session("session_duration_p50", "Duration p50", "ms", "ms", "Median of how long sessions took."),
    _session(
        "turn_cost_mean", "Cost of the turn", "money", "currency", "Cost / sessions whose turn has a priced call."
    ),
    _session("turn_cost_p50", "Cost of the turn p50", "money", "currency", "Median of what the turn cost in sessions."),
    _session("turn_prompt_mean", "Prompt tokens", "tokens", "tokens", "Mean of the turn's prompt tokens, where known."),
    _session("turn_prompt_p50", "Prompt tokens p50", "tokens", "tokens", "Median of the turn's prompt tokens."),
    _session(
        "turn_growth",
        "Growth since the turn before",
        "tokens",
        "tokens",
        "Mean of the prompt tokens of the turn less those of the turn before, in sessions that know both.",
    ),
    *(
        _session(name, title, "count", unit, f"{text} of the session.", additive=True)
        for name, title, unit, text in (
            ("messages", "Messages", "messages", "Messages"),
            ("system_messages", "System messages", "messages", "Messages of the role system"),
            ("user_messages", "User messages", "messages", "Messages of the role user"),
            ("assistant_messages", "Assistant messages", "messages", "Messages of the role assistant"),
            ("tool_messages", "Tool messages", "messages", "Messages of the role tool"),
            ("tool_calls", "Tool calls", "tool calls", "Tool calls in the messages"),
            ("tool_errors", "Tool errors", "tool errors", "Results of tools that say is_error"),
        )
    ),
)


def _saving(name: str, title: str, description: str) -> Measure:
    return Measure(name, title, "money", "currency", description, Aggregate("sum", name))


def _cached(name: str, title: str, description: str) -> Measure:
    return Measure(name, title, "tokens", "tokens", description, Aggregate("sum", name))


_OF_CACHES = (
    _saving("cache_savings", "Net savings", "Saved by reading from caches, less the premium for writing to them."),
    _saving("cache_saved", "Saved by reads", "Cached tokens, at the rate of input less that of cached tokens."),
    _saving("cache_premium", "Premium of writes", "Tokens written, at the rate of such a write less that of input."),
    _cached(
        "written_5m_tokens", "Written for 5 minutes", "Prompt tokens written to a cache that keeps them 5 minutes."
    ),
    _cached("written_1h_tokens", "Written for an hour", "Prompt tokens written to a cache that keeps them an hour."),
    _cached("unread_tokens", "Written, never read", "Tokens written that no call of the same session read in time."),
    _saving("unread_premium", "Premium of never read", "The premium of the tokens written that were never read."),
    _cached("missed_tokens", "Sent again uncached", "Prompt tokens that a call before may have sent alike; at most."),
    _saving("missed_savings", "Could save at most", "What they would have saved at the rate of cached tokens."),
    _saving(
        "candidate_savings",
        "Caching all would save",
        "What they would have saved, less the premium for writing all that no call before had sent; at most.",
    ),
    Measure(
        "cache_calls",
        "Calls with a cache",
        "count",
        "calls",
        "Calls that read from a cache or wrote to one.",
        Aggregate("count", "uses_cache"),
    ),
    Measure(
        "rate_coverage",
        "Rate coverage",
        "rate",
        "",
        "Calls with a cache whose rates are known / calls with a cache.",
        Ratio(Aggregate("count", "rated"), Aggregate("count", "uses_cache")),
    ),
)

EFFICIENCY = (*_WASTE, *_OF_CACHES, *_OF_SESSIONS)
"""All of them."""
