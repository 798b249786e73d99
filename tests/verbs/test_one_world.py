"""One brain, however others store it: the same questions in its world have one answer.

In all orders and directions of axes, formats, units and frames; what is right is said by NumPy, in
`helpers.one_world`.
"""

import itertools

import nrrd
import numpy as np
import pytest
from helpers import one_world
from helpers.one_world import FRAMES, IMAGE, LABELS, ORDERS, SIDES, TREE, WAYS, write
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.errors import GridError
from refspace.reference_space import open as open_space

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

orders, frames, ways = map(st.sampled_from, (ORDERS, FRAMES, list(WAYS)))
# Of which a path says all.
STATED = [way for way in WAYS if "without" not in way and way != "itk"]
FILES = [way for way in STATED if "ngff" not in way and "ome" not in way]


def some(count):
    return examples(count, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(path, how, **more):
    """Space of what was written, in the frame that it has."""
    return open_space(path, structures=TREE, **how, **more)


@pytest.mark.parametrize("number", range(len(ORDERS)))
def test_every_order(tmp_path, number):
    order, frame = ORDERS[number], FRAMES[number % len(FRAMES)]
    way = list(WAYS)[number % len(WAYS)]
    space = opened(*write(tmp_path, way, order))
    assert space.grid.orientation == order
    if way.startswith(("nifti", "nrrd", "itk")):
        assert space.grid.frame == "RAS"
        one_world.ask_where(space, "RAS")
    one_world.ask_where(space.in_frame(frame), frame)


@given(orders, ways, frames)
@some(40)
def test_every_question(tmp_path, order, way, frame):
    space = opened(*write(tmp_path, way, order)).in_frame(frame)
    one_world.ask_all(space, frame)
    # The order of voxels changes no answer.
    one_world.ask_all(space.reorient(order[::-1]), frame)


@given(orders, orders, st.sampled_from(STATED), st.sampled_from(FILES), frames)
@some(40)
def test_images_in_another_order(tmp_path, order, other, way, image_way, frame):
    space = opened(*write(tmp_path, way, order)).in_frame(frame)
    path, _ = write(tmp_path, image_way, other, IMAGE)
    one_world.ask_means(space, path)
    read = refspace.read_nifti if path.suffix == ".nii" else refspace.read_nrrd
    path, how = write(tmp_path, image_way, other, SIDES)
    volume = read(path, **how)
    total = space.aggregate(volume, [1], statistics="sum")["sum"].values
    assert total == SIDES[one_world.subtree(1)].sum()


@given(
    orders, orders, orders, st.sampled_from(STATED), st.sampled_from(STATED), st.booleans(), frames
)
@some(30)
def test_stores_of_volumes_in_several_orders(
    tmp_path_factory, order, template, sides, way, other, is_framed, frame
):
    folder = tmp_path_factory.mktemp("a")
    # Other sides than those of the midline.
    flags = np.where(LABELS % 2, 1, 2).astype("u1")
    path, how = write(folder, way, order)
    volumes = {
        "template": write(folder, other, template, IMAGE)[0],
        "hemispheres": write(folder, other, sides, flags)[0],
    }
    given_frame = {"frame": frame} if is_framed else {}
    space = refspace.convert(path, TREE, folder / "store.zarr", **how, **volumes, **given_frame)
    # Coordinates of stores grow with the index.
    assert space.grid.orientation == space.grid.orientation_along_frame
    if is_framed:
        assert space.grid.frame == frame
    for asked in (space.grid.frame, frame):
        here = space.in_frame(asked)
        one_world.ask_where(here, asked)
        one_world.ask_shape(here, asked)
        one_world.ask_how_many(here, asked, flags)
        one_world.ask_template(here, asked)
    apart = opened(path, how, hemispheres=volumes["hemispheres"]).in_frame(frame)
    one_world.ask_how_many(apart, frame, flags)


@given(orders, orders, st.sampled_from(STATED), frames)
@some(20)
def test_volumes_in_two_orders_align(tmp_path, order, other, way, frame):
    one = opened(*write(tmp_path, way, order)).in_frame(frame)
    beside = tmp_path / "beside"  # which may have the same name
    beside.mkdir(exist_ok=True)
    two = opened(*write(beside, "nrrd", other)).in_frame(frame)
    assert one.compare(two).changed_voxels == 0
    assert one.compare(two.reorient("PIR")).agreement == 1


@pytest.mark.parametrize("order", ["RAS", "LPS", "LIP", "RPS"])
@pytest.mark.parametrize("way", ["itk", "nrrd lps"])
def test_headers_that_may_be_wrong_are_right_where_they_lie_on_the_annotation(tmp_path, order, way):
    flags = np.where(LABELS % 2, 1, 2).astype("u1")
    path, _ = write(tmp_path, way, "LPS", flags)
    apart = opened(*write(tmp_path, "nifti", order), hemispheres=path)
    one_world.ask_how_many(apart, "RAS", flags)


def test_headers_that_may_be_wrong_are_not_believed_elsewhere(tmp_path):
    flags = np.where(LABELS % 2, 1, 2).astype("u1")
    there = one_world.stored(flags, "PIR")
    # As the Allen Institute writes PIR: the axes of the file, whatever they are.
    header = {"space": "left-posterior-superior", "space units": ["mm"] * 3}
    for factor in (1, 2):
        steps = np.diag(there.spacing) * factor / 1000
        header |= {"space directions": steps, "space origin": [0, 0, 0]}
        nrrd.write(str(tmp_path / f"{factor}.nrrd"), there.array, header)
    path, how = write(tmp_path, "nifti", "PIR")
    apart = opened(path, how, hemispheres=tmp_path / "1.nrrd")
    one_world.ask_how_many(apart, "RAS", flags)
    with pytest.raises(GridError, match="contradicts the header"):
        opened(path, how, hemispheres=tmp_path / "2.nrrd")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_order_in_every_way(tmp_path, way):
    for order, frame in zip(ORDERS, itertools.cycle(FRAMES), strict=False):
        space = opened(*write(tmp_path, way, order))
        one_world.ask_briefly(space.in_frame(frame), frame)
