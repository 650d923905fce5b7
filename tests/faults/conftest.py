"""Servers that a module of tests may mistreat: nobody else uses them."""

from collections.abc import Iterator

import pytest

from tests.faults.sessions import STARTERS
from tests.servers import Server


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind."""
    with STARTERS[request.param]() as started:
        yield started


@pytest.fixture(params=STARTERS)
def durable_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind that writes through to the disk."""
    with STARTERS[request.param](durable=True) as started:
        yield started
