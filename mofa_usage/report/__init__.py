"""The report: everything about some usage on one HTML page.

```python
write_report(load_usage("sqlite:usage.db", tz="Europe/Berlin"), "report.html")
```

The page is one file that needs no network: it holds its data, its styles and the script that draws its figures, and a
content security policy that forbids it to load anything else. It follows the reader's light or dark theme, fits a
phone, and prints.

All of it is about the whole usage; beside its headline figures stand those of its last full days, compared with as many
days before (`mofa_usage.report.period` says which, and so does the page). The heaviest models and agents have pages of
their own in the same file, which links in the tables open. What is open is what is printed.

| module | what |
|---|---|
| `answers` | what is asked, in few passes over the calls |
| `headlines`, `pictures`, `tables`, `charts`, `pages` | what is made of the answers |
| `contents` | all that stands in a report |
| `page.html.j2`, `page.css`, `page.js` | how it is laid out, looks and behaves |

Names of models and agents are untrusted: Jinja escapes them in the page, the figures escape them in their labels, and
no id and no address holds them.
"""

import html
import json
import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mofa_usage.errors import UsageError, require

for _module in ("polars", "plotly", "jinja2"):
    require(_module, extra="analysis")

import jinja2  # noqa: E402 (after the check that names the extra)
import plotly.io as pio  # noqa: E402
from markupsafe import Markup  # noqa: E402
from plotly.graph_objects import Figure  # noqa: E402
from plotly.offline import get_plotlyjs  # noqa: E402

from mofa_usage import theme  # noqa: E402
from mofa_usage.plots.picture import embedded  # noqa: E402
from mofa_usage.report.contents import contents  # noqa: E402

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

__all__ = ["write_report"]


def write_report(
    usage: "UsageFrame", path: str | os.PathLike[str], *, title: str | None = None, days: int | None = None
) -> Path:
    """Write the report of `usage` as one self-contained HTML page of 5 to 8 MB.

    It is written beside `path` and renamed, so an older report stays whole until the new one is.

    Args:
        usage: The calls; its `tz` is the time zone of all days and hours.
        path: The file to write.
        title: The title of the page, by default "LLM usage".
        days: So many last full days stand beside the whole period, instead of 30, 7 or 1.

    Returns:
        The path written.

    Raises:
        UsageError: `days` is less than 1, the frame lacks a column, the calls are on a cluster, or the file cannot be
            written.
        MissingExtraError: an optional part is not installed.
    """
    if days is not None and days < 1:
        raise UsageError(f"days is {days}; there is at least one last day")
    usage._here("write_report")
    page = _page(usage, title or "LLM usage", days)
    target = Path(path)
    # Not a file of `tempfile`: those are readable by their owner only, whatever the umask says.
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(page, encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise UsageError(f"cannot write the report to {target}: {error.strerror}") from error
    return target


def _page(usage: "UsageFrame", title: str, days: int | None) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mofa_usage.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=title,
        tz=usage.tz,
        now=datetime.now(ZoneInfo(usage.tz)),
        contents=contents(usage, days),
        looks={"light": theme.colors("light"), "dark": theme.colors("dark")},
        nonce=secrets.token_urlsafe(16),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 (the library's own script)
        templates=_embedded({look: pio.templates[theme.template(look)].to_plotly_json() for look in theme.THEMES}),
        drawing=_drawing,
        embedded=_embedded,
        described=_described,
    )


def _described(figure: Figure) -> str:
    """What a figure shows, for who cannot see it: its title and the lines below it."""
    lines = [figure.layout.title.text, *(figure.layout.title.subtitle.text or "").split("<br>")]
    return ". ".join(text for line in lines if (text := html.unescape(line).strip("\u200b ")))


def _drawing(figure: Figure) -> Markup:
    """A figure as JSON without its template, which the page puts in as the reader's theme wants it.

    Numbers have ten digits, more than a screen has pixels. The digits behind are those of sums of floating point, which
    are others each time that several threads add them up; so the report of what does not change is always the same.
    """
    parts = json.loads(pio.to_json(figure, validate=False), parse_float=lambda text: float(f"{float(text):.10g}"))
    parts["layout"].pop("template", None)
    return _embedded(parts)


def _embedded(value: Any) -> Markup:
    return Markup(embedded(value))  # noqa: S704 (it is safe inside a script element)
