"""Hostile arrays of zarr: chunks that grow, and metadata that would run code."""

import bz2
import gzip
import json
import lzma
import pickle
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np

Encode = Callable[[bytes], bytes]


def unsized_zstd(content: bytes) -> bytes:
    """Frame of zstd that does not state how much it holds: zeros alone, in runs."""
    assert not any(content)
    runs = [min(2**17, len(content) - first) for first in range(0, len(content), 2**17)]
    blocks = [
        (run << 3 | 1 << 1 | (number == len(runs) - 1)).to_bytes(3, "little") + b"\0"
        for number, run in enumerate(runs)
    ]
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks)


ENCODERS: Mapping[str, tuple[dict[str, Any], Encode]] = {
    "zstd": ({"id": "zstd", "level": 1}, numcodecs.Zstd().encode),
    "zstd without a size": ({"id": "zstd", "level": 1}, unsized_zstd),
    "blosc": ({"id": "blosc"}, numcodecs.Blosc().encode),
    "lz4": ({"id": "lz4"}, numcodecs.LZ4().encode),
    "gzip": ({"id": "gzip"}, gzip.compress),
    "gzip of two members": (
        {"id": "gzip"},
        lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    ),
    "zlib": ({"id": "zlib"}, zlib.compress),
    "bz2": ({"id": "bz2"}, bz2.compress),
    "lzma": ({"id": "lzma"}, lzma.compress),
    "lzma alone": ({"id": "lzma", "format": 2}, lambda d: lzma.compress(d, lzma.FORMAT_ALONE)),
}
"""Compressors by name: their configuration in zarr v2, and what they make."""


def zarray(shape: tuple[int, ...], /, **fields: Any) -> dict[str, Any]:
    """Metadata of an array of zarr v2 in one chunk."""
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(shape),
        "dtype": "<u4",
        "order": "C",
        "fill_value": 0,
        "filters": None,
        "compressor": None,
        "dimension_separator": ".",
        **fields,
    }


class MarksIfRun:
    """Object that makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


RUNNING = (
    {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}]},
    {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]},
    {"dtype": "|O", "compressor": {"id": "pickle", "protocol": 5}},
    {"dtype": "<u4", "filters": [{"id": "pickle", "protocol": 5}]},
    {"dtype": "<u4", "compressor": {"id": "pickle", "protocol": 5}},
)
"""Fields of metadata that have a chunk unpickled."""


def write_running(
    folder: Path, shape: tuple[int, ...], marker: Path, fields: Mapping[str, Any], **attrs: Any
) -> None:
    """Array of zarr v2 that makes a file where it is unpickled."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zarray").write_text(json.dumps(zarray(shape, **fields)))
    (folder / ".zattrs").write_text(json.dumps(attrs))
    (folder / ".".join("0" * len(shape))).write_bytes(pickle.dumps(MarksIfRun(marker)))


@contextmanager
def little_memory(most: int = 16 * 2**20) -> Iterator[None]:
    """Fail where more memory is taken than so many bytes, of what Python and NumPy count."""
    np.zeros(1)  # what is imported at first use does not count
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes"
