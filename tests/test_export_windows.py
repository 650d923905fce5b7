"""Windows of an export hold every call once, say what they hold, and are whole or not there; in object stores, too."""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import QueryFilter, UsageError, load_usage
from mofa_usage.exporting import Manifest, export_parquet, export_window, exported_windows, verify_export
from mofa_usage.exporting import manifest as manifests
from mofa_usage.exporting import windows as exporting_windows
from mofa_usage.stores import Store
from tests.object_store import ObjectStore
from tests.proofs import trials
from tests.samples import at, call
from tests.test_export import BEGIN, frame_of

Where = tuple[str, Mapping[str, str] | None]


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """Where windows go, and the storage options for it."""
    if request.param == "folder":
        return str(tmp_path / "lake"), None
    store: ObjectStore = request.getfixturevalue("object_store")
    return f"{store.bucket()}/exports/lake", store.options


def calls_of(count: int = 600) -> pl.DataFrame:
    """Calls with tokens, prices in two currencies, and without a price."""
    generator = random.Random(9)
    frame = frame_of(count)
    return frame.with_columns(
        prompt_tokens=pl.Series([generator.randrange(2**31) for _ in range(count)]),
        currency=pl.Series([generator.choice(["USD", "EUR"]) for _ in range(count)]),
        total_price=pl.when(pl.Series([generator.random() < 0.7 for _ in range(count)])).then("total_price"),
    )


def ids_at(path: str, options: Mapping[str, str] | None) -> list[str]:
    return sorted(load_usage(path, storage_options=options).frame["id"].to_list())


# --- nothing twice, nothing missing ---------------------------------------------------------------------------------


def test_windows_follow_each_other_and_hold_every_call_once(where: Where) -> None:
    path, options = where
    frame = calls_of()
    edge = frame["create_time"].sort()[100]  # the call at the edge is in the window that it begins
    written = [
        export_window(frame, path, end=end, storage_options=options)
        for end in (edge, edge + timedelta(microseconds=1), "2026-02-20", None)
    ]
    assert [one.rows for one in written if one] == [
        frame.filter(start <= pl.col("create_time"), pl.col("create_time") < end).height
        for start, end in (
            (BEGIN, edge),
            (edge, edge + timedelta(microseconds=1)),
            (edge + timedelta(microseconds=1), datetime(2026, 2, 20, tzinfo=UTC)),
            (datetime(2026, 2, 20, tzinfo=UTC), datetime.now(UTC)),
        )
    ]
    assert export_window(frame, path, hold_back=timedelta(hours=2), storage_options=options) is None
    assert exported_windows(path, storage_options=options) == written
    assert ids_at(path, options) == sorted(frame["id"])
    assert verify_export(path, frame, storage_options=options).equal

    usage = load_usage(path, storage_options=options, start="2026-02-01", end="2026-02-02", tz="Asia/Tokyo")
    plain = load_usage(frame, start="2026-02-01", end="2026-02-02", tz="Asia/Tokyo")
    assert usage.cost(by=["hour", "model_name"]).equals(plain.cost(by=["hour", "model_name"]))


async def test_a_manifest_says_what_the_calls_add_up_to(store: Store, tmp_path: Path) -> None:
    calls = [
        call(
            n,
            model_name="ab"[n % 2],
            total_price=Decimal(n).scaleb(-10) if n % 3 else None,
            price_details={"currency": "EUR"} if n % 2 else None,
        )
        for n in range(50)
    ]
    await store.save_api_calls(calls)
    made = export_window(store, tmp_path / "lake", end=at(40), filter=QueryFilter(model_name="a"))
    mine = [one for one in calls[:40] if one.model_name == "a"]
    assert made is not None
    said = json.loads((tmp_path / "lake" / "since=beginning" / "manifest.json").read_text())
    assert said["window"] == {"start": None, "end": at(40).isoformat().replace("+00:00", "Z")}
    assert (said["rows"], said["filter"], said["columns_version"]) == (20, {"model_name": "a"}, "3")
    assert said["tokens"] == {"prompt_tokens": 2000, "completion_tokens": 1000, "total_tokens": 3000}
    prices = sum(one.total_price for one in mine if one.total_price is not None)
    assert {currency: Decimal(cost) for currency, cost in said["costs"].items()} == {"USD": prices}
    [file] = said["files"]
    content = (tmp_path / "lake" / "since=beginning" / file["name"]).read_bytes()
    assert (file["sha256"], file["bytes"], file["rows"]) == (sha256(content).hexdigest(), len(content), 20)
    assert [datetime.fromisoformat(file[name]) for name in ("first", "last")] == [at(0), at(38)]
    assert Manifest.from_json(json.dumps(said), "here") == made
    with pytest.raises(UsageError, match=r"have the filter \{'model_name': 'a'\}, not \{\}"):
        export_window(store, tmp_path / "lake")


