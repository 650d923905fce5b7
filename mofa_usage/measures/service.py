"""The numbers in answers about service levels."""

from mofa_usage.measures.formulas import Measure, Quantity, Reckoned

__all__ = ["SERVICE"]


def _service(
    name: str, title: str, text: str, kind: Quantity = "count", unit: str = "calls", *, adds_up: bool = True
) -> Measure:
    return Measure(name, title, kind, unit, text, Reckoned("service_level"), additive=adds_up)


SERVICE: tuple[Measure, ...] = (
    _service("service_level", "Within limits", "Good calls / judged calls.", "rate", "", adds_up=False),
    _service("judged_share", "Judged", "Calls that are good or bad / calls.", "rate", "", adds_up=False),
    _service("good_calls", "Good calls", "Calls that succeeded within every limit."),
    _service("bad_calls", "Bad calls", "Calls that did not succeed, or were above a limit."),
    _service("failed_calls", "Unsuccessful", "Bad calls whose status is not success."),
    _service("slow_calls", "Too slow", "Bad calls that succeeded and took longer than the limit."),
    _service("late_calls", "Late first token", "Other bad calls whose first token came after the limit."),
    _service("unknown_calls", "Unknown", "Calls that succeeded and lack a value that has a limit."),
    _service("error_budget", "Error budget", "How many of the judged calls may be bad."),
    _service("budget_used", "Budget used", "Bad calls / error budget.", "rate", "", adds_up=False),
    _service("budget_left", "Budget left", "Error budget - bad calls; below 0 it is overspent."),
    _service("burn_rate", "Burn rate", "Share of bad calls / share that may be bad.", unit="times", adds_up=False),
    _service("burn_rate_lately", "Lately", "Burn rate in the last twelfth of the window.", unit="times", adds_up=False),
    _service("burn_rate_alert", "Alert from", "Burn rate from which on it is an alert.", unit="times", adds_up=False),
    _service("in_flight_max", "Most calls in flight", "Most calls in flight at once.", adds_up=False),
    _service("in_flight_mean", "Mean calls in flight", "Calls in flight, weighted by time.", adds_up=False),
    _service("calls_per_second", "Calls/s", "Calls / seconds.", unit="calls/s", adds_up=False),
    _service(
        "completion_tokens_per_second",
        "Completion tokens/s",
        "Completion tokens of the calls that began / seconds.",
        "tokens/s",
        "tokens/s",
        adds_up=False,
    ),
    _service("calls_without_latency", "Without latency", "Calls without a latency, which are in flight nowhere."),
)
