"""Decodes chunks and shards of arrays, from what their metadata say, with allowed codecs alone.

Everything that a chunk goes through is made here from its JSON, so that a codec that is not in a
table here is refused before zarr, or numcodecs, makes anything of it. Sources of the formats:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/ and
https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import google_crc32c
import numcodecs.vlen
import numpy as np
from numpy.typing import NDArray

from refspace.errors import FormatError
from refspace.limits import check_limit, limit
from refspace.store.codecs.filters import FILTERS, Filter, make_filter
from refspace.store.codecs.inflate import (
    DECOMPRESSORS,
    Bytes,
    Decompressor,
    Size,
    check_lzma,
)

Box: TypeAlias = tuple[slice, ...]

_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
_TYPE_V2 = re.compile(r"[<>|=]?([biuf])([1248])")
_STRING_TYPES = ("string", "variable_length_utf8")
_PREFIX = "numcodecs."
# Of numcodecs, as codecs of zarr v3 from bytes to bytes; the others take arrays.
_BYTE_FILTERS = ("shuffle", "crc32", "crc32c", "adler32", "fletcher32")
_MAX_CODECS, _MAX_NESTING = 16, 3
# Offset and length of an inner chunk in a shard: both all ones where it is absent.
_INDEX_ROW, _ABSENT = 16, 2**64 - 1
_CRC_BYTES = 4
_MAX_AXES = 32


# ----- steps from bytes to bytes


@dataclass(frozen=True)
class _Unpack:
    """Undoes a compressor."""

    name: str
    undo: Decompressor

    def sizes(self, size: Size) -> Size:
        """Size of what the compressor made of that many bytes."""
        return size.encoded()


@dataclass(frozen=True)
class _Unfilter:
    """Undoes a filter."""

    filter: Filter

    @property
    def name(self) -> str:
        return self.filter.name

    def undo(self, data: Bytes, size: Size) -> Bytes:
        return self.filter.undo(data, size)

    def sizes(self, size: Size) -> Size:
        return Size(self.filter.encoded(size.most), size.exact)


_Step: TypeAlias = _Unpack | _Unfilter


@dataclass(frozen=True)
class _Steps:
    """Steps from bytes to bytes, in the order of encoding."""

    steps: tuple[_Step, ...]

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


class _Serializer(Protocol):
    """Makes an array of bytes."""

    @property
    def size(self) -> Size:
        """Bytes that an array takes."""

    def array(self, data: Bytes, fill: Any, box: Box) -> NDArray[Any]:
        """Values in a part of the array."""


@dataclass(frozen=True)
class _Plain:
    """Values one after the other."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Any = "C"

    @property
    def size(self) -> Size:
        return Size(math.prod(self.shape) * self.dtype.itemsize)

    def array(self, data: Bytes, fill: Any, box: Box) -> NDArray[Any]:
        values = np.frombuffer(data, self.dtype).reshape(self.shape, order=self.order)
        return values[box]


@dataclass(frozen=True)
class _Strings:
    """Texts in UTF-8, each behind its length, and their number before them."""

    shape: tuple[int, ...]

    @property
    def size(self) -> Size:
        return Size(limit("metadata_bytes"), exact=False)

    def array(self, data: Bytes, fill: Any, box: Box) -> NDArray[Any]:
        # The decoder takes memory for as many as the content says.
        count = int.from_bytes(bytes(data[:4]), "little")
        if count != math.prod(self.shape) or len(data) < 4 * (count + 1):
            raise ValueError(f"it says that it holds {count} texts in {len(data)} bytes")
        values = numcodecs.vlen.VLenUTF8().decode(data)
        return np.asarray(values, object).reshape(self.shape)[box]


