"""Store addresses: a local folder or an S3 prefix, as a pyarrow file system and a path in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from metatune.errors import StoreAddressError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_RIGHT = "give a folder, file:///folder or s3://bucket/prefix"


@dataclass(frozen=True)
class Address:
    """Where a store is: `root` is its path inside `filesystem`, `uri` what to open it with."""

    uri: str
    filesystem: fs.FileSystem
    root: str
    is_local: bool


def parse_address(uri: str | Path) -> Address:
    """The address written as a folder, `file:///folder` or `s3://bucket/prefix?region=...`.

    The options of an S3 address are those of pyarrow's `FileSystem.from_uri` (`region`, `scheme`,
    `endpoint_override`, ...); credentials come from the environment. Raises StoreAddressError.
    """
    text = str(uri)
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else None
    if not text or "\0" in text:
        raise StoreAddressError(f"store {text!r} is no address; {_RIGHT}")
    if scheme is None:
        return _local(text, text)
    if scheme == "file":
        return _local(_from_uri(text, text)[1], text)
    if scheme == "s3":
        return _s3(text)
    raise StoreAddressError(f"store {text!r}: scheme {scheme!r} is unknown; {_RIGHT}")


def _local(path: str, text: str) -> Address:
    try:
        folder = Path(path).expanduser()
    except RuntimeError as error:
        raise StoreAddressError(f"store {text!r}: {error}; {_RIGHT}") from None
    root = os.path.abspath(folder)  # noqa: PTH100  resolve() would also follow symbolic links
    return Address(root, fs.LocalFileSystem(), root, is_local=True)


def _s3(text: str) -> Address:
    parts = urlsplit(text)
    if parts.password is not None:
        shown = text.replace(f"{parts.username}:{parts.password}@", "")
        raise StoreAddressError(
            f"store {shown!r}: credentials do not belong in an address; "
            f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc:
        raise StoreAddressError(f"store {text!r} names no bucket; {_RIGHT}")
    options = parts.query
    if "allow_delayed_open" not in options:
        # Without it every write of a small file takes a multipart upload of three requests.
        options = "&".join(filter(None, (options, "allow_delayed_open=true")))
    filesystem, root = _from_uri(parts._replace(query=options).geturl(), text)
    return Address(text, filesystem, root.rstrip("/"), is_local=False)


def _from_uri(uri: str, text: str) -> tuple[fs.FileSystem, str]:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise StoreAddressError(f"store {text!r}: {reason}; {_RIGHT}") from error
    return filesystem, path
