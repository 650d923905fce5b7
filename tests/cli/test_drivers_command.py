"""`mofa-usage drivers`: what it prints for people and for programs."""

import json

from tests.cli.shell import Shell

URL = ("--url", "sqlite:try/usage.db")


def test_slices_that_explain_a_change(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    periods = ("--before", "2000-01..2026-05-18", "--after", "2026-05-18..2100-01-01")
    printed = shell.output("drivers", "calls", *periods, *URL)
    assert " of calls by " in printed
    rows = json.loads(shell.output("drivers", "calls", *periods, "--by", "agent_name", "--json", *URL))
    assert all({"agent_name", "explained", "calls_before", "has_missing"} <= row.keys() for row in rows)


def test_where_slow_calls_are(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    printed = shell.output("drivers", "latency", "--quantile", "0.9", "--by", "model_name", *URL)
    assert "calls that took" in printed
    head = shell.output("drivers", "latency", "--by", "model_name", "--csv", *URL).splitlines()[0]
    assert head == "model_name,slow_share,call_share,lift,lift_low,slow_calls,latency_calls,has_missing"


def test_what_does_not_go_together_is_said(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    for arguments, said in (
        (("latency", "--after", "7d"), "latency compares no periods"),
        (("cost",), "which period?"),
        (("cost", "--after", "2026-05-02..2026-05-01"), "--after = '2026-05-02..2026-05-01' ends"),
        (("latency_p95", "--after", "2026-05-18..2026-06-01"), "slow_drivers"),
    ):
        done = shell.call("drivers", *arguments, *URL)
        assert done.returncode == 2
        assert said in done.stderr
    done = shell.call("drivers", "cost", "--after", "1999", *URL)
    assert done.returncode == 1
    assert "no calls" in done.stderr
