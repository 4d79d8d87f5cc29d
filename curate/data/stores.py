"""Stores: what fsspec reads an address with, tried again where the connection is cut."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from curate.data.addresses import WEB, redacted
from curate.errors import DataError, ResourceError

log = logging.getLogger("curate")

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try of what a cut connection, or a store that is busy, refused."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of the disk, which no other try changes."""
BUSY = (408, 425, 429)
"""Answers of the 400s that another try may change."""
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp"}
NETWORK = frozenset(
    ("aiohttp", "aiobotocore", "botocore", "fsspec", "gcsfs", "httpx", "httpcore",
     "huggingface_hub", "requests", "s3fs", "urllib3", "google", "asyncio", "concurrent")
)  # fmt: skip
"""Libraries whose errors are of the network, and not ours."""


def system_of(url: str) -> Any:
    """Return what fsspec reads an address with.

    Raises:
        ResourceError: If its library is not installed.
    """
    import fsspec

    scheme = url.partition(":")[0]
    kind = "http" if scheme in WEB else scheme
    try:
        options: dict[str, Any] = {"use_listings_cache": False}
        if kind == "http":
            import aiohttp

            wait = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)
            # Credentials of ~/.netrc; of packed content nobody says the size.
            options["client_kwargs"] = {"trust_env": True, "timeout": wait}
            options["headers"] = {"Accept-Encoding": "identity"}
        if kind == "s3":  # each further try is ours, and is told
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}}
        system = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise ResourceError(
            f"{url} needs {LIBRARIES[kind]}, which is not installed: pip install "
            f"'curate[cloud]'{' gcsfs' if kind == 'gs' else ''}."
        ) from error
    if kind == "s3":
        system.retries = 1
    return system


def again(ask: Callable[[], T], url: str, where: str = "") -> T:
    """Return what a store answers, asked again where the connection is cut or the store busy.

    Raises:
        FileNotFoundError: If it says that there is no such file.
        DataError: If it refuses, or cannot be reached; the message holds no credentials. Neither
            does a traceback: what the libraries raise may name an address with its signature.
    """
    for wait in (*WAITS, None):
        try:
            return ask()
        except Exception as error:
            cause = _cause(error)
            status = _status(cause)
            text = redacted(str(cause) or type(cause).__name__).splitlines()[0].rstrip(".")[:300]
            if isinstance(cause, FileNotFoundError) or status == 404:
                raise FileNotFoundError(url) from None
            if not _is_of_network(cause):
                raise
            if _refuses(cause, status):
                raise DataError(
                    f"{url}: the store refuses access ({text}); check the credentials in the "
                    "environment (docs/scale.md)."
                ) from None
            if status is not None and 400 <= status < 500 and status not in BUSY:
                raise DataError(f"{url}: the store refuses ({text}); check the address.") from None
            failure = f"{url}: the connection failed{where} ({text})"
        if wait is None:
            raise DataError(
                f"{failure}, {len(WAITS) + 1} times; check the network and type the command again."
            )
        log.warning("%s; trying again in %.0f s.", failure, wait)
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _cause(error: BaseException) -> BaseException:
    """Return why a library says that there is no file: also where it could not ask."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    """Return the number that a server answered with, wherever a library keeps it."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if isinstance(response, dict):
        number = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        number = getattr(response, "status_code", None)
    number = number or getattr(error, "status", None) or getattr(error, "code", None)
    return int(number) if isinstance(number, int) else None


def _refuses(error: BaseException, status: int | None) -> bool:
    names_ = {kind.__name__ for kind in type(error).__mro__}
    return (
        status in (401, 403)
        or isinstance(error, PermissionError)
        or bool(names_ & {"NoCredentialsError", "PartialCredentialsError"})
    )


def _is_of_network(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno not in FULL
    return type(error).__module__.split(".")[0] in NETWORK
