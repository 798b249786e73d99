"""Programs, each a process from its start to its end; and what Python has for gzip."""

import gzip
import subprocess
import sys
import zlib
from collections.abc import Sequence

from benchmarks.measurement import Inputs, Timed

_PIECE = 2**20


def first_count(inputs: Inputs) -> Timed:
    """One number from the command line."""
    return _run([sys.executable, "-m", "refspace", "counts", inputs.at(inputs.store), "-s", "VISp"])


def first_help(inputs: Inputs) -> Timed:
    """The help of the command line."""
    return _run([sys.executable, "-m", "refspace", "--help"])


def imports(inputs: Inputs) -> Timed:
    """What refspace stands on, imported and nothing more."""
    return _run([sys.executable, "-c", "import xarray, dask.array, zarr"])


def bare_python(inputs: Inputs) -> Timed:
    """Python, which does nothing."""
    return _run([sys.executable, "-c", ""])


def gunzip(inputs: Inputs) -> Timed:
    """The voxels of the file inflated by the program gzip, into nothing."""
    data = inputs.path("annotation.nrrd.gz")
    return _run(["gzip", "--decompress", "--stdout", str(data)])


def zlib_inflate(inputs: Inputs) -> Timed:
    """The same by Python's zlib, piece by piece."""

    def call(_: object) -> int:
        inflater, size = zlib.decompressobj(wbits=31), 0  # of gzip
        with inputs.path("annotation.nrrd.gz").open("rb") as file:
            while piece := file.read(_PIECE):
                while piece:
                    size += len(inflater.decompress(piece, _PIECE))
                    piece = inflater.unconsumed_tail
        return size

    return Timed(call)


def gzip_read(inputs: Inputs) -> Timed:
    """The same by Python's gzip, into memory."""
    return Timed(lambda _: len(gzip.decompress(inputs.path("annotation.nrrd.gz").read_bytes())))


def _run(command: Sequence[str]) -> Timed:
    return Timed(lambda _: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
