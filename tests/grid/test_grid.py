import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from dask.base import tokenize
from helpers.volumes import RATIOS, grids
from hypothesis import assume, given
from hypothesis import strategies as st

from refspace.errors import GridError, PositionError
from refspace.grid import Grid, direction_letter, parse_orientation, parse_spacing

CCF = Grid((528, 320, 456), (25, 25, 25))
ORIENTATIONS = ["PIR", "RAS", "LPS", "ASL", "SRA", "IRP"]
# Letter towards which a coordinate grows → axis, and its sign in a frame that grows to P, I and R.
WORLD = {"P": ("ap", 1), "A": ("ap", -1), "I": ("dv", 1), "S": ("dv", -1), "R": ("ml", 1)}
WORLD["L"] = ("ml", -1)


def world(grid, index):
    """Place of a voxel's centre along ap, dv and ml, growing to posterior, inferior and right."""
    place = {}
    for dim, i in zip(grid.dims, index, strict=True):
        (sign,) = (WORLD[letter][1] for letter in grid.frame if WORLD[letter][0] == dim)
        place[dim] = sign * grid.coordinates(dim)[i]
    return [place[dim] for dim in ("ap", "dv", "ml")]


# ----- positions and indices


@given(grids)
def test_each_centre_lies_in_its_own_voxel(grid):
    for dim, count in zip(grid.dims, grid.shape, strict=True):
        centres = grid.coordinates(dim)
        assert centres.dtype == np.float64
        assert [grid.index(dim, centre) for centre in centres] == list(range(count))


@given(grids, st.data())
def test_a_position_lies_between_the_edges_of_its_voxel(grid, data):
    dim = data.draw(st.sampled_from(grid.dims))
    axis = grid.axis(dim)
    low, spacing = grid.origin[axis], grid.spacing[axis]
    position = data.draw(st.floats(low, low + grid.extent[axis]))
    near = 1e-9 * spacing
    assume(position < low + grid.shape[axis] * spacing - near)
    index = grid.index(dim, position)
    assert 0 <= index < grid.shape[axis]
    if grid.coordinates(dim)[-1] < grid.coordinates(dim)[0]:
        index = grid.shape[axis] - 1 - index  # from where coordinates are lowest
    assert low + index * spacing - near <= position < low + (index + 1) * spacing


@pytest.mark.parametrize("spacing", ["0.1", "1.8", "10.4", "16.1", "20.6", "33.3", "25"])
def test_multiples_of_a_decimal_spacing_are_edges(spacing):
    grid = Grid((500, 1, 1), (float(spacing), 1, 1))
    for k in range(500):
        assert grid.index("ap", float(Decimal(spacing) * k)) == k
        assert grid.index("ap", float(spacing) * k) == k


@given(grids)
def test_an_edge_belongs_to_the_upper_voxel(grid):
    for axis, dim in enumerate(grid.dims):
        numbers = [*range(grid.shape[axis])]
        edges = [grid.origin[axis] + i * grid.spacing[axis] for i in numbers]
        step = -1 if grid.is_falling(dim) else 1
        assert [grid.index(dim, edge) for edge in edges] == numbers[::step]
        with pytest.raises(PositionError):
            grid.index(dim, grid.origin[axis] + grid.shape[axis] * grid.spacing[axis])


@pytest.mark.parametrize("position", [-30, -1e-6, 13200, 1e9, np.inf, -np.inf, np.nan])
def test_a_position_outside_raises_and_names_the_range(position):
    text = rf"^ap position {position:g} µm is outside the volume; ap runs from 0 µm up to \(not "
    text += r"including\) 13200 µm$"
    with pytest.raises(PositionError, match=text.replace("+", r"\+")):
        CCF.index("ap", position)


def test_position_error_is_an_index_error_and_a_value_error():
    with pytest.raises(IndexError):
        CCF.index("dv", 8000)
    with pytest.raises(ValueError, match=r"dv position 8000"):
        CCF.index("dv", 8000)


def test_a_range_that_does_not_start_at_zero_is_named():
    grid = Grid((4, 4, 4), 10, origin=(0, 0, -20))
    assert grid.index("ml", -20) == 0
    with pytest.raises(PositionError, match=r"ml runs from -20 µm up to \(not including\) 20 µm"):
        grid.index("ml", -20.5)


