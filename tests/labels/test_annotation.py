import subprocess
import sys
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from helpers.volumes import grids
from hypothesis import given

from refspace.errors import AnnotationError, GridError
from refspace.grid import Grid
from refspace.labels import as_annotation, infer_grid, labelled, reorient, unsigned_labels

SHAPE = (4, 3, 2)
GRID = Grid(SHAPE, (25, 25, 25))
LABELS = np.arange(24, dtype="u4").reshape(SHAPE)


def volume(**changes):
    """An annotation with coordinates; keywords replace the coordinates of an axis."""
    return labelled(LABELS, GRID).assign_coords({d: (d, v) for d, v in changes.items()})


# ----- dtypes

GOOD = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u4", ">u2", ">i8"]


@pytest.mark.parametrize("dtype", GOOD)
@pytest.mark.parametrize("lazy", [False, True])
def test_integral_values_of_any_type_are_taken(dtype, lazy):
    data = LABELS.astype(dtype)
    annotation = as_annotation(da.from_array(data, chunks=2) if lazy else data, 25)
    unsigned = data.dtype.kind == "u" and data.dtype.itemsize <= 4
    assert annotation.dtype == (data.dtype if unsigned else np.uint32)
    assert annotation.data.compute().dtype == annotation.dtype
    np.testing.assert_array_equal(annotation, LABELS)


REFUSED = {
    "fraction": (np.array(7.5), "^annotation holds 7.5; give integer structure ids, and resample"),
    "nan": (np.array(np.nan), "^annotation holds NaN or infinite values; give integer ids$"),
    "infinite": (np.array(np.inf), "^annotation holds NaN or infinite values"),
    "negative": (np.array(-3), "^annotation holds -3; structure ids are not negative. If they w"),
    "negative float": (np.array(-3.0), r"^annotation holds -3.0; .*take their absolute value$"),
    "large": (np.array(2**32), "^annotation holds 4294967296; structure ids go up to 4294967295$"),
    "huge": (np.array(2**63, "u8"), "^annotation holds 9223372036854775808; structure ids go"),
    "large float": (np.array(2.0**32), "structure ids go up to 4294967295$"),
    "float32": (
        np.array(614454277, "f4"),
        "^annotation is float32 and holds 614454272; float32 skips integers above 16777216, so "
        "ids there may be wrong: read the file as uint32$",
    ),
    "float16": (
        np.array(2050, "f2"),
        "^annotation is float16 and holds 2050; float16 skips integers above 2048",
    ),
}


@pytest.mark.parametrize(("value", "text"), REFUSED.values(), ids=REFUSED)
def test_values_that_are_no_ids(value, text):
    data = np.zeros(SHAPE, value.dtype)
    data[3, 2, 1] = value
    with pytest.raises(AnnotationError, match=text):
        as_annotation(data, 25)
    # Lazy arrays are not read at construction; they raise when the block is computed.
    lazy = as_annotation(da.from_array(data, chunks=2), 25)
    assert lazy.dtype == np.uint32
    assert (lazy[:2] == 0).all()
    with pytest.raises(AnnotationError, match=text):
        lazy.compute()


@pytest.mark.parametrize(
    ("value", "dtype"), [(2**24 - 1, "f4"), (2047, "f2"), (2**32 - 1, "f8"), (2**32 - 1, "i8")]
)
def test_the_largest_exact_values(value, dtype):
    assert unsigned_labels(np.array([value], dtype)).tolist() == [value]


@pytest.mark.parametrize("dtype", ["f4", "i8"])
def test_a_block_without_voxels(dtype):
    assert unsigned_labels(np.empty((0, 2, 2), dtype)).dtype == np.uint32


@pytest.mark.parametrize("dtype", [bool, complex, "M8[s]", object, "U3"])
@pytest.mark.parametrize("make", [np.zeros, partial(da.zeros, chunks=2)])
def test_types_that_hold_no_ids(dtype, make):
    text = r"^annotation has dtype .*; structure ids are unsigned integers$"
    with pytest.raises(AnnotationError, match=text):
        as_annotation(make(SHAPE, dtype=dtype), 25)


# ----- shapes


@pytest.mark.parametrize("shape", [(4, 3), (4,), (), (4, 3, 2, 2), (4, 0, 2), (0, 0, 0)])
@pytest.mark.parametrize("make", [np.zeros, partial(da.zeros, chunks=2)])
def test_arrays_that_are_no_volume(shape, make):
    with pytest.raises(AnnotationError, match=r"^annotation has shape \(.*\); a volume has three"):
        as_annotation(make(shape, dtype="u4"), 25)