@dataclass(frozen=True)
class _Shard:
    """Chunks within a chunk, and an index of them."""

    shape: tuple[int, ...]
    inner: "_Chain"
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
        # A writer may leave gaps where inner chunks were before.
        inner = self.inner.size.most * math.prod(self.counts)
        return Size(2 * inner + self._index_bytes, exact=False)

    def array(self, data: Bytes, fill: Any, box: Box) -> NDArray[Any]:
        places = self._places(data)
        view = memoryview(data)
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
class _Turn:
    """Undoes a transposition."""

    order: tuple[int, ...]

    def undo(self, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        return values.transpose(np.argsort(self.order))


@dataclass(frozen=True)
class _ArrayFilter:
    """Undoes a filter that takes arrays."""

    filter: Filter
    dtype: np.dtype[Any]

    def undo(self, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        size = Size(math.prod(shape) * self.dtype.itemsize)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        return np.frombuffer(self.filter.undo(data, size), self.dtype).reshape(shape)


@dataclass(frozen=True)
class _Chain:
    """Everything that a chunk went through, in the order of encoding."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    # With the shape of the array before each.
    before: tuple[tuple[_Turn | _ArrayFilter, tuple[int, ...]], ...]
    serializer: _Serializer
    after: _Steps

    @property
    def size(self) -> Size:
        """Bytes that the encoded chunk has, at most."""
        return self.after.sizes(self.serializer.size)[-1]

    def decode(self, data: Bytes, fill: Any, box: Box) -> NDArray[Any]:
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
    chain: _Chain

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk or shard once it is decoded."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def most_bytes(self) -> int:
        """Most bytes that an object may have which holds a chunk or shard."""
        return self.chain.size.most

    def decode(self, data: bytes, fill: Any = 0, box: Box | None = None) -> NDArray[Any]:
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


def array_decoder(metadata: Mapping[str, Any], *, strings: bool = False) -> ArrayDecoder:
    """Decoder of an array.

    Parameters
    ----------
    metadata
        Metadata of the array, as ``zarr.json`` or ``.zarray`` have them.
    strings
        Whether the values may be texts, which only stores of refspace have.

    Raises
    ------
    FormatError
        If the array holds no integers, floats or booleans, or uses codecs that are not allowed, or
        its metadata are damaged.

    Examples
    --------
    >>> metadata = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2", "order": "C"}
    >>> decoder = array_decoder({**metadata, "compressor": None, "filters": None})
    >>> decoder.decode(b"\\1\\0\\2\\0")
    array([1, 2], dtype=uint16)
    """
    try:
        return _decoder(metadata, strings)
    except FormatError:
        raise
    except Exception as error:  # KeyError, TypeError and others of metadata of another form
        raise FormatError(f"its metadata are damaged: {error!r}") from error


def _decoder(metadata: Mapping[str, Any], strings: bool) -> ArrayDecoder:
    shape = _lengths(metadata["shape"], "shape", 0)
    if metadata["zarr_format"] == 2:
        chunks = _lengths(metadata["chunks"], "chunks", 1)
        chain = _chain_v2(metadata, chunks)
    else:
        grid = metadata["chunk_grid"]
        if grid["name"] != "regular":
            raise FormatError(f"its chunk grid is {grid['name']!r}; regular ones are read")
        if metadata.get("storage_transformers"):
            raise FormatError("it has storage transformers, which are not read")
        chunks = _lengths(grid["configuration"]["chunk_shape"], "chunk_shape", 1)
        dtype = _dtype_v3(metadata["data_type"], strings)
        chain = _chain_v3(metadata["codecs"], chunks, dtype, 0)
    if len(chunks) != len(shape):
        raise FormatError(f"its shape {shape} and chunks {chunks} differ in their number of axes")
    return ArrayDecoder(chunks, chain.dtype, chain)


@lru_cache(maxsize=256)
def cached_decoder(metadata: str) -> ArrayDecoder:
    """Decoder of an array, of which blocks are decoded one after the other.

    Parameters
    ----------
    metadata
        Its metadata, as JSON, which were checked when the array was opened.
    """
    return array_decoder(json.loads(metadata), strings=True)


def _lengths(value: Any, what: str, least: int) -> tuple[int, ...]:
    lengths = tuple(value) if isinstance(value, list | tuple) else ()
    fits = all(type(n) is int and least <= n < 2**63 for n in lengths)
    if not fits or (not lengths and value != [] and value != ()) or len(lengths) > _MAX_AXES:
        raise FormatError(
            f"its {what} is {str(value)[:80]}; it must be at most {_MAX_AXES} whole numbers from "
            f"{least} on"
        )
    return lengths


# ----- zarr v2


def _chain_v2(metadata: Mapping[str, Any], shape: tuple[int, ...]) -> _Chain:
    dtype = _dtype_v2(metadata["dtype"])
    if metadata["order"] not in ("C", "F"):
        raise FormatError(f"its order is {metadata['order']!r}; there are C and F")
    filters, compressor = metadata.get("filters"), metadata.get("compressor")
    codecs = [*(filters or ()), *([] if compressor is None else [compressor])]
    if len(codecs) > _MAX_CODECS:
        raise FormatError(f"it has {len(codecs)} filters")
    steps = tuple(_step(_name(codec, "id"), _without(codec, "id"), dtype) for codec in codecs)
    plain = _Plain(shape, dtype, metadata["order"])
    return _Chain(shape, dtype, (), plain, _Steps(steps))


def _dtype_v2(value: Any) -> np.dtype[Any]:
    match = _TYPE_V2.fullmatch(value) if isinstance(value, str) else None
    name = "" if match is None else np.dtype(value).name
    if name not in _TYPES:
        raise _wrong_type(value)
    return np.dtype(value)


def _name(codec: Any, key: str) -> str:
    """Name of a codec, as its JSON says."""
    name = codec.get(key) if isinstance(codec, Mapping) else None
    if not isinstance(name, str):
        raise FormatError(f"{str(codec)[:80]} is no codec")
    return name


def _without(codec: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in codec.items() if name != key}


def _step(name: str, options: Mapping[str, Any], dtype: np.dtype[Any]) -> _Step:
    """Step from bytes to bytes, by its name in numcodecs."""
    if name in DECOMPRESSORS:
        if name == "lzma":
            check_lzma(options)
        return _Unpack(name, DECOMPRESSORS[name])
    if name in FILTERS:
        return _Unfilter(make_filter(name, options, dtype))
    raise _not_allowed(name)


def _not_allowed(name: str) -> FormatError:
    known = ", ".join(sorted([*DECOMPRESSORS, *FILTERS]))
    return FormatError(
        f"it uses the codec {name[:80]!r}, which is not among those that are read ({known}, and "
        "bytes, transpose and sharding_indexed of zarr 3); save it with one of them"
    )


def _wrong_type(value: Any) -> FormatError:
    return FormatError(
        f"its values are of the type {str(value)[:80]}; only integers, floats and booleans are read"
    )


# ----- zarr v3


def _dtype_v3(value: Any, strings: bool) -> np.dtype[Any]:
    if value in _TYPES:
        return np.dtype(value)
    if strings and value in _STRING_TYPES:
        return np.dtype(object)
    raise _wrong_type(value)


def _named(codec: Any) -> tuple[str, dict[str, Any]]:
    """Name and configuration of a codec; a text is a name alone."""
    if isinstance(codec, str):
        return codec, {}
    configuration = codec.get("configuration") if isinstance(codec, Mapping) else None
    if not isinstance(configuration, Mapping | None):
        raise FormatError(f"{str(codec)[:80]} is no codec")
    return _name(codec, "name"), dict(configuration or {})


def _chain_v3(
    codecs: Any, shape: tuple[int, ...], dtype: np.dtype[Any], nesting: int
) -> _Chain:
    if not isinstance(codecs, list | tuple) or len(codecs) > _MAX_CODECS:
        raise FormatError(f"its codecs are {str(codecs)[:80]}")
    left = [_named(codec) for codec in codecs]
    before: list[tuple[_Turn | _ArrayFilter, tuple[int, ...]]] = []
    own_shape, own_dtype = shape, dtype
    while left and (step := _array_step(*left[0], own_shape, own_dtype)) is not None:
        before.append((step[0], own_shape))
        own_shape, own_dtype = step[1:]
        left.pop(0)
    if not left:
        raise FormatError("none of its codecs makes bytes of an array")
    serializer = _serializer(*left.pop(0), own_shape, own_dtype, nesting)
    after = tuple(_byte_step(name, options, own_dtype) for name, options in left)
    return _Chain(shape, dtype, tuple(before), serializer, _Steps(after))


def _array_step(
    name: str, options: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[_Turn | _ArrayFilter, tuple[int, ...], np.dtype[Any]] | None:
    """Step from arrays to arrays, and shape and type after it; None if it is no such step."""
    if name == "transpose":
        order = _lengths(options["order"], "order", 0)
        if sorted(order) != list(range(len(shape))):
            raise FormatError(f"it is transposed in the order {order}")
        return _Turn(order), tuple(shape[axis] for axis in order), dtype
    own = name.removeprefix(_PREFIX)
    if own == name or own not in FILTERS or own in _BYTE_FILTERS:
        return None
    step = make_filter(own, options, dtype)
    if own == "packbits":
        encoded = step.encoded(math.prod(shape))
        return _ArrayFilter(step, dtype), (encoded,), np.dtype(np.uint8)
    stored = options.get("encode_dtype") or options.get("astype") or dtype
    return _ArrayFilter(step, dtype), shape, np.dtype(stored)


def _serializer(
    name: str,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    nesting: int,
) -> _Serializer:
    if name == "bytes" and dtype != object:
        return _Plain(shape, dtype.newbyteorder(_endian(options)))
    if name == "vlen-utf8" and dtype == object:
        return _Strings(shape)
    if name != "sharding_indexed" or nesting >= _MAX_NESTING:
        raise _not_allowed(name)
    chunks = _lengths(options["chunk_shape"], "chunk_shape", 1)
    if len(chunks) != len(shape) or any(n % m for n, m in zip(shape, chunks, strict=True)):
        raise FormatError(f"its shards {shape} are no multiples of its chunks {chunks}")
    location = options.get("index_location", "end")
    if location not in ("start", "end"):
        raise FormatError(f"the index of its shards is at {location!r}; it is at start or end")
    inner = _chain_v3(options["codecs"], chunks, dtype, nesting + 1)
    order, checked = _index_codecs(options["index_codecs"])
    return _Shard(shape, inner, f"{order}u8", checked, location == "start")


def _endian(options: Mapping[str, Any]) -> Any:
    # The types of a single byte have none.
    return {"little": "<", "big": ">"}[options.get("endian") or "little"]


def _index_codecs(codecs: Any) -> tuple[str, bool]:
    """Byte order of the index of a shard, and whether a checksum follows it."""
    named = [_named(codec) for codec in codecs]
    if [name for name, _ in named] not in (["bytes"], ["bytes", "crc32c"]):
        raise FormatError(
            f"the index of its shards is encoded by {[name for name, _ in named]}; it is read with "
            "bytes, and bytes and crc32c"
        )
    return _endian(named[0][1]), len(named) > 1


def _byte_step(name: str, options: Mapping[str, Any], dtype: np.dtype[Any]) -> _Step:
    own = name.removeprefix(_PREFIX)
    if own == name and name not in ("zstd", "blosc", "gzip", "crc32c"):
        raise _not_allowed(name)
    if own in FILTERS and own not in _BYTE_FILTERS:
        raise FormatError(f"its codec {name} takes an array, and stands behind what makes bytes")
    # The checksum of zarr has no options; that of numcodecs, a place.
    return _step(own, {} if own == name else options, dtype)
