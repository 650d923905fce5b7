"""The command line: `mofa-usage`.

Every command does one thing that the library does, under the same words. The database is `--url`, or the environment
variable DATABASE_URL.

Errors are one sentence on standard error and an exit code, never a traceback: 2 when the command was asked for wrongly
(as in the library's `UsageError`), 1 when it failed or there was nothing to do it with, 130 after Ctrl-C. `mofa-usage
--debug ...` shows where.

`--help` must be quick, so nothing heavy is imported before a command runs. Options that commands share are bundles
(`options`), which calls they mean is said in `choosing`, how things are printed and asked in `output`.
"""

import inspect
import sys
from collections.abc import Sequence

import typer

from mofa_usage.cli import (
    bills,
    check,
    data,
    drivers,
    efficiency,
    export,
    imports,
    metrics,
    outbox,
    prices,
    retention,
    tail,
    views,
    warehouse,
    why,
)
from mofa_usage.cli.bundles import unbundled
from mofa_usage.cli.options import Debug, Version, settings
from mofa_usage.cli.output import complain
from mofa_usage.errors import MofaUsageError, UsageError

__all__ = ["app", "main", "run"]

_INTERRUPTED = 130  # how the parser reports Ctrl-C

app = typer.Typer(
    name="mofa-usage",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Start with [bold]mofa-usage demo[/bold]: it needs no database of yours. Then set DATABASE_URL to your own, "
        "for example sqlite:usage.db, and ask for [bold]mofa-usage summary[/bold].\n\n"
        "Exit codes: 0 done; 1 failed, or there was nothing to do it with (no call meets the options, every row was "
        "refused, you said no); 2 asked for wrongly, or not without --yes or --overwrite; 130 interrupted."
    ),
)


@app.callback()
def _everywhere(debug: Debug = False, version: Version = False) -> None:
    """Keep and understand what your LLM agents use: tokens, cost, latency."""
    settings.debug = debug


def _help(text: str) -> str:
    """A docstring as help: its lines joined to paragraphs, which the terminal wraps."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


_COMMANDS = (
    data.demo,
    imports.import_,
    views.summary,
    why.why,
    drivers.drivers,
    efficiency.waste,
    efficiency.cache,
    efficiency.sessions,
    check.service,
    check.completeness,
    check.check,
    bills.reconcile,
    views.report,
    prices.prices,
    export.export,
    export.verify_export,
    metrics.metrics,
    views.notebook,
    data.migrate,
    retention.cleanup,
    retention.forget,
    tail.tail,
)
for _command in _COMMANDS:
    app.command(_command.__name__.rstrip("_").replace("_", "-"), help=_help(_command.__doc__ or ""))(
        unbundled(_command)
    )

app.add_typer(outbox.app)
app.add_typer(warehouse.app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process unless given."""
    settings.debug = False
    try:
        code = int(app(args=arguments, standalone_mode=False) or 0)
        if code == _INTERRUPTED:
            complain("interrupted")
        return code
    except Exception as error:
        if settings.debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Say what went wrong in one sentence; the exit code."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the parser's: a wrong or missing option
        if message := error.format_message():  # none when the help was shown instead
            complain(message)
        return int(error.exit_code)
    if isinstance(error, MofaUsageError):
        complain(str(error))
        return 2 if isinstance(error, UsageError) else 1
    if isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return 1
    complain(f"unexpected {type(error).__name__}: {error}; to see where: mofa-usage --debug ...")
    return 1


def main() -> None:
    """The program `mofa-usage`."""
    sys.exit(run())
