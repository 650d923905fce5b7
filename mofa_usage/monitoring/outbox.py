"""What an outbox holds, for Prometheus. Gauges: a folder may be removed, and dead records accepted anew."""

from mofa_usage.monitoring.exposition import Family, Number
from mofa_usage.recording.outbox.folder import Outbox

__all__ = ["outbox_families"]


def outbox_families(outbox: Outbox) -> list[Family]:
    """The metrics of an outbox, whose name is the label `outbox`. They are counted from its files."""
    survey, whose = outbox.survey(), (("outbox", outbox.folder.name),)

    def gauge(name: str, meaning: str, value: Number) -> Family:
        return Family(f"mofa_usage_outbox_{name}", "gauge", meaning, (("", whose, value),))

    families = [
        gauge("accepted_records", "Records that recorders have accepted.", survey.accepted),
        gauge("delivered_records", "Records that are in the database.", survey.delivered),
        gauge("waiting_records", "Records that wait to be delivered.", survey.waiting),
        gauge("dead_records", "Records that no database took.", survey.dead),
        gauge("size_bytes", "What waits, on disk.", survey.size),
        gauge("processes", "Recording processes at work.", survey.alive),
    ]
    if survey.oldest_waiting is not None:
        since = round(survey.oldest_waiting.timestamp())
        families.append(gauge("oldest_waiting_timestamp_seconds", "When the oldest that waits was accepted.", since))
    return families
