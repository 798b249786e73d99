"""Decoders of arrays, made from what their metadata say, of allowed codecs alone.

Everything that a chunk goes through is made here from its JSON, so that a codec that is not in a
table here is refused before zarr, or numcodecs, makes anything of it. Sources of the formats:
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/ and
https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from refspace.errors import FormatError
from refspace.store.codecs.chain import (
    ArrayDecoder,
    ArrayFilter,
    Chain,
    Plain,
    Serializer,
    Shard,
    Step,
    Steps,
    Strings,
    Turn,
    Unfilter,
    Unpack,
)
from refspace.store.codecs.filters import FILTERS, make_filter
from refspace.store.codecs.inflate import DECOMPRESSORS, check_lzma

_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
_TYPE_V2 = re.compile(r"[<>|=]?([biuf])([1248])")
# Of fixed width, four bytes for each character.
_TEXT_V2 = re.compile(r"[<>]U[1-9]\d{0,3}")
_MAX_TEXT_BYTES = 4 * 9999
_TEXTS_V3, _FIXED_TEXT_V3 = ("string", "variable_length_utf8"), "fixed_length_utf32"
_VLEN = "vlen-utf8"
_PREFIX = "numcodecs."
# Of numcodecs, as codecs of zarr v3 from bytes to bytes; the others take arrays.
_BYTE_FILTERS = ("shuffle", "crc32", "crc32c", "adler32", "fletcher32")
_MAX_CODECS, _MAX_NESTING = 16, 3
_MAX_AXES = 32


def array_decoder(metadata: Mapping[str, Any], *, texts: bool = False) -> ArrayDecoder:
    """Decoder of an array.

    Parameters
    ----------
    metadata
        Metadata of the array, as ``zarr.json`` or ``.zarray`` have them.
    texts
        Whether the values may be texts: columns of a store of refspace, names along an axis.

    Raises
    ------
    FormatError
        If the array holds no integers, floats or booleans, or uses codecs that are not allowed, or
        its metadata are damaged.

    Examples
    --------
    >>> metadata = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2", "order": "C"}
    >>> decoder = array_decoder({**metadata, "compressor": None, "filters": None})
    >>> decoder.decode(bytes([1, 0, 2, 0]))
    array([1, 2], dtype=uint16)
    """
    try:
        return _decoder(metadata, texts)
    except FormatError:
        raise
    except Exception as error:  # KeyError, TypeError and others of metadata of another form
        raise FormatError(f"its metadata are damaged: {error!r}") from error


def _decoder(metadata: Mapping[str, Any], texts: bool) -> ArrayDecoder:
    shape = _lengths(metadata["shape"], "shape", 0)
    if metadata["zarr_format"] == 2:
        chunks = _lengths(metadata["chunks"], "chunks", 1)
        chain = _chain_v2(metadata, chunks, texts)
    else:
        grid = metadata["chunk_grid"]
        if grid["name"] != "regular":
            raise FormatError(f"its chunk grid is {grid['name']!r}; regular ones are read")
        if metadata.get("storage_transformers"):
            raise FormatError("it has storage transformers, which are not read")
        chunks = _lengths(grid["configuration"]["chunk_shape"], "chunk_shape", 1)
        dtype = _dtype_v3(metadata["data_type"], texts)
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
    return array_decoder(json.loads(metadata), texts=True)


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


def _chain_v2(metadata: Mapping[str, Any], shape: tuple[int, ...], texts: bool) -> Chain:
    dtype = _dtype_v2(metadata["dtype"], texts)
    if metadata["order"] not in ("C", "F"):
        raise FormatError(f"its order is {metadata['order']!r}; there are C and F")
    filters, compressor = metadata.get("filters"), metadata.get("compressor")
    codecs = [*(filters or ()), *([] if compressor is None else [compressor])]
    if len(codecs) > _MAX_CODECS:
        raise FormatError(f"it has {len(codecs)} filters")
    serializer: Serializer = Plain(shape, dtype, metadata["order"])
    if dtype.kind == "O":
        if not codecs or _name(codecs.pop(0), "id") != _VLEN:
            raise _wrong_type(metadata["dtype"])
        serializer = Strings(shape)
    steps = tuple(_step(_name(codec, "id"), _without(codec, "id"), dtype) for codec in codecs)
    return Chain(shape, dtype, (), serializer, Steps(steps))


def _dtype_v2(value: Any, texts: bool) -> np.dtype[Any]:
    if texts and isinstance(value, str) and (value == "|O" or _TEXT_V2.fullmatch(value)):
        return np.dtype(str(value))
    is_numbers = isinstance(value, str) and _TYPE_V2.fullmatch(value)
    if not is_numbers or (dtype := np.dtype(str(value))).name not in _TYPES:
        raise _wrong_type(value)
    return dtype


def _name(codec: Any, key: str) -> str:
    """Name of a codec, as its JSON says."""
    name = codec.get(key) if isinstance(codec, Mapping) else None
    if not isinstance(name, str):
        raise FormatError(f"{str(codec)[:80]} is no codec")
    return name


def _without(codec: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in codec.items() if name != key}


def _step(name: str, options: Mapping[str, Any], dtype: np.dtype[Any]) -> Step:
    """Step from bytes to bytes, by its name in numcodecs."""
    if name in DECOMPRESSORS:
        if name == "lzma":
            check_lzma(options)
        return Unpack(name, DECOMPRESSORS[name])
    if name in FILTERS:
        return Unfilter(make_filter(name, options, dtype))
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


def _dtype_v3(value: Any, texts: bool) -> np.dtype[Any]:
    name = value if isinstance(value, str) else None
    if name in _TYPES:
        return np.dtype(name)
    if texts and name in _TEXTS_V3:
        return np.dtype(object)
    if texts and isinstance(value, Mapping) and value.get("name") == _FIXED_TEXT_V3:
        length = value["configuration"]["length_bytes"]
        if type(length) is int and 0 < length <= _MAX_TEXT_BYTES and length % 4 == 0:
            return np.dtype(f"U{length // 4}")
    raise _wrong_type(value)


def _named(codec: Any) -> tuple[str, dict[str, Any]]:
    """Name and configuration of a codec; a text is a name alone."""
    if isinstance(codec, str):
        return codec, {}
    configuration = codec.get("configuration") if isinstance(codec, Mapping) else None
    if not isinstance(configuration, Mapping | None):
        raise FormatError(f"{str(codec)[:80]} is no codec")
    return _name(codec, "name"), dict(configuration or {})


def _chain_v3(codecs: Any, shape: tuple[int, ...], dtype: np.dtype[Any], nesting: int) -> Chain:
    if not isinstance(codecs, list | tuple) or len(codecs) > _MAX_CODECS:
        raise FormatError(f"its codecs are {str(codecs)[:80]}")
    left = [_named(codec) for codec in codecs]
    before: list[tuple[Turn | ArrayFilter, tuple[int, ...]]] = []
    own_shape, own_dtype = shape, dtype
    while left and (step := _array_step(*left[0], own_shape, own_dtype)) is not None:
        before.append((step[0], own_shape))
        own_shape, own_dtype = step[1:]
        left.pop(0)
    if not left:
        raise FormatError("none of its codecs makes bytes of an array")
    serializer = _serializer(*left.pop(0), own_shape, own_dtype, nesting)
    after = tuple(_byte_step(name, options, own_dtype) for name, options in left)
    return Chain(shape, dtype, tuple(before), serializer, Steps(after))


def _array_step(
    name: str, options: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Turn | ArrayFilter, tuple[int, ...], np.dtype[Any]] | None:
    """Step from arrays to arrays, and shape and type after it; None if it is no such step."""
    if name == "transpose":
        order = _lengths(options["order"], "order", 0)
        if sorted(order) != list(range(len(shape))):
            raise FormatError(f"it is transposed in the order {order}")
        return Turn(order), tuple(shape[axis] for axis in order), dtype
    own = name.removeprefix(_PREFIX)
    if own == name or own not in FILTERS or own in _BYTE_FILTERS:
        return None
    step = make_filter(own, options, dtype)
    if own == "packbits":
        encoded = step.encoded(math.prod(shape))
        return ArrayFilter(step, dtype), (encoded,), np.dtype(np.uint8)
    stored = options.get("encode_dtype") or options.get("astype") or dtype
    return ArrayFilter(step, dtype), shape, np.dtype(stored)


def _serializer(
    name: str,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    nesting: int,
) -> Serializer:
    if name == "bytes" and dtype.kind != "O":
        return Plain(shape, dtype.newbyteorder(_endian(options)))
    if name == _VLEN and dtype.kind == "O":
        return Strings(shape)
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
    return Shard(shape, inner, f"{order}u8", checked, location == "start")


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


def _byte_step(name: str, options: Mapping[str, Any], dtype: np.dtype[Any]) -> Step:
    own = name.removeprefix(_PREFIX)
    if own == name and name not in ("zstd", "blosc", "gzip", "crc32c"):
        raise _not_allowed(name)
    if own in FILTERS and own not in _BYTE_FILTERS:
        raise FormatError(f"its codec {name} takes an array, and stands behind what makes bytes")
    # The checksum of zarr has no options; that of numcodecs, a place.
    return _step(own, {} if own == name else options, dtype)
