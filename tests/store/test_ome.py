import copy
import itertools
import json
import reprlib
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from helpers.strategies import families, few
from helpers.volumes import grids
from hypothesis import given
from hypothesis import strategies as st

from refspace import StructureTree, phantom, read_structures
from refspace.errors import FormatError, GridError, OntologyError, RefspaceError
from refspace.grid import Grid
from refspace.store.ome import (
    Axis,
    Dataset,
    Multiscale,
    dataset_grid,
    is_label,
    label_attributes,
    label_names,
    nodes_from_label,
    read_multiscale,
    read_multiscales,
)
from refspace.store.ome.masks import mask_attributes
from refspace.store.tables import structures_dataset

CODES = [
    "".join(letters)
    for pairs in itertools.permutations(["AP", "SI", "LR"])
    for letters in itertools.product(*pairs)
]
GRID = Grid((8, 6, 4), (25, 25, 25))
LEVELS = [("s0/annotation", GRID), ("s1/annotation", GRID.resample(50))]
TEMPLATE = [("s0/template", GRID), ("s1/template", GRID.resample(50))]


def stored(value):
    """What a reader gets of a value that was written as JSON, strictly."""
    return json.loads(json.dumps(value, allow_nan=False))


def labelled(nodes, levels=LEVELS, **template):
    """Attributes of a group, as they are read back."""
    return stored({"ome": label_attributes("annotation", levels, nodes, **template)})


def transformations(scale, translation=None):
    steps = [{"type": "scale", "scale": list(scale)}]
    if translation is not None:
        steps.append({"type": "translation", "translation": list(translation)})
    return steps


def axes(*names, unit="micrometer", orientations=(None, None, None)):
    found = []
    for name, orientation in zip(names, orientations, strict=True):
        axis = {"name": name, "type": "space", "unit": unit, "orientation": orientation}
        found.append({key: value for key, value in axis.items() if value is not None})
    return found


STATED = ["anterior-to-posterior", "superior-to-inferior", "left-to-right"]
OBJECTS = [{"type": "anatomical", "value": value} for value in STATED]


def image(**changes):
    """Entry of multiscales; what is changed to None is left out."""
    entry = {
        "name": "brain",
        "axes": axes("z", "y", "x", orientations=OBJECTS),
        "datasets": [
            {"path": "0", "coordinateTransformations": transformations([25, 25, 25])},
            {"path": "1", "coordinateTransformations": transformations([50, 50, 50], [12.5] * 3)},
        ],
    }
    return {key: value for key, value in (entry | changes).items() if value is not None}


def attributes(*images, version="0.5"):
    return {"ome": {"version": version, "multiscales": list(images or [image()])}}


def level_grid(entry, shape=(8, 6, 4), level=0, **given):
    multiscale = read_multiscale(attributes(entry))
    return dataset_grid(multiscale, multiscale.datasets[level], shape, **given)


