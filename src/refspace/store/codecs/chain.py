"""What chunks and shards go through, step by step, each undone within a known size."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import google_crc32c
import numcodecs.vlen
import numpy as np
from numpy.typing import NDArray

from refspace.limits import check_limit, limit
from refspace.store.codecs.filters import Filter
from refspace.store.codecs.inflate import Bytes, Decompressor, Size

Box: TypeAlias = tuple[slice, ...]
Fill: TypeAlias = float | str | np.generic

_MAX_CODE_POINT = 0x10FFFF
# Offset and length of an inner chunk in a shard: both all ones where it is absent.
_INDEX_ROW, _ABSENT = 16, 2**64 - 1
_CRC_BYTES = 4


# ----- steps from bytes to bytes


@dataclass(frozen=True)
class Unpack:
    """Undoes a compressor."""

    name: str
    undo: Decompressor

    def sizes(self, size: Size) -> Size:
        """Size of what the compressor made of that many bytes."""
        return size.encoded()


@dataclass(frozen=True)
class Unfilter:
    """Undoes a filter."""

    filter: Filter

    @property
    def name(self) -> str:
        """Its name."""
        return self.filter.name

    def undo(self, data: Bytes, size: Size) -> Bytes:
        """Bytes from which the filter made others."""
        return self.filter.undo(data, size)

    def sizes(self, size: Size) -> Size:
        """Size of what the filter made of that many bytes."""
        return Size(self.filter.encoded(size.most), size.exact)


Step: TypeAlias = Unpack | Unfilter


@dataclass(frozen=True)
class Steps:
    """Steps from bytes to bytes, in the order of encoding."""

    steps: tuple[Step, ...]

    def sizes(self, size: Size) -> list[Size]:
        """Size before the first step, and after each."""
        return [*itertools.accumulate(self.steps, lambda s, step: step.sizes(s), initial=size)]

    def undo(self, data: Bytes, size: Size) -> Bytes:
        """Bytes before the first step, of an expected size."""
        sizes = self.sizes(size)
        sizes[-1].check(len(data), "it has")
        for step, before in zip(reversed(self.steps), reversed(sizes[:-1]), strict=True):
            data = step.undo(data, before)
        return data


# ----- steps from bytes to arrays


class Serializer(Protocol):
    """Makes an array of bytes."""

    @property
    def size(self) -> Size:
        """Bytes that an array takes."""

    def array(self, data: Bytes, fill: Fill, box: Box) -> NDArray[Any]:
        """Values in a part of the array."""


@dataclass(frozen=True)
class Plain:
    """Values one after the other."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"] = "C"

    @property
    def size(self) -> Size:
        """Bytes that an array takes."""
        return Size(math.prod(self.shape) * self.dtype.itemsize)

    def array(self, data: Bytes, fill: Fill, box: Box) -> NDArray[Any]:
        """Values in a part of the array."""
        values = np.frombuffer(data, self.dtype).reshape(self.shape, order=self.order)
        if self.dtype.kind == "U" and values.size:
            codes = np.frombuffer(data, self.dtype.str[0] + "u4")
            if codes.max() > _MAX_CODE_POINT:
                raise ValueError("it holds what are no characters")
        return values[box]


@dataclass(frozen=True)
class Strings:
    """Texts in UTF-8, each behind its length, and their number before them."""

    shape: tuple[int, ...]

    @property
    def size(self) -> Size:
        """Bytes that an array takes."""
        return Size(limit("metadata_bytes"), exact=False)

    def array(self, data: Bytes, fill: Fill, box: Box) -> NDArray[Any]:
        """Values in a part of the array."""
        # The decoder takes memory for as many as the content says.
        count = int.from_bytes(bytes(data[:4]), "little")
        if count != math.prod(self.shape) or len(data) < 4 * (count + 1):
            raise ValueError(f"it says that it holds {count} texts in {len(data)} bytes")
        values = numcodecs.vlen.VLenUTF8().decode(data)
        return np.asarray(values, object).reshape(self.shape)[box]


