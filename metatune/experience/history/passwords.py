"""Addresses without what is secret in them."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^:/@?]*):.*@")
# Where drivers take it as an option; the whole connection string of ODBC.
_OPTION = re.compile(
    r"([?&](?:password|passwd|pwd|passphrase|sslpassword|odbc_connect|token)=)[^&]*", re.IGNORECASE
)


def hide_password(address: str) -> str:
    """An address as it may be printed and kept: without its password."""
    if "://" not in address:
        return address
    return _PASSWORD.sub(r"\1:***@", _OPTION.sub(r"\1***", address))
