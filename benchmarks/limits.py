"""The least time that a job on a store can take on this machine.

A job decodes some bytes and writes others. No code of ours makes either faster than the codec
decodes on all cores, or than memory that was just taken is filled. Measure both in the run whose
jobs are compared with them: a busy machine slows all alike.

    speeds = Speeds.measured("annotation_10.zarr")
    speeds.limit(decoded_bytes=3.5e9, written_bytes=1.2e9)

With ``clock=time.process_time`` all is in seconds of the processor, which other processes on the
machine disturb less.
"""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

import refspace

_REPEATS = 3
# Enough to be measured, and little enough to be in memory several times over.
_WRITTEN_BYTES = 2**30
_DECODED_BYTES = 2**31
# How much larger than the smallest object one is that holds several labels.
_OF_ONE_LABEL = 3

Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True)
class Speeds:
    """What the machine can do, in bytes per second.

    Parameters
    ----------
    codec
        Bytes that all cores together decode, of chunks of a store.
    memset
        Bytes of new memory that all cores together fill.
    """

    codec: float
    memset: float

    @classmethod
    def measured(cls, store: str | Path, clock: Clock = time.perf_counter) -> "Speeds":
        """Speeds for jobs on a store, now; for the parameters see `codec_speed`."""
        return cls(codec_speed(store, clock), memset_speed(clock))

    def limit(self, decoded_bytes: float, written_bytes: float) -> float:
        """Seconds that it takes to decode and write so much, one after the other."""
        return decoded_bytes / self.codec + written_bytes / self.memset


def codec_speed(store: str | Path, clock: Clock = time.perf_counter) -> float:
    """Bytes per second that all cores decode, of the finest annotation of a store of refspace.

    Chunks of one label, which compress best and which no job reads, are left out. Each thread
    decodes into the same memory again and again.

    Parameters
    ----------
    store
        Path of the store.
    clock
        What seconds are: those of the clock on the wall, or of the processor.
    """
    array = refspace.open(store).annotation
    nbytes = int(np.prod(array.data.chunksize)) * array.dtype.itemsize
    files = filter(Path.is_file, Path(store, "s0", "annotation", "c").rglob("*"))
    sizes = {file: file.stat().st_size for file in files}
    varied = sorted(file for file in sizes if sizes[file] > _OF_ONE_LABEL * min(sizes.values()))
    step = max(1, len(varied) * nbytes // _DECODED_BYTES)
    objects = [file.read_bytes() for file in varied[::step] or sizes]
    cores = os.cpu_count() or 1
    seconds = _best(decode, [(objects[i::cores], nbytes) for i in range(cores)], clock)
    return len(objects) * nbytes / seconds


def memset_speed(clock: Clock = time.perf_counter) -> float:
    """Bytes per second that all cores fill, of memory that was just taken from the system.

    Parameters
    ----------
    clock
        As for `codec_speed`.
    """
    cores = os.cpu_count() or 1

    def parts() -> Iterable[tuple[NDArray[np.uint8]]]:
        return ((part,) for part in np.array_split(np.empty(_WRITTEN_BYTES, np.uint8), cores))

    return _WRITTEN_BYTES / min(_best(fill, parts(), clock, repeats=1) for _ in range(_REPEATS))


def decode(objects: Iterable[bytes], nbytes: int) -> None:
    """Decode objects of so many bytes each, one after the other."""
    room = np.empty(nbytes, np.uint8)
    for data in objects:
        numcodecs.zstd.decompress(data, room)


def fill(part: NDArray[np.uint8]) -> None:
    """Fill a part of an array."""
    part.fill(1)


def _best(
    work: Callable[..., None],
    arguments: Iterable[tuple[object, ...]],
    clock: Clock,
    repeats: int = _REPEATS,
) -> float:
    """Least seconds that calls of a function take, each in a thread of its own."""
    calls, seconds = [*arguments], []
    with ThreadPoolExecutor(len(calls)) as pool:
        for _ in range(repeats):
            start = clock()
            for done in [pool.submit(work, *each) for each in calls]:
                done.result()
            seconds.append(clock() - start)
    return min(seconds)
