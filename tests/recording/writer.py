"""Processes that record until they are killed, and say what was accepted: `python -m tests.recording.writer URL DIR`.

It is told what to do by lines: `PROCESSES THREADS BYTES` starts so many, which write the ids of the calls that `record`
has returned for, with sizes up to so many bytes; `kill` kills them, and then it says `over`. They are forked, because
most of the time of a process would be the start of Python.
"""

import importlib
import os
import random
import signal
import sys
import threading

from mofa_usage.recording import Recorder
from mofa_usage.recording.targets import target_of
from tests.samples import call


def _work(recorder: Recorder, size: int) -> None:
    randomness = random.Random()
    while True:
        one = call(error_message="x" * int(size * randomness.random() ** 3))
        recorder.record(one)
        os.write(1, f"{one.id}\n".encode())  # one write, so that lines do not mix


def _child(url: str, folder: str, threads: int, size: int) -> None:
    try:
        recorder = Recorder(url, outbox=folder, prices=None)
        for _ in range(threads):
            threading.Thread(target=_work, args=(recorder, size), daemon=True).start()
        signal.pause()
    finally:
        os._exit(1)


def _main(url: str, folder: str) -> None:
    importlib.import_module("mofa_usage.recording.delivery")
    target_of(url).load()
    call()
    children: list[int] = []
    for line in sys.stdin:
        if line.strip() == "kill":
            for child in children:
                os.kill(child, signal.SIGKILL)
            for child in children:
                assert os.waitpid(child, 0)[1] == signal.SIGKILL
            children.clear()
            os.write(1, b"over\n")
            continue
        processes, threads, size = map(int, line.split())
        for _ in range(processes):
            child = os.fork()
            if child == 0:
                _child(url, folder, threads, size)
            children.append(child)


if __name__ == "__main__":
    _main(*sys.argv[1:])
