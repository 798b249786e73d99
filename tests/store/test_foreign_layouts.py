"""Stores of programs of every kind: what is read, and what is named with the way out."""

import copy
import shutil
import warnings
from contextlib import suppress

import ngff_zarr
import numpy as np
import pytest
import SimpleITK
import tensorstore
import xarray as xr
import zarr
from helpers.foreign_stores import (
    COARSE,
    SHAPE,
    TREE,
    VERSIONS,
    VOXELS,
    before_lengths,
    bioformats2raw,
    nested,
    opened,
    spatialdata,
    spatialdata_step,
    write,
)
from helpers.iohub_replay import iohub_field, iohub_plate
from helpers.serving import Server
from ome_zarr.format import FormatV04, FormatV05

import refspace
from refspace.errors import FormatError, GridError, RefspaceError, StoreError
from refspace.grid import Grid
from refspace.store.images import open_image
from refspace.store.ome import dataset_grid, read_multiscales

pytestmark = pytest.mark.usefixtures("no_sync")

INTENSITIES = VOXELS.astype("f4") / 3
BOTH = [opened, lambda url, **how: open_image(str(url), **({"orientation": "PIR"} | how))]


def refused(url, error, *texts, **how):
    """Whether annotations and images are refused with a text that has all of these."""
    for function in BOTH:
        with pytest.raises(error) as caught:
            function(url, **how)
        assert type(caught.value) is error
        for text in texts:
            assert text in str(caught.value)


# ----- groups of images


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("series", [False, True])
def test_filesets_of_bioformats2raw(tmp_path, version, series):
    bioformats2raw(tmp_path / "one", 1, version, series=series)
    assert opened(tmp_path / "one").grid == Grid(SHAPE, (25, 25, 25))
    np.testing.assert_array_equal(opened(tmp_path / "one").annotation, VOXELS)
    image = open_image(f"{tmp_path}/one", orientation="PIR")
    assert image.dims == ("t", "c", "ap", "dv", "ml")
    np.testing.assert_array_equal(image[0, 0], VOXELS)
    bioformats2raw(tmp_path / "two", 2, version, series=series)
    url = tmp_path / "two"
    what = f"{url} is a fileset of bioformats2raw: open one image of it, like {url}/0, {url}/1"
    refused(url, FormatError, what)
    np.testing.assert_array_equal(opened(url / "1").annotation, VOXELS)
    bioformats2raw(tmp_path / "none", 0, version)
    refused(tmp_path / "none", FormatError, "is a fileset of bioformats2raw, but it holds no image")


def ome_zarr_plate(url, fmt, fields):
    """Plate that ome-zarr-py writes."""
    root = zarr.open_group(url, mode="w", zarr_format=fmt.zarr_format)
    wells = sorted({field.rpartition("/")[0] for field in fields})
    rows, columns = (sorted({well.split("/")[n] for well in wells}) for n in (0, 1))
    how = {"axes": "zyx", "fmt": fmt, "scale_factors": []}
    lengths = {
        "scale": dict.fromkeys("zyx", 0.05),
        "axes_units": dict.fromkeys("zyx", "millimeter"),
    }
    with warnings.catch_warnings():
        # Its default arguments are deprecated, by itself.
        warnings.simplefilter("ignore")
        from ome_zarr import writer

        writer.write_plate_metadata(root, rows, columns, wells, fmt=fmt)
        for well in wells:
            group = root.require_group(well)
            images = [f.rpartition("/")[2] for f in fields if f.startswith(f"{well}/")]
            writer.write_well_metadata(group, images, fmt=fmt)
            for image in images:
                writer.write_image(VOXELS, group.require_group(image), **how, **lengths)


@pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=VERSIONS)
def test_plates_of_ome_zarr_py(tmp_path, fmt):
    url = tmp_path / "plate"
    ome_zarr_plate(url, fmt, ["A/1/0", "A/1/1", "B/2/0"])
    refused(
        url,
        FormatError,
        f"{url} is a plate of 2 wells: open one image of it, like {url}/A/1/0, {url}/A/1/1, "
        f"{url}/B/2/0",
    )
    refused(url / "A/1", FormatError, "is a well of 2 fields: open one", f"{url}/A/1/1")
    refused(url / "A", FormatError, f"it holds the images {url}/A/1/0, {url}/A/1/1: open one of")
    for place in ("A/1/1", "B/2"):
        assert opened(url / place).grid.spacing == (50, 50, 50)
        np.testing.assert_array_equal(opened(url / place).annotation, VOXELS)
        np.testing.assert_array_equal(open_image(f"{url}/{place}", orientation="PIR"), VOXELS)