@pytest.mark.parametrize("annotation", [LABELS.tolist(), None, 7, xr.Dataset()])
def test_things_that_are_no_array(annotation):
    text = rf"^annotation is a {type(annotation).__name__}; give a NumPy array, a dask array or a"
    with pytest.raises(AnnotationError, match=text):
        as_annotation(annotation, 25)


# ----- geometry


def test_a_bare_array_is_the_ccf():
    annotation = as_annotation(LABELS, (10, 20, 50))
    assert annotation.dims == ("ap", "dv", "ml")
    assert annotation.name == "annotation"
    assert annotation.attrs == {"long_name": "structure id"}
    assert infer_grid(annotation) == Grid(SHAPE, (10, 20, 50))
    np.testing.assert_array_equal(annotation.dv, [10, 30, 50])
    assert annotation.ap.attrs == {
        "long_name": "anterior, posterior",
        "units": "micrometer",
        "direction": "posterior",
        "spacing": 10.0,
    }


@pytest.mark.parametrize("orientation", ["RAS", "ASL"])
def test_a_bare_array_with_an_orientation(orientation):
    annotation = as_annotation(LABELS, 25, orientation=orientation)
    assert infer_grid(annotation) == Grid(SHAPE, 25, orientation=orientation)


def test_a_resolution_is_needed_where_there_are_no_coordinates():
    for annotation in (LABELS, xr.DataArray(LABELS, dims=("ap", "dv", "ml"))):
        text = "^the annotation has no coordinates; give its resolution in µm, like 25$"
        with pytest.raises(GridError, match=text):
            as_annotation(annotation, None)


@pytest.mark.parametrize("resolution", [0, -1, np.nan, np.inf, (25, 25), (25, 0, 25), "fine"])
@pytest.mark.parametrize("annotation", [LABELS, labelled(LABELS, GRID)])
def test_impossible_resolutions(annotation, resolution):
    with pytest.raises(GridError, match=r"^resolution .* is not one positive number of µm per vo"):
        as_annotation(annotation, resolution)


def test_a_resolution_that_contradicts_the_coordinates():
    assert as_annotation(volume(), 25).shape == SHAPE
    text = r"^resolution \(25.0, 25.0, 50.0\) contradicts the coordinates of the annotation, which"
    with pytest.raises(GridError, match=text):
        as_annotation(volume(), (25, 25, 50))


def test_an_orientation_that_contradicts_the_array():
    assert as_annotation(volume(), None, orientation="PIR").shape == SHAPE
    text = "^orientation 'RAS' contradicts the coordinates of the annotation, which are 'PIR'; lea"
    with pytest.raises(GridError, match=text):
        as_annotation(volume(), None, orientation="RAS")
    bare = xr.DataArray(LABELS, dims=("ap", "dv", "ml"))
    assert infer_grid(as_annotation(bare, 25, orientation="ASL")).orientation == "ASL"
    text = "^orientation 'RAS' has the axes ml, ap, dv; those of the annotation are ap, dv, ml$"
    with pytest.raises(GridError, match=text):
        as_annotation(bare, 25, orientation="RAS")


def test_other_orders_of_the_axes_are_kept():
    dims = ("ml", "ap", "dv")
    bare = as_annotation(xr.DataArray(LABELS, dims=dims), (10, 20, 50))
    assert infer_grid(bare) == Grid(SHAPE, (10, 20, 50), orientation="RPI")
    turned = as_annotation(volume().transpose(*dims), None)
    assert turned.dims == dims
    assert infer_grid(turned) == Grid((2, 4, 3), 25, orientation="RPI", frame="PIR")
    np.testing.assert_array_equal(turned, LABELS.transpose(2, 0, 1))


@pytest.mark.parametrize("coordinates", [False, True])
def test_axes_must_have_anatomical_names(coordinates):
    coords = {"x": [5.0, 15.0, 25.0, 35.0], "y": [5.0, 15.0, 25.0], "z": [5.0, 15.0]}
    other = xr.DataArray(LABELS, coords if coordinates else None, dims=("x", "y", "z"))
    with pytest.raises(GridError, match=r"^the axes are x, y, z; rename them to ap, dv and ml in "):
        as_annotation(other, 25)