moments = st.datetimes(datetime(2026, 1, 29), datetime(2026, 3, 12), timezones=st.just(UTC))


@pytest.mark.proof
@settings(max_examples=trials(8, 150))
@given(st.lists(moments, min_size=1, max_size=5, unique=True))
def test_any_ends_partition_the_calls(tmp_path_factory: pytest.TempPathFactory, ends: list[datetime]) -> None:
    frame, path = frame_of(80), tmp_path_factory.mktemp("any") / "lake"
    for end in sorted(ends):
        export_window(frame, path, end=end)
    exported = [one.rows for one in exported_windows(path)]
    edges = [None, *sorted(ends)]
    assert exported == [
        sum((start is None or start <= time) and time < end for time in frame["create_time"])
        for start, end in zip(edges, sorted(ends), strict=False)
    ]
    wanted = sorted(frame.filter(pl.col("create_time") < max(ends))["id"])
    assert sorted(duckdb.read_parquet(f"{path}/**/*.parquet").pl()["id"]) == wanted


def test_a_window_that_overlaps_or_is_still_to_come_is_refused(tmp_path: Path) -> None:
    frame, path = frame_of(50), tmp_path / "lake"
    export_window(frame, path, start="2026-02-01", end="2026-02-05")
    for start, end in (("2026-01-01", "2026-02-02"), ("2026-02-04", "2026-02-09"), ("2026-02-02", "2026-02-03")):
        with pytest.raises(UsageError, match=r"would overlap the one from 2026-02-01T00:00:00\+00:00 to 2026-02-05"):
            export_window(frame, path, start=start, end=end)
    with pytest.raises(UsageError, match="is exported already; overwrite=True writes it anew"):
        export_window(frame, path, start="2026-02-01", end="2026-02-05")
    with pytest.raises(UsageError, match="which is still to come"):
        export_window(frame, path, end=datetime.now(UTC) + timedelta(minutes=5))
    with pytest.raises(UsageError, match=r"ends at 2026-02-03.*begins at 2026-02-05"):
        export_window(frame, path, end="2026-02-03")
    with pytest.raises(UsageError, match="has no times, limit or offset"):
        export_window(frame, path, filter=QueryFilter(limit=3))
    with pytest.raises(UsageError, match="partition_by is 'week'"):
        export_window(frame, path, partition_by="week")  # type: ignore[arg-type]
    export_window(frame, path, start="2026-01-01", end="2026-01-31")  # earlier ones may follow
    [gap] = verify_export(path).flaws
    assert (gap.kind, gap.where) == ("gap", "since=2026-01-01T00-00-00Z")
    export_window(frame, path, start="2026-01-31", end="2026-02-01")
    assert verify_export(path).equal


# --- what shows -----------------------------------------------------------------------------------------------------


def test_calls_that_arrive_late_show_and_their_window_is_written_anew(where: Where) -> None:
    path, options = where
    frame = calls_of()
    late = frame.sample(5, seed=1).filter(pl.col("create_time") < datetime(2026, 2, 20, tzinfo=UTC))
    early = frame.join(late, on="id", how="anti", maintain_order="left")
    export_window(early, path, end="2026-02-10", storage_options=options)
    export_window(early, path, end="2026-02-20", storage_options=options)
    export_window(early, path, storage_options=options)
    flaws = verify_export(path, frame, storage_options=options).flaws
    assert {flaw.kind for flaw in flaws} == {"source"}
    windows = {one.name: one for one in exported_windows(path, storage_options=options)}
    for flaw in flaws:
        assert "calls more in the window" in flaw.said
        again = export_window(frame, path, end=windows[flaw.where].end, overwrite=True, storage_options=options)
        assert again is not None
        assert again.name == flaw.where
    assert verify_export(path, frame, storage_options=options).equal
    assert ids_at(path, options) == sorted(frame["id"])


