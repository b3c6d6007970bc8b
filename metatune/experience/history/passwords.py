"""Addresses without what is secret in them."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^:/@]*):.*@")


def hide_password(address: str) -> str:
    """An address as it may be printed and kept: without its password."""
    return _PASSWORD.sub(r"\1:***@", address)