@pytest.mark.parametrize("units", ["mm", "m", "pixel", ""])
def test_coordinates_in_other_units(units):
    annotation = volume()
    annotation.dv.attrs["units"] = units
    with pytest.raises(GridError, match=f"^dv coordinates are in '{units}'; convert them to mic"):
        as_annotation(annotation, None)


@pytest.mark.parametrize("units", ["um", "µm", "μm", "micron", "microns", "micrometre"])
def test_names_of_the_micrometre(units):
    annotation = volume()
    annotation.dv.attrs["units"] = units
    assert as_annotation(annotation, None).dv.attrs["units"] == "micrometer"


def test_plain_coordinates_are_micrometres_of_the_ccf():
    plain = volume(ap=[105.0, 115, 125, 135], dv=[20.0, 60, 100], ml=[-1.0, 1])
    assert infer_grid(as_annotation(plain, None)) == Grid(SHAPE, (10, 40, 2), (100, 0, -2))


@pytest.mark.parametrize("centres", [[5, 15, 26], [25, 5, 15], [0, 0, 0], [5, np.nan, 25]])
def test_coordinates_that_are_no_grid(centres):
    with pytest.raises(GridError, match=r"^dv coordinates are not evenly spaced; resample first$"):
        as_annotation(volume(dv=centres), None)


def test_a_volume_that_xarray_has_flipped_is_stored_against_its_frame():
    flipped = as_annotation(volume().isel(ml=slice(None, None, -1)), None)
    assert infer_grid(flipped) == Grid(SHAPE, 25, orientation="PIL", frame="PIR")
    assert flipped.ml.values.tolist() == volume().ml.values.tolist()[::-1]
    for one in (flipped, reorient(volume(), "PIL")):
        assert infer_grid(one.isel(ml=slice(0, 1))).orientation == "PIL"


def test_an_axis_of_one_voxel():
    thin = volume()[:, :, :1]
    assert infer_grid(as_annotation(thin, None)).spacing == (25, 25, 25)
    plain = thin.assign_coords(ml=("ml", [12.5]))
    with pytest.raises(
        GridError, match=r"^ml has one voxel and no 'spacing' attribute; give a res"
    ):
        as_annotation(plain, None)
    assert infer_grid(as_annotation(plain, 25)) == Grid((4, 3, 1), 25)


def test_part_of_a_volume_keeps_its_place():
    part = as_annotation(volume()[1:, 1:], None)
    assert infer_grid(part) == GRID.crop((1, 1, 0), SHAPE)


@pytest.mark.parametrize("spacing", [12.3, 33.3, 1 / 3, 0.1, 7.7])
@pytest.mark.parametrize("count", [7, 132])
def test_the_result_aligns_with_the_arrays_it_was_made_beside(spacing, count):
    # xarray's arithmetic keeps equal coordinates only: one last digit would cost a plane.
    centres = (np.arange(count) + 0.5) * spacing
    coords = {"ap": centres, "dv": [12.5, 37.5], "ml": [12.5, 37.5]}
    template = xr.DataArray(np.ones((count, 2, 2)), coords, ("ap", "dv", "ml"))
    annotation = as_annotation(template.astype("u4"), None)
    assert (template * annotation).shape == template.shape
    assert (annotation.ap == template.ap).size == count
    assert infer_grid(annotation).spacing[0] == pytest.approx(spacing, rel=1e-9)


@given(grids)
def test_grids_survive_in_coordinates(grid):
    array = labelled(np.zeros(grid.shape, "u1"), grid)
    again = infer_grid(array)
    assert (again.shape, again.spacing, again.orientation) == (
        grid.shape,
        grid.spacing,
        grid.orientation,
    )
    np.testing.assert_allclose(again.origin, grid.origin, rtol=0, atol=1e-6)
    assert infer_grid(as_annotation(array, None)) == again


@pytest.mark.parametrize("index", [0, (0, 0), slice(None)])
def test_grids_of_arrays_that_are_no_volume(index):
    array = volume()[index] if index != slice(None) else volume().expand_dims("t")
    with pytest.raises(GridError, match=r"^the array has shape \(.*\); a volume has the axes ap, "):
        infer_grid(array)


def test_grids_of_arrays_without_coordinates():
    array = xr.DataArray(LABELS, {"dv": [5.0, 15, 25]}, ("ap", "dv", "ml"))
    with pytest.raises(GridError, match=r"^ap, ml has no coordinates; give a resolution$"):
        infer_grid(array)


