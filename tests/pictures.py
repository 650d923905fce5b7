"""The pictures of README and docs, made from the demo's usage by the real commands, figures and pages.

```console
$ python -m tests.pictures            # all of them
$ python -m tests.pictures tail cost  # those
```

A picture shows what a reader gets, so it is made again when that changes, and somebody looks at it. A test says that
each page of the documentation has one, and that each one is made here.
"""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from html import escape
from io import StringIO
from pathlib import Path
from types import MappingProxyType

import polars as pl
from playwright.sync_api import Browser
from plotly.graph_objects import Figure, Scatter
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from mofa_usage import load_usage
from mofa_usage.theme import template
from mofa_usage.usage import UsageFrame
from tests import bills, logs
from tests.browser import open_browser
from tests.servers import Server, mariadb_server, postgres_server

DOCS = Path(__file__).parents[1] / "mofa_usage" / "docs"
ZONE = "Europe/Berlin"

_TEXT = (222, 226, 232)
_DARK = TerminalTheme(
    (21, 24, 29),
    _TEXT,
    [
        (69, 76, 88),
        (224, 93, 93),
        (78, 190, 130),
        (230, 176, 80),
        (90, 160, 235),
        (190, 130, 230),
        (80, 190, 200),
        _TEXT,
    ],
)


class Studio:
    """Where pictures are taken: a folder with the demo's usage, and a browser."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder = folder
        self._browser = browser
        self._usage: UsageFrame | None = None

    @property
    def usage(self) -> UsageFrame:
        """The calls of the demo."""
        self._usage = self._usage or load_usage(f"sqlite:{self.folder}/usage.db", tz=ZONE)
        return self._usage

    def run(self, command: str, **environment: str) -> str:
        """What a command prints in the folder, in colours."""
        variables = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", **environment}
        variables["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        ran = subprocess.run(
            shlex.split(command), cwd=self.folder, env=variables, capture_output=True, text=True, check=False
        )
        return ran.stdout + ran.stderr

    def terminal(self, *commands: str, columns: int = 100, **environment: str) -> bytes:
        """What a terminal of so many columns shows of these commands."""
        shown = Console(record=True, width=columns, file=StringIO(), color_system="truecolor", force_terminal=True)
        for command in commands:
            shown.print(Text(f"$ {command}", style="bold"))
            shown.print(Text.from_ansi(self.run(command, COLUMNS=str(columns), **environment)))
        return self.page(f"<body style='margin:0'>{shown.export_svg(title='', theme=_DARK)}", "svg", columns * 9)

    def page(self, html: str, selector: str, width: int) -> bytes:
        """An element of a page."""
        page = self._browser.new_page(viewport={"width": width, "height": 900}, device_scale_factor=1.25)
        page.set_content(html, wait_until="load")
        taken = page.locator(selector).first.screenshot()
        page.close()
        return taken

    def report(self, width: int, height: int) -> bytes:
        """The top of the demo's report."""
        page = self._browser.new_page(viewport={"width": width, "height": height})
        page.goto((self.folder / "report.html").as_uri())
        page.wait_for_function("document.querySelectorAll('.main-svg').length > 1")
        page.wait_for_timeout(1_000)  # until the first pictures are drawn
        taken = page.screenshot()
        page.close()
        return taken

    def table(self, html: str, code: str, width: int = 900) -> bytes:
        """A notebook's cell and what it shows."""
        cell = f"<pre style='background:#f4f5f7;padding:.6em .8em;border-radius:4px'>{escape(code)}</pre>"
        style = "font:14px/1.45 system-ui,sans-serif;padding:12px;display:inline-block"
        return self.page(f"<body style='margin:0'><div id='cell' style='{style}'>{cell}{html}</div>", "#cell", width)


def _image(figure: Figure, width: int = 900) -> bytes:
    image: bytes = figure.to_image("png", width=width, scale=1.25)
    return image


def _on_server(studio: Studio, server: AbstractContextManager[Server]) -> bytes:
    """The tables are made, a month of calls comes in, and is asked for."""
    with server as running:
        commands = ("migrate", "import calls.parquet", "summary --by provider_name --tz " + ZONE)
        return studio.terminal(*(f"mofa-usage {command}" for command in commands), DATABASE_URL=running.url)


