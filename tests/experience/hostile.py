"""Files as a stranger may make them, put into a store under names that fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from samples import make_study, make_trial

from metatune.experience.records import SCHEMA, to_table
from metatune.experience.sealed import to_json
from metatune.experience.store import ExperienceStore
from metatune.experience.study_files import trial_folder

GOOD = [make_trial(number) for number in range(3)]
Mutation = Callable[[bytes], bytes]


def good_store(folder: Path) -> ExperienceStore:
    """A store of the trials GOOD, in one file."""
    store = ExperienceStore(folder)
    store.put_study(make_study())
    store.append(GOOD)
    return store


def plant(store: ExperienceStore, data: bytes) -> Path:
    """Put a file of trials beside the good ones, named by its hash; its path."""
    name = f"{UUID(int=0xBAD).hex}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
    path = Path(store.path(*trial_folder(make_study()))) / name
    path.write_bytes(data)
    return path


def parquet(
    table: pa.Table, replaces: str = "[]", row_group_size: int | None = None, **options: Any
) -> bytes:
    """A file of these rows, whatever they are."""
    sink = pa.BufferOutputStream()
    keep = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, **{**keep, **options}) as writer:
        writer.write_table(table, row_group_size=row_group_size)
        writer.add_key_value_metadata({"metatune.schema": "1", "metatune.replaces": replaces})
    return bytes(sink.getvalue())


def rows(count: int = 1, **columns: Any) -> pa.Table:
    """Rows of trials 100, 101, ... of the sample study, with some columns as given."""
    table = to_table([make_trial(100 + number) for number in range(count)])
    for name, values in columns.items():
        field = SCHEMA.field(name)
        column = values if isinstance(values, pa.Array) else pa.array(values, field.type)
        table = table.set_column(table.column_names.index(name), field, column)
    return table


def sealed(document: dict[str, Any]) -> bytes:
    """A sealed record with that content, whatever it is: its hash fits."""
    digest = hashlib.sha256(to_json(document).encode()).hexdigest()
    return json.dumps({**document, "sha256": digest}, indent=1).encode() + b"\n"


def _at(data: bytes | bytearray, place: int) -> int:
    return place % max(1, len(data))


def _flip(place: int, bit: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        changed = bytearray(data or b"\0")
        changed[-1 - _at(changed, place)] ^= 1 << bit
        return bytes(changed)

    return mutate


def _overwrite(place: int, text: bytes) -> Mutation:
    def mutate(data: bytes) -> bytes:
        at = len(data) - _at(data, place)
        return data[:at] + text + data[at + len(text) :]

    return mutate


def _insert(place: int, text: bytes) -> Mutation:
    return lambda data: data[: _at(data, place)] + text + data[_at(data, place) :]


def _cut(place: int, length: int) -> Mutation:
    return lambda data: data[: _at(data, place)] + data[_at(data, place) + length :]


def _truncate(place: int) -> Mutation:
    return lambda data: data[: _at(data, place)]


def _copy(source: int, target: int, length: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        piece = data[_at(data, source) : _at(data, source) + length]
        at = _at(data, target)
        return data[:at] + piece + data[at + len(piece) :]

    return mutate


# Numbers that overflow, in Thrift's and other ways to write them.
_INTERESTING = st.sampled_from(
    [
        b"\xff\xff\xff\xff\x0f",
        b"\xfe\xff\xff\xff\x0f",
        b"\xff" * 9 + b"\x01",
        b"\xff" * 8,
        b"\x80" * 10,
        b"\x00" * 8,
        b"\xff\xff\xff\x7f",
        b"\x00\x00\x00\x80",
        b"PAR1",
        b"\xf9\xff",
    ]
)
_PLACES = st.integers(0, 5000) | st.integers(0, 10**6)
_ONE: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(_flip, _PLACES, st.integers(0, 7)),
    st.builds(_overwrite, _PLACES, st.binary(min_size=1, max_size=8) | _INTERESTING),
    st.builds(_insert, _PLACES, st.binary(min_size=1, max_size=8) | _INTERESTING),
    st.builds(_cut, _PLACES, st.integers(1, 200)),
    st.builds(_truncate, _PLACES),
    st.builds(_copy, _PLACES, _PLACES, st.integers(1, 400)),
)


def mutations() -> st.SearchStrategy[Mutation]:
    """Some damage: bits flipped, bytes overwritten, inserted, cut out, cut off or repeated."""

    def all_of(some: list[Mutation]) -> Mutation:
        def mutate(data: bytes) -> bytes:
            for one in some:
                data = one(data)
            return data

        return mutate

    return st.lists(_ONE, min_size=1, max_size=4).map(all_of)
