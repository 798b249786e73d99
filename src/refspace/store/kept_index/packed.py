"""The object that holds the label index of an image: its arrays, in one file of bytes.

===============  ==========================================================================
Bytes            Content
===============  ==========================================================================
0 to 7           `MAGIC`
8 to 39          sha256 of all that follows
40 to 47         length of the header, little-endian
header           JSON: the format, and what is said of each array
tables           of each array three zstd frames: rows, records, stamps
===============  ==========================================================================
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError, RefspaceError
from refspace.label_index import FIELDS, Chunks, LabelIndex
from refspace.limits import check_limit, limit
from refspace.store.codecs.inflate import Size, unpack_zstd
from refspace.store.object_records import RECORD_BYTES, ObjectRecord

MAGIC = b"rsindex\n"
FORMAT = 1
"""Of the object."""

ABSENT = ObjectRecord(2**64 - 1, bytes(32))
"""Record of an object that is not there: its block holds the fill value."""

_DIGEST = slice(len(MAGIC), len(MAGIC) + 32)
_LENGTH = slice(_DIGEST.stop, _DIGEST.stop + 8)
_ZSTD_LEVEL = 9


class NoIndexError(FormatError):
    """Content that is no label index of ours, and never was."""


@dataclass(frozen=True)
class IndexedArray:
    """Label index of one array, and what tells that array from any other.

    Parameters
    ----------
    path
        Path of the array in its image.
    metadata
        Digest of the metadata of the array.
    index
        The index, over its three axes of space.
    records
        Record of the object of each block, in C order of the blocks, uint8 of shape (blocks, 40).
    stamps
        Stamp of each of these objects, as of `block_stamps`.
    """

    path: str
    metadata: str
    index: LabelIndex
    records: NDArray[np.uint8]
    stamps: NDArray[np.uint64]

    def record(self, flat_id: int) -> ObjectRecord:
        """Record of the object of a block; `ABSENT` where there is none."""
        return ObjectRecord.from_bytes(self.records[flat_id])

    @property
    def is_absent(self) -> NDArray[np.bool_]:
        """Whether the object of each block was missing."""
        row = np.frombuffer(ABSENT.to_bytes(), np.uint8)
        absent: NDArray[np.bool_] = (self.records == row).all(axis=1)
        return absent


@dataclass(frozen=True)
class PackedIndex:
    """The label index of an image as an object; its arrays are unpacked when they are asked for.

    Parameters
    ----------
    data
        Content of the object, whose digest is proven.
    entries
        What its header says of each array, by path.
    """

    data: bytes
    entries: Mapping[str, "_Entry"]

    @property
    def digest(self) -> str:
        """Digest that tells the object from others."""
        return self.data[_DIGEST].hex()

    @classmethod
    def from_arrays(cls, arrays: Sequence[IndexedArray]) -> "PackedIndex":
        """Object that holds the indices of some arrays of an image.

        Examples
        --------
        >>> from refspace.label_index import chunk_rows
        >>> rows = [chunk_rows(np.full((1, 1, 2), 7, "u4"), 0, (0, 0, 0))]
        >>> index = LabelIndex.from_rows((1, 1, 2), ((1,), (1,), (2,)), rows)
        >>> records = np.zeros((1, 40), np.uint8)
        >>> array = IndexedArray("0", "0a", index, records, np.zeros(1, np.uint64))
        >>> packed = PackedIndex.from_arrays([array])
        >>> PackedIndex.from_bytes(packed.data).array("0", index.chunks).index == index
        True
        """
        entries, frames = [], []
        for each in arrays:
            tables = (each.index.table.astype("<i8"), each.records, each.stamps.astype("<u8"))
            packed = [numcodecs.zstd.compress(table.tobytes(), _ZSTD_LEVEL) for table in tables]
            entries.append(
                {
                    "path": each.path,
                    "metadata_sha256": each.metadata,
                    "shape": list(each.index.shape),
                    "cells": [list(sizes) for sizes in each.index.chunks],
                    "rows": each.index.table.shape[1],
                    "blocks": len(each.records),
                    "stored": list(map(len, packed)),
                }
            )
            frames += packed
        header = json.dumps({"format": FORMAT, "arrays": entries}).encode()
        rest = b"".join([len(header).to_bytes(8, "little"), header, *frames])
        return cls.from_bytes(MAGIC + hashlib.sha256(rest).digest() + rest)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PackedIndex":
        """Object from its content.

        Raises
        ------
        NoIndexError
            If it is anything else.
        FormatError
            If it is damaged, or states more than the limit ``index_bytes`` allows.
        """
        if data[: len(MAGIC)] != MAGIC:
            raise NoIndexError("it is no label index of refspace")
        if hashlib.sha256(data[_DIGEST.stop :]).digest() != data[_DIGEST]:
            raise FormatError("it is damaged, or was cut short")
        try:
            return cls(data, _entries(data))
        except RefspaceError:
            raise
        except Exception as error:  # whatever a header of another form raises
            raise FormatError(f"its header is none: {error!r}") from error

    def array(self, path: str, blocks: Chunks) -> IndexedArray:
        """Index of an array.

        Parameters
        ----------
        path
            Path of the array in its image.
        blocks
            Lengths of its blocks along each axis of space.

        Raises
        ------
        FormatError, AnnotationError, GridError
            If it holds none of an array of that path and these blocks, or one that no array can
            have.
        """
        if path not in self.entries:
            raise FormatError(f"it has no array {path!r}; it has {', '.join(self.entries)}")
        entry = self.entries[path]
        entry.check(blocks)
        rows, records, stamps = (
            self._table(entry, number, dtype, shape)
            for number, (dtype, shape) in enumerate(
                (
                    ("<i8", (len(FIELDS), entry.rows)),
                    ("u1", (entry.blocks, RECORD_BYTES)),
                    ("<u8", (entry.blocks,)),
                )
            )
        )
        index = LabelIndex(entry.shape, entry.cells, rows.astype(np.int64, copy=False))
        return IndexedArray(
            path, entry.metadata, index, records, stamps.astype(np.uint64, copy=False)
        )

    def _table(
        self, entry: "_Entry", number: int, dtype: str, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        start = entry.start + sum(entry.stored[:number])
        frame = self.data[start : start + entry.stored[number]]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            content = unpack_zstd(frame, Size(size)) if size else b""
        except Exception as error:  # whatever the codec raises
            raise FormatError(f"a table of {entry.path!r} cannot be unpacked: {error}") from error
        return np.frombuffer(content, dtype).reshape(shape)


@dataclass(frozen=True)
class _Entry:
    """What the header says of an array, and where its tables begin."""

    path: str
    metadata: str
    shape: tuple[int, ...]
    cells: tuple[tuple[int, ...], ...]
    rows: int
    blocks: int
    stored: tuple[int, ...]
    start: int

    def check(self, blocks: Chunks) -> None:
        """Refuse what is of an array in other blocks, before any memory is taken."""
        if len(self.cells) != len(blocks) or self.blocks != math.prod(map(len, blocks)):
            raise FormatError("it is of an array in other chunks")
        for sizes, cells in zip(blocks, self.cells, strict=True):
            ends = {*accumulate(sizes)}
            # The midline cuts one block more at most.
            if len(cells) > len(sizes) + 1 or not ends <= {*accumulate(cells)}:
                raise FormatError("it is of an array in other chunks")
            if max(accumulate(cells)) != max(ends):
                raise FormatError("it is of an array of another shape")


def _entries(data: bytes) -> dict[str, _Entry]:
    """What the header says; any error of its form is raised as it comes."""
    count = int.from_bytes(data[_LENGTH], "little")
    check_limit("metadata_bytes", count, f"its header has {count} bytes")
    header = json.loads(data[_LENGTH.stop : _LENGTH.stop + count])
    if header["format"] != FORMAT:
        raise FormatError(
            f"it has format {header['format']!r}, and this refspace reads {FORMAT}: make it again, "
            "or upgrade refspace"
        )
    entries: dict[str, _Entry] = {}
    start = _LENGTH.stop + count
    for fields in header["arrays"]:
        entry = _entry(fields, start)
        entries[entry.path] = entry
        start += sum(entry.stored)
    if start != len(data):
        raise FormatError(f"it has {len(data)} bytes, where its header states {start}")
    return entries


def _entry(fields: Mapping[str, Any], start: int) -> _Entry:
    entry = _Entry(
        str(fields["path"]),
        str(fields["metadata_sha256"]),
        tuple(map(_count, fields["shape"])),
        tuple(tuple(map(_count, sizes)) for sizes in fields["cells"]),
        _count(fields["rows"]),
        _count(fields["blocks"]),
        tuple(map(_count, fields["stored"])),
        start,
    )
    if len(entry.stored) != 3:
        raise ValueError(f"there are {len(entry.stored)} tables, and no three")
    size = 8 * len(FIELDS) * entry.rows + (RECORD_BYTES + 8) * entry.blocks
    check_limit("index_bytes", size, f"its array {entry.path!r} has tables of {size} bytes")
    return entry


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of anything")
    return value


def most_bytes() -> int:
    """Most bytes that the object may have."""
    return limit("index_bytes")
