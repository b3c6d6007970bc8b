"""Database servers that other tools keep runs in, which are opened for reading alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What keeps a connection from writing; other servers are trusted to be asked for nothing else.
_READ_ONLY: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"execution_options": {"postgresql_readonly": True}},
    "mysql": {"connect_args": {"init_command": "SET SESSION TRANSACTION READ ONLY"}},
    "mariadb": {"connect_args": {"init_command": "SET SESSION TRANSACTION READ ONLY"}},
}


def read_only(backend: str) -> dict[str, Any]:
    """Options of SQLAlchemy's `create_engine` that keep a server of this kind from writing."""
    return {key: dict(value) for key, value in _READ_ONLY.get(backend, {}).items()}
