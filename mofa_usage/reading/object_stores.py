"""Files in an object store that speaks S3: `s3://bucket/prefix`, through Arrow.

Storage options have the names that deltalake and Polars know, in any case, with or without `AWS_` in front; what they
leave open, the environment variables of these names say, or what else AWS's own tools look at (a profile, the role of a
machine). No message holds a key.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mofa_usage.errors import UsageError, require

__all__ = ["StorageOptions", "has_folder", "is_object_url", "object_store", "told_of"]

StorageOptions = Mapping[str, str]
_SCHEMES = ("s3://", "s3a://")
_ALIASES = {"default_region": "region", "endpoint": "endpoint_url"}
_ARROW = {
    "access_key_id": "access_key",
    "secret_access_key": "secret_key",
    "session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint_override",
    "virtual_hosted_style_request": "force_virtual_addressing",
}
"""Storage options, and what Arrow calls them."""
_OF_WRITERS = ("conditional_put", "copy_if_not_exists", "s3_allow_unsafe_rename")  # how Delta commits
_KNOWN = (*_ARROW, *_ALIASES, "allow_http", *_OF_WRITERS)
_ENVIRONMENT = ("access_key_id", "secret_access_key", "session_token", "default_region", "region", "endpoint_url",
                "allow_http")  # fmt: skip


def is_object_url(path: object) -> bool:
    """Whether a path is the URL of an object store."""
    return isinstance(path, str) and path.lower().startswith(_SCHEMES)


def has_folder(url: str, options: StorageOptions | None = None) -> bool:
    """Whether there is anything below a URL.

    Raises:
        UsageError: as `object_store`, or it does not let us in.
    """
    files, path = object_store(url, options)
    with told_of(f"read {url}"):
        return bool(files.get_file_info(path).type == require("pyarrow.fs", extra="analysis").FileType.Directory)


def object_store(url: str, options: StorageOptions | None = None) -> tuple[Any, str]:
    """Arrow's file system for a URL, and the path in it.

    Raises:
        UsageError: an option is unknown, the bucket is missing, a key is in the URL, or HTTP is not allowed.
    """
    fs = require("pyarrow.fs", extra="analysis")
    path = url.partition("://")[2].strip("/")
    if "@" in path.partition("/")[0]:
        raise UsageError("the URL of an object store takes no keys, storage options do: s3://bucket/folder")
    if not path:
        raise UsageError(f"{url} names no bucket: s3://bucket/folder")
    said = dict(_said(options or {}))
    given: dict[str, Any] = {word: said[name] for name, word in _ARROW.items() if name in said}
    if "force_virtual_addressing" in given:
        given["force_virtual_addressing"] = _is_true(given["force_virtual_addressing"])
    scheme, separator, host = given.get("endpoint_override", "").partition("://")
    if separator:
        given |= {"scheme": scheme, "endpoint_override": host.rstrip("/")}
        if scheme == "http" and not _is_true(said.get("allow_http", "")):
            raise UsageError(f"the endpoint of {url} is plain HTTP; the storage option aws_allow_http=true allows it")
    return fs.S3FileSystem(**given), path


def _said(options: StorageOptions) -> Iterator[tuple[str, str]]:
    """The options under their plain names: of the environment, and then those that were given."""
    for name in _ENVIRONMENT:
        if value := os.environ.get(f"AWS_{name.upper()}"):
            yield _ALIASES.get(name, name), value
    for name, value in options.items():
        plain = name.lower().removeprefix("aws_")
        if plain not in _KNOWN:
            known = ", ".join(f"aws_{one}" for one in _KNOWN)
            raise UsageError(f"no storage option is called {name!r}; there are {known}")
        yield _ALIASES.get(plain, plain), value


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "on")


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """What an object store or a disk refuses, as our error: `what` could not be done."""
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot {what}: {error.strerror or error}") from error
