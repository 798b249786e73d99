"""Layers for napari, beside plain NumPy and the space's own answers; napari itself is not here.

`scripts/compare_napari.py` shows them in napari.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.volumes import CountingSource, raising
from numpy.typing import NDArray

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import GridError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.types import AFFINE

RNG = np.random.default_rng(5)
IDS = (70000, 8, 2**32 - 1, 300)
TREE = StructureTree(
    [
        {"id": 70000, "acronym": "root", "name": "whole", "rgb_triplet": [9, 8, 7],
         "structure_id_path": [70000]},
        {"id": 300, "acronym": "c\x1b[2J", "structure_id_path": [70000, 300]},
        {"id": 8, "acronym": "b", "name": "second", "structure_id_path": [70000, 2**32 - 1, 8]},
        {"id": 2**32 - 1, "acronym": "a", "name": "first", "color_hex_triplet": "0aff00",
         "structure_id_path": [70000, 2**32 - 1]},
    ]
)  # fmt: skip
GRID = Grid((11, 9, 7), (20, 25, 50), origin=(-30, 5, 0))
UNKNOWN = 41


def make(grid: Grid = GRID, template: bool = True) -> ReferenceSpace:
    labels = labelled(RNG.choice(np.array([0, UNKNOWN, *IDS], "u4"), grid.shape), grid)
    intensities = labelled(RNG.integers(0, 900, grid.shape).astype("u2"), grid, "template")
    return ReferenceSpace(TREE, labels, template=intensities if template else None)


@pytest.fixture
def stored(tmp_path: Path) -> ReferenceSpace:
    make().to_zarr(tmp_path / "a.zarr", chunks=4)
    return refspace.open(tmp_path / "a.zarr")


ORIENTATIONS = [("PIR", "PIR"), ("ASL", "PIR"), ("LPS", "RAS"), ("RIA", "RAS"), ("SRA", "PIR")]


@pytest.fixture(params=ORIENTATIONS, ids="-".join)
def space(request: pytest.FixtureRequest) -> ReferenceSpace:
    orientation, frame = request.param
    return make(Grid((5, 4, 3), (20, 25, 50), (-30, 5, 0), orientation, frame))


def voxels_of(data: NDArray[Any], options: dict[str, Any]) -> Iterator[tuple[list[float], Any]]:
    """Position and value of each voxel of a layer, as napari places them."""
    for index in np.ndindex(data.shape):
        position = np.array(index) * options["scale"] + options["translate"]
        yield position.tolist(), data[index]


def names_at(space: ReferenceSpace, positions: NDArray[np.float64]) -> list[str | None]:
    cells = xr.DataArray(positions, {"axis": ["ap", "dv", "ml"]}, ("cell", "axis"))
    known = {i: TREE.nodes([i])[0]["acronym"] for i in IDS}
    return [known.get(int(i)) for i in space.structure_at(cells)]


def test_each_voxel_is_at_its_place(space: ReferenceSpace) -> None:
    (image, image_options, _), (data, options, kind) = space.to_napari()
    assert kind == "labels"
    positions, indices = zip(*voxels_of(np.asarray(data), options), strict=True)
    acronyms = options["features"].set_index("index")["acronym"]
    found = [acronyms[i] for i in indices]
    expected = names_at(space, np.array(positions))
    assert [None if n is None else n.replace("\x1b", r"\x1b") for n in expected] == found
    assert space.template is not None
    for (ap, dv, ml), value in voxels_of(np.asarray(image), image_options):
        assert space.template.sel(ap=ap, dv=dv, ml=ml) == value


def test_axes_run_along_the_frame(space: ReferenceSpace) -> None:
    for _, options, _ in space.to_napari():
        assert min(options["scale"]) > 0
        for dim, step, first in zip(
            ("ap", "dv", "ml"), options["scale"], options["translate"], strict=True
        ):
            centres = np.sort(space.annotation[dim].values)
            assert (first, step) == (centres[0], space.resolution[space.grid.axis(dim)])
        assert options["axis_labels"] == ("ap", "dv", "ml")
        assert options["units"] == ("um", "um", "um")
        assert options["metadata"] == {"frame": space.grid.frame}


def test_structures_are_numbered_in_preorder() -> None:
    (_, options, _) = make(template=False).to_napari()[0]
    table = options["features"]
    assert table["index"].tolist() == [0, 1, 2, 3, 4, 5]
    order = [i for part in TREE.descendant_ids([70000]) for i in part]
    assert table["id"].tolist() == [None, *order, None]
    assert all(type(i) is int for i in table["id"][1:-1])
    by_id = table.set_index("id")
    assert by_id.loc[8, ["acronym", "name", "parent"]].tolist() == ["b", "second", "a"]
    assert by_id.loc[300, ["acronym", "name", "parent"]].tolist() == [r"c\x1b[2J", None, "root"]
    assert by_id.loc[70000, "parent"] is None


def test_colours_are_those_of_the_structures() -> None:
    (_, options, _) = make(template=False).to_napari()[0]
    colors, table = options["colormap"], options["features"]
    for index, structure in zip(table["index"][1:-1], table["id"][1:-1], strict=True):
        rgb = np.array(TREE.get_colormap()[structure])
        np.testing.assert_array_equal(np.rint(colors[index] * 255), [*rgb, 255])
    # Outside, and whatever else: transparent. Labels of no structure: magenta, as in slices.
    assert colors[None].tolist() == colors[0].tolist() == [0, 0, 0, 0]
    assert colors[5].tolist() == [1, 0, 1, 1]


def test_a_hemisphere_is_0_in_the_other() -> None:
    space = make(template=False).hemisphere("left")
    (data, options, _) = space.to_napari()[0]
    assert options["opacity"] == 1
    right = space.grid.hemisphere_slice("right", space.midline)
    assert not np.asarray(data)[..., right].any()
    assert np.asarray(data).any()


def test_zero_is_outside_though_a_structure_has_it() -> None:
    tree = StructureTree([{"id": 0, "acronym": "universe"}, {"id": 2, "acronym": "b"}])
    labels = np.array([[[0, 2, 3]]], "u1")
    (data, options, _) = ReferenceSpace(tree, labels, 10).to_napari()[0]
    acronyms = options["features"].set_index("index")["acronym"]
    assert [acronyms[i] for i in np.asarray(data).ravel()] == [None, "b", None]
    assert np.asarray(data).ravel()[[0, 2]].tolist() == [0, 3]


def test_many_structures_take_two_bytes() -> None:
    tree = StructureTree({"id": 7 * i} for i in range(1, 400))
    (data, _, _) = ReferenceSpace(tree, np.array([[[7 * 399]]], "u4"), 10).to_napari()[0]
    assert (data.dtype, data.compute().item()) == (np.uint16, 399)


# ----- levels


def test_levels_of_a_store_lie_on_each_other(stored: ReferenceSpace) -> None:
    (images, _, _), (labels, options, _) = stored.to_napari()
    assert options["multiscale"]
    assert len(labels) == len(images) == len(stored.levels) == 3
    for arrays in (images, labels):
        shapes = np.array([array.shape for array in arrays])
        # napari scales a level by the ratio of its shape to that of the finest.
        np.testing.assert_array_equal(shapes[0] / shapes, [[1] * 3, [2] * 3, [4] * 3])
    acronyms = options["features"].set_index("index")["acronym"]
    for level, labels_there in zip(stored.levels, labels, strict=True):
        data = np.asarray(labels_there)
        inside = tuple(map(slice, level.grid.shape))
        known = {i: TREE.nodes([i])[0]["acronym"].replace("\x1b", r"\x1b") for i in IDS}
        expected = [known.get(i) for i in level.annotation.values.ravel().tolist()]
        assert [acronyms[i] for i in data[inside].ravel()] == expected
        data[inside] = 0
        assert not data.any()


def test_levels_that_are_no_multiples_are_left_out(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    datasets = []
    for name, count, step in (("0", 12, 10.0), ("1", 8, 15.0), ("2", 6, 20.0)):
        array = group.create_array(name, shape=(count,) * 3, dtype="u4", chunks=(4,) * 3)
        array[:] = 300
        offset = (step - 10) / 2
        datasets.append({"path": name, "coordinateTransformations": [
            {"type": "scale", "scale": [step] * 3},
            {"type": "translation", "translation": [offset] * 3}]})  # fmt: skip
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    multiscales = [{"name": "a", "axes": axes, "datasets": datasets}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "image-label": {}}
    space = refspace.open(tmp_path / "a.zarr", structures=TREE, orientation="PIR")
    assert len(space.levels) == 3
    (labels, _, _) = space.to_napari()[0]
    assert [array.shape[0] for array in labels] == [12, 6]


# ----- what is read


def test_no_label_is_read() -> None:
    source = CountingSource(RNG.choice(np.array(IDS, "u4"), (8, 8, 8)))
    with dask.config.set(scheduler=raising):
        (data, _, _) = ReferenceSpace(TREE, source.dask(((4, 4),) * 3), 10).to_napari()[0]
    assert isinstance(data, da.Array)
    assert source.reads == []


def test_one_plane_of_the_template_is_read() -> None:
    labels = labelled(np.ones(GRID.shape, "u4"), GRID)
    source = CountingSource(RNG.integers(0, 99, GRID.shape))
    chunks = ((3, 3, 3, 2), (9,), (7,))
    template = labelled(source.dask(chunks), GRID, "template")
    ReferenceSpace(TREE, labels, template=template).to_napari()
    assert set(source.chunk_reads(chunks)) == {(1, 0, 0)}


def test_of_a_store_the_plane_is_of_the_coarsest_level(stored: ReferenceSpace) -> None:
    (_, options, _), _ = stored.to_napari()
    coarsest = stored.levels[-1].template
    assert coarsest is not None
    plane = coarsest.values[coarsest.sizes["ap"] // 2]
    np.testing.assert_allclose(options["contrast_limits"], np.percentile(plane, [1, 99.8]))


# ----- images


def test_an_image_on_another_grid_is_at_its_place(tmp_path: Path) -> None:
    space = make()
    grid = Grid((3, 4, 5), (70, 30, 40), (-400, -200, 10), "RSA", "RAS")
    energy = labelled(RNG.random(grid.shape), grid, "energy")
    refspace.write_nifti(tmp_path / "a.nii.gz", energy.astype("f4"))
    for image, names in (({"mine": energy}, "mine"), ([tmp_path / "a.nii.gz"], "a.nii.gz")):
        _, (data, options, kind), labels = space.to_napari(images=image)
        assert (kind, options["name"], labels[1]["opacity"]) == ("image", names, 0.6)
        here = energy.assign_coords(ap=-energy.ap, dv=-energy.dv)
        for (ap, dv, ml), value in voxels_of(np.asarray(data), options):
            nearest = here.sel(ap=ap, dv=dv, ml=ml, method="nearest")
            np.testing.assert_allclose(value, nearest, rtol=1e-6)
            assert abs(nearest.ap - ap) < 1e-3


def test_channels_come_before_space() -> None:
    space = make(template=False)
    stack = np.stack([space.annotation.values, np.ones(GRID.shape)])
    coords = {dim: space.annotation[dim] for dim in GRID.dims}
    image = xr.DataArray(stack, coords, ("channel", *GRID.dims), "both")
    (data, options, _), _ = space.to_napari(images=[image])
    assert options["scale"] == (1, 20, 25, 50)
    assert options["translate"] == (0, -20, 17.5, 25)
    assert options["axis_labels"] == ("channel", "ap", "dv", "ml")
    assert options["units"] == ("pixel", "um", "um", "um")
    np.testing.assert_array_equal(data, stack)


def test_an_oblique_image_has_an_affine() -> None:
    space = make(template=False)
    affine = np.array([[9.0, 1, 0, -5], [-1, 9, 0, 3], [0, 0, 8, 7]])
    image = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=("i", "j", "k"))
    (data, options, _), _ = space.to_napari(images=[image.assign_attrs({AFFINE: affine.tolist()})])
    np.testing.assert_array_equal(data, image)
    for index in np.ndindex(2, 3, 4):
        right, anterior, superior = affine @ [*index, 1]
        here = options["affine"] @ [*index, 1]
        # Of the Allen CCF: posterior, inferior, right.
        np.testing.assert_allclose(here, [-anterior, -superior, right, 1])


def test_an_image_without_place_is_refused() -> None:
    with pytest.raises(GridError, match="does not state its voxels' size"):
        make().to_napari(images=[np.ones((2, 3, 4))])


def test_complex_images_are_refused() -> None:
    image = labelled(np.ones(GRID.shape, complex), GRID)
    with pytest.raises(GridError, match="give its absolute values"):
        make().to_napari(images=[image])


# ----- points


def test_points_are_in_the_order_of_the_axes(space: ReferenceSpace) -> None:
    dims = space.grid.frame_dims
    table = pd.DataFrame(RNG.random((5, 3)) * 100, columns=[*dims]).assign(cell=range(5))
    table.loc[2, "ap"] = np.nan
    known = table.drop(2)
    (data, options, kind) = space.to_napari(points=table)[-1]
    assert kind == "points"
    np.testing.assert_array_equal(data, known[["ap", "dv", "ml"]])
    assert options["features"]["cell"].tolist() == [0, 1, 3, 4]
    array = table[[*dims]].to_numpy()
    for given in (array, da.from_array(array), xr.DataArray(array.reshape(1, 5, 3))):
        (data, options, _) = space.to_napari(points=given)[-1]
        np.testing.assert_array_equal(data, known[["ap", "dv", "ml"]])
        assert "features" not in options


def test_points_of_another_shape_are_refused() -> None:
    with pytest.raises(GridError, match="give an array of shape"):
        make().to_napari(points=np.ones((4, 2)))


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().to_napari(images={"same": make().annotation}, points=[[0.0, 10.0, 10.0]])