def refuses(function, *args, text, error=FormatError, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    # Of this very class: a GridError is no FormatError, and neither is a bare KeyError.
    assert type(caught.value) is error
    assert text in str(caught.value)


# ----- images


def test_an_image_of_version_05():
    expected = Multiscale(
        "0.5",
        "brain",
        tuple(Axis(n, "space", "micrometer", o) for n, o in zip("zyx", STATED, strict=True)),
        (Dataset("0", (25.0,) * 3, (0.0,) * 3), Dataset("1", (50.0,) * 3, (12.5,) * 3)),
    )
    assert read_multiscale(attributes()) == expected


@pytest.mark.parametrize("version", [{}, {"version": "0.4"}])
def test_an_image_of_version_04_says_the_same_at_another_place(version):
    old = read_multiscale({"multiscales": [image(**version)]})
    new = read_multiscale(attributes())
    assert (old.version, new.version) == ("0.4", "0.5")
    assert (old.name, old.axes, old.datasets) == (new.name, new.axes, new.datasets)


@pytest.mark.parametrize("version", ["0.0", "0.5", "0.6", "0.7", "0.40", 0.4, None])
def test_other_versions_among_the_attributes_are_named(version):
    entries = [image() | {"version": version}]
    refuses(read_multiscales, {"multiscales": entries}, text=f"version {version!r}; 0.4")


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.7rc0", "0.5x", "1.0", 0.5, None, ["0.5"]])
def test_other_versions_under_ome_are_named(version):
    refuses(read_multiscales, attributes(version=version), text=f"version {version!r}; 0.4")


def test_version_05_is_stated():
    group = {"ome": {"multiscales": [image() | {"version": "0.5"}]}}
    refuses(read_multiscales, group, text="version None; 0.4")


def test_images_are_told_apart_by_name():
    group = attributes(image(name="first"), image(name=None), image(name="third"))
    assert [entry.name for entry in read_multiscales(group)] == ["first", None, "third"]
    assert read_multiscale(group).name == "first"
    assert read_multiscale(group, name="third").name == "third"
    refuses(
        read_multiscale,
        group,
        name="second",
        text="no image 'second'; the group holds 'first', None, 'third'",
    )


numbers = st.decimals(-1000, 1000, places=3).map(float)
scales = st.decimals("0.001", 1000, places=3).map(float)


@given(st.tuples(scales, numbers, scales, numbers, st.booleans()), st.integers(0, 1000))
def test_transformations_are_applied_in_their_order(parts, index):
    s, t, common_s, common_t, translation_first = parts
    own, common = transformations([s] * 3, [t] * 3), transformations([common_s] * 3, [common_t] * 3)
    own, common = (steps[::-1] if translation_first else steps for steps in (own, common))
    level = {"path": "0", "coordinateTransformations": [{"type": "identity"}, *own]}
    entry = image(datasets=[level], coordinateTransformations=common)
    position = Fraction(index)
    for step in own + common:
        values = step[step["type"]]
        exact = Fraction(repr(values[0]))
        position = position * exact if step["type"] == "scale" else position + exact
    (dataset,) = read_multiscale(attributes(entry)).datasets
    assert dataset.scale[0] * index + dataset.translation[0] == pytest.approx(
        float(position), rel=1e-12, abs=1e-9
    )


def test_decimals_stay_decimals():
    level = {"path": "0", "coordinateTransformations": transformations([0.1, 1.1, 0.7])}
    entry = image(datasets=[level], coordinateTransformations=transformations([3, 1.1, 0.1]))
    assert 0.1 * 3 != 0.3
    assert read_multiscale(attributes(entry)).datasets[0].scale == (0.3, 1.21, 0.07)


def test_an_identity_is_a_scale_of_1():
    level = {"path": "0", "coordinateTransformations": [{"type": "identity"}]}
    (dataset,) = read_multiscale(attributes(image(datasets=[level]))).datasets
    assert dataset == Dataset("0", (1.0,) * 3, (0.0,) * 3)


@pytest.mark.parametrize("path", ["0", "s0/annotation", "scale 0/image", "..a/b..", "µ"])
def test_paths_within_the_group(path):
    level = image()["datasets"][0] | {"path": path}
    assert read_multiscale(attributes(image(datasets=[level]))).datasets[0].path == path
    assert label_names({"labels": [path]}) == label_names({"ome": {"labels": [path]}}) == [path]


UNSAFE = [
    *["", "/", "/0", "0/", "a//b", "..", "../0", "a/../../b", ".", "./0", "a/.", "..."],
    *[
        "a\\b",
        "..\\0",
        "\\\\host\\share",
        "C:/0",
        "file://0",
        "a\x00",
        "a\nb",
        "a/\n",
        0,
        None,
        ["0"],
    ],
]


@pytest.mark.parametrize("path", UNSAFE)
def test_paths_that_lead_elsewhere(path):
    level = image()["datasets"][0] | {"path": path}
    group = attributes(image(datasets=[level]))
    refuses(read_multiscales, group, text="multiscales[0].datasets[0].path is")
    refuses(label_names, {"ome": {"labels": ["fine", path]}}, text="labels[1] is")


def test_what_labels_a_group_has():
    assert label_names({"labels": ["a", "b"]}) == ["a", "b"]
    assert label_names({"ome": {"version": "0.5", "labels": ["a"]}, "labels": ["b"]}) == ["a"]
    assert label_names({}) == label_names(attributes()) == []


def test_what_is_a_label_image():
    assert is_label({"image-label": {}})
    assert is_label({"ome": {"image-label": {}}})
    assert not is_label({"ome": {}, "image-label": {}})
    assert not is_label(attributes())


def with_level(**changes):
    level = image()["datasets"][0] | changes
    return image(datasets=[{k: v for k, v in level.items() if v is not None}])


def with_steps(*steps):
    return with_level(coordinateTransformations=list(steps))


def with_axes(**changes):
    return image(axes=[image()["axes"][0] | changes, *image()["axes"][1:]])


SCALE = {"type": "scale", "scale": [1, 1, 1]}
DAMAGED_IMAGES = {
    "entry is no object": (["0"], "multiscales[0] is ['0']; it must be a JSON object"),
    "no axes": (image(axes=None), "multiscales[0].axes is None"),
    "axes of 0.3": (image(axes=["z", "y", "x"]), "axes[0] is 'z'; it must be a JSON object"),
    "empty axes": (image(axes=[]), "has the axes []; give 2 to 5"),
    "one axis": (image(axes=image()["axes"][:1]), "has the axes ['z']; give 2 to 5"),
    "six axes": (image(axes=[{"name": n} for n in "abcdef"]), "give 2 to 5, each once"),
    "axes of one name": (image(axes=axes("x", "y", "x")), "['x', 'y', 'x']; give 2 to 5, each"),
    "axis without name": (with_axes(name=None), "axes[0] has no name"),
    "axis without letters": (with_axes(name=""), "axes[0] has no name"),
    "axis of a number": (with_axes(name=7), "axes[0].name is 7; it must be a text"),
    "type of a list": (with_axes(type=["space"]), "axes[0].type is ['space']; it must be a text"),
    "unit of a number": (with_axes(unit=1), "axes[0].unit is 1; it must be a text"),
    "orientation of a list": (with_axes(orientation=["P"]), "axes[0].orientation is ['P']"),
    "orientation's value": (
        with_axes(orientation={"type": "anatomical", "value": 1}),
        "axes[0].orientation.value is 1",
    ),
    "name": (image(name=7), "multiscales[0].name is 7; it must be a text"),
    "no datasets": (image(datasets=None), "multiscales[0].datasets is None"),
    "empty datasets": (image(datasets=[]), "multiscales[0] has no datasets"),
    "dataset is a path": (image(datasets=["0"]), "datasets[0] is '0'; it must be a JSON object"),
    "no transformations": (
        with_level(coordinateTransformations=None),
        "datasets[0].coordinateTransformations is None; it must be a JSON array",
    ),
    "empty transformations": (with_steps(), "datasets[0] has no scale"),
    "translation alone": (
        with_steps({"type": "translation", "translation": [1, 1, 1]}),
        "datasets[0] has no scale",
    ),
    "step is no object": (with_steps("scale"), "coordinateTransformations[0] is 'scale'"),
    "no type": (with_steps({"scale": [1, 1, 1]}), "has the type None; scale, translation and"),
    "affine": (with_steps(SCALE, {"type": "affine"}), "[1] has the type 'affine'; scale,"),
    "step's type of a list": (with_steps({"type": []}), "has the type []"),
    "scale in a file": (
        with_steps({"type": "scale", "path": "scale"}),
        "has None; it must have 3 finite numbers",
    ),
    "two numbers": (with_steps({"type": "scale", "scale": [1, 1]}), "has [1, 1]; it must have 3"),
    "texts": (with_steps({"type": "scale", "scale": list("123")}), "it must have 3 finite numbers"),
    "bools": (with_steps({"type": "scale", "scale": [True] * 3}), "it must have 3 finite numbers"),
    "NaN": (with_steps({"type": "scale", "scale": [1, 1, float("nan")]}), "nan]; it must have 3"),
    "infinity": (with_steps({"type": "scale", "scale": [1, 1, float("inf")]}), "inf]; it must"),
    "beyond floats": (with_steps({"type": "scale", "scale": [1, 1, 10**400]}), "finite numbers"),
    "zero": (with_steps({"type": "scale", "scale": [1, 0, 1]}), "scales must be positive"),
    "negative": (with_steps({"type": "scale", "scale": [1, -1, 1]}), "scales must be positive"),
    "two scales": (with_steps(SCALE, SCALE), "['scale', 'scale']; each is allowed once"),
    "scale beyond floats": (
        with_level() | {"coordinateTransformations": transformations([1e308] * 3)},
        "scale (inf, inf, inf)",
    ),
    "translation beyond floats": (
        with_level(coordinateTransformations=transformations([1] * 3, [1e9] * 3))
        | {"coordinateTransformations": transformations([1e300] * 3)},
        "translation (inf, inf, inf)",
    ),
    "common transformations": (
        image(coordinateTransformations={}),
        "multiscales[0].coordinateTransformations is {}",
    ),
}


@pytest.mark.parametrize("fault", DAMAGED_IMAGES)
def test_a_damaged_image_says_what_is_wrong_where(fault):
    entry, text = DAMAGED_IMAGES[fault]
    refuses(read_multiscales, attributes(entry), text=text)
    if isinstance(entry, dict):
        refuses(read_multiscales, {"multiscales": [entry | {"version": "0.4"}]}, text=text)


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (None, "the attributes is None; it must be a JSON object"),
        ([], "the attributes is []"),
        ({"ome": None}, "ome is None; it must be a JSON object"),
        ({"ome": "0.5"}, "ome is '0.5'"),
        ({}, "the group has no 'multiscales', so it is no image of OME-Zarr"),
        ({"ome": {"version": "0.5"}}, "the group has no 'multiscales'"),
        ({"multiscales": {}}, "multiscales is {}; it must be a JSON array"),
        ({"ome": {"version": "0.5", "multiscales": []}}, "multiscales is empty"),
    ],
)
def test_a_group_without_an_image(group, text):
    refuses(read_multiscales, group, text=text)


