"""Voxels of a store: each block held against what is recorded of it, and what it is made of."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refspace.errors import StoreError
from refspace.label_index import Chunks, cell_rows
from refspace.store import pyramid
from refspace.store.decode import decode_block
from refspace.store.stored_array import Box, StoredArray, boxes
from refspace.store.verify.report import Fault, FaultError, said

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
        self.boxes = boxes(array.blocks) if all(array.shape) else {}

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
        inside = tuple(slice(part.stop - part.start) for part in self.boxes[number])
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

    def prove(self, number: Number) -> tuple[NDArray[Any], list[Fault]]:
        """Voxels of a block, and what is wrong with it.

        Raises
        ------
        FaultError
            If there are no voxels.
        """
        voxels, size = self.blocks.read(number)
        self.measured[number] = hashlib.sha256(voxels.data).digest()
        key = self.blocks.array.key(number)
        if not self.is_sound(number):
            return voxels, [Fault(key, "its voxels are not those that were written")]
        if self.cells is not None:
            corner = [part.start for part in self.blocks.boxes[number]]
            self.rows[number] = cell_rows(voxels, corner, self.cells)
        recorded = self.stored_bytes.get(number, size)
        what = f"takes {size} bytes, where {recorded} are recorded"
        return voxels, [] if size == recorded else [Fault(key, what)]


@dataclass(frozen=True)
class Family:
    """Blocks of a level that make up one of the next.

    Parameters
    ----------
    finer, members
        The level, and numbers of its blocks.
    coarser, number
        The next level, and the number of its block. None for a block that is in none: where a
        length is odd, the last voxels may be rounded away.
    """

    finer: Level
    members: list[Number]
    coarser: Level | None = None
    number: Number = ()

    def faults(self) -> list[Fault]:
        """What is wrong with the members, or else with the block made of them."""
        source = self._source()
        whole = np.empty([part.stop - part.start for part in source], self.finer.blocks.array.dtype)
        faults: list[Fault] = []
        for member in self.members:
            try:
                voxels, found = self.finer.prove(member)
            except FaultError as error:
                faults.append(error.fault)
                continue
            faults += found
            ends = zip(self.finer.blocks.boxes[member], source, strict=True)
            cut = [slice(b.start - s.start, min(b.stop, s.stop) - s.start) for b, s in ends]
            whole[tuple(cut)] = voxels[tuple(slice(part.stop - part.start) for part in cut)]
        # One fault is told once: what is made of damage, or is damaged itself, is not compared.
        if self.coarser is None or not self.coarser.is_sound(self.number):
            return faults
        if not all(map(self.finer.is_sound, self.members)):
            return faults
        return faults + self._compare(self.coarser, whole)

    def _source(self) -> Box:
        if self.coarser is None:
            return self.finer.blocks.boxes[self.members[0]]
        box = self.coarser.blocks.boxes[self.number]
        return pyramid.source_box(box, self.finer.blocks.array.shape)

    def _compare(self, coarser: Level, whole: NDArray[Any]) -> list[Fault]:
        combine = pyramid.coarser(self.finer.name)
        box = coarser.blocks.boxes[self.number]
        expected = combine(whole, box, self.finer.blocks.array.shape)
        try:
            found, _ = coarser.blocks.read(self.number)
        except FaultError as error:  # it could be read before
            return [error.fault]
        # What is not equal to itself is no number.
        numbers = (expected == expected) | (found == found)
        different = np.count_nonzero((expected != found) & numbers)
        if not different:
            return []
        what = f"{different} of its {found.size} voxels are not those that {self.finer.path} gives"
        return [Fault(coarser.blocks.array.key(self.number), what)]


def families_of(finer: Level, coarser: Level | None) -> list[Family]:
    """All blocks of a level, each of them once."""
    alone = dict.fromkeys(finer.blocks.boxes)
    families = []
    array = finer.blocks.array
    for number, box in coarser.blocks.boxes.items() if coarser else ():
        source = pyramid.source_box(box, array.shape)
        members = list(
            itertools.product(
                *(
                    range(part.start // size, -(-part.stop // size))
                    for part, size in zip(source, array.block_shape, strict=True)
                )
            )
        )
        families.append(Family(finer, members, coarser, number))
        for member in members:
            del alone[member]
    return families + [Family(finer, [number]) for number in alone]