def test_unknown_axis():
    choice = "choose ap, dv, ml, coronal, horizontal, sagittal, 0, 1 or 2$"
    with pytest.raises(GridError, match=f"^there is no axis 'x'; {choice}"):
        CCF.coordinates("x")
    for nothing in (3, -1, 1.0, True, None, "", "0", [1]):
        with pytest.raises(GridError, match=f"^there is no axis .*; {choice}"):
            CCF.index(nothing, 0)


@pytest.mark.parametrize("orientation", ["PIR", "RAS", "SLA", "LIP"])
@pytest.mark.parametrize("planes", [{"coronal": "ap", "horizontal": "dv", "sagittal": "ml"}])
def test_an_axis_by_its_plane_and_by_its_number(orientation, planes):
    grid = Grid((4, 5, 6), 10, orientation=orientation)
    for plane, dim in {**planes, "axial": "dv", "Coronal": "ap"}.items():
        assert grid.axis(plane) == grid.axis(dim) == grid.axis(np.int64(grid.dims.index(dim)))
        assert grid.edges(plane) == grid.edges(dim)
    with pytest.raises(PositionError, match=r"^ap position 70 µm is outside the volume"):
        grid.index("coronal", 70)


def test_extent_volume_and_directions():
    grid = Grid((2, 3, 4), (10, 20, 50), orientation="SRA")
    assert grid.dims == ("dv", "ml", "ap")
    assert grid.extent == (20.0, 60.0, 200.0)
    assert grid.voxel_volume == pytest.approx(1e-5)  # 10 × 20 × 50 µm³ = 10 000 µm³
    directions = {dim: grid.direction(dim) for dim in grid.dims}
    assert directions == {"dv": "superior", "ml": "right", "ap": "anterior"}


# ----- what a grid is


@given(grids)
def test_equal_grids_hash_and_tokenize_alike(grid):
    twin = Grid(
        list(map(np.int64, grid.shape)),
        np.array(grid.spacing),
        list(grid.origin),
        grid.orientation,
        grid.frame,
    )
    assert twin == grid
    assert hash(twin) == hash(grid)
    assert tokenize(twin) == tokenize(grid)
    assert pickle.loads(pickle.dumps(grid)) == grid


def test_grids_that_differ_have_other_tokens():
    others = [
        CCF,
        Grid((528, 320, 455), 25),
        Grid(CCF.shape, (25, 25, 25.5)),
        Grid(CCF.shape, 25, origin=(0, 0, 1)),
        Grid(CCF.shape, 25, orientation="PIL"),
        Grid(CCF.shape, 25, orientation="PIL", frame="PIR"),
    ]
    assert len({tokenize(grid) for grid in others}) == len(set(others)) == 6


def test_the_token_is_the_same_in_another_process():
    code = (
        "from dask.base import tokenize; from refspace.grid import Grid; "
        "print(tokenize(Grid((528, 320, 456), 25)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == tokenize(CCF)


def test_minus_zero_is_zero():
    mirrored = Grid((4, 4, 4), 25, origin=(-0.0, 0, 0))
    assert str(mirrored.origin) == "(0.0, 0.0, 0.0)"
    assert tokenize(mirrored) == tokenize(Grid((4, 4, 4), 25))


def test_a_grid_is_frozen():
    with pytest.raises(FrozenInstanceError):
        CCF.shape = (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((4, 4), 25), r"^shape \(4, 4\) and origin \(0.0, 0.0, 0.0\): give three integers and"),
        (((4, 4, 4.5), 25), r"^shape \(4, 4, 4.5\) and origin"),
        (((4, 4, 4), 25, (0, 0)), r"origin \(0, 0\): give three integers and three positions"),
        (((4, 4, 4), 25, "abc"), "origin abc: give three"),
        (((4, 0, 4), 25), r"^shape \(4, 0, 4\) has an axis without voxels; give at least 1 each$"),
        (((4, -1, 4), 25), "has an axis without voxels"),
        (((4, 4, 4), 25, (0, np.nan, 0)), r"^origin \(0.0, nan, 0.0\) is not finite; give a cor"),
        (((4, 4, 4), 0), "^resolution 0 is not one positive number of µm per voxel, or three in"),
        (((4, 4, 4), 25, (0, 0, 0), "PIX"), "^orientation 'PIX' is not a code of three letters"),
    ],
)
def test_impossible_grids(arguments, text):
    with pytest.raises(GridError, match=text):
        Grid(*arguments)