def _import(studio: Studio) -> bytes:
    lines = (
        '{"timestamp":"2026-05-01T12:00:00Z","model":"gpt-4o","input_tokens":150,"output_tokens":280,"cost":0.0129}',
        '{"timestamp":"2026-05-01T12:00:05Z","model":"gpt-4o","status":429,"error":"Rate limit exceeded"}',
        '{"timestamp":"yesterday","model":"gpt-4o","input_tokens":150,"output_tokens":280}',
    )
    (studio.folder / "log.jsonl").write_text("\n".join(lines))
    return studio.terminal(
        "mofa-usage import log.jsonl --url sqlite:new.db", "mofa-usage export --url sqlite:usage.db may"
    )


def _import_logs(studio: Studio) -> bytes:
    shutil.copytree(logs.FOLDER / "claude_code", studio.folder / ".claude", dirs_exist_ok=True)
    commands = ("import ~/.claude/projects", "summary --by labels.project --by model_name")
    own = {"HOME": str(studio.folder), "DATABASE_URL": "sqlite:own.db"}
    return studio.terminal(*(f"mofa-usage {command}" for command in commands), columns=110, **own)


def _recipes(studio: Studio) -> bytes:
    """A few of the columns that the page fills."""
    page = (DOCS / "recipes.md").read_text()
    query = page.partition('FOCUS = """')[2].partition('"""')[0]
    columns = ["ChargePeriodStart", "SkuId", "ServiceProviderName", "BilledCost", "BillingCurrency", "ConsumedQuantity"]
    answer = load_usage(f"sqlite:{studio.folder}/usage.db").sql(query).select(columns).tail(6)
    style = (
        "table{border-collapse:collapse;border:0!important;white-space:nowrap;font-variant-numeric:tabular-nums}"
        "td,th{border:0 solid #d5d9e0;border-bottom-width:1px;padding:.3em .7em}small{display:none}"
    )
    table = f"<style>{style}</style>{answer._repr_html_()}"
    return studio.table(table, "load_usage('sqlite:usage.db').sql(FOCUS).tail(6)", width=1100)


def _export(studio: Studio) -> bytes:
    """Calls are imported that are older than the window that was exported."""
    end = studio.usage.frame["create_time"].max()
    assert isinstance(end, datetime)
    late = studio.usage.frame.tail(3).with_columns(pl.col("id").str.reverse(), create_time=end - timedelta(days=9))
    late.write_csv(studio.folder / "late.csv")
    export = "mofa-usage export lake --incremental --url sqlite:usage.db"
    return studio.terminal(
        f"{export} --end {end - timedelta(days=7):%Y-%m-%d}",
        export,
        "mofa-usage import late.csv --url sqlite:usage.db",
        "mofa-usage verify-export lake --url sqlite:usage.db",
        columns=125,
    )


def _scale(studio: Studio) -> bytes:
    """The seconds of CPU that the page's table has."""
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| [\d,]+ \|", (DOCS / "scale.md").read_text(), re.MULTILINE)
    steps = [(" ".join(re.sub(r"\(.*?\)|`", "", what).split()), float(seconds)) for what, seconds in rows]
    names, values = zip(*steps, strict=True)
    figure = Figure(Scatter(y=names, x=values, mode="markers+text", texttemplate="%{x}", textposition="middle right"))
    figure.update_layout(template=template("light"), title="Seconds of CPU for a million calls")
    figure.update_xaxes(type="log", title="log scale", range=[-1.3, 2.2], ticksuffix=" s", dtick=1)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_traces(marker_size=12, cliponaxis=False)
    return _image(figure)


def _warehouse(studio: Studio) -> bytes:
    """What came a week late is found by the second sync."""
    late = studio.usage.frame.tail(3).with_columns(
        pl.col("id").str.reverse(), pl.col("create_time") - timedelta(days=9), pl.col("update_time")
    )
    late.write_csv(studio.folder / "late.csv")
    return studio.terminal(
        "mofa-usage warehouse sync warehouse --url sqlite:usage.db",
        "mofa-usage import late.csv --url sqlite:usage.db",
        "mofa-usage warehouse sync warehouse --url sqlite:usage.db",
        "mofa-usage warehouse verify warehouse --url sqlite:usage.db",
    )


