"""Database URLs: which backend one names, and where the database is.

| URL | backend |
|---|---|
| `postgres://user:password@host:port/database`, `postgresql://` | postgres |
| `mysql://user:password@host:port/database`, `mariadb://` | mysql |
| `sqlite:PATH`, `sqlite://relative.db` (as sqlx reads it), `sqlite:///relative.db`, `sqlite:////absolute.db` | sqlite |
| `sqlite::memory:` | sqlite, in memory |
| `memory:` | memory |

What else a MySQL URL says is in `MySqlOptions`; a PostgreSQL URL takes libpq's parameters.

A driver as in SQLAlchemy's `postgresql+asyncpg://` is accepted and ignored. User names and passwords are
percent-encoded where they hold `:`, `/`, `@` or `%`. What begins otherwise is no database URL, whatever it has of
slashes.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from mofa_usage.errors import StoreConnectionError

if TYPE_CHECKING:
    import ssl

    import sqlalchemy as sa

__all__ = [
    "KNOWN_URLS",
    "MEMORY_PATH",
    "DatabaseUrl",
    "MySqlOptions",
    "backend_of",
    "holds_password",
    "parse_url",
    "sqlite_path",
    "url_from_env",
]

MEMORY_PATH = ":memory:"

_BACKENDS = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "memory": "memory",
}
KNOWN_URLS = "postgres://, mysql://, mariadb://, sqlite:PATH, sqlite::memory: or memory:"
"""How database URLs begin, for messages."""
_PASSWORD = re.compile(r"://.*:.*@|://.*[?&](password|passwd|pwd|sslpassword)=", re.IGNORECASE)
_FILES = ("unix_socket", "socket", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "ssl_ca", "ssl-ca")
_NO_FILES = ("", "system")  # `sslrootcert=system` are the certificates that the system trusts


class DatabaseUrl(NamedTuple):
    """A backend's name and its URL; for SQLite `url.database` is the path, as Python's `open` takes it."""

    backend: str
    url: "sa.URL"

    def located(self) -> "DatabaseUrl":
        """The same with the paths of its files made absolute, so that it stays so wherever the process goes."""
        url = self.url
        if self.backend == "sqlite" and url.database not in (None, MEMORY_PATH):
            return DatabaseUrl(self.backend, url.set(database=str(Path(str(url.database)).absolute())))
        files = {name: url.query[name] for name in _FILES if name in url.query}
        absolute = {
            name: str(Path(path).absolute())
            for name, path in files.items()
            if isinstance(path, str) and path not in _NO_FILES
        }
        return DatabaseUrl(self.backend, url.update_query_dict(absolute))


class MySqlOptions(NamedTuple):
    """What a MySQL URL says behind its `?`, in the words that PostgreSQL has for it, or in MySQL's own.

    `sslmode` is disable, require (encrypted, whoever answers), verify-ca or verify-full, and verify-full where only
    `sslrootcert` is given.
    """

    unix_socket: str | None
    sslmode: str
    sslrootcert: str | None

    @classmethod
    def of(cls, url: "sa.URL") -> Self:
        """Read them.

        Raises:
            StoreConnectionError: there is one that we do not know.
        """
        query = {name.replace("-", "_"): str(value) for name, value in url.query.items()}
        query.pop("charset", None)  # utf8mb4 whatever it says
        socket = query.pop("unix_socket", None) or query.pop("socket", None)
        authority = query.pop("sslrootcert", None) or query.pop("ssl_ca", None)
        asked = query.pop("sslmode", None) or query.pop("ssl_mode", None)
        if query:
            raise StoreConnectionError(
                f"a mysql: URL takes sslmode, sslrootcert and unix_socket, not {', '.join(sorted(query))}"
            )
        word = (asked or ("verify-full" if authority else "disable")).lower().replace("_", "-")
        mode = {"disabled": "disable", "required": "require", "verify-identity": "verify-full"}.get(word, word)
        if mode not in ("disable", "require", "verify-ca", "verify-full"):
            raise StoreConnectionError(f"sslmode is disable, require, verify-ca or verify-full, not {asked}")
        return cls(socket, mode, authority)

    def tls(self) -> "ssl.SSLContext | None":
        """How Python's drivers are to use TLS; None for not at all.

        Raises:
            StoreConnectionError: the file of `sslrootcert` cannot be read.
        """
        if self.sslmode == "disable":
            return None
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.sslrootcert)
        except OSError as error:
            raise StoreConnectionError(f"cannot read the certificates of sslrootcert: {error}") from error
        context.check_hostname = self.sslmode == "verify-full"
        if self.sslmode == "require":
            context.verify_mode = ssl.CERT_NONE
        return context


def backend_of(text: str) -> str | None:
    """The backend that a text names by what it begins with; None if it is no database URL."""
    scheme, colon, _ = text.partition(":")
    return _BACKENDS.get(scheme.partition("+")[0].lower()) if colon else None


def holds_password(url: str) -> bool:
    """Whether a URL holds a password, or looks so: it may be one that cannot be read."""
    return _PASSWORD.search(url) is not None


def parse_url(url: "str | sa.URL") -> DatabaseUrl:
    """Read a database URL.

    Raises:
        StoreConnectionError: it names no backend that we know, or cannot be read. The message does not repeat it,
            since it may hold a password.
    """
    import sqlalchemy as sa  # an agent that has delivered nothing yet has not loaded it
    from sqlalchemy.exc import ArgumentError

    text = url.render_as_string(hide_password=False) if isinstance(url, sa.URL) else url
    scheme, colon, rest = text.partition(":")
    backend = backend_of(text)
    if backend is None:
        named = f"{scheme}:" if colon and scheme.replace("+", "").isalnum() else "this one"
        raise StoreConnectionError(f"a database URL begins with {KNOWN_URLS}, {named} does not")
    if backend == "memory":
        return DatabaseUrl(backend, sa.URL.create("memory"))
    if backend == "sqlite":
        return DatabaseUrl(backend, sa.URL.create("sqlite", database=sqlite_path(rest)))
    try:
        parsed = sa.make_url(text)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):  # then a password that holds an @ was cut in two
        raise StoreConnectionError(
            f"the {scheme}: URL cannot be read; it should look like {scheme}://user:password@host:port/database, "
            "with a user and password that are percent-encoded"
        )
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise StoreConnectionError(f"the {scheme}: URL names the port {parsed.port}, and ports end at 65535")
    if "password" in parsed.query:  # where libpq's URLs may have it; here it would be shown with the rest of the query
        parsed = parsed.set(password=str(parsed.query["password"])).difference_update_query(["password"])
    return DatabaseUrl(backend, parsed)


def sqlite_path(rest: str) -> str:
    """The path that a `sqlite:` URL names, given what is behind the colon.

    Raises:
        StoreConnectionError: there are parameters behind it.
    """
    if rest.startswith("///"):
        path = rest[3:]
    elif rest.startswith("//"):
        path = rest[2:]
    else:
        path = rest
    path, question, _ = path.partition("?")
    if question:
        raise StoreConnectionError("a sqlite: URL takes no parameters after a '?'")
    return path or MEMORY_PATH


def url_from_env(variable: str = "DATABASE_URL") -> str:
    """The URL in an environment variable.

    Raises:
        StoreConnectionError: it is not set, or empty.
    """
    url = os.environ.get(variable, "").strip()
    if not url:
        raise StoreConnectionError(f"the environment variable {variable} is not set; it takes {KNOWN_URLS}")
    return url