def test_a_file_that_is_changed_missing_or_unknown_shows(tmp_path: Path) -> None:
    path, frame = tmp_path / "lake", calls_of()
    export_window(frame, path, end="2026-02-10", partition_by="month")
    export_window(frame, path, end="2026-02-20")
    export_window(frame, path)
    whole = tmp_path / "whole"
    shutil.copytree(path, whole)
    assert [file.name for one in exported_windows(path) for file in one.files] == [
        "month=2026-01/calls.parquet",
        "month=2026-02/calls.parquet",
        "calls.parquet",
        "calls.parquet",
    ]

    def flaws(change: Any) -> list[tuple[str, str]]:
        shutil.rmtree(path)
        shutil.copytree(whole, path)
        change()
        return [(flaw.kind, flaw.where) for flaw in verify_export(path).flaws]

    january = path / "since=beginning" / "month=2026-01" / "calls.parquet"
    manifest = path / "since=beginning" / "manifest.json"
    content = january.read_bytes()
    at_january, at_window = january.relative_to(path).as_posix(), "since=beginning"
    assert flaws(january.unlink) == [("missing", at_january)]
    assert flaws(lambda: january.write_bytes(content[:-9] + b"x" + content[-8:])) == [("changed", at_january)]
    assert flaws(lambda: shutil.copy(january, path / "since=beginning" / "copy.parquet")) == [
        ("unknown", "since=beginning/copy.parquet")
    ]
    said = json.loads((whole / "since=beginning" / "manifest.json").read_text())
    said["costs"]["EUR"] = str(Decimal(said["costs"]["EUR"]) + Decimal("0.0000000001"))
    assert flaws(lambda: manifest.write_text(json.dumps(said))) == [("sums", at_window)]
    with pytest.raises(UsageError, match="is no manifest of an export"):
        flaws(lambda: manifest.write_text("{}"))
    with pytest.raises(UsageError, match="is the manifest of another window"):
        flaws(lambda: (path / "since=beginning").rename(path / "since=ever"))
    with pytest.raises(UsageError, match="there is no manifest in"):
        verify_export(tmp_path / "nowhere")


def test_what_the_disk_garbled_is_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting_windows, "sums_in", lambda file: manifests.Sums(rows=1))
    with pytest.raises(UsageError, match="what was written is not what was read"):
        export_window(calls_of(10), tmp_path / "lake")
    assert list(tmp_path.iterdir()) == []


