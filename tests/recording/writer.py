"""Records until it is killed, and says what was accepted: `python -m tests.recording.writer URL FOLDER THREADS BYTES`.

Each line is the id of a call that `record` has returned for. Sizes are random, up to so many bytes.
"""

import os
import random
import sys
import threading

from mofa_usage.recording import Recorder
from tests.samples import call


def _work(recorder: Recorder, size: int) -> None:
    randomness = random.Random()
    while True:
        one = call(error_message="x" * randomness.randrange(size))
        recorder.record(one)
        os.write(1, f"{one.id}\n".encode())  # one write, so that lines of threads do not mix


if __name__ == "__main__":
    url, folder, threads, size = sys.argv[1:]
    recorder = Recorder(url, outbox=folder, prices=None)
    workers = [threading.Thread(target=_work, args=(recorder, int(size)), daemon=True) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