@pytest.mark.parametrize("code", ["", "P", "PI", "PIRR", "PAR", "PPP", "PIX", None, 7])
def test_impossible_orientations(code):
    with pytest.raises(GridError, match=r"one of A/P, one of S/I and one of L/R.*CCF is 'PIR'$"):
        parse_orientation(code)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_orientations(code):
    assert parse_orientation(code) == code


@pytest.mark.parametrize(
    ("code", "grows"), [("asr", "PIL"), ("pir", "ASL"), ("Ras", "LPI"), ("las", "RPI")]
)
def test_codes_by_the_origin_are_refused_and_translated(code, grows):
    """As of brainglobe-space, whose codes name the corner where the indices start."""
    for name, kind in [("orientation", Grid), ("frame", Grid)]:
        with pytest.raises(GridError, match=rf"^{name} '{code}' is in lower case.*give '{grows}'"):
            kind((1, 1, 1), 25, **{name: code})


@pytest.mark.parametrize("resolution", [25, 25.0, np.float32(25), np.int64(25), [25] * 3])
def test_resolutions(resolution):
    assert parse_spacing(resolution) == (25.0, 25.0, 25.0)


@pytest.mark.parametrize(
    "resolution",
    [0, -25, np.nan, np.inf, [25, 25], [25] * 4, [], [25, 25, 0], [25, 25, None], "25 µm", None],
)
def test_impossible_resolutions(resolution):
    with pytest.raises(GridError, match=r"is not one positive number of µm per voxel, or three"):
        parse_spacing(resolution)


# ----- grids of grids


@given(grids, st.data())
def test_cropping_keeps_positions(grid, data):
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, grid.shape, strict=True)]
    part = grid.crop(start, stop)
    for dim, a, b in zip(grid.dims, start, stop, strict=True):
        np.testing.assert_allclose(part.coordinates(dim), grid.coordinates(dim)[a:b], rtol=1e-12)
    assert (part.spacing, part.orientation) == (grid.spacing, grid.orientation)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((0, 0, 0), (4, 4, 5)),
        ((-1, 0, 0), (4, 4, 4)),
        ((2, 0, 0), (2, 4, 4)),
        ((3, 0, 0), (2, 4, 4)),
    ],
)
def test_a_box_must_lie_within(start, stop):
    with pytest.raises(GridError, match=r"^box from \(.*\) is not within a grid of \(4, 4, 4\)$"):
        Grid((4, 4, 4), 25).crop(start, stop)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (75, (176, 107, 152)),
        ([75, 75, 75], (176, 107, 152)),
        (50, (264, 160, 228)),
        (100, (132, 80, 114)),
        (10, (1320, 800, 1140)),
        ((25, 50, 100), (528, 160, 114)),
    ],
)
def test_resampled_shapes(target, shape):
    assert CCF.resample(target).shape == shape
    assert CCF.resample(target).origin == CCF.origin
    assert CCF.resample(target).spacing == parse_spacing(target)


@pytest.mark.parametrize(("count", "half"), [(1, 0), (3, 2), (5, 2), (7, 4), (9, 4), (11, 6)])
def test_lengths_are_rounded_half_to_even(count, half):
    grid = Grid((4, 4, count), 25)
    if half:
        assert grid.resample((25, 25, 50)).shape[2] == half
    else:
        text = r"^target resolution \(25.0, 25.0, 50.0\) µm leaves no voxel of a volume of "
        text += r"\(100.0, 100.0, 25.0\) µm; give at most twice its extent$"
        with pytest.raises(GridError, match=text):
            grid.resample((25, 25, 50))


