"""What no implementation of a job can do without: ``python -m benchmarks.work FUNCTION INPUTS``.

A job on a store must decode the chunks in which its result varies, must write its result, and over
HTTP must wait for so many rounds of requests, each of which needs the answer of the one before.
What is known from the label index need not be decoded.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

import refspace
from benchmarks.limits import Speeds
from benchmarks.measurement import Inputs
from refspace import ReferenceSpace


@dataclass(frozen=True)
class Work:
    """Bytes, and rounds of requests beyond those of opening."""

    decoded: float = 0
    written: float = 0
    rounds: int = 1


def opening(space: ReferenceSpace, inputs: Inputs) -> Work:
    """The root, then the coordinates."""
    return Work(rounds=2)


def index(space: ReferenceSpace, inputs: Inputs) -> Work:
    """The label index alone."""
    return Work()


def mask(space: ReferenceSpace, inputs: Inputs) -> Work:
    """Chunks with both kinds of voxels, and a byte of each voxel."""
    plan = space.plan(inputs.given["structures"])
    return Work(plan.nbytes, space.annotation.size, 2)


def cropped_mask(space: ReferenceSpace, inputs: Inputs) -> Work:
    """The same, of the box of the structures."""
    structures = inputs.given["structures"]
    box = space.crop(structures)
    return Work(space.plan(structures).nbytes, box.annotation.size, 2)


def every_voxel(space: ReferenceSpace, inputs: Inputs) -> Work:
    """Chunks of more than one label, and each voxel."""
    return Work(_varied(space), space.annotation.nbytes)


def relabel(space: ReferenceSpace, inputs: Inputs) -> Work:
    """The same."""
    return every_voxel(space, inputs)


def coarser(space: ReferenceSpace, inputs: Inputs) -> Work:
    """Chunks of more than one label, and each voxel of the result."""
    return Work(_varied(space), space.annotation.nbytes / inputs.given["ratio"] ** 3)


def image(space: ReferenceSpace, inputs: Inputs) -> Work:
    """Chunks of more than one label; an image that is no array yet is brought into memory."""
    return Work(_varied(space), space.annotation.size * 4 if inputs.given.get("lazy") else 0)


def slice_image(space: ReferenceSpace, inputs: Inputs) -> Work:
    """Chunks of more than one label on the plane, and three bytes of each voxel there."""
    axis, labels = inputs.given["axis"], space.annotation
    index = labels.shape[axis] * 4 // 9
    at = index // labels.data.chunksize[axis]
    voxels = (_varied_chunks(space) * _voxels_of_chunks(space)).take(at, axis).sum()
    plane = labels.size // labels.shape[axis]
    return Work(float(voxels * labels.dtype.itemsize), 3 * plane, 2)


def _varied(space: ReferenceSpace) -> float:
    """Bytes of chunks of more than one label."""
    voxels = (_varied_chunks(space) * _voxels_of_chunks(space)).sum()
    return float(voxels * space.annotation.dtype.itemsize)


def _voxels_of_chunks(space: ReferenceSpace) -> NDArray[np.int64]:
    """Voxels of each chunk, without what is padded at borders."""
    first, second, third = (np.array(sizes) for sizes in space.annotation.data.chunks)
    voxels: NDArray[np.int64] = first[:, None, None] * second[:, None] * third
    return voxels


def _varied_chunks(space: ReferenceSpace) -> NDArray[np.bool_]:
    """Whether each chunk has more than one label, background being one."""
    known = space.block_labels
    assert known is not None
    return (np.diff(known.indptr) > 1).reshape(known.shape)


def speeds(inputs: Inputs) -> Mapping[str, float]:
    """Speeds of codec and memory, in bytes per second."""
    return asdict(Speeds.measured(inputs.path(inputs.store)))


def main(jobs: str, inputs: str) -> None:
    """Print the work of jobs: names of functions and what they are given; and the speeds."""
    given = Inputs.from_json(inputs)
    space = refspace.open(given.path(given.store))
    found = {}
    for name, (function, about) in json.loads(jobs).items():
        found[name] = asdict(globals()[function](space, replace(given, given=about)))
    print(json.dumps({"work": found, "speeds": speeds(given)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