def test_plates_of_iohub(tmp_path):
    iohub_plate(tmp_path / "one", ["A/1/0"], VOXELS)
    np.testing.assert_array_equal(opened(tmp_path / "one").annotation, VOXELS)
    many = [f"{row}/{column}/{field}" for row in "AB" for column in range(9) for field in (0, 1)]
    iohub_plate(tmp_path / "many", many, VOXELS)
    refused(tmp_path / "many", FormatError, "is a plate of 18 wells", "A/2/1 and others")
    iohub_field(tmp_path / "field", VOXELS, [12.5] * 3)
    assert opened(tmp_path / "field").grid.spacing == (12.5,) * 3
    assert open_image(f"{tmp_path}/field", orientation="RAS").dims == ("T", "C", "ml", "ap", "dv")


def test_plates_of_ngff_zarr(tmp_path):
    image = ngff_zarr.to_ngff_image(
        VOXELS,
        dims=["z", "y", "x"],
        scale=dict.fromkeys("zyx", 25),
        axes_units=dict.fromkeys("zyx", "micrometer"),
    )
    levels = ngff_zarr.to_multiscales(image, scale_factors=[], chunks=4)
    v04 = ngff_zarr.v04.zarr_metadata
    plate = v04.Plate(
        name="p",
        rows=[v04.PlateRow(name="A")],
        columns=[v04.PlateColumn(name="1")],
        wells=[v04.PlateWell(path="A/1", rowIndex=0, columnIndex=0)],
        version="0.5",
    )
    store = str(tmp_path / "plate")
    ngff_zarr.to_hcs_zarr(ngff_zarr.HCSPlate(store=store, plate_metadata=plate), store)
    for field in range(2):
        ngff_zarr.write_hcs_well_image(store, levels, plate, "A", "1", field, version="0.5")
    refused(store, FormatError, "is a plate of 1 wells", f"{store}/A/1/0, {store}/A/1/1")
    np.testing.assert_array_equal(opened(f"{store}/A/1/1").annotation, VOXELS)


HOSTILE_PLATES = {
    "no list": {"plate": {"wells": 5}},
    "no object": {"plate": []},
    "a path that leads out": {"plate": {"wells": [{"path": "../../etc"}]}},
    "no path": {"plate": {"wells": [{}]}},
    "a well that is not there": {"plate": {"wells": [{"path": "A/1"}]}},
    "a field that leads out": {"well": {"images": [{"path": "/etc"}]}},
    "a field that is not there": {"well": {"images": [{"path": "0"}]}},
    "a plate of itself": {"plate": {"wells": [{"path": "x"}]}, "well": {"images": [{"path": "x"}]}},
    "a long name": {"well": {"images": [{"path": "x" * 9999}, {"path": "y"}]}},
    "many wells": {"plate": {"wells": [{"path": str(n)} for n in range(9999)]}},
}


@pytest.mark.promise("metadata of a store of another program are hostile")
@pytest.mark.parametrize("fault", HOSTILE_PLATES)
@pytest.mark.parametrize("version", VERSIONS)
def test_hostile_groups_of_images(tmp_path, fault, version):
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=3 if version == "0.5" else 2)
    content = HOSTILE_PLATES[fault]
    group.attrs.update({"ome": {"version": version, **content}} if version == "0.5" else content)
    for function in BOTH:
        with pytest.raises(RefspaceError) as caught:
            function(tmp_path / "a")
        assert len(str(caught.value)) < 1500


# ----- SpatialData