def test_ratios_are_exact():
    assert Grid((4, 4, 4), (25, 33.3, 0.1)).ratios((33.3, 25, 0.3)) == (
        Fraction(333, 250),
        Fraction(250, 333),
        Fraction(3),
    )
    assert Grid((4, 4, 4), 1 / 3).ratios(1) == (3, 3, 3)


@given(grids, st.floats(1e-3, 1e3))
def test_ratios_stay_near_the_quotient_and_within_int64(grid, factor):
    target = [s * factor for s in grid.spacing]
    for ratio in grid.ratios(target):
        assert float(ratio) == pytest.approx(factor, rel=1e-4)
        assert ratio.numerator**3 < 2**63


@given(grids, st.sampled_from(RATIOS))
def test_every_cell_of_a_resampled_grid_begins_within_the_volume(grid, factor):
    target = tuple(s * factor for s in grid.spacing)
    assume(min(n / factor for n in grid.shape) > 0.5)
    for n, cells, ratio in zip(
        grid.shape, grid.resample(target).shape, grid.ratios(target), strict=True
    ):
        assert (cells - 1) * ratio < n


@given(grids, st.sampled_from(ORIENTATIONS))
def test_reorienting_keeps_every_voxel_in_its_place(grid, orientation):
    other = grid.reorient(orientation)
    assert other.orientation == orientation
    corners = [(0, 0, 0), tuple(n - 1 for n in grid.shape), (0, grid.shape[1] - 1, 0)]
    for index in corners:
        turned = {}
        for dim, letter, i, n in zip(grid.dims, grid.orientation, index, grid.shape, strict=True):
            turned[dim] = i if letter in orientation else n - 1 - i
        there = [turned[dim] for dim in other.dims]
        np.testing.assert_allclose(world(other, there), world(grid, index), rtol=1e-12, atol=1e-9)


@given(grids, st.sampled_from(ORIENTATIONS))
def test_reorienting_changes_no_coordinate(grid, orientation):
    other = grid.reorient(orientation)
    assert other.frame == grid.frame
    for dim in grid.dims:
        there = other.coordinates(dim)
        assert sorted(there) == sorted(grid.coordinates(dim))
        for position in there:
            turned = other.index(dim, position)
            assert grid.coordinates(dim)[grid.index(dim, position)] == there[turned]
        assert other.edges(dim) == grid.edges(dim)


@given(grids, st.sampled_from(ORIENTATIONS))
def test_another_frame_keeps_every_voxel_in_its_place(grid, frame):
    other = grid.in_frame(frame)
    assert (set(other.frame), other.orientation) == (set(frame), grid.orientation)
    for index in [(0, 0, 0), tuple(n - 1 for n in grid.shape)]:
        np.testing.assert_allclose(world(other, index), world(grid, index), rtol=0, atol=1e-6)


@given(grids, st.data())
def test_positions_of_edges(grid, data):
    dim = data.draw(st.sampled_from(grid.dims))
    centres, step = grid.coordinates(dim), grid.spacing[grid.axis(dim)]
    sign = -1 if grid.is_falling(dim) else 1
    found = grid.position(dim, np.arange(len(centres)) + 0.0)
    np.testing.assert_allclose(found, centres - sign * step / 2, rtol=1e-12, atol=1e-9)
    low, high = grid.edges(dim)
    assert low < centres.min() <= centres.max() < high


@given(grids, st.sampled_from(ORIENTATIONS))
def test_reorienting_there_and_back(grid, orientation):
    back = grid.reorient(orientation).reorient(grid.orientation)
    assert (back.shape, back.spacing, back.orientation) == (
        grid.shape,
        grid.spacing,
        grid.orientation,
    )
    np.testing.assert_allclose(back.origin, grid.origin, rtol=1e-12, atol=1e-9)


def test_reorienting_the_ccf_there_and_back_is_exact():
    for orientation in ORIENTATIONS:
        back = CCF.reorient(orientation).reorient("PIR")
        assert back == CCF
        assert tokenize(back) == tokenize(CCF)


# ----- from coordinates


def parts(grid):
    return (
        {dim: grid.coordinates(dim) for dim in grid.dims},
        grid.frame,
        dict(zip(grid.dims, grid.spacing, strict=True)),
        [dim for dim in grid.dims if grid.is_falling(dim)],
    )