def test_damaged_lists_of_labels():
    refuses(label_names, {"labels": "annotation"}, text="labels is 'annotation'; it must be a JSON")
    refuses(label_names, {"ome": {"labels": {}}}, text="labels is {}")
    refuses(is_label, {"ome": []}, text="ome is []")


# ----- where the voxels are


def test_a_level_is_a_grid():
    assert level_grid(image()) == (
        Grid((8, 6, 4), (25,) * 3, (-12.5,) * 3),
        (0, 1, 2),
    )
    # The corner is that of the finest level, as the translation is half the difference.
    assert level_grid(image(), (4, 3, 2), 1)[0] == Grid((4, 3, 2), (50,) * 3, (-12.5,) * 3)


def test_the_translation_is_a_centre():
    level = {"path": "0", "coordinateTransformations": transformations([10, 20, 40], [5, 0, 1e3])}
    grid, _ = level_grid(image(datasets=[level]))
    assert grid.origin == (0.0, -10.0, 980.0)
    assert [grid.coordinates(dim)[0] for dim in grid.dims] == [5, 0, 1e3]


@given(grids, st.sampled_from(CODES))
def test_grids_come_back(grid, code):
    grid = Grid(grid.shape, grid.spacing, grid.origin, code)
    (multiscale,) = read_multiscales(labelled([], [("s0", grid)]))
    (dataset,) = multiscale.datasets
    found, numbers = dataset_grid(multiscale, dataset, grid.shape)
    assert (found.shape, found.spacing, found.orientation) == (grid.shape, grid.spacing, code)
    assert numbers == (0, 1, 2)
    # To a picometre; the written centres themselves are exact.
    assert found.origin == tuple(round(o, 6) for o in grid.origin)
    assert dataset.translation == tuple(grid.coordinates(dim)[0] for dim in grid.dims)
    (again,) = read_multiscales(labelled([], [("s0", found)]))
    assert dataset_grid(again, again.datasets[0], grid.shape)[0] == found


