"""Voxels of a store: each block held against what is recorded of it, and what it is made of."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import StoreError
from refspace.label_index import Chunks, cell_rows
from refspace.store import pyramid
from refspace.store.decode import decode_block
from refspace.store.report import Fault, FaultError, said
from refspace.store.stored_array import Box, StoredArray, boxes

Number = tuple[int, ...]


class Blocks:
    """Array of a store, each block of which is decoded from its file as a whole.

    One request gives its size and its values, and a shard is decoded to its last chunk.

    Parameters
    ----------
    array
        The array.
    """

    def __init__(self, array: StoredArray) -> None:
        self.array = array

    @property
    def boxes(self) -> dict[Number, Box]:
        """Part of the array that each block is; none of an array without voxels."""
        return boxes(self.array.blocks) if all(self.array.shape) else {}

    def read(self, number: Number) -> tuple[NDArray[Any], int]:
        """Values of a block, in C order, and the bytes that it takes in the store."""
        key = self.array.key(number)
        try:
            data = self.array.location.read(key)
        except StoreError as error:
            raise FaultError(key, said(error, self.array.location, key)) from error
        if data is None:
            raise FaultError(key, "is missing")
        try:
            whole = decode_block(self.array.array, data)
        except Exception as error:  # whatever codecs raise
            what = f"cannot be decoded: {said(error, self.array.location, key)}"
            raise FaultError(key, f"{what} ({len(data)} bytes)") from error
        inside = tuple(slice(part.stop - part.start) for part in self.array.box(number))
        return np.ascontiguousarray(whole[inside]), len(data)

    def values(self) -> NDArray[Any]:
        """The whole array."""
        values = np.empty(self.array.shape, self.array.dtype)
        for number, box in self.boxes.items():
            values[box] = self.read(number)[0]
        return values


@dataclass
class Level:
    """A level of a volume, and what is known of its blocks.

    Parameters
    ----------
    name
        ``annotation``, ``template`` or ``hemispheres``.
    number
        Number of the level, the finest 0.
    blocks
        Its voxels.
    cells
        Chunks of its label index; none for volumes that are not indexed.
    sha256
        Digest of each block as it was recorded; none if the record is damaged.
    stored_bytes
        Bytes that each block took in the store; none if the record is damaged.
    measured
        Digest of the voxels of each block that can be decoded.
    rows
        Rows of the label index of each block whose voxels are sound.
    """

    name: str
    number: int
    blocks: Blocks
    cells: Chunks | None = None
    sha256: Mapping[Number, bytes] = field(default_factory=dict)
    stored_bytes: Mapping[Number, int] = field(default_factory=dict)
    measured: dict[Number, bytes] = field(default_factory=dict)
    rows: dict[Number, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of the array in the store."""
        return self.blocks.array.array.path

    def is_sound(self, number: Number) -> bool:
        """Whether a block was decoded, and has the voxels that were recorded."""
        found = self.measured.get(number)
        return found is not None and self.sha256.get(number, found) == found

    def record(self, number: Number) -> "Record":
        """What is recorded of a block."""
        return Record(number, self.sha256.get(number), self.stored_bytes.get(number))


@dataclass(frozen=True)
class Record:
    """What is recorded of a block.

    Parameters
    ----------
    number
        The block.
    sha256
        Digest of its voxels; None if the record is damaged.
    stored_bytes
        Bytes that it took in the store; None if the record is damaged.
    """

    number: Number
    sha256: bytes | None
    stored_bytes: int | None


