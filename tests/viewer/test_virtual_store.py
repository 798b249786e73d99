"""Volumes that are served as OME-Zarr: what tensorstore reads of them is what they are."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace
from refspace.errors import AnnotationError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.verbs.values import structure_values
from refspace.viewer.blocks import BlockCache
from refspace.viewer.virtual_store import VirtualStore
from refspace.viewer.volumes import contrast, painted, shown_images, shown_levels

RNG = np.random.default_rng(17)


def read(url: str, path: str) -> Any:
    """An array, as tensorstore reads it over HTTP."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "http", "base_url": url, "path": f"{path}/"}}
    return ts.open(spec, read=True).result().read().result()


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "i8", "f4", "f8", ">u2"])
def test_another_reader_sees_the_same_voxels(dtype: str) -> None:
    space = refspace.phantom(resolution=200)
    shape = space.annotation.shape
    values = RNG.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)
    image = space.annotation.copy(data=values)
    with space.view({"image": image}, browser=False) as view:
        assert np.array_equal(read(view.url, "annotation/s0"), space.annotation.values)
        assert np.array_equal(
            read(view.url, "annotation/s1"), space.annotation.values[::2, ::2, ::2]
        )
        assert np.array_equal(read(view.url, "image0/s0"), values)


def test_levels_of_a_store_are_its_own(tmp_path: Path) -> None:
    refspace.phantom(resolution=100).to_zarr(tmp_path / "brain.zarr", chunks=48)
    space = refspace.open(tmp_path / "brain.zarr")
    with space.view(browser=False) as view:
        for i, level in enumerate(space.levels):
            assert np.array_equal(read(view.url, f"annotation/s{i}"), level.annotation.values)


@given(st.data())
def test_boxes_are_cut_of_blocks(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    sizes = [data.draw(st.integers(1, n)) for n in shape]
    volume = np.arange(np.prod(shape)).reshape(shape)
    import dask.array

    lazy = dask.array.from_array(volume, chunks=tuple(sizes))
    box = []
    for n in shape:
        start = data.draw(st.integers(0, n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, n))))
    cache = BlockCache(size=data.draw(st.sampled_from([0, 100, 10**6])))
    for _ in range(2):
        assert np.array_equal(cache.read(lazy, tuple(box)), volume[tuple(box)])


def test_a_block_is_computed_once_and_errors_are_not_kept() -> None:
    import dask.array

    calls: list[int] = []

    def block(x: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("out of reach")
        return x

    lazy = dask.array.zeros((4, 4, 4), chunks=4, dtype="u1").map_blocks(
        block, meta=np.zeros((0,) * 3, "u1")
    )
    cache = BlockCache()
    whole = (slice(0, 4),) * 3
    with pytest.raises(OSError, match="out of reach"):
        cache.read(lazy, whole)
    cache.read(lazy, whole)
    cache.read(lazy, whole)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "path",
    ["s0/c/9/0/0", "s9/c/0/0/0", "s9/zarr.json", "c/0/0/0", "s0/c/-1/0/0", "s0/c/0/0", "../x"],
)
def test_there_is_nothing_beyond_the_volume(path: str) -> None:
    volume = labelled(np.zeros((5, 5, 5), "u4"), Grid((5, 5, 5), (10, 10, 10)))
    store = VirtualStore("annotation", (volume,), BlockCache())
    assert store.get(path) is None
    assert store.get("s0/c/0/0/0") is not None


def test_values_of_sides_by_ten_plain_lines() -> None:
    space = refspace.phantom(resolution=400)
    tree = space.structure_tree
    table = pd.DataFrame({"left": [1.0, np.nan], "right": [2.0, 3.0]}, index=["Isocortex", "TH"])
    (image, *_) = painted([space], structure_values(tree, table))
    labels = space.annotation.values
    expected = np.where(labels == 0, -np.inf, np.nan)
    left = np.broadcast_to(space.annotation.ml.values <= space.midline, labels.shape)
    for name, row in table.iterrows():
        inside = np.isin(labels, tree.descendant_ids(tree.resolve(name))[0])
        expected[inside & left], expected[inside & ~left] = row["left"], row["right"]
    assert np.array_equal(image.values, expected, equal_nan=True)