# µm of each unit that the specification names, but the parsec.
UNITS = {
    **{"angstrom": 1e-4, "inch": 25400, "foot": 304800, "yard": 914400, "mile": 1609344000},
    **{"yoctometer": 1e-18, "zeptometer": 1e-15, "attometer": 1e-12, "femtometer": 1e-9},
    **{"picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1, "millimeter": 1e3},
    **{"centimeter": 1e4, "decimeter": 1e5, "meter": 1e6, "hectometer": 1e8, "kilometer": 1e9},
    **{"megameter": 1e12, "gigameter": 1e15, "terameter": 1e18, "petameter": 1e21},
    **{"exameter": 1e24, "zettameter": 1e27, "yottameter": 1e30},
    **{"um": 1, "µm": 1, "\N{GREEK SMALL LETTER MU}m": 1, "micron": 1, "micrometre": 1},
    **{"mm": 1e3, "nm": 1e-3, "cm": 1e4, "m": 1e6, " millimetre ": 1e3, "millimeters": 1e3},
}


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_length(unit):
    scale = 25 / UNITS[unit]
    level = {
        "path": "0",
        "coordinateTransformations": transformations([scale] * 3, [scale / 2] * 3),
    }
    entry = image(axes=axes("z", "y", "x", unit=unit, orientations=OBJECTS), datasets=[level])
    grid, _ = level_grid(entry)
    assert grid.spacing == (25.0, 25.0, 25.0)
    assert grid.origin == (0.0, 0.0, 0.0)


def lengths_in(unit, scale, translation=(0, 0, 0)):
    level = {"path": "0", "coordinateTransformations": transformations(scale, translation)}
    return image(axes=axes("z", "y", "x", unit=unit, orientations=OBJECTS), datasets=[level])


@given(st.integers(1, 10**7), st.sampled_from(["millimeter", "nanometer", "meter", "inch"]))
def test_decimals_of_other_units_stay_decimals(nanometres, unit):
    micrometres = nanometres / 1000
    # As a program writes it that divides: to the nearest float, or a digit beside it.
    written = micrometres / UNITS[unit]
    grid, _ = level_grid(lengths_in(unit, [written] * 3))
    assert grid.spacing == (micrometres,) * 3


def test_a_spacing_that_is_no_decimal_is_kept():
    assert level_grid(lengths_in("micrometer", [1 / 3, 0.1 + 0.2, 25]))[0].spacing == (
        1 / 3,
        0.1 + 0.2,
        25.0,
    )
    assert level_grid(lengths_in("femtometer", [1, 1, 1]))[0].spacing == (1e-9,) * 3


@pytest.mark.parametrize("unit", ["second", "Mm", "parsec", "lightyear", "x" * 500])
def test_units_that_are_no_length(unit):
    entry = lengths_in(unit, [1, 1, 1])
    text = f"axis z has the unit {reprlib.repr(unit)}, which is none of length; write it as"
    refuses(level_grid, entry, text=text)
    assert level_grid(entry, resolution=25)[0].spacing == (25.0, 25.0, 25.0)


@pytest.mark.parametrize(
    ("unit", "scale", "translation"),
    [
        ("yottameter", 1, 0),
        ("kilometer", 1, 0),
        ("micrometer", 1e300, 0),
        ("millimeter", 0.025, -1e7),
        ("yottameter", 1e-30, 1e308),
    ],
)
def test_lengths_beyond_any_brain(unit, scale, translation):
    entry = lengths_in(unit, [scale] * 3, [translation] * 3)
    refuses(level_grid, entry, error=GridError, text="that is no length in a brain")


def test_a_length_too_small_to_be_one():
    entry = lengths_in("yoctometer", [5e-324] * 3)
    refuses(level_grid, entry, error=GridError, text="is not one positive number")


BARE = axes("z", "y", "x", unit=None, orientations=OBJECTS)


def test_a_unit_is_never_guessed():
    refuses(
        level_grid,
        image(axes=BARE),
        error=GridError,
        text="the axes z, y, x have no unit; give resolution=, the µm per voxel of the finest",
    )
    partly = image(axes=[BARE[0], *image()["axes"][1:]])
    refuses(level_grid, partly, error=GridError, text="the axes z have no unit")
    refuses(level_grid, with_axes(unit=""), error=GridError, text="the axes z have no unit")
    assert level_grid(partly, resolution=25)[0].spacing == (25.0, 25.0, 25.0)


@pytest.mark.parametrize("resolution", [25, (25, 10, 1 / 3)])
def test_a_resolution_serves_every_level_of_an_image_without_units(resolution):
    # As where nothing is known: the scale counts voxels of the finest level.
    datasets = [
        {"path": "0", "coordinateTransformations": transformations([1, 1, 1])},
        {"path": "1", "coordinateTransformations": transformations([2, 2, 2], [0.5, 0.5, 0.5])},
    ]
    entry = image(axes=BARE, datasets=datasets)
    finest = np.broadcast_to(resolution, 3)
    grid, _ = level_grid(entry, resolution=resolution)
    assert grid.spacing == tuple(finest)
    assert grid.origin == pytest.approx(-finest / 2, abs=1e-6)
    grid, _ = level_grid(entry, (4, 3, 2), 1, resolution=resolution)
    assert grid.spacing == tuple(2 * finest)
    assert grid.origin == pytest.approx(-finest / 2, abs=1e-6)


def test_a_resolution_must_agree_with_the_units():
    assert level_grid(image(), resolution=25) == level_grid(image())
    assert level_grid(image(), (4, 3, 2), 1, resolution=[25, 25, 25.00000001])[0].spacing[0] == 50
    refuses(
        level_grid,
        image(),
        resolution=(25, 10, 25),
        error=GridError,
        text="resolution (25, 10, 25) contradicts axis y, which has 25 µm per voxel",
    )
    refuses(level_grid, image(), resolution=-1, error=GridError, text="resolution -1 is not one")


@pytest.mark.parametrize("code", CODES)
def test_orientations_come_back(code):
    grid = Grid(GRID.shape, GRID.spacing, orientation=code)
    entry = labelled([], [("s0", grid)])["ome"]["multiscales"][0]
    assert [axis["name"] for axis in entry["axes"]] == list(grid.dims)
    for axis, letter in zip(entry["axes"], code, strict=True):
        start, end = axis["orientation"]["value"].split("-to-")
        assert end[0].upper() == letter
        assert {start, end} in (
            {"anterior", "posterior"},
            {"superior", "inferior"},
            {"left", "right"},
        )
    assert level_grid(entry)[0].orientation == code
    # x, y and z are the same axes, whatever the order of the array.
    expected = ("ml", "ap", "dv") if "S" in code else ("ap", "dv", "ml")
    assert level_grid(entry)[0].frame_dims == expected


def oriented(*values):
    return image(axes=axes("z", "y", "x", orientations=values))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (STATED, "PIR"),
        (OBJECTS, "PIR"),
        (["Posterior-to-Anterior", "inferior-to-superior", "right-to-left"], "ASL"),
        (["rostral-to-caudal", "dorsal-to-ventral", "left-to-right"], "PIR"),
        (["left-to-right", "ventral-to-dorsal", "caudal-to-rostral"], "RSA"),
    ],
)
def test_names_of_orientations(values, code):
    assert level_grid(oriented(*values))[0].orientation == code


