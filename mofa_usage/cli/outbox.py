"""The commands about what recorders have accepted and not delivered: `outbox status`, `drain` and `dead`."""

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mofa_usage.cli.bundles import unbundled
from mofa_usage.cli.options import Overwrite, Printed, Url, database_url
from mofa_usage.cli.output import announce, console, may_write, print_rows
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.recording.outbox.folder import DeadLetter, Outbox, Survey

__all__ = ["app"]

app = typer.Typer(
    name="outbox",
    no_args_is_help=True,
    help="What recorders have accepted and not delivered yet, and what can never be saved.",
)
_dead = typer.Typer(name="dead", no_args_is_help=True, help="Records that no database took, with the reasons.")
app.add_typer(_dead)

Folder = Annotated[
    Path | None, typer.Option("--outbox", metavar="FOLDER", help="The outbox; all of this user's unless given.")
]


@app.command()
@unbundled
def status(printed: Printed, folder: Folder = None) -> None:
    """How many records each outbox has accepted, delivered, and still holds.

    The numbers are counted from the files: accepted = delivered + waiting + dead. JSON is an object in a line for each.

    [bold]mofa-usage outbox status[/bold]
    """
    from mofa_usage.recording.outbox.folder import Survey

    surveys = [(box, box.survey()) for box in _boxes(folder)]
    if printed.for_programs:
        columns = ("outbox", *(entry.name for entry in fields(Survey)))
        print_rows(columns, [{"outbox": box.folder} | vars(survey) for box, survey in surveys], printed, lines=True)
        return
    if not surveys:
        console().print("no outbox: nothing has been recorded by this user, or all into memory")
        return
    for box, survey in surveys:
        announce(box.folder, _sentence(survey))


def _sentence(survey: "Survey") -> str:
    said = [
        f"\n  {survey.accepted:,} records accepted = {survey.delivered:,} delivered + {survey.waiting:,} waiting + "
        f"{survey.dead:,} dead",
        f"\n  {survey.size / 1e6:,.2f} MB, processes at work: {survey.alive}",
    ]
    if survey.oldest_waiting is not None:
        said.append(f"\n  the oldest waits since {survey.oldest_waiting.isoformat(' ', 'seconds')}")
    if survey.unpriced:
        said.append(f"\n  delivered without a price: {survey.unpriced:,}")
    if survey.labels_dropped:
        said.append(f"\n  delivered without their labels: {survey.labels_dropped:,}; mofa-usage migrate makes a column")
    return "".join(said)


@app.command()
def drain(
    url: Url = None,
    folder: Folder = None,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds.")] = None,
) -> None:
    """Deliver what ended processes have left in an outbox: that of the database, or the one that --outbox names.

    An outbox knows no password, so the database is given here. What running processes hold, they deliver themselves.

    [bold]mofa-usage outbox drain --url postgres://user:password@host/name[/bold]
    """
    from mofa_usage.recording.outbox.folder import Outbox
    from mofa_usage.recording.targets import default_folder, target_of
    from mofa_usage.recording.waiting import drain as deliver

    target = database_url(url)
    box = _existing(folder) if folder is not None else Outbox(default_folder(target_of(target)))
    before = box.survey()
    try:
        deliver(box, target, timeout=timeout)
    except TimeoutError:
        announce(box.folder, f": {box.survey().waiting:,} records still wait, the time is up")
        raise typer.Exit(1) from None
    after = box.survey()
    rest = f"; {after.waiting:,} wait in running processes" if after.waiting else ""
    dead = f", {after.dead:,} are dead letters" if after.dead else ""
    announce(box.folder, f": {after.delivered - before.delivered:,} records delivered{dead}{rest}")


@_dead.command("list")
@unbundled
def list_dead(printed: Printed, folder: Folder = None) -> None:
    """Show the records that no database took, with the reasons.

    [bold]mofa-usage outbox dead list[/bold]
    """
    rows = [
        {"outbox": box.folder.name, "kind": one["kind"], "id": _id_of(one["record"]), "reason": one["reason"]}
        for box in _boxes(folder)
        for letter in box.dead()
        for one in letter.records
    ]
    columns = ("outbox", "kind", "id", "reason")
    if printed.for_programs:
        print_rows(columns, rows, printed)
    elif rows:
        from mofa_usage.cli.tables import list_table

        console().print(list_table(columns, [[row[name] for name in columns] for row in rows]))
    else:
        console().print("no dead records")


def _id_of(record: object) -> str:
    return str(record.get("id", "")) if isinstance(record, dict) else ""


@_dead.command("retry")
def retry_dead(folder: Folder = None) -> None:
    """Let dead records wait again, after what was in their way is gone; the next process, or drain, delivers them.

    [bold]mofa-usage outbox dead retry[/bold]
    """
    from mofa_usage.recording.waiting import retry_dead as accept

    for box in _boxes(folder):
        announce(box.folder, f": {accept(box, box.dead()):,} records wait again")


@_dead.command("export")
def export_dead(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write JSON lines, a record each.")],
    folder: Folder = None,
    overwrite: Overwrite = False,
) -> None:
    """Write dead records as JSON lines: kind, reason and fields. They hold messages, so only you can read the file.

    [bold]mofa-usage outbox dead export dead.jsonl[/bold]
    """
    may_write(path, overwrite=overwrite)
    letters: list[DeadLetter] = [letter for box in _boxes(folder) for letter in box.dead()]
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(one)}\n" for letter in letters for one in letter.records)
    announce(path, f": {sum(letter.count for letter in letters):,} dead records")


def _boxes(folder: Path | None) -> "list[Outbox]":
    from mofa_usage.recording.outbox.folder import Outbox
    from mofa_usage.recording.waiting import the_users_folders

    return [_existing(folder)] if folder is not None else [Outbox(path) for path in the_users_folders()]


def _existing(folder: Path) -> "Outbox":
    from mofa_usage.recording.outbox.folder import Outbox

    if not folder.is_dir():
        raise UsageError(f"there is no outbox {folder}")
    return Outbox(folder)
