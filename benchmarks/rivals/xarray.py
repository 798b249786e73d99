"""What xarray and dask do with the same stores, and with voxels in memory."""

from importlib import import_module
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr  # noqa: F401  # which xarray would import when it is first called

from benchmarks import answers
from benchmarks.measurement import Inputs, Timed
from benchmarks.rivals.numpy import box

_DIMS = ("ap", "dv", "ml")


def _opened(inputs: Inputs) -> xr.DataArray:
    group = xr.open_zarr(inputs.at(inputs.store), group="s0", chunks={})
    annotation: xr.DataArray = group["annotation"]
    return annotation


def open_store(inputs: Inputs) -> Timed:
    """The volume of a store."""
    return Timed(lambda _: _opened(inputs))


def every_voxel(inputs: Inputs) -> Timed:
    """All voxels of the store in memory."""
    return Timed(lambda lazy: lazy.values, answers.of_array, lambda: _opened(inputs))


def counts(inputs: Inputs) -> Timed:
    """Voxels of each label, by dask's `unique`."""

    def call(lazy: xr.DataArray) -> Any:
        return dask.compute(dask.array.unique(lazy.data, return_counts=True))[0]

    return Timed(
        call,
        lambda result: answers.of_integers(dict(zip(*result, strict=True))),
        lambda: _opened(inputs),
    )


def mask(inputs: Inputs) -> Timed:
    """Mask of structures, by `isin`; in their box, cut out of it."""
    ids = np.array(inputs.wanted(), np.uint32)

    def call(lazy: xr.DataArray) -> Any:
        inside = lazy.isin(ids).values
        return inside[box(inside)] if inputs.given.get("crop") else inside

    return Timed(call, answers.of_array, lambda: _opened(inputs))


def slice_image(inputs: Inputs) -> Timed:
    """Slice across an axis, not coloured."""
    axis = inputs.given["axis"]

    def call(lazy: xr.DataArray) -> Any:
        return lazy.isel({lazy.dims[axis]: lazy.shape[axis] * 4 // 9}).values

    return Timed(call, fresh=lambda: _opened(inputs))


def flox_mean(inputs: Inputs) -> Timed:
    """Mean of an image in each label, by `groupby` with flox."""
    labels, image = (np.load(inputs.path(name)) for name in ("annotation.npy", "image.npy"))
    values, groups = xr.DataArray(image, dims=_DIMS), xr.DataArray(labels, dims=_DIMS, name="id")
    # Which xarray uses where it is installed.
    import_module("flox")
    return Timed(
        lambda _: values.groupby(groups).mean().compute(),
        lambda means: answers.of_numbers(means["id"].values, means.values),
    )
