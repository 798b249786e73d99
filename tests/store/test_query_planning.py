"""Arrays of the store compute the same with dask's array expressions switched on."""

import os
import subprocess
import sys

import pytest

import refspace

SCRIPT = """
import sys
from collections import Counter

import dask
import dask.array
import numpy as np
import zarr

from refspace.store import open_atlas
from refspace.store.images import open_image
from refspace.store.location import Location
from refspace.store.masks import open_stored_masks

assert dask.array.array_expr_enabled()
atlas_url, masks_url = sys.argv[1:]
read, reads = Location.read, Counter()


def counted(self, key):
    reads[key] += 1
    return read(self, key)


Location.read = counted

atlas = open_atlas(atlas_url)
for level in range(len(atlas.levels)):
    data = atlas.volume(level).data
    assert data.name == atlas.volume(level).data.name
    expected = zarr.open_array(atlas_url, path=f"s{level}/annotation", mode="r")[...]
    reads.clear()
    np.testing.assert_array_equal(data.compute(), expected)
    # And once what proves them.
    assert set(reads.values()) == {1} and len(reads) == np.prod(data.numblocks) + 1
    reads.clear()
    np.testing.assert_array_equal(data[:3, 2, ::2].compute(), expected[:3, 2, ::2])
    assert len(reads) <= data.numblocks[2]
    assert (data > 0).sum().compute() == (expected > 0).sum()

image = open_image(f"{atlas_url}/s0/annotation")
np.testing.assert_array_equal(image.data.compute(), open_atlas(atlas_url).volume(0).data.compute())

masks = open_stored_masks(masks_url)
expected = zarr.open_array(masks_url, path="s0/mask", mode="r")[...]
np.testing.assert_array_equal(masks.volume().data.compute(), expected)
for position, structure in enumerate(masks.structures):
    np.testing.assert_array_equal(masks.mask(structure).data.compute(), expected[position])
print("all the same")
"""


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Stores of an atlas and of masks, of several blocks."""
    folder = tmp_path_factory.mktemp("planned")
    space = refspace.phantom(resolution=200)
    space.to_zarr(folder / "atlas.zarr", chunks=24)
    refspace.write_masks(folder / "atlas.zarr", folder / "masks.zarr", ["VISp", "TH", "root"])
    return [str(folder / name) for name in ("atlas.zarr", "masks.zarr")]


def test_arrays_of_a_store_compute_the_same(urls):
    # Dask decides once, when it is imported.
    environment = os.environ | {"DASK_ARRAY__QUERY_PLANNING": "True"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *urls], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "all the same"
