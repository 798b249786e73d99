"""What tensorstore does with the arrays of the same stores, and with voxels in memory."""

from typing import Any

import numpy as np
import tensorstore

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed
from benchmarks.rivals.numpy import box
from benchmarks.votes import of_coarse


def _opened(inputs: Inputs) -> Any:
    place = f"{inputs.at(inputs.store)}/s0/annotation/"
    where: dict[str, Any] = (
        {"driver": "http", "base_url": place}
        if inputs.medium == "http"
        else {"driver": "file", "path": place}
    )
    return tensorstore.open({"driver": "zarr3", "kvstore": where}, read=True).result()


def open_store(inputs: Inputs) -> Timed:
    """The array of a store."""
    return Timed(lambda _: _opened(inputs))


def every_voxel(inputs: Inputs) -> Timed:
    """All voxels of the store in memory."""
    return Timed(lambda array: array.read().result(), answers.of_array, lambda: _opened(inputs))


def counts(inputs: Inputs) -> Timed:
    """Voxels of each label: all of them read, then `np.unique`."""
    return Timed(
        lambda array: np.unique(array.read().result(), return_counts=True),
        lambda result: answers.of_integers(dict(zip(*result, strict=True))),
        lambda: _opened(inputs),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures: all voxels read, then `np.isin`."""
    ids = np.array(inputs.wanted(), np.uint32)

    def call(array: Any) -> Any:
        inside = np.isin(array.read().result(), ids)
        return inside[box(inside)] if inputs.given.get("crop") else inside

    return Timed(call, answers.of_array, lambda: _opened(inputs))


def slice_image(inputs: Inputs) -> Timed:
    """Slice across an axis, not coloured."""
    axis = inputs.given["axis"]

    def call(array: Any) -> Any:
        where = [slice(None)] * 3
        where[axis] = array.shape[axis] * 4 // 9
        return array[tuple(where)].read().result()

    return Timed(call, fresh=lambda: _opened(inputs))


def mode(inputs: Inputs) -> Timed:
    """The annotation coarser, by the most frequent label."""
    ratio = int(inputs.given["ratio"])

    def call(array: Any) -> Any:
        return tensorstore.downsample(array, [ratio] * 3, "mode").read().result()

    return Timed(call, lambda coarse: of_coarse(coarse, inputs), lambda: _opened(inputs))
