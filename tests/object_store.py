"""An S3-compatible object store on this machine, for a test run: moto's, in a process of its own.

    with object_store() as store:
        folder = store.bucket()                  # s3://test-1, which is empty
        write_deltalake(f"{folder}/calls", frame, storage_options=store.options)
        store.get("test-1", "calls/_delta_log/00000000000000000000.json")

What moto lacks of S3 is that a conditional write (`If-None-Match: *`) is one step: its threads would look first and
write afterwards. Here writes go one after the other. And S3-compatible stores are not all alike: in a bucket of
`bucket(conditional=False)` the condition is not heeded and the later write wins, as older ones do it.

Its port is a loopback port of its own, it is ended by its process id, and keeps nothing. `gone()` is an outage: nobody
listens on the port, and afterwards what was there is there again.
"""

import itertools
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from tests.processes import HOST, free_port, kill_all, watch

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["ObjectStore", "object_store"]

START_SECONDS = 60.0
_TOLD = (signal.SIGUSR1, signal.SIGUSR2)
_HEEDLESS = "heedless-"
# moto wants to know who asks, and checks no signature.
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=-"


class ObjectStore:
    """A running object store.

    Attributes:
        endpoint: its address, `http://127.0.0.1:PORT`.
        options: the storage options that deltalake and Polars need for it.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.endpoint = f"http://{HOST}:{port}"
        self.options: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "object-store-secret",
        }
        self.process = process
        self._numbers = itertools.count(1)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Out of reach for the length of the `with` block."""
        self._become(signal.SIGUSR1, reachable=False)
        try:
            yield
        finally:
            self._become(signal.SIGUSR2, reachable=True)

    def _become(self, told: signal.Signals, *, reachable: bool) -> None:
        self.process.send_signal(told)
        deadline = time.monotonic() + START_SECONDS
        while self._answers() != reachable:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the object store does not heed {told.name}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            self.request("GET", "")
        except OSError:
            return False
        return True

    def bucket(self, *, conditional: bool = True) -> str:
        """The URL of a new bucket; one that heeds no conditions where `conditional` says so."""
        name = f"{'test-' if conditional else _HEEDLESS}{next(self._numbers)}"
        self.request("PUT", name)
        return f"s3://{name}"

    def get(self, bucket: str, key: str) -> bytes:
        """What an object holds."""
        return self.request("GET", f"{bucket}/{key}")

    def put(self, bucket: str, key: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Write an object; False if it should have been absent and was not."""
        try:
            self.request("PUT", f"{bucket}/{key}", content, {"If-None-Match": "*"} if if_absent else {})
        except urllib.error.HTTPError as error:
            if error.code != 412:
                raise
            return False
        return True

    def request(self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        """Ask it, past all libraries."""
        signed = {"Authorization": _AUTHORIZATION, "Content-Type": "application/octet-stream", **(headers or {})}
        asked = urllib.request.Request(f"{self.endpoint}/{path}", content or None, signed, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(asked, timeout=60) as answer:
            found: bytes = answer.read()
        return found


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """An object store for the length of the `with` block."""
    port, directory = free_port(), Path(mkdtemp(prefix="mofa-"))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.object_store", str(port)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    watcher = watch(process.pid, directory)
    store = ObjectStore(port, process)
    try:
        _wait_for(store, directory / "log")
        yield store
    finally:
        kill_all(process)
        watcher.kill()
        watcher.communicate()
        rmtree(directory)


def _wait_for(store: ObjectStore, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not store._answers():
        if store.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the object store did not start: {log.read_text()[-1500:]}")
        time.sleep(0.05)


def _serve(port: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application, writing = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def answer(environment: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        if environment["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environment, start_response)
        if environment["PATH_INFO"].startswith(f"/{_HEEDLESS}"):
            environment.pop("HTTP_IF_NONE_MATCH", None)
            environment.pop("HTTP_IF_MATCH", None)
        with writing:
            return application(environment, start_response)

    # The signals are waited for, one after the other; no thread may take them before.
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
    while True:
        server = make_server(HOST, port, answer, threaded=True, request_handler=MotoRequestHandler)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        _wait_until(signal.SIGUSR1)
        server.shutdown()
        serving.join()
        server.server_close()
        _wait_until(signal.SIGUSR2)


def _wait_until(told: signal.Signals) -> None:
    while signal.sigwait(_TOLD) != told:
        pass


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