SAGITTAL = {"type": "sagittal", "value": "left-to-right"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([None, None, None], "z: nothing, y: nothing, x: nothing"),
        ([*STATED[:2], None], "x: nothing"),
        ([*STATED[:2], SAGITTAL], "x: nothing"),
        ([*STATED[:2], {}], "x: nothing"),
        (["cranial-to-caudal", *STATED[1:]], "z: cranial-to-caudal"),
    ],
)
def test_an_orientation_is_never_guessed(values, said):
    refuses(level_grid, oriented(*values), error=GridError, text=said)
    refuses(level_grid, oriented(*values), error=GridError, text="give orientation=, three letters")
    assert level_grid(oriented(*values), orientation="PIR")[0].orientation == "PIR"


def test_an_orientation_must_agree_with_the_axes():
    for entry in (image(), oriented(STATED[0], None, None)):
        refuses(
            level_grid,
            entry,
            orientation="AIR",
            error=GridError,
            text="orientation 'AIR' contradicts the axes, which state z: anterior-to-posterior",
        )
    refuses(
        level_grid, image(), orientation="XYZ", error=GridError, text="orientation 'XYZ' is not"
    )
    twice = oriented(STATED[0], STATED[0], STATED[2])
    refuses(
        level_grid, twice, error=GridError, text="the axes state z: anterior-to-posterior, y: a"
    )
    refuses(level_grid, twice, orientation="PIR", error=GridError, text="contradicts the axes")


def test_times_and_channels_of_one_are_no_matter():
    entry = image(
        axes=[{"name": "t", "type": "time"}, {"name": "c"}, *image()["axes"]],
        datasets=[
            {
                "path": "0",
                "coordinateTransformations": transformations([1, 1, 10, 20, 30], [0, 0, 5, 10, 15]),
            }
        ],
    )
    grid, numbers = level_grid(entry, (1, 1, 8, 6, 4))
    assert (grid, numbers) == (Grid((8, 6, 4), (10, 20, 30)), (2, 3, 4))
    refuses(
        level_grid,
        entry,
        (3, 2, 8, 6, 4),
        text="more than one volume: t has length 3, c has length 2; save one volume by itself",
    )
    refuses(level_grid, entry, (8, 6, 4), text="has the axes t, c, z, y, x, its array the shape (8")


def test_a_volume_has_three_axes_of_space():
    flat = image(
        axes=image()["axes"][:2],
        datasets=[{"path": "0", "coordinateTransformations": transformations([1, 1])}],
    )
    refuses(level_grid, flat, (8, 6), text="of the axes z, y, 2 are of type 'space'; give three")
    other = with_axes(name="q", type=None)
    refuses(level_grid, other, text="of the axes q, y, x, 2 are of type 'space'")
    refuses(level_grid, image(), (8, 0, 4), error=GridError, text="an axis without voxels")


# ----- label images


def test_levels_and_template_are_two_images():
    nodes = phantom().structure_tree.nodes()
    group = labelled(nodes, template=TEMPLATE)
    annotation, template = read_multiscales(group)
    assert is_label(group)
    assert (annotation.name, template.name) == ("annotation", "template")
    assert [dataset.path for dataset in annotation.datasets] == ["s0/annotation", "s1/annotation"]
    assert [dataset.path for dataset in template.datasets] == ["s0/template", "s1/template"]
    for multiscale in (annotation, template):
        for dataset, (_, grid) in zip(multiscale.datasets, LEVELS, strict=True):
            assert dataset_grid(multiscale, dataset, grid.shape)[0] == grid
    assert [entry["type"] for entry in group["ome"]["multiscales"]] == ["mode", "mean"]
    assert len(read_multiscales(labelled(nodes))) == 1