def _completeness(studio: Studio) -> bytes:
    """A week whose bills say more than was recorded."""
    folder = studio.folder / "audited"
    folder.mkdir()
    with ThreadPoolExecutor(1) as elsewhere:  # the browser's event loop runs in this thread
        elsewhere.submit(asyncio.run, bills.lay_out(folder)).result()
    return _image(load_usage(f"sqlite:{folder}/usage.db").reconcile(folder / "bills").draw())


def _change(studio: Studio) -> bytes:
    """Why the last full week cost what it did, compared with the week before."""
    end = studio.usage.frame["create_time"].dt.convert_time_zone(studio.usage.tz).dt.date().max()
    assert isinstance(end, date)
    week = timedelta(days=7)
    return _image(studio.usage.explain_change((end - 2 * week, end - week), (end - week, end)).draw())


def _table(studio: Studio) -> bytes:
    measures = ["cost", "cost_share", "calls", "success_rate", "latency_p50", "latency_p95"]
    answer = studio.usage.breakdown("model_name", measures, top=6, totals=True)
    code = f"usage.breakdown('model_name', {measures},\n                top=6, totals=True)".replace("'", '"')
    return studio.table(answer._repr_html_(), code)


PICTURES: Mapping[str, Callable[[Studio], bytes]] = MappingProxyType(
    {
        "overview": lambda studio: studio.report(1280, 1176),
        "agents": lambda studio: _image(studio.usage.cost(by=["agent_name"]).draw()),
        "change": _change,
        "completeness": _completeness,
        "clients": lambda studio: _image(studio.usage.breakdown(by=["day", "provider_name"], measures="calls").draw()),
        "cost": lambda studio: _image(studio.usage.cost(by=["day", "model_name"]).draw()),
        "drivers": lambda studio: _image(studio.usage.slow_drivers(0.95).draw()),
        "efficiency": lambda studio: _image(studio.usage.cache_savings().draw()),
        "export": _export,
        "frameworks": lambda studio: _image(studio.usage.cost(by=["week", "agent_name"]).draw()),
        "import": _import,
        "import_logs": _import_logs,
        "monitoring": lambda studio: studio.terminal(
            "sh -c 'mofa-usage metrics --url sqlite:usage.db --top 3 | grep cost'"
        ),
        "mysql": lambda studio: _on_server(studio, mariadb_server()),
        "postgres": lambda studio: _on_server(studio, postgres_server()),
        "prices": lambda studio: _image(
            studio.usage.breakdown(by="model_name", measures=["cost_per_1k_tokens", "calls"]).draw()
        ),
        "providers": lambda studio: _image(studio.usage.latency(by="provider_name").draw()),
        "recipes": _recipes,
        "questions": lambda studio: _image(
            studio.usage.breakdown("day", ["cost", "cost_cumulative", "cost_rolling_7"], fill_gaps=True).draw()
        ),
        "scale": _scale,
        "service": lambda studio: _image(
            studio.usage.service_level(latency_ms=20_000, ttft_ms=2_000, objective=0.9).level.draw()
        ),
        "warehouse": _warehouse,
        "spans": lambda studio: _image(studio.usage.success_rate(by="day").draw()),
        "spark": lambda studio: _image(studio.usage.breakdown(["weekday", "hour_of_day"], "calls").draw()),
        "sure": lambda studio: _image(
            studio.usage.breakdown("agent_name", ["latency_p50", "latency_p95", "calls"], intervals=0.95).draw(
                "latency_distribution", top=8
            )
        ),
        "summary": lambda studio: studio.terminal(
            "mofa-usage summary --url sqlite:usage.db --by model_name", columns=120
        ),
        "table": _table,
        "what_if": lambda studio: _image(
            studio.usage.what_if(
                {"claude-sonnet-4": "claude-haiku-4-5", "gemini-2.5-pro": "gemini-2.5-flash", "gpt-4.1": "gpt-4.1-mini"}
            )
            .against_recorded()
            .draw()
        ),
        "tail": lambda studio: studio.terminal(
            "mofa-usage tail --url sqlite:usage.db --no-follow --last 12", columns=125
        ),
        "waste": lambda studio: _image(studio.usage.waste(by="agent_name").draw(top=8)),
    }
)
"""How each picture is made, by the name of its file in `mofa_usage/docs`."""


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        studio = Studio(Path(folder), browser)
        studio.run("mofa-usage demo --dir .")
        for name in names or PICTURES:
            (DOCS / f"{name}.png").write_bytes(PICTURES[name](studio))


if __name__ == "__main__":
    main(sys.argv[1:])