@given(grids)
def test_round_trip_through_coordinates(grid):
    again = Grid.from_coordinates(*parts(grid))
    assert (again.shape, again.spacing, again.orientation) == (
        grid.shape,
        grid.spacing,
        grid.orientation,
    )
    np.testing.assert_allclose(again.origin, grid.origin, rtol=0, atol=1e-6)
    if 1 / 3 not in grid.origin:
        assert again == grid


@pytest.mark.parametrize("spacing", [33.3, 10, 7.7])
def test_origins_are_free_of_noise(spacing):
    # 0.7 + spacing / 2 - spacing / 2 is not 0.7.
    grid = Grid((4, 4, 4), spacing, origin=(0.7, 12.3, -100.1))
    assert Grid.from_coordinates(*parts(grid)) == grid


@given(grids)
def test_spacings_may_be_measured(grid):
    assume(min(grid.shape) > 1)
    centres, frame, *_ = parts(grid)
    again = Grid.from_coordinates(centres, frame)
    assert again.orientation == grid.orientation
    np.testing.assert_allclose(again.spacing, grid.spacing, rtol=1e-9)
    np.testing.assert_allclose(again.origin, grid.origin, rtol=0, atol=2e-6)


def test_a_stale_spacing_gives_way_to_the_centres():
    centres, frame, spacing, _ = parts(CCF)
    centres["ap"] = centres["ap"][::2]
    assert Grid.from_coordinates(centres, frame, spacing).spacing == (50.0, 25.0, 25.0)


@pytest.mark.parametrize(
    ("centres", "text"),
    [
        ([5.0, 15.0, 26.0], "^dv coordinates are not evenly spaced; resample first$"),
        ([25.0, 5.0, 15.0], "^dv coordinates are not evenly spaced"),
        ([5.0, 5.0, 5.0], "^dv coordinates are not evenly spaced"),
        ([5.0, np.nan, 25.0], "^dv coordinates are not evenly spaced"),
        ([5.0], "^dv has one voxel and no 'spacing' attribute; give a resolution$"),
    ],
)
def test_centres_that_are_no_grid(centres, text):
    good = {"ap": np.array([5.0, 15.0]), "dv": np.array(centres), "ml": np.array([5.0, 15.0])}
    with pytest.raises(GridError, match=text):
        Grid.from_coordinates(good, "PIR")


@pytest.mark.parametrize("direction", ["left", "up", ""])
def test_directions_that_do_not_fit(direction):
    text = f"^ap has direction '{direction}'; allowed are anterior and posterior$"
    with pytest.raises(GridError, match=text):
        direction_letter("ap", direction)


@pytest.mark.parametrize(
    ("code", "frame"),
    [
        ("PIR", "PIR"),
        ("RIP", "PIR"),
        ("SLA", "LAS"),
        ("RAS", "RAS"),
        ("SPL", "LPS"),
        ("IAL", "AIL"),
    ],
)
def test_x_y_and_z_of_a_frame_are_no_matter_of_storage(code, frame):
    assert Grid((1, 1, 1), 25, orientation=code).frame == frame
    assert Grid((1, 1, 1), 25).in_frame(code).frame == frame
    assert Grid((1, 1, 1), 25).in_frame(code) == Grid((1, 1, 1), 25).in_frame(frame)


# ----- rounding


def test_a_billionth_of_a_voxel_from_an_edge_is_on_it():
    grid = Grid((4, 4, 4), (25, 25, 25))
    assert grid.index("ap", 50 - 25 * 4e-10) == 2
    assert grid.index("ap", 50 - 25 * 6e-10) == 1


def test_origins_from_centres_are_rounded_to_a_picometre():
    centres = {dim: np.array([5, 15]) + 4e-7 for dim in ("ap", "dv", "ml")}
    assert Grid.from_coordinates(centres, "PIR").origin == (0, 0, 0)
    centres = {dim: values + 2e-7 for dim, values in centres.items()}
    assert Grid.from_coordinates(centres, "PIR").origin == (1e-6, 1e-6, 1e-6)