# ----- chunks and names


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_memory_are_not_copied(order):
    data = np.array(LABELS, order=order)
    seen = []

    def see(block):
        seen.append((np.shares_memory(block, data), block.flags[f"{order}_CONTIGUOUS"]))
        return block

    # dask copies what it hands out; what counts is what the kernels get.
    as_annotation(data, 25).data.map_blocks(see, meta=np.empty((0, 0, 0), "u4")).compute()
    assert seen == [(True, True)]


@pytest.mark.parametrize(("order", "cut"), [("C", 0), ("F", 2)])
def test_arrays_in_memory_are_cut_along_their_slowest_axis(order, cut):
    data = np.zeros((64, 512, 1024) if order == "C" else (512, 1024, 64), "u1", order=order)
    chunks = as_annotation(data, 25).chunks
    assert [len(sizes) for sizes in chunks] == [2 if axis == cut else 1 for axis in range(3)]


def test_lazy_arrays_keep_their_chunks():
    lazy = da.from_array(LABELS, chunks=((1, 3), (2, 1), (2,)))
    assert as_annotation(lazy, 25).data is lazy
    assert as_annotation(lazy.astype("i8"), 25).chunks == lazy.chunks
    assert as_annotation(labelled(lazy, GRID), None).data is lazy


@pytest.mark.parametrize("dtype", ["u1", "u4", "i8", "f8"])
def test_dask_names_are_deterministic(dtype):
    name = as_annotation(LABELS.astype(dtype), 25).data.name
    assert as_annotation(LABELS.astype(dtype), 25).data.name == name
    changed = LABELS.astype(dtype)
    changed[0, 0, 0] = 9
    assert as_annotation(changed, 25).data.name != name


def test_dask_names_tell_layouts_apart():
    cube = np.arange(8, dtype="u4").reshape(2, 2, 2)
    names = {as_annotation(a, 25).data.name for a in (cube, cube.T, cube.reshape(1, 2, 4))}
    assert len(names) == 3


def test_dask_names_are_the_same_in_another_process():
    code = (
        "import numpy as np; from refspace.labels import as_annotation; "
        "print(as_annotation(np.arange(24, dtype='u4').reshape(4, 3, 2), 25).data.name)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == as_annotation(LABELS, 25).data.name


def test_labels_are_not_converted_while_building():
    def refuse(*_args, **_kwargs):
        raise AssertionError("computed while building")

    with dask.config.set(scheduler=refuse):
        as_annotation(da.zeros(SHAPE, chunks=2, dtype="f8"), 25)


def test_coordinates_along_some_axes_only_are_refused():
    array = xr.DataArray(LABELS, dims=("ap", "dv", "ml"), coords={"dv": [5.0, 15.0, 25.0]})
    with pytest.raises(GridError, match="has coordinates along dv alone; give those of all axes"):
        as_annotation(array, 10)


@pytest.mark.promise(
    "an annotation went through float32 or int16",
    "it is refused, with the reason",
)
@pytest.mark.parametrize(("value", "dtype"), [(2**24, "f4"), (2048, "f2")])
def test_values_that_may_have_been_rounded_are_refused(value, dtype):
    with pytest.raises(AnnotationError, match="skips integers above"):
        unsigned_labels(np.array([value], dtype))


def test_coordinates_that_look_like_millimetres_are_refused():
    array = labelled(LABELS, GRID)
    bare = array.assign_coords({dim: array[dim].values / 1000 for dim in array.dims})
    with pytest.raises(GridError, match="looks like millimetres; convert them to µm"):
        as_annotation(bare, None)


@pytest.mark.promise("an annotation went through float32 or int16")
def test_labels_cast_to_int16_are_refused_with_the_remedy():
    with pytest.raises(AnnotationError, match="cast to int16, read the file as uint32"):
        unsigned_labels(np.array([70000], "i4").astype("i2") * -1)


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_arrays_are_refused(lazy):
    masked = np.ma.masked_equal(LABELS, 3)
    with pytest.raises(AnnotationError, match=r"masked array; fill what is masked, .*filled\(0\)"):
        as_annotation(da.from_array(masked) if lazy else masked, 25)


def test_an_array_that_xarray_opened_lazily_stays_unread(tmp_path):
    store = tmp_path / "a.zarr"
    labelled(LABELS, GRID).to_dataset(name="annotation").to_zarr(store, consolidated=False)
    opened = xr.open_zarr(store, chunks=None, consolidated=False, mask_and_scale=False).annotation
    annotation = as_annotation(opened, None)
    assert not opened.variable._in_memory
    np.testing.assert_array_equal(annotation, LABELS)