def test_what_other_readers_find():
    nodes = [
        {"id": 997, "name": "root", "rgb_triplet": [255, 0, 7], "structure_id_path": [997]},
        {"id": 8, "acronym": "grey", "structure_id_path": [997, 8]},
    ]
    label = labelled(nodes)["ome"]["image-label"]
    assert label["version"] == "0.5"
    assert label["colors"] == [
        {"label-value": 997, "rgba": [255, 0, 7, 255]},
        {"label-value": 8, "rgba": [*StructureTree(nodes).get_colormap()[8], 255]},
    ]
    assert label["properties"] == [
        {"label-value": 997, "name": "root", "parent_structure_id": None},
        {"label-value": 8, "acronym": "grey", "parent_structure_id": 997},
    ]
    assert "source" not in label
    entry = labelled(nodes)["ome"]["multiscales"][0]
    assert entry["axes"][2] == {
        "name": "ml",
        "type": "space",
        "unit": "micrometer",
        "orientation": {"type": "anatomical", "value": "left-to-right"},
    }
    assert entry["datasets"][1] == {
        "path": "s1/annotation",
        "coordinateTransformations": transformations([50.0] * 3, [25.0] * 3),
    }


def test_properties_are_single_values():
    nodes = [
        {"id": 997, "structure_set_ids": [1, 2], "note": {"a": 1}, "structure_id_path": [997]},
        {"id": 8, "structure_set_ids": [], "structure_id_path": [997, 8]},
        {"id": 9, "parent_structure_id": 5, "structure_id_path": [997, 9]},
    ]
    label = labelled(nodes)["ome"]["image-label"]
    values = [value for entry in label["properties"] for value in entry.values()]
    assert not any(isinstance(value, list | dict) for value in values)
    assert label["refspace"] == {
        "structure_set_ids": {"997": [1, 2], "8": []},
        "note": {"997": {"a": 1}},
        "structure_id_path": {"9": [997, 9]},
    }
    assert nodes_from_label(labelled(nodes)) == nodes
    assert "refspace" not in labelled([{"id": 8, "structure_id_path": [8]}])["ome"]["image-label"]


def test_levels_run_the_same_way():
    levels = [("s0", GRID), ("s1", GRID.reorient("RAS"))]
    refuses(
        label_attributes,
        "annotation",
        levels,
        [],
        error=GridError,
        text="levels of 'annotation' have the orientations ['PIR', 'RAS']",
    )


def assert_comes_back(tree):
    nodes = tree.nodes()
    found = StructureTree(nodes_from_label(labelled(nodes)))
    assert found.nodes() == nodes
    assert list(found.graph.edges) == list(tree.graph.edges)
    # Types too: 1, 1.0 and True are equal.
    assert json.dumps(found.nodes(), sort_keys=True) == json.dumps(nodes, sort_keys=True)


def test_the_tree_of_the_phantom_comes_back():
    assert_comes_back(phantom().structure_tree)


@pytest.mark.ccf
def test_the_tree_of_the_ccf_comes_back(ccf_data):
    for file in ("structures_1.json", "structure_graph_1.json"):
        assert_comes_back(read_structures(ccf_data / file))
    raw = json.loads((ccf_data / "structures_1.json").read_text())["msg"]
    assert_comes_back(StructureTree(raw))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3
        )
    ),
    max_leaves=8,
)
taken = {"id", "label-value", "structure_id_path", "children", "parent_structure_id", "rgb_triplet"}
extras = st.dictionaries(
    st.sampled_from(["rgba", "label", "volume", "parent", "é"]) | st.text("abc_", min_size=1),
    json_values,
    max_size=3,
).map(lambda fields: {k: v for k, v in fields.items() if k not in taken})


@given(families(), st.data())
@few
def test_random_trees_come_back(family, data):
    records = []
    for record in family.records():
        kept = data.draw(
            st.sets(st.sampled_from(["acronym", "name", "graph_order", "rgb_triplet"]))
        )
        complete = {k: v for k, v in record.items() if k in {"id", "structure_id_path", *kept}}
        if data.draw(st.booleans()):
            complete["rgb_triplet"] = None
        if data.draw(st.booleans()):
            # The path counts; this field is carried, whatever it says.
            complete["parent_structure_id"] = data.draw(json_values)
        records.append(complete | data.draw(extras))
    assert_comes_back(StructureTree(records))


def test_records_with_parents_alone_come_back():
    assert_comes_back(
        StructureTree([{"id": 8, "parent_structure_id": "997"}, {"id": 997, "children": []}])
    )


def test_no_tree_comes_back():
    assert nodes_from_label(labelled([])) == []
    assert nodes_from_label({"image-label": {"colors": [{"label-value": 1}]}}) == []


def test_version_04_says_the_same_at_another_place():
    tree = phantom().structure_tree
    assert nodes_from_label(labelled(tree.nodes())["ome"]) == tree.nodes()


def test_numbers_of_numpy_become_plain_ones():
    values = {
        "integer": np.uint32(2**32 - 1),
        "real": np.float32(0.1),
        "flag": np.bool_(True),
        "text": np.str_("a"),
        "list": [np.int64(-1)],
    }
    tree = StructureTree([{"id": np.uint32(8), "structure_id_path": np.array([8]), **values}])
    assert_comes_back(StructureTree(nodes_from_label(labelled(tree.nodes()))))
    (found,) = nodes_from_label(labelled(tree.nodes()))
    assert found == tree.nodes()[0]
    assert [type(found[field]) for field in values] == [int, float, bool, str, list]


