"""The midline: how it is chosen, how it travels, and volumes that decide in its place."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.profiles import examples
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid
from refspace.labels import (
    LabelVolume,
    Midline,
    as_hemispheres,
    blocks_from_both_ends,
    check_both_sides,
    downsample,
    labelled,
    midline_of_world,
    reorient,
    stated_midline,
    warn_of_one_side,
    with_hemispheres,
)

# Voxels along x, their size and the centre of the first one in mm, as the headers of templates have
# them; and the midline in mm that a reader of their papers expects.
TEMPLATES = {
    "MNI152NLin2009cAsym 1 mm": (193, 1.0, -96.0, 0.0),
    "MNI152NLin6Asym 2 mm": (91, 2.0, -90.0, 0.0),
    "Colin27": (181, 1.0, -90.0, 0.0),
    "Waxholm rat 39 µm": (512, 0.0390625, -9.53125, 0.0),
    "one voxel off the middle": (20, 1.0, -8.5, 0.0),
    "origin at voxel n/2": (20, 1.0, -10.0, -0.5),
    # 0 is on the centre of a voxel, which is left: there are as many to its right.
    "origin at voxel n/2 - 1": (20, 1.0, -9.0, 0.0),
    "MNI152 1 mm of FSL": (182, 1.0, -91.0, -0.5),
    "half a voxel, odd": (21, 1.0, -9.5, 0.0),
    "from the first voxel's centre": (20, 1.0, 0.0, 9.5),
    "from the corner": (20, 1.0, 0.5, 10.0),
    "one hemisphere": (90, 1.0, 0.5, 45.5 - 0.5),
    "one hemisphere and a margin": (90, 1.0, -9.5, 35.0),
    "far away": (20, 1.0, 1000.0, 1009.5),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_zero_of_the_world_where_it_is_near_the_middle(name, orientation):
    count, size, first, expected = TEMPLATES[name]
    sign = 1 if orientation[0] == "R" else -1
    low = first if sign == 1 else -(first + (count - 1) * size)
    grid = Grid((count, 2, 2), (size * 1000,) * 3, (low * 1000 - size * 500, 0, 0), orientation)
    found = midline_of_world(grid)
    assert found.position == pytest.approx(sign * expected * 1000)
    assert ("0 of the world, " in found.source) == (expected == 0)
    assert f"{abs(grid.middle):g} µm from" in found.source


@given(st.integers(2, 60), st.integers(-200, 200))
@examples(100)
def test_the_rule_in_plain_numbers(count, halves):
    grid = Grid((count, 1, 1), (10, 10, 10), (halves * 5.0, 0, 0), "RAS")
    off = abs(halves * 5 + count * 5)
    centres = halves * 5 + 5 + 10 * np.arange(count)
    left = np.count_nonzero(centres <= 0)
    is_uneven = off == 5 and abs(2 * left - count) > count % 2
    is_zero = off <= count and not is_uneven
    assert midline_of_world(grid).position == (0 if is_zero else halves * 5 + count * 5)


def test_a_symmetric_brain_is_symmetric_wherever_its_origin_is():
    brain = np.zeros((20, 6, 6), "u1")
    brain[4:16] = 1
    for first in (0, -1000, -9500, -10000, -9000, 300_000):
        grid = Grid(brain.shape, (1000,) * 3, (first - 500, 0, 0), "RAS")
        volume = LabelVolume.from_array(labelled(brain, grid), midline=midline_of_world(grid))
        counts = [volume.hemisphere(side).label_counts[1] for side in ("left", "right")]
        assert counts == [216, 216]


# ----- with arrays


GRID = Grid((4, 6, 8), (10, 20, 30))
VOLUME = with_hemispheres(
    labelled(da.ones(GRID.shape, chunks=4, dtype="u4"), GRID), Midline(100.0, "as drawn")
)


def test_what_an_array_states():
    assert stated_midline(VOLUME) == Midline(100.0, "as drawn")
    assert VOLUME.hemisphere.attrs["midline_units"] == "micrometer"
    assert stated_midline(VOLUME.drop_vars("hemisphere")) is None
    assert stated_midline(VOLUME.values) is None
    bare = VOLUME.assign_coords(hemisphere=("ml", ["left"] * 8))
    assert stated_midline(bare) is None
    bare.hemisphere.attrs["midline"] = 90
    assert stated_midline(bare) == Midline(90.0, "stated by the array")
    bare.hemisphere.attrs["midline"] = "middle"
    with pytest.raises(GridError, match=r"midline is 'middle'; give its position along ml in µm"):
        stated_midline(bare)


def test_arrays_keep_it():
    assert stated_midline(downsample(VOLUME, 60, "nearest")) == Midline(100.0, "as drawn")
    assert stated_midline(downsample(VOLUME.drop_vars("hemisphere"), 60, "mode")) is None
    there = reorient(VOLUME, "LSA")
    assert stated_midline(reorient(there, "PIR")) == Midline(100.0, "as drawn")


def space_of(annotation, **options):
    tree = refspace.StructureTree([{"id": 1, "structure_id_path": [1], "acronym": "A"}])
    return refspace.ReferenceSpace(tree, annotation, **options)


def test_results_that_have_sides_say_what_tells_them_apart():
    space = space_of(VOLUME)
    stated = {
        "hemispheres_from": "midline",
        "midline": 100.0,
        "midline_units": "micrometer",
        "midline_from": "as drawn",
    }
    points = np.array([[15.0, 30.0, 45.0]])
    tables = [
        space.voxel_counts(by_hemisphere=True),
        space.aggregate(space.annotation, by_hemisphere=True),
        space.region_properties(by_hemisphere=True),
        space.count_points(points, by_hemisphere=True),
    ]
    for table in tables:
        assert stated.items() <= table.attrs.items()
        assert "hemisphere" not in table.attrs
    left = space.hemisphere("left")
    results = [
        left.voxel_counts(),
        left.aggregate(space.annotation),
        left.region_properties(),
        left.count_points(points),
        left.surface_area(),
        left.relabel([1]),
        left.paint({1: 2.0}),
        left.make_structure_mask(1),
    ]
    for result in results:
        assert {"hemisphere": "left", **stated}.items() <= result.attrs.items()
    for result in (space.voxel_counts(), space.make_structure_mask(1), space.region_properties()):
        assert not {"midline", "hemisphere", "hemispheres_from"} & result.attrs.keys()
    assert space.validate().asymmetric.attrs == stated


def test_the_midline_of_a_space_knows_where_it_is_from():
    assert space_of(np.ones((2, 2, 4), "u1"), resolution=10).volume.hemispheres.line == Midline(
        20.0, "the middle of the whole volume"
    )
    assert space_of(VOLUME, midline=90).volume.hemispheres.line == Midline(90.0, "given")
    space = space_of(VOLUME)
    assert str(space.volume.hemispheres) == "told apart by the midline at ml 100 µm (as drawn)"
    for other in (space.downsample(60), space.reorient("LSA"), space.crop(1)):
        assert other.volume.hemispheres.midline_from == "as drawn"
    back = refspace.ReferenceSpace.from_datatree(space.to_datatree())
    assert back.volume.hemispheres.line == Midline(100.0, "as drawn")


def test_trees_that_state_no_midline_have_the_middle():
    tree = space_of(VOLUME).to_datatree()
    for name in ("midline", "midline_from"):
        del tree.attrs["refspace"][name]
    line = refspace.ReferenceSpace.from_datatree(tree).volume.hemispheres.line
    assert line == Midline(GRID.middle, "the middle of the whole volume")


@pytest.mark.parametrize(
    ("orientation", "midline", "empty"),
    [("PIR", -1.0, "left"), ("PIR", 240.0, "right"), ("PIL", -1.0, "right"), ("PIL", 241, "left")],
)
def test_a_midline_that_leaves_a_side_empty_is_told(orientation, midline, empty):
    grid = Grid(GRID.shape, GRID.spacing, orientation=orientation)
    said = f"leaves no voxel in the {empty} hemisphere: the volume runs from 0 to 240 µm"
    with pytest.warns(UserWarning, match=said):
        warn_of_one_side(grid, midline)
    warn_of_one_side(grid, 120.0)


# ----- hemispheres of a volume of their own


SIDES = np.ones(GRID.shape, "u1")
SIDES[..., 3:] = 2
SIDES[0] = 0


@pytest.mark.parametrize("wrong", [3, -1, 258, 127])
def test_other_values_than_0_1_and_2_are_refused(wrong):
    sides = labelled(SIDES.astype("i2"), GRID)
    sides[1, 1, 1] = wrong
    message = rf"the volume of hemispheres holds {wrong}; 1 is left, 2 right and 0 neither"
    with pytest.raises(AnnotationError, match=message):
        space_of(VOLUME, hemispheres=sides)
    with pytest.raises(AnnotationError, match=message):
        as_hemispheres(sides, GRID)
    with dask.config.set(scheduler="synchronous"):
        lazy = space_of(VOLUME, hemispheres=sides.chunk(3))
        with pytest.raises(AnnotationError, match=message):
            lazy.voxel_counts(by_hemisphere=True)
        with pytest.raises(AnnotationError, match=message):
            lazy.hemispheres.compute()


@pytest.mark.parametrize(("values", "lacking"), [([1], "right"), ([2], "left"), ([0], "left or")])
def test_a_volume_that_lacks_a_side_is_refused(values, lacking):
    sides = labelled(np.full(GRID.shape, values[0], "u1"), GRID)
    with pytest.raises(
        AnnotationError, match=f"no voxel of the volume of hemispheres is {lacking}"
    ):
        space_of(VOLUME, hemispheres=sides)


def test_a_part_of_a_space_may_lack_a_side():
    voxels = np.zeros(GRID.shape, "u4")
    voxels[1:, 1:, 5:] = 1
    space = space_of(labelled(voxels, GRID), hemispheres=labelled(SIDES, GRID))
    part = space.crop(1)
    assert np.unique(part.hemispheres).tolist() == [2]
    assert part.hemisphere("left").total_voxel_map[1] == 0
    expected = {"hemisphere": "left", "hemispheres_from": "volume"}
    assert expected.items() <= part.hemisphere("left").voxel_counts().attrs.items()
    assert str(space.volume.hemispheres) == "told apart by a volume of hemispheres"


def test_no_more_blocks_are_read_than_show_both_sides():
    read = []

    def seen(block, block_info):
        read.append(block_info[0]["chunk-location"])
        return block

    sides = np.where(np.arange(60) < 20, 1, 2).astype("u1") * np.ones((4, 6, 1), "u1")
    data = da.from_array(sides, chunks=(2, 3, 10)).map_blocks(
        seen, dtype="u1", meta=np.empty((0,) * 3, "u1")
    )
    with dask.config.set(scheduler="synchronous"):
        check_both_sides(blocks_from_both_ends(xr.DataArray(data)))
    assert read == [(0, 0, 0), (1, 1, 5)]
    blocks = [*blocks_from_both_ends(xr.DataArray(da.arange(5, chunks=1)))]
    assert sorted(int(block[0]) for block in blocks) == [0, 1, 2, 3, 4]
    assert next(iter(blocks_from_both_ends(xr.DataArray(np.arange(2))))).tolist() == [0, 1]
