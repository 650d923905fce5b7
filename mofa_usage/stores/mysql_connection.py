"""A connection of aiomysql that keeps three promises which aiomysql's own does not.

Connecting ends within the timeout even if the server accepts and says nothing; TLS that was asked for is used or the
connection refused, before the password is sent (aiomysql goes on in plain text); and a socket is closed when
`ensure_closed` returns, or connecting was cancelled.
"""

import asyncio
import struct
from contextlib import suppress
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, CR
from pymysql.err import OperationalError

__all__ = ["open_connection"]

_CLOSE_SECONDS = 2.0
_NONSENSE = (struct.error, AssertionError, IndexError, ValueError, AttributeError)
"""What aiomysql raises when it reads as a greeting what is none."""


async def open_connection(**arguments: Any) -> Any:
    """Connect; the arguments are those of `aiomysql.connect`, `connect_timeout` among them."""
    connection = _Connection(**arguments)
    try:
        async with asyncio.timeout(arguments["connect_timeout"]):
            await connection._connect()
    except BaseException as error:
        connection.close()
        await asyncio.sleep(0)  # the turn of the event loop in which sockets are closed
        if isinstance(error, _NONSENSE):
            raise OperationalError(CR.CR_MALFORMED_PACKET, "what answers there is no MySQL server") from error
        raise
    return connection


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no types
    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server offers no TLS, which sslmode asks for")
        await super()._request_authentication()

    async def ensure_closed(self) -> None:
        """Say goodbye and wait until the socket is closed, which TLS takes a while for."""
        writer = self._writer
        await super().ensure_closed()
        if writer is not None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await writer.wait_closed()