@dataclass(frozen=True)
class Shard:
    """Chunks within a chunk, and an index of them."""

    shape: tuple[int, ...]
    inner: "Chain"
    index: str
    checked: bool
    at_start: bool

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of inner chunks along each axis."""
        sides = zip(self.shape, self.inner.shape, strict=True)
        return tuple(n // size for n, size in sides)

    @property
    def _index_bytes(self) -> int:
        return _INDEX_ROW * math.prod(self.counts) + (_CRC_BYTES if self.checked else 0)

    @property
    def size(self) -> Size:
        """Bytes that an array takes."""
        # A writer may leave gaps where inner chunks were before.
        inner = self.inner.size.most * math.prod(self.counts)
        return Size(2 * inner + self._index_bytes, exact=False)

    def array(self, data: Bytes, fill: Fill, box: Box) -> NDArray[Any]:
        """Values in a part of the array."""
        places = self._places(data)
        view = np.frombuffer(data, np.uint8)
        values = np.empty([part.stop - part.start for part in box], self.inner.dtype)
        for chunk in itertools.product(*map(self._inner_ids, box, self.inner.shape)):
            inner, outer = self._common(chunk, box)
            offset, length = map(int, places[chunk])
            if offset == length == _ABSENT:
                values[outer] = fill
                continue
            if offset + length > len(data):
                raise ValueError(f"inner chunk {chunk} ends behind the shard")
            values[outer] = self.inner.decode(view[offset : offset + length], fill, inner)
        return values

    @staticmethod
    def _inner_ids(part: slice, size: int) -> range:
        return range(part.start // size, -(-part.stop // size))

    def _common(self, chunk: Sequence[int], box: Box) -> tuple[Box, Box]:
        """Part of an inner chunk that lies in a box, counted from the chunk, and from the box."""
        sides = [
            (i * n, max(i * n, part.start), min((i + 1) * n, part.stop), part.start)
            for i, n, part in zip(chunk, self.inner.shape, box, strict=True)
        ]
        inner = tuple(slice(a - first, b - first) for first, a, b, _ in sides)
        return inner, tuple(slice(a - start, b - start) for _, a, b, start in sides)

    def _places(self, data: Bytes) -> NDArray[Any]:
        """Offset and length of every inner chunk."""
        count = self._index_bytes
        if len(data) < count:
            raise ValueError(f"the shard has {len(data)} bytes, its index alone takes {count}")
        table = bytes(data[:count] if self.at_start else data[len(data) - count :])
        if self.checked:
            table, stored = table[:-_CRC_BYTES], table[-_CRC_BYTES:]
            if google_crc32c.value(table) != int.from_bytes(stored, "little"):
                raise ValueError("the checksum of the index of the shard is wrong")
        return np.frombuffer(table, self.index).reshape(*self.counts, 2)


# ----- all of them


@dataclass(frozen=True)
class Turn:
    """Undoes a transposition."""

    order: tuple[int, ...]

    def undo(self, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """Array before the step, of a shape."""
        return values.transpose(np.argsort(self.order))


@dataclass(frozen=True)
class ArrayFilter:
    """Undoes a filter that takes arrays."""

    filter: Filter
    dtype: np.dtype[Any]

    def undo(self, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """Array before the step, of a shape."""
        size = Size(math.prod(shape) * self.dtype.itemsize)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        return np.frombuffer(self.filter.undo(data, size), self.dtype).reshape(shape)


@dataclass(frozen=True)
class Chain:
    """Everything that a chunk went through, in the order of encoding."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    # With the shape of the array before each.
    before: tuple[tuple[Turn | ArrayFilter, tuple[int, ...]], ...]
    serializer: Serializer
    after: Steps

    @property
    def size(self) -> Size:
        """Bytes that the encoded chunk has, at most."""
        return self.after.sizes(self.serializer.size)[-1]

    def decode(self, data: Bytes, fill: Fill, box: Box) -> NDArray[Any]:
        """Values in a part of the chunk."""
        plain = self.after.undo(data, self.serializer.size)
        if not self.before:
            return self.serializer.array(plain, fill, box)
        shape = self.serializer.shape  # type: ignore[attr-defined]
        values = self.serializer.array(plain, fill, tuple(slice(0, n) for n in shape))
        for step, own in reversed(self.before):
            values = step.undo(values, own)
        return values[box]


@dataclass(frozen=True)
class ArrayDecoder:
    """Decodes the chunks of an array, or the shards of one that has these.

    Parameters
    ----------
    shape
        Voxels of a chunk or shard along each axis.
    dtype
        Type of the values.
    chain
        What a chunk went through.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chain: Chain

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk or shard once it is decoded."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def most_bytes(self) -> int:
        """Most bytes that an object may have which holds a chunk or shard."""
        return self.chain.size.most

    def decode(self, data: bytes, fill: Fill = 0, box: Box | None = None) -> NDArray[Any]:
        """Values of a chunk or shard, or of a part of it.

        Parameters
        ----------
        data
            The object that holds it.
        fill
            Value of inner chunks that are absent.
        box
            Part that is wanted; of a shard, no other inner chunk is decoded.

        Raises
        ------
        ValueError, RuntimeError and others
            If the content is damaged, or of another size than that of the chunk.
        """
        check_limit("chunk_bytes", self.nbytes, lambda: f"it decodes to {self.nbytes} bytes")
        whole = tuple(slice(0, n) for n in self.shape)
        values = self.chain.decode(data, fill, whole if box is None else box)
        return values if values.flags.writeable else values.copy()