@dataclass
class Findings:
    """What was found out about some blocks.

    Parameters
    ----------
    faults
        What is wrong with them.
    measured, rows
        As those of `Level`.
    """

    faults: list[Fault] = field(default_factory=list)
    measured: dict[Number, bytes] = field(default_factory=dict)
    rows: dict[Number, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Blocks of a level that make up one of the next; small, whatever the size of the store.

    Parameters
    ----------
    name
        The volume.
    finer, members
        The level, and what is recorded of its blocks.
    cells
        As that of `Level`.
    coarser, number
        The next level, and the number of its block, if that is sound. None for a block that is in
        none: where a length is odd, the last voxels may be rounded away.
    """

    name: str
    finer: StoredArray
    members: list[Record]
    cells: Chunks | None
    coarser: StoredArray | None = None
    number: Number = ()

    def prove(self) -> Findings:
        """Find out what is wrong with the members, or else with the block made of them."""
        source, found = self._source(), Findings()
        whole = np.empty([part.stop - part.start for part in source], self.finer.dtype)
        sound = [self._prove_member(member, source, whole, found) for member in self.members]
        # One fault is told once: what is made of damage, or is damaged itself, is not compared.
        if self.coarser is not None and all(sound):
            found.faults += self._compare(self.coarser, whole)
        return found

    def _prove_member(
        self, member: Record, source: Box, whole: NDArray[Any], found: Findings
    ) -> bool:
        """Whether a block is sound; its voxels are put in their place."""
        try:
            voxels, size = Blocks(self.finer).read(member.number)
        except FaultError as error:
            found.faults.append(error.fault)
            return False
        digest = found.measured[member.number] = hashlib.sha256(voxels.data).digest()
        key, box = self.finer.key(member.number), self.finer.box(member.number)
        if digest != (member.sha256 or digest):
            found.faults.append(Fault(key, "its voxels are not those that were written"))
            return False
        if self.cells is not None:
            found.rows[member.number] = cell_rows(voxels, [p.start for p in box], self.cells)
        if size != (size if member.stored_bytes is None else member.stored_bytes):
            what = f"takes {size} bytes, where {member.stored_bytes} are recorded"
            found.faults.append(Fault(key, what))
        ends = zip(box, source, strict=True)
        cut = [slice(b.start - s.start, min(b.stop, s.stop) - s.start) for b, s in ends]
        whole[tuple(cut)] = voxels[tuple(slice(part.stop - part.start) for part in cut)]
        return True

    def _source(self) -> Box:
        if self.coarser is None:
            return self.finer.box(self.members[0].number)
        return pyramid.source_box(self.coarser.box(self.number), self.finer.shape)

    def _compare(self, coarser: StoredArray, whole: NDArray[Any]) -> list[Fault]:
        expected = pyramid.coarser(self.name)(whole, coarser.box(self.number), self.finer.shape)
        try:
            found, _ = Blocks(coarser).read(self.number)
        except FaultError as error:  # it could be read before
            return [error.fault]
        # What is not equal to itself is no number.
        numbers = (expected == expected) | (found == found)
        different = np.count_nonzero((expected != found) & numbers)
        if not different:
            return []
        made_of = self.finer.array.path
        what = f"{different} of its {found.size} voxels are not those that {made_of} gives"
        return [Fault(coarser.key(self.number), what)]


def prove(numbered: tuple[int, Family]) -> Findings:
    """Prove a family, in any thread, process or machine."""
    return numbered[1].prove()


def families_of(finer: Level, coarser: Level | None) -> Iterator[Family]:
    """All blocks of a level, each of them once.

    Parameters
    ----------
    finer
        The level.
    coarser
        The next one, proven before; None if it is not held against the level.
    """
    array = finer.blocks.array
    alone = dict.fromkeys(finer.blocks.boxes)
    for number, box in coarser.blocks.boxes.items() if coarser else ():
        source = pyramid.source_box(box, array.shape)
        ranges = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip(source, array.block_shape, strict=True)
        ]
        members = list(itertools.product(*ranges))
        for member in members:
            del alone[member]
        records = [finer.record(member) for member in members]
        if coarser is not None and coarser.is_sound(number):
            above = coarser.blocks.array
            yield Family(finer.name, array, records, finer.cells, above, number)
        else:
            yield from (Family(finer.name, array, [record], finer.cells) for record in records)
    for number in alone:
        yield Family(finer.name, array, [finer.record(number)], finer.cells)
