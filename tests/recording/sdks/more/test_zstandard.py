"""Answers that are compressed by zstd, which a package undoes that SDKs bring along."""

import json
from typing import Any

import zstandard

from mofa_usage.recording.sdks.wire import Wire


def test_an_answer() -> None:
    added: list[Any] = []
    headers = {"content-type": "application/json", "content-encoding": "zstd"}
    wire = Wire(headers, added.append, lambda: False)
    data = zstandard.ZstdCompressor().compress(json.dumps({"a": 1}).encode())
    for begin in range(0, len(data), 3):
        wire.feed(data[begin : begin + 3])
    wire.end()
    assert added == [{"a": 1}]