SYSTEMS = {
    "identity": ([spatialdata_step("identity")], 0.5, 1),
    "scale": ([spatialdata_step("scale", [25.0] * 3)], 12.5, 25),
    "sequence": (
        [
            spatialdata_step(
                "sequence",
                [
                    spatialdata_step("scale", [25.0] * 3),
                    spatialdata_step("translation", [12.5] * 3),
                ],
            )
        ],
        25,
        25,
    ),
    "several": (
        [
            spatialdata_step("scale", [7.0] * 3, system="aligned"),
            spatialdata_step("scale", [20.0] * 3),
        ],
        10,
        20,
    ),
    "affine": (
        [
            spatialdata_step(
                "affine",
                [[0.0, 0.0, 10.0, 1.0], [0.0, 10.0, 0.0, 1.0], [10.0, 0.0, 0.0, 1.0]],
                system="aligned",
                output="xyz",
            )
        ],
        6,
        10,
    ),
}


@pytest.mark.parametrize("container", ["0.1", "0.2"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_labels_of_spatialdata(tmp_path, container, name):
    # Positions of the first voxel as its own `get_transformation` and coordinates give them.
    systems, first, step = SYSTEMS[name]
    spatialdata(tmp_path / "s", labels=[("brain", [VOXELS, COARSE], systems)], container=container)
    for place in ("s", "s/labels", "s/labels/brain"):
        refused_without = r"the axes z, y, x have no unit; give resolution=, the µm per voxel"
        with pytest.raises(GridError, match=refused_without):
            opened(tmp_path / place)
        # One unit is a µm.
        space = opened(tmp_path / place, resolution=step)
        np.testing.assert_array_equal(space.annotation, VOXELS)
        assert space.annotation.ap.values[:2].tolist() == [first, first + step]
    np.testing.assert_array_equal(
        open_image(f"{tmp_path}/s/labels/brain", shape=COARSE.shape), COARSE
    )


@pytest.mark.parametrize("container", ["0.1", "0.2"])
def test_images_of_spatialdata(tmp_path, container):
    identity = [spatialdata_step("identity", dims="czyx")]
    images = [("a", [np.stack([INTENSITIES] * 2)], identity), ("b", [INTENSITIES[None]], identity)]
    labels = [("brain", [VOXELS], [spatialdata_step("identity")])]
    spatialdata(tmp_path / "s", images, labels, container)
    image = open_image(f"{tmp_path}/s/images/a", resolution=25, orientation="PIR")
    assert image.dims == ("c", "ap", "dv", "ml")
    assert image.dv.values[0] == 12.5
    np.testing.assert_array_equal(image[1], INTENSITIES)
    url = tmp_path / "s"
    with pytest.raises(FormatError) as caught:
        open_image(str(url))
    assert f"the label image {url}/labels/brain and the images {url}/images/a, " in str(
        caught.value
    )
    with pytest.raises(FormatError, match=r"holds the images .*/images/a, .*/images/b: open one"):
        open_image(f"{url}/images")
    with pytest.raises(FormatError, match=r"labels is no image; it holds the label image .*/brain"):
        open_image(f"{url}/labels")


@pytest.mark.parametrize(
    ("systems", "text"),
    [
        (
            [spatialdata_step("scale", [1.0] * 3, system=name) for name in ("left", "right")],
            "lies in the coordinate systems ['left', 'right'], none of which is 'global'; save",
        ),
        (
            [spatialdata_step("affine", [[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])],
            "has an affine that turns, shears or exchanges axes; scale, translation and identity",
        ),
        ([spatialdata_step("affine", [[1.0, 0, 0, 0]] * 2)], "affine has 2 rows; it must have 3"),
        (
            [spatialdata_step("affine", [[1.0] * 4] * 3, output="xyq")],
            "leads from the axes ['z', 'y', 'x'] to ['x', 'y', 'q'], of an image of z, y, x; save",
        ),
        ([spatialdata_step("mapAxis", {"x": "y"})], "has the type 'mapAxis'; scale, translation"),
        ([spatialdata_step("sequence", 5)], "transformations is 5; it must be a JSON array"),
    ],
)
def test_transformations_of_spatialdata_that_are_refused(tmp_path, systems, text):
    spatialdata(tmp_path / "s", labels=[("brain", [VOXELS], systems)])
    refused(tmp_path / "s/labels/brain", FormatError, text, resolution=25)


def test_sequences_are_bounded(tmp_path):
    scale = {"type": "scale", "scale": [1.0] * 3}
    deep = scale
    for _ in range(9):
        deep = {"type": "sequence", "transformations": [deep]}
    for steps, text in (
        ([{"type": "sequence", "transformations": [scale] * 33}], "has more than 32 steps"),
        ([deep], "has the type 'sequence'; scale, translation"),
    ):
        systems = [{**step, "output": {"name": "global"}} for step in steps]
        spatialdata(tmp_path / "s", labels=[("brain", [VOXELS], systems)])
        refused(tmp_path / "s/labels/brain", FormatError, text, resolution=25)


# ----- other versions


@pytest.mark.parametrize("orientation", [None, "LPS"])
def test_version_06_of_ngff_zarr(tmp_path, orientation):
    image = ngff_zarr.to_ngff_image(
        VOXELS,
        dims=["z", "y", "x"],
        scale={"z": 25, "y": 20, "x": 10},
        translation={"z": 100, "y": 0, "x": -35},
        axes_units=dict.fromkeys("zyx", "micrometer"),
    )
    levels = ngff_zarr.to_multiscales(
        image,
        scale_factors=[2],
        method=ngff_zarr.Methods.DASK_IMAGE_MODE,
        chunks=4,
        orientation=orientation,
    )
    url = str(tmp_path / "a.zarr")
    ngff_zarr.to_ngff_zarr(url, levels, version="0.6")
    given = {"orientation": "PIR"} if orientation is None else {}
    read = ngff_zarr.from_ngff_zarr(url)
    for level in read.images:
        scale = tuple(level.scale[dim] for dim in "zyx")
        space = refspace.open(url, structures=TREE, resolution=scale, **given)
        placed = open_image(url, resolution=scale, **given)
        for volume in (space.annotation, placed):
            np.testing.assert_array_equal(volume, level.data.compute())
            first = [float(volume[dim][0]) for dim in volume.dims]
            assert first == [level.translation[dim] for dim in "zyx"]
    assert space.grid.orientation == ("PIR" if orientation is None else "SPL")


def version_06(**changes):
    systems = [{"name": "other", "axes": []}, {"name": "mine", "axes": axes_of_06()}]
    steps = [{"type": "scale", "scale": [25, 25, 25], "output": {"name": "mine"}}]
    level = {"path": "0", "coordinateTransformations": steps}
    moved = {"type": "rotation", "input": {"name": "mine"}, "output": {"name": "other"}}
    entry = {
        "coordinateSystems": systems,
        "datasets": [level],
        "coordinateTransformations": [moved],
    }
    return entry | changes


def axes_of_06():
    return [{"name": n, "type": "space", "unit": "micrometer", "discrete": False} for n in "zyx"]


@pytest.mark.parametrize("version", ["0.6", "0.6rc0", "0.6.dev3", "0.6-dev"])
def test_version_06_by_hand(tmp_path, version):
    group = zarr.open_group(tmp_path / "a", mode="w")
    group.create_array("0", data=VOXELS)
    group.attrs["ome"] = {"version": version, "multiscales": [version_06()]}
    # What leads on to other systems is no matter of the image's own.
    assert opened(tmp_path / "a").grid == Grid(SHAPE, (25,) * 3, (-12.5,) * 3)
    for changes, text in (
        ({"coordinateSystems": []}, "coordinateSystems lacks 'mine', the coordinate system of the"),
        ({"coordinateSystems": 5}, "coordinateSystems is 5; it must be a JSON array"),
        ({"datasets": [5]}, "lacks None, the coordinate system of the levels"),
        ({"coordinateSystems": [{"name": "mine"}]}, "[0].axes is None; it must be a JSON array"),
    ):
        group.attrs["ome"] = {"version": version, "multiscales": [version_06(**changes)]}
        refused(tmp_path / "a", FormatError, text)


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_versions_before_lengths(tmp_path, version):
    before_lengths(tmp_path / "a", version, VOXELS)
    refused(tmp_path / "a", GridError, "the axes z, y, x have no unit; give resolution=")
    space = opened(tmp_path / "a", resolution=(10, 20, 30))
    assert space.grid == Grid(SHAPE, (10, 20, 30), (-5, -10, -15))
    np.testing.assert_array_equal(space.annotation, VOXELS)
    image = open_image(f"{tmp_path}/a", resolution=10, orientation="PIR")
    np.testing.assert_array_equal(image.squeeze(), VOXELS)


DAMAGED = [
    {
        "ome": {
            "version": "0.5-dev-spatialdata",
            "multiscales": [
                {
                    "axes": axes_of_06(),
                    "datasets": [{"path": "0", "coordinateTransformations": SYSTEMS["scale"][0]}],
                    "coordinateTransformations": systems,
                }
            ],
        }
    }
    for systems in (SYSTEMS["sequence"][0], SYSTEMS["affine"][0])
]
DAMAGED += [
    {"ome": {"version": "0.6", "multiscales": [version_06()]}},
    {"multiscales": [{"version": "0.3", "axes": [*"zyx"], "datasets": [{"path": "0"}]}]},
]
ODD = [None, 0, -1, 2**70, 1e300, 10**400, float("nan"), "", "../x", [], {}, [1], {"a": 1}, True]


def places(value, place=()):
    """Where there is a value, within a JSON document."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*place, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*place, key))


@pytest.mark.promise("metadata of a store of another program are hostile")
@pytest.mark.parametrize("whole", DAMAGED)
def test_damage_of_any_layout(whole):
    for *above, last in places(whole):
        for odd in ODD:
            changed = copy.deepcopy(whole)
            inner = changed
            for key in above:
                inner = inner[key]
            inner[last] = odd
            with suppress(RefspaceError):
                for image in read_multiscales(changed):
                    for level in image.datasets:
                        dataset_grid(image, level, SHAPE, orientation="PIR", resolution=25)


# ----- units


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("unit", ["pixel", "voxel", "Pixels", "unit", "a.u."])
def test_units_of_no_length(tmp_path, version, unit):
    write(tmp_path / "a", version, [(VOXELS, 1.0), (COARSE, 2.0)], unit=unit)
    refused(
        tmp_path / "a",
        GridError,
        f"the axes z, y, x are in {unit!r}, no length; give resolution=, the µm per voxel of the ",
    )
    assert opened(tmp_path / "a", resolution=40).grid == Grid(SHAPE, (40, 40, 40))
    image = open_image(f"{tmp_path}/a", resolution=40, orientation="PIR")
    assert image.ap.values[0] == 20


def test_units_that_are_unknown(tmp_path):
    write(tmp_path / "a", unit="furlong")
    text = "axis z has the unit 'furlong', which is none of length; write it as OME-Zarr does"
    refused(tmp_path / "a", FormatError, text, "or give resolution=")
    assert opened(tmp_path / "a", resolution=40).grid.spacing == (40, 40, 40)


@pytest.mark.parametrize(("scale", "said"), [(0.025, "1000 times less"), (250, "10 times more")])
def test_units_that_are_wrong(tmp_path, scale, said):
    write(tmp_path / "a", levels=[(VOXELS, scale)])
    text = f"has no level of 25 µm; it has {scale:g} µm: open one of these, and downsample it; or, "
    refused(tmp_path / "a", GridError, text, f"as it states {said} than that", resolution=25)


def test_axes_whose_types_are_not_stated(tmp_path):
    group = write(tmp_path / "a", extra="tc")
    ome = group.attrs["ome"]
    for axis in ome["multiscales"][0]["axes"]:
        del axis["type"]
    group.attrs["ome"] = ome
    np.testing.assert_array_equal(opened(tmp_path / "a").annotation, VOXELS)


# ----- xarray, and bare arrays


def centres(count, step=25.0, falling=False, unit="micrometer"):
    values = (np.arange(count) + 0.5) * step
    return values[::-1] if falling else values, ({"units": unit} if unit else {})


def variable(dims="zyx", fold=(), **how):
    coords = {
        dim: (dim, *centres(count, falling=dim in fold, **how))
        for dim, count in zip(dims, SHAPE, strict=True)
    }
    return xr.DataArray(VOXELS, coords, [*dims], "annotation")


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("unit", "step"), [("micrometer", 25.0), ("mm", 0.025)])
def test_variables_of_xarray(tmp_path, zarr_format, unit, step):
    variable(unit=unit, step=step).to_dataset().to_zarr(tmp_path / "a", zarr_format=zarr_format)
    with pytest.raises(GridError, match="the dims z, y, x do not state in which directions they"):
        open_image(f"{tmp_path}/a")
    refused(tmp_path / "a", GridError, "resolution 30 contradicts z, whose ", resolution=30)
    assert opened(tmp_path / "a", resolution=25).grid == Grid(SHAPE, (25, 25, 25))
    np.testing.assert_array_equal(opened(tmp_path / "a", orientation="LIA").annotation, VOXELS)
    image = open_image(f"{tmp_path}/a", orientation="LIA")
    assert image.dims == ("ml", "dv", "ap")
    np.testing.assert_allclose(image.ap, (np.arange(4) + 0.5) * 25)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_coordinates_that_fall(tmp_path):
    variable(fold="y").to_dataset().to_zarr(tmp_path / "a")
    space = opened(tmp_path / "a", orientation="PIR")
    # The index grows inferior, and positions superior.
    assert (space.grid.orientation, space.grid.frame) == ("PIR", "RPS")
    assert space.annotation.dv.values.tolist() == [137.5, 112.5, 87.5, 62.5, 37.5, 12.5]
    np.testing.assert_array_equal(space.annotation, VOXELS)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_variables_without_coordinates(tmp_path, zarr_format):
    long = xr.DataArray(VOXELS[None, ..., None], dims=[*"tzyxc"], name="annotation")
    long.to_dataset().to_zarr(tmp_path / "a", zarr_format=zarr_format)
    with pytest.raises(GridError, match="a/annotation is an array without geometry; give its res"):
        opened(tmp_path / "a")
    assert opened(tmp_path / "a", resolution=25).grid == Grid(SHAPE, (25, 25, 25))
    assert open_image(f"{tmp_path}/a").dims == ("t", "c", "z", "y", "x")
    image = open_image(f"{tmp_path}/a", resolution=25, orientation="RAS")
    assert image.dims == ("t", "c", "ml", "ap", "dv")
    np.testing.assert_array_equal(image[0, 0], VOXELS)
    # Numbers of voxels, without a unit.
    numbered = long.assign_coords({dim: np.arange(n) for dim, n in zip("zyx", SHAPE, strict=True)})
    numbered.to_dataset().to_zarr(tmp_path / "b", zarr_format=zarr_format)
    refused(tmp_path / "b", GridError, "z has coordinates without a unit of length; give resol")
    assert opened(tmp_path / "b", resolution=10).grid == Grid(SHAPE, (10,) * 3, (-5,) * 3)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_variables_that_contradict_the_caller(tmp_path):
    variable(dims=["ap", "dv", "ml"]).to_dataset().to_zarr(tmp_path / "a")
    assert open_image(f"{tmp_path}/a", resolution=25, orientation="PIR").ap.values[0] == 12.5
    refused(tmp_path / "a", GridError, "resolution 50 contradicts the coordinates", resolution=50)
    text = "orientation 'AIR' contradicts the coordinates, which state 'PIR'; leave the orientation"
    refused(tmp_path / "a", GridError, text, orientation="AIR")
    bare = variable(dims=["ml", "dv", "ap"]).drop_vars(["ml", "dv", "ap"])
    bare.to_dataset().to_zarr(tmp_path / "b")
    text = "the dims ml, dv, ap do not run as orientation 'PIR' says; give orientation="
    refused(tmp_path / "b", GridError, text, resolution=25, orientation="PIR")
    assert opened(tmp_path / "b", resolution=25, orientation="RIP").grid.orientation == "RIP"


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_variables_that_are_no_volume(tmp_path):
    two = variable().to_dataset().assign(other=variable() + 1)
    two.to_zarr(tmp_path / "two")
    refused(tmp_path / "two", FormatError, "has several variables of three axes or more; choose")
    uneven = variable().assign_coords(z=("z", np.arange(8) ** 2.0, {"units": "micrometer"}))
    uneven.to_dataset().to_zarr(tmp_path / "uneven")
    refused(tmp_path / "uneven", GridError, "coordinates are not evenly spaced")
    named = variable().assign_coords(z=[*"abcdefgh"])
    named.to_dataset().to_zarr(tmp_path / "named", zarr_format=2)
    refused(tmp_path / "named", GridError, "z has coordinates that are no positions; give finite")
    scaled = variable().astype("f8")
    scaled.encoding = {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -1}
    scaled.to_dataset().to_zarr(tmp_path / "scaled")
    with pytest.raises(FormatError, match="annotation is scaled, and no array of labels"):
        opened(tmp_path / "scaled")


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_arrays_of_tensorstore(tmp_path, driver):
    for shape in (SHAPE, (1, *SHAPE), (1, 1, *SHAPE), (*SHAPE, 1)):
        spec = {"driver": driver, "kvstore": f"file://{tmp_path}/{len(shape)}{shape[-1]}"}
        dataset = tensorstore.open(
            spec, dtype=tensorstore.uint32, shape=shape, create=True, delete_existing=True
        ).result()
        dataset.write(VOXELS.reshape(shape)).result()
        url = f"{tmp_path}/{len(shape)}{shape[-1]}"
        with pytest.raises(GridError, match="is an array without geometry; give its resolution in"):
            opened(url)
        space = opened(url, resolution=25)
        assert space.grid == Grid(SHAPE, (25, 25, 25))
        own = tensorstore.open(spec).result().read().result()
        np.testing.assert_array_equal(space.annotation, own.reshape(SHAPE))
        image = open_image(url, resolution=25, orientation="RAS")
        assert image.dims[-3:] == ("ml", "ap", "dv")
        np.testing.assert_array_equal(image.squeeze(), VOXELS)
        assert open_image(url).shape[-3:] == SHAPE


def test_arrays_whose_axes_have_names(tmp_path):
    names = ("z", "y", "x", "c")
    zarr.create_array(tmp_path / "a", data=VOXELS[..., None], dimension_names=names)
    np.testing.assert_array_equal(opened(tmp_path / "a", resolution=25).annotation, VOXELS)
    image = open_image(f"{tmp_path}/a", resolution=25, orientation="RAS")
    assert image.dims == ("c", "ml", "ap", "dv")
    zarr.create_array(tmp_path / "b", data=np.stack([VOXELS] * 2))
    text = r"has shape \(2, 8, 6, 4\); a volume has three axes, and any others of length 1"
    with pytest.raises(FormatError, match=text):
        opened(tmp_path / "b", resolution=25)


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_large_ids(tmp_path, dtype):
    labels = np.full(SHAPE, 2**32 - 1, dtype)
    zarr.create_array(tmp_path / "a", data=labels)
    assert (opened(tmp_path / "a", resolution=25).annotation == 2**32 - 1).all()
    labels[0, 0, 0] = 2**32
    zarr.create_array(tmp_path / "b", data=labels)
    with pytest.raises(RefspaceError, match=str(2**32)):
        opened(tmp_path / "b", resolution=25).annotation.compute()


# ----- what is named, and not read


def tensorstore_copy(driver, folder, **spec):
    dataset = tensorstore.open(
        {"driver": driver, "kvstore": f"file://{folder}/", **spec},
        dtype=tensorstore.uint32,
        create=True,
    ).result()
    dataset.write(VOXELS.reshape(dataset.shape)).result()


def write_html(path):
    path.mkdir()
    (path / "zarr.json").write_text("<!DOCTYPE html><html><body>404</body></html>")


def write_lfs(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


OTHERS = {
    "n5": (
        lambda p: tensorstore_copy(
            "n5", p, metadata={"dimensions": SHAPE, "blockSize": SHAPE, "dataType": "uint32"}
        ),
        "is no zarr store, but N5, which is not read: copy it to zarr, for instance with tensor",
    ),
    "precomputed": (
        lambda p: tensorstore_copy(
            "neuroglancer_precomputed",
            p,
            multiscale_metadata={"type": "segmentation", "num_channels": 1},
            scale_metadata={
                "size": SHAPE,
                "resolution": [25, 25, 25],
                "chunk_size": SHAPE,
                "encoding": "raw",
            },
        ),
        "is no zarr store, but Neuroglancer's precomputed format, which is not read: copy it to",
    ),
    "a.h5": (
        lambda p: SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(p)),
        "an HDF5 file: save the volume in it as zarr, NRRD or NIfTI",
    ),
    "a.mat": (
        lambda p: p.write_bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(99)),
        "an HDF5 file",
    ),
    "a.ims": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        "an Imaris file: convert it to OME-Zarr, for instance with bio",
    ),
    "a.ozx": (
        lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)),
        "is no zarr store, but a zip archive: give zip://::",
    ),
    "pointer": (write_lfs, "a pointer of Git LFS, and not the file: run git lfs pull"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(tmp_path, name):
    make, text = OTHERS[name]
    make(tmp_path / name)
    refused(tmp_path / name, FormatError, text, resolution=25)
    with Server(tmp_path) as server:
        refused(f"{server.url}/{name}", FormatError, text, resolution=25)


def test_web_pages_in_place_of_metadata(tmp_path):
    write_html(tmp_path / "a")
    refused(tmp_path / "a", FormatError, "zarr.json is no JSON (an HTML page: the URL is that of a")


def test_zip_archives_of_stores(tmp_path):
    write(tmp_path / "a.zarr")
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    refused(archive, FormatError, f"give zip://::{archive} if a store is at its root, or unpack")
    np.testing.assert_array_equal(opened(f"zip://::{archive}").annotation, VOXELS)


@pytest.mark.parametrize("content", ["", "[" * 9999, "[1]", "5", '{"a": 1}', "\x00"])
@pytest.mark.parametrize("name", ["info", "attributes.json"])
def test_folders_with_other_json(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(tmp_path, StoreError, f"there is no zarr store at {tmp_path}")


def test_folders_around_stores_and_files_in_them(tmp_path):
    for name in ("a.zarr", "b.zarr"):
        write(tmp_path / "all" / name)
    url = tmp_path / "all"
    refused(
        url,
        StoreError,
        f"there is no zarr store at {url}: it is a folder with stores in it; open one of "
        f"{url}/a.zarr, {url}/b.zarr",
    )
    file = url / "a.zarr" / "zarr.json"
    refused(file, StoreError, f"it is a file of one; give its folder, {url / 'a.zarr'}")
    for n in range(400):
        (tmp_path / "many" / str(n)).mkdir(parents=True)
    write(tmp_path / "many" / "999")
    refused(tmp_path / "many", StoreError, "there is no zarr store at")


def test_what_a_group_holds(tmp_path):
    root = zarr.open_group(tmp_path / "a", mode="w")
    root.create_group("deep").create_array("plain", data=VOXELS[0])
    write(tmp_path / "a" / "deep" / "image", label=False)
    write(tmp_path / "a" / "brain")
    url = tmp_path / "a"
    texts = (f"the label image {url}/brain", f"the image {url}/deep/image", f"{url}/deep/plain")
    refused(url, FormatError, "; it holds ", *texts)
    with warnings.catch_warnings():
        # Zarr v3 does not specify it.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(url)
    refused(url, FormatError, "; it holds ", *texts)
    with Server(tmp_path) as server:
        refused(f"{server.url}/a", FormatError, f"the image {server.url}/a/deep/image")


# ----- requests


def gets(server, function, url, **how):
    """How many requests a call makes."""
    before = len(server.requests)
    function(url, **how)
    return len(server.requests) - before


# Of names that end in .zarr; others cost one more, for what they are may be a file.
# Those of an annotation and of an image, and of the one image of a fileset the group around it.
REQUESTS = {
    "0.4": {"plain": (11, 10), "nested": (18, 7), "bare": (5, 4), "fileset": (21, 17)},
    "0.5": {"plain": (4, 3), "nested": (6, 2), "bare": (2, 1), "fileset": (7, 5)},
}


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_of_opening(tmp_path, version):
    write(tmp_path / "plain.zarr", version)
    nested(tmp_path / "nested.zarr", version)
    zarr_format = 3 if version == "0.5" else 2
    zarr.create_array(tmp_path / "bare.zarr", data=VOXELS, zarr_format=zarr_format)
    bioformats2raw(tmp_path / "fileset.zarr", 1, version, series=True)
    with Server(tmp_path) as server:
        counts = {
            name: tuple(
                gets(server, function, f"{server.url}/{name}.zarr", resolution=25)
                for function in BOTH
            )
            for name in REQUESTS[version]
        }
    assert counts == REQUESTS[version]