endless, circle = [], {}
endless.append(endless)
circle["again"] = circle


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("note", float("nan"), "structure 8 has note nan, which JSON does not carry as it is; use"),
        ("note", float("inf"), "has note inf"),
        ("note", [1, {"a": float("nan")}], "has note [1, {'a': nan}]"),
        ("note", (1, 2), "has note (1, 2)"),
        ("note", {1, 2}, "has note {1, 2}"),
        ("note", b"bytes", "has note b'bytes'"),
        ("note", object, "has note <class 'object'>"),
        ("note", {1: "a"}, "has note {1: 'a'}"),
        ("note", np.arange(3), "has note array([0, 1, 2])"),
        ("note", np.datetime64("2020-01-01"), "has note np.datetime64('2020-01-01')"),
        ("note", np.longdouble(1) / 3, "has note "),
        ("note", 2**64, f"has note {2**64}"),
        ("note", "\ud800", "has note '\\ud800'"),
        ("note", endless, "has note [[[[[[[...]]]]]]]"),
        ("note", circle, "has note {'again': {"),
        ("label-value", 8, "structure 8 has a field 'label-value'"),
        (7, 8, "structure 8 has a field 7; field names are texts"),
        (None, 8, "structure 8 has a field None"),
    ],
)
def test_fields_that_would_not_come_back(field, value, said):
    nodes = StructureTree([{"id": 8, "structure_id_path": [8]}]).nodes()
    nodes[0][field] = value
    refuses(label_attributes, "a", LEVELS, nodes, error=OntologyError, text=said)


def label(properties=None, colors=None, refspace=None):
    given = {"properties": properties, "colors": colors, "refspace": refspace}
    return {"ome": {"image-label": {k: v for k, v in given.items() if v is not None}}}


ROOT = {"label-value": 997, "parent_structure_id": None}
CHILD = {"label-value": 8, "parent_structure_id": 997}


def chain(length):
    return [{"label-value": i, "parent_structure_id": i - 1 if i else None} for i in range(length)]


DAMAGED_LABELS = {
    "no label": (attributes(), "the group has no 'image-label'"),
    "label is a list": (
        {"ome": {"image-label": []}},
        "image-label is []; it must be a JSON object",
    ),
    "properties are an object": (
        label({}),
        "image-label.properties is {}; it must be a JSON array",
    ),
    "colors are an object": (label([], {}), "image-label.colors is {}; it must be a JSON array"),
    "properties are null": (
        {"ome": {"image-label": {"properties": None}}},
        "image-label.properties is None",
    ),
    "property is a number": (label([ROOT, 8]), "properties[1] is 8; it must be a JSON object"),
    "no label-value": (
        label([{"name": "root"}]),
        "properties[0] has the label-value None; it must",
    ),
    "text": (label([ROOT | {"label-value": "997"}]), "has the label-value '997'"),
    "float": (label([ROOT | {"label-value": 997.0}]), "has the label-value 997.0"),
    "bool": (label([ROOT | {"label-value": True}]), "has the label-value True"),
    "list": (label([ROOT | {"label-value": [1]}]), "has the label-value [1]"),
    "negative": (label([ROOT | {"label-value": -1}]), "integer from 0 to 4294967295"),
    "too large": (label([ROOT | {"label-value": 2**32}]), "has the label-value 4294967296"),
    "twice": (label([ROOT, CHILD, ROOT]), "properties has the label-value 997 more than once"),
    "colour twice": (label([], [ROOT, ROOT]), "colors has the label-value 997 more than once"),
    "colour of a text": (label([], [{"label-value": "1"}]), "colors[0] has the label-value '1'"),
    "no parent": (label([{"label-value": 8}]), "parent_structure_id of 8 is 'missing'"),
    "parent of a text": (label([CHILD | {"parent_structure_id": "997"}]), "of 8 is '997'; it must"),
    "parent of a list": (label([CHILD | {"parent_structure_id": [997]}]), "of 8 is [997]"),
    "missing parent": (label([CHILD]), "damaged: parents are missing from the structures: 8"),
    "own parent": (
        label([CHILD | {"parent_structure_id": 8}]),
        "damaged: structures descend from themselves: 8",
    ),
    "depth": (label(chain(20_000)), "damaged: structures are nested deeper than 100 levels"),
    "path of a text": (
        label([ROOT | {"structure_id_path": "/997/"}]),
        "of 997 is '/997/'; it must",
    ),
    "path of floats": (label([ROOT | {"structure_id_path": [997.0]}]), "of 997 is [997.0]"),
    "empty path": (label([ROOT | {"structure_id_path": []}]), "structure_id_path of 997 is []"),
    "path to another": (
        label([ROOT, CHILD | {"structure_id_path": [997, 9]}]),
        "structure_id_path of 8 contradicts that of its parent",
    ),
    "lists are a list": (label([ROOT], refspace=[]), "image-label.refspace is []; it must be a"),
    "lists of a field": (label([ROOT], refspace={"a": [1]}), "refspace.a is [1]; it must be a"),
    "lists of nothing": (
        label([ROOT], refspace={"a": {"0997": []}}),
        "damaged: image-label.refspace has 'a' of '0997', which is no label, or has it already",
    ),
    "lists of a value": (
        label([ROOT | {"a": 1}], refspace={"a": {"997": []}}),
        "has 'a' of '997', which is no label, or has it already",
    ),
    "lists of labels": (label([ROOT], refspace={"label-value": {"997": [8]}}), "'label-value' of"),
    **{
        f"rgba {rgba}": (
            label([ROOT], [{"label-value": 997, "rgba": rgba}]),
            f"image-label.colors are damaged: rgba of 997 is {rgba!r}; it must be four integers",
        )
        for rgba in ([1, 2, 3], [1, 2, 3, 256], [1, 2, 3, -1], [1.0] * 4, [True] * 4, "1234", 5, {})
    },
}


