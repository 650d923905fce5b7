"""What runs an agent in production: uvicorn, which ends without `atexit`; a loop that is not ours; forked processes."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from mofa_usage import PriceBook, Recorder
from mofa_usage.recording.outbox.folder import Outbox
from mofa_usage.recording.waiting import drain
from tests.processes import free_port
from tests.recording.reading import calls_in
from tests.samples import call

APP = """
import sys
from unittest.mock import patch
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from mofa_usage import Recorder
from mofa_usage.recording.delivery import Delivery
from tests.samples import call

url, folder, port, helper = sys.argv[1:]
recorder = Recorder(url, outbox=folder, prices=None)

async def chat(request):
    with patch.object(Delivery, "wake"):  # what is recorded is delivered at the end, or not at all
        recorder.record(call())
    return PlainTextResponse("ok")

app = Starlette(routes=[Route("/", chat)], lifespan=recorder.lifespan if helper == "lifespan" else None)
uvicorn.run(app, port=int(port), log_level="error")
"""


@pytest.mark.parametrize("helper", ["lifespan", "none"])
def test_uvicorn_is_told_to_end(url: str, folder: Path, helper: str) -> None:
    """With the helper all is delivered before it ends; without it nothing is, and nothing is lost."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", APP, url, str(folder), str(port), helper])
    try:
        _wait_for(port)
        for _ in range(4):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert answer.read() == b"ok"
        server.terminate()
        assert server.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    finally:
        server.kill()
        server.wait()
    assert Outbox(folder).survey().waiting == (0 if helper == "lifespan" else 5)
    if helper == "none":
        drain(Outbox(folder), url, prices=None)
    assert len(calls_in(url)) == 5


def _wait_for(port: int) -> None:
    """Ask until it answers: that is a chat, too."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                answer.read()
                return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


async def test_a_loop_that_runs_already_is_left_alone(url: str, folder: Path) -> None:
    """As in a notebook: what waits blocks the loop of whoever calls it, and needs none."""
    with Recorder(url, outbox=folder, prices=None) as recorder:
        recorder.record(call(0))
        assert recorder.flush(60)
        recorder.record(call(1))
        assert await recorder.aflush(60)
    assert len(calls_in(url)) == 2


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # it is what is tried
def test_a_book_of_prices_is_forked_while_somebody_uses_it() -> None:
    book = PriceBook()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with book._lock:
            held.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        try:  # never goes on running tests: neither after a failure nor with pytest's own handler of the alarm
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            os._exit(0 if book.price(call(0)) is None and len(book.unknown) == 1 else 1)
        finally:
            os._exit(1)
    over.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
