"""Addresses of object stores and web servers, and where their files lie in the local cache.

An address and a path in the cache name each other, as text and without a look at either, so that
whatever takes a path takes an address, too: ``s3://bucket/train/0.tar`` is
``CACHE/files/s3/bucket/train/0.tar``. ``remote`` brings the files there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from curate.errors import UsageError

SCHEMES = ("s3", "gs", "hf", "https", "http")
WEB = ("https", "http")
ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://")
SHORTEST = 8
"""Letters below which a value is no credential, and may be part of any word."""
SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "FSSPEC_S3_KEY"),
    *("FSSPEC_S3_SECRET", "FSSPEC_S3_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
)
"""Variables of the environment whose values are shown nowhere."""


def is_address(text: object) -> bool:
    """Return whether something is an address such as ``s3://bucket/train``."""
    return isinstance(text, str) and ADDRESS.match(text) is not None


def holds_address(source: str) -> bool:
    """Return whether a SOURCE is an address, or a kind, a colon and one: ``wds:s3://bucket/x``."""
    return is_address(source) or is_address(source.partition(":")[2])


def check(text: str) -> None:
    """Check that no address in a text names a user, a password or a signature.

    Addresses are written to run.json, keys and reports, so that they must hold no secret.

    Raises:
        UsageError: If one does; the message does not repeat it.
    """
    for match in ADDRESS.finditer(text):
        location = re.split(r"::|\s", text[match.end() :])[0]
        host, _, path = location.partition("/")
        if "@" in host or (match[1] in WEB and re.search(r"[?#]", path or host)):
            raise UsageError(
                f"{redacted(match[0] + location)}: write the address without user, password, query "
                "and fragment, which would be recorded; credentials come from the environment "
                "(docs/scale.md)."
            )


def redacted(text: str) -> str:
    """Return a text without what may be secret: users, queries, and credentials of this machine."""
    text = re.sub(r"://[^/@\s'\"]*@", "://", text)
    text = re.sub(r"(https?://[^\s'\"?#]*)[?#][^\s'\"]*", r"\1", text)
    for value in (os.environ.get(name, "") for name in SECRETS):
        if len(value) >= SHORTEST:
            text = text.replace(value, "***")
    return text


def cache() -> Path:
    """Return the folder of the cache: ``CURATE_CACHE``, else ``curate`` in the user's caches."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CURATE_CACHE") or Path(home) / "curate").expanduser().resolve()


def place(where: str | Path) -> Path:
    """Return the path of an address in the cache; of anything else, its own.

    Raises:
        UsageError: If the address holds a secret, or leads nowhere in particular.
    """
    text = str(where)
    check(text)
    if not is_address(where):
        return Path(where)
    scheme, _, path = text.partition("://")
    parts = path.rstrip("/").split("/")
    if not parts[0] or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{text}: write the address in full, such as s3://bucket/folder.")
    return cache().joinpath("files", scheme, *parts)


def placed(data: str | Path | None) -> Path | None:
    """Return the path that ``--data`` stands for (``place``); None where it is not given."""
    return place(data) if data else None


def places(where: str) -> str:
    """Return places that ``::`` joins, those that are addresses as their paths in the cache."""
    return "::".join(str(place(one)) if is_address(one) else one for one in where.split("::"))


def address(path: Path) -> str | None:
    """Return the address that a path in the cache stands for; None for a path elsewhere."""
    try:
        scheme, *parts = path.relative_to(cache() / "files").parts
    except ValueError:
        return None
    return f"{scheme}://{'/'.join(parts)}" if parts else None


def lasting(where: str | Path) -> str:
    """Return an address, or a path such that it holds wherever a run is gone on with.

    Raises:
        UsageError: If the address holds a secret.
    """
    check(str(where))
    if is_address(where):
        return str(where)
    return address(Path(where)) or str(Path(where).resolve())


def in_words(text: str) -> str:
    """Return a message in which paths in the cache are the addresses that they stand for."""
    home = re.escape(str(cache() / "files"))
    return re.sub(rf"{home}/({'|'.join(SCHEMES)})/", r"\1://", text)