@pytest.mark.parametrize("fault", DAMAGED_LABELS)
def test_a_damaged_ontology_says_what_is_wrong(fault):
    group, text = DAMAGED_LABELS[fault]
    refuses(nodes_from_label, group, text=text)


def places(value):
    """Every place in a JSON value, as the keys that lead there."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (key,)
        if isinstance(inner, dict | list):
            yield from ((key, *rest) for rest in places(inner))


def replaced(value, place, other):
    changed = copy.deepcopy(value)
    *above, last = place
    inner = changed
    for key in above:
        inner = inner[key]
    inner[last] = other
    return changed


WHOLE = labelled(
    [
        {"id": 1, "name": "root", "rgb_triplet": [1, 2, 3], "structure_id_path": [1]},
        {"id": 2, "parent_structure_id": 1, "structure_id_path": [1, 2], "sets": [3]},
    ],
    template=TEMPLATE,
)
hostile = json_values | st.floats() | st.integers() | st.just(10**400)


@given(st.sampled_from(list(places(WHOLE))), hostile, st.sampled_from(["0.5", "0.4"]))
def test_nothing_but_errors_of_ours_comes_of_damage(place, other, version):
    group = replaced(WHOLE, place, other)
    if version == "0.4" and isinstance(group["ome"], dict):
        group = {k: v for k, v in group["ome"].items() if k != "version"}
    for read in (grids_of, tree_of, label_names, is_label):
        with suppress(RefspaceError):
            read(group)


def grids_of(group):
    for multiscale in read_multiscales(group):
        for dataset in multiscale.datasets:
            dataset_grid(multiscale, dataset, (8, 6, 4))


def tree_of(group):
    StructureTree(nodes_from_label(group))


# ----- what others say of it


@pytest.fixture(scope="module", params=["phantom", pytest.param("ccf", marks=pytest.mark.ccf)])
def written(request):
    """Label image of a real ontology, with a template."""
    if request.param == "phantom":
        tree = phantom().structure_tree
    else:
        tree = read_structures(request.getfixturevalue("ccf_data") / "structures_1.json")
    return labelled(tree.nodes(), template=TEMPLATE)


def test_yaozarrs_accepts_it(written):
    yaozarrs = pytest.importorskip("yaozarrs")
    found = yaozarrs.validate_ome_object(written["ome"], yaozarrs.v05.LabelImage)
    assert len(found.multiscales) == 2
    values = [entry.label_value for entry in found.image_label.properties]
    assert values == [node["id"] for node in nodes_from_label(written)]


def test_ome_zarr_models_accepts_it(written):
    models = pytest.importorskip("ome_zarr_models.v05.image_label")
    found = models.ImageLabelAttrs.model_validate(written["ome"])
    assert [entry.name for entry in found.multiscales] == ["annotation", "template"]
    assert len(found.image_label.colors) == len(nodes_from_label(written))


@pytest.mark.parametrize("model", ["label", "image"])
def test_the_strict_schema_accepts_it(written, model):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    ngff_zarr.validate(written, version="0.5", model=model, strict=True)


def test_structures_without_a_colour_have_a_made_up_one():
    yaozarrs = pytest.importorskip("yaozarrs")
    ngff_zarr = pytest.importorskip("ngff_zarr")
    colours = StructureTree([{"id": 2}]).get_colormap()
    assert WHOLE["ome"]["image-label"]["colors"][1]["rgba"] == [*colours[2], 255]
    assert "rgb_triplet" not in nodes_from_label(WHOLE)[1]
    # One that is stated is kept, though it is the same.
    stated = labelled([{"id": 2, "rgb_triplet": colours[2], "structure_id_path": [2]}])
    assert nodes_from_label(stated)[0]["rgb_triplet"] == colours[2]
    assert_comes_back(StructureTree([{"id": 2, "color_hex_triplet": "010203"}, {"id": 3}]))
    nodes = [{"id": 2, "structure_id_path": [2]}]
    assert structures_dataset(nodes).rgb.values.tolist() == [colours[2]]
    masks = mask_attributes("s0/mask", LEVELS[0][1], nodes)
    assert masks["omero"]["channels"][0]["color"] == "{:02X}{:02X}{:02X}".format(*colours[2])
    for group in (WHOLE, stated):
        yaozarrs.validate_ome_object(group["ome"], yaozarrs.v05.LabelImage)
        ngff_zarr.validate(group, version="0.5", model="label", strict=True)


def test_the_schema_of_rfc_4_accepts_its_axes(written):
    validation = pytest.importorskip("ngff_zarr.rfc4_validation")
    for entry in written["ome"]["multiscales"]:
        validation.validate_rfc4_orientation(entry["axes"])