def test_coarser_levels_lie_where_the_finest_lies() -> None:
    space = refspace.phantom(resolution=100).in_frame("RAS")
    levels = shown_levels(space)
    assert len(levels) > 1
    for finer, coarse in itertools.pairwise(levels):
        for dim in ("ap", "dv", "ml"):
            assert coarse.grid.edges(dim)[0] == pytest.approx(finer.grid.edges(dim)[0])
            assert np.all(np.diff(coarse.annotation[dim]) > 0)


def test_images_turned_and_refused(tmp_path: Path) -> None:
    space = refspace.phantom(resolution=400)
    image = space.annotation.astype("f4").rename("energy")
    turned = (
        refspace.ReferenceSpace(space.structure_tree, space.annotation).reorient("LSA").annotation
    )
    found = shown_images(space, [image, turned.astype("f4").rename("energy")])
    assert [each.name for each in found] == ["energy", "energy 2"]
    assert np.array_equal(found[0].levels[0].values, found[1].levels[0].values)
    series = np.zeros((9, *space.grid.shape), "f4")
    with pytest.raises(AnnotationError, match="has 9 volumes along dim_0; choose up to 8"):
        shown_images(space, {"series": series})
    assert [each.name for each in shown_images(space, {"two": series[:2]})] == [
        "two dim_0 0",
        "two dim_0 1",
    ]
    with pytest.raises(refspace.errors.GridError, match="lies elsewhere"):
        space.view(image.assign_coords(ap=image.ap + 10**6), browser=False)


def test_no_layer_has_the_name_of_another() -> None:
    space = refspace.phantom(resolution=400)
    image = space.annotation.astype("f4")  # called annotation, as the layer is
    names = [shown.name for shown in shown_images(space, [image, image.rename("x"), image])]
    assert names == ["annotation 2", "x", "annotation 3"]
    times = image.expand_dims(time=2)
    found = shown_images(space, {"points": image, "a": times, "a time 0": image})
    assert [shown.name for shown in found] == ["points 2", "a time 0", "a time 1", "a time 0 2"]


def test_values_that_no_float32_holds_are_at_the_ends() -> None:
    space = refspace.phantom(resolution=400)
    values = structure_values(space.structure_tree, {"TH": np.inf, "CB": -1e300})
    shown = painted([space], values)[0].values
    ends = np.finfo(np.float32).max
    for acronym, expected in {"TH": ends, "CB": -ends}.items():
        assert (shown[space.make_structure_mask(acronym).values > 0] == expected).all()
    assert (shown[space.annotation.values == 0] == -np.inf).all()


def test_contrast_leaves_out_what_is_zero() -> None:
    image = labelled(np.zeros((30, 30, 30), "f4"), Grid((30, 30, 30), (10, 10, 10)))
    image.values[:10] = np.linspace(100, 200, 9000).reshape(10, 30, 30)
    image.values[0, 0, 0] = 1e9
    low, high = contrast(image)
    assert 100 <= low < 103
    assert 198 < high <= 201


@pytest.mark.parametrize(
    ("limits", "opacity", "message"),
    [
        ((2, 1), None, "the lower one first"),
        ((0, float("nan")), None, "two finite numbers"),
        ((1,), None, "give two numbers"),
        (None, 2.0, "from 0 to 1"),
    ],
)
def test_limits_and_opacities_that_are_none(limits: Any, opacity: Any, message: str) -> None:
    space: ReferenceSpace = refspace.phantom(resolution=400)
    with pytest.raises(AnnotationError, match=message):
        space.view(values={"TH": 1.0}, limits=limits, opacity=opacity, browser=False)
