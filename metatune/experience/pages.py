"""What a column of a Parquet file would unpack to, by the headers of its pages.

The footer of a file can say anything of its columns, and Arrow takes as much memory as a page asks
for. A page's header stands before it, uncompressed: `PageHeader` in parquet.thrift of
https://github.com/apache/parquet-format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metatune.experience.thrift import read_struct

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
# Where a header has what is said of a page of its type.
_OF_TYPE = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
# Where it is said in which encoding, if not in the second place.
_ENCODING = {_DATA_V2: 4}
# In these a page has no more values than it has bits, or refers to a dictionary.
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_BY_DICTIONARY = (_PLAIN_DICTIONARY, _RLE_DICTIONARY)
# A header has statistics of some kB at most.
_MOST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Extent:
    """What the pages of one column in one row group say: how many values they hold, how many of
    these come from the dictionary, and bytes of the values, of the dictionary and of the largest
    page, all unpacked."""

    values: int = 0
    looked_up: int = 0
    plain_bytes: int = 0
    dictionary_bytes: int = 0
    largest_page: int = 0


def extent_of(chunk: bytes, values: int) -> Extent:
    """The extent of a column chunk that should hold so many values.

    Raises ValueError where its pages are none, or in an encoding that metatune does not write.
    """
    at = found = looked_up = plain = dictionary = largest = 0
    while found < values:
        header, length = read_struct(chunk[at : at + _MOST_HEADER_BYTES], 0)
        at += length
        kind, size, packed, count, encoding = _page(header)
        if packed > len(chunk) - at:
            raise ValueError("a page reaches beyond its column")
        at += packed
        largest = max(largest, size)
        if kind == _DICTIONARY:
            dictionary += size
            continue
        found += count
        if encoding in _BY_DICTIONARY:
            looked_up += count
        elif encoding in (_PLAIN, _RLE):
            plain += size
        else:
            raise ValueError(f"a page has encoding {encoding}, which metatune does not write")
    if found != values:
        raise ValueError(f"{found} values are in the pages of a column of {values}")
    return Extent(found, looked_up, plain, dictionary, largest)


def _page(header: Mapping[int, Any]) -> tuple[int, int, int, int, int]:
    """Type, size unpacked and packed, number of values and encoding of a page."""
    kind: Any = header.get(1)
    page = header.get(_OF_TYPE.get(kind, 0)) if isinstance(kind, int) else None
    if not isinstance(page, dict):
        raise ValueError("a page is of no known type")
    size: Any = header.get(2)
    packed: Any = header.get(3)
    count: Any = page.get(1)
    encoding: Any = page.get(_ENCODING.get(kind, 2))
    for field in (size, packed, count, encoding):
        if not isinstance(field, int) or field < 0:
            raise ValueError("a page has no size, number of values or encoding")
    return kind, size, packed, count, encoding