def test_what_the_object_store_garbled_is_no_export(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from mofa_usage.exporting import places

    path = f"{object_store.bucket()}/lake"
    monkeypatch.setattr(places, "digest", lambda file: (1, "another"))
    with pytest.raises(UsageError, match=r"calls\.parquet is not what was sent"):
        export_window(calls_of(10), path, storage_options=object_store.options)
    assert exported_windows(path, storage_options=object_store.options) == []


# --- whole or not there ---------------------------------------------------------------------------------------------

EXPORT = """
import json, sys, time
from mofa_usage.exporting import export_window, files, places
def slowly(method, word):
    def slow(self, *given):
        print(word, flush=True)
        time.sleep(0.02)
        result = method(self, *given)
        time.sleep(0.02)
        return result
    return slow
files.CallFiles.write = slowly(files.CallFiles.write, "writing")
places.Place._send = slowly(places.Place._send, "sending")
export_window(sys.argv[1], sys.argv[2], end=sys.argv[3], storage_options=json.loads(sys.argv[4]))
print("done", flush=True)
"""


@pytest.mark.proof
def test_a_killed_export_leaves_nothing_that_counts(where: Where, tmp_path: Path) -> None:
    path, options = where
    source = tmp_path / "source.parquet"
    frame = calls_of(3_000)
    frame.write_parquet(source)
    export_window(source, path, end="2026-02-01", storage_options=options)
    before = exported_windows(path, storage_options=options)
    generator = random.Random(23)
    for _ in range(trials(1, 25)):
        arguments = [str(source), path, "2026-02-20", json.dumps(dict(options or {}))]
        with subprocess.Popen([sys.executable, "-c", EXPORT, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(generator.randrange(1, 4 if options else 2)):  # while writing, or while sending
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        now = exported_windows(path, storage_options=options)
        assert now[:1] == before
        if len(now) > 1:  # it was quicker
            break
        assert ids_at(path, options) == sorted(frame.filter(pl.col("create_time") < before[0].end)["id"])
    export_window(source, path, storage_options=options)  # and another end than the killed ones had
    assert verify_export(path, source, storage_options=options).equal
    assert ids_at(path, options) == sorted(frame["id"])
    if options is None:
        assert sorted(one.name for one in tmp_path.iterdir()) == ["lake", "source.parquet"]


def test_a_window_put_aside_by_a_killed_export_is_put_back(tmp_path: Path) -> None:
    frame, path = calls_of(50), tmp_path / "lake"
    export_window(frame, path, end="2026-02-10")
    export_window(frame, path, end="2026-02-20")
    stranded = tmp_path / ".lake.0badc0de.export"
    stranded.mkdir()
    (path / "since=beginning").rename(stranded / "old")  # killed between the two renames of an overwriting export
    export_window(frame, path)
    assert verify_export(path, frame).equal
    assert len(exported_windows(path)) == 3
    assert [one.name for one in tmp_path.iterdir()] == ["lake"]


def test_of_two_exports_at_once_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, path = calls_of(50), tmp_path / "lake"
    write = exporting_windows._write

    def meanwhile(*given: Any) -> Manifest:
        monkeypatch.setattr(exporting_windows, "_write", write)
        export_window(frame, path, end="2026-02-10")
        return write(*given)

    monkeypatch.setattr(exporting_windows, "_write", meanwhile)
    with pytest.raises(UsageError, match="another export has written this window meanwhile"):
        export_window(frame, path, end="2026-02-20")
    assert [one.end for one in exported_windows(path)] == [datetime(2026, 2, 10, tzinfo=UTC)]


# --- object stores --------------------------------------------------------------------------------------------------


def test_files_in_an_object_store_are_read_like_those_of_a_folder(object_store: ObjectStore, tmp_path: Path) -> None:
    bucket, frame = object_store.bucket(), calls_of(200)
    frame.head(100).write_parquet(tmp_path / "theirs.parquet")
    export_parquet(frame.tail(100), tmp_path / "ours.parquet")
    for name in ("theirs", "ours"):
        object_store.put(
            bucket.removeprefix("s3://"), f"in/{name}.parquet", (tmp_path / f"{name}.parquet").read_bytes()
        )
    both = load_usage(f"{bucket}/in", storage_options=object_store.options, columns=["id", "prompt_tokens", "cost"][:2])
    here = load_usage(str(tmp_path / "*.parquet"), columns=["id", "prompt_tokens"])
    assert both.frame.sort("id").equals(here.frame.sort("id"))
    one = load_usage(f"{bucket}/in/ours.parquet", storage_options=object_store.options)
    assert one.frame.sort("id").equals(load_usage(tmp_path / "ours.parquet").frame.sort("id"))


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_ALLOW_HTTP", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_options_are_found_in_the_environment_and_wrong_ones_are_named(
    object_store: ObjectStore, no_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, frame = f"{object_store.bucket()}/lake", calls_of(20)
    secret = object_store.options["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(UsageError, match=r"plain HTTP; the storage option aws_allow_http=true allows it"):
        export_window(frame, path, storage_options={"endpoint_url": object_store.endpoint})
    with pytest.raises(UsageError, match=r"no storage option is called 'aws_colour'; there are aws_access_key_id"):
        load_usage(path, storage_options={"aws_colour": secret})
    with pytest.raises(UsageError, match="names no bucket"):
        export_window(frame, "s3://", storage_options=object_store.options)
    for call_it in (
        lambda: load_usage(tmp_path, storage_options=object_store.options),
        lambda: export_window(frame, tmp_path / "lake", storage_options=object_store.options),
    ):
        with pytest.raises(UsageError, match="storage options are for") as caught:
            call_it()
        assert secret not in str(caught.value)
    for missing in (f"{object_store.bucket()}/nothing", "s3://no-such-bucket-here/lake"):
        with pytest.raises(UsageError, match=r"there is no Parquet file|cannot read") as caught:
            load_usage(missing, storage_options=object_store.options)
        assert secret not in str(caught.value)
    with pytest.raises(UsageError, match=r"cannot write to s3://no-such-bucket-here/lake"):
        export_window(frame, "s3://no-such-bucket-here/lake", storage_options=object_store.options)
    for name, value in object_store.options.items():
        no_environment.setenv(name, value)
    export_window(frame, path)
    assert verify_export(path, frame).equal
