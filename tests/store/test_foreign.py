"""Label images that other programs wrote, and stores that are damaged or hostile."""

import itertools
import json
import random
import shutil
import warnings
from pathlib import Path

import ngff_zarr
import numpy as np
import pytest
import zarr
from helpers.foreign_stores import (
    COARSE,
    PIR,
    SHAPE,
    TREE,
    VERSIONS,
    VOXELS,
    nested,
    opened,
    write,
)
from ome_zarr.format import FormatV04, FormatV05

import refspace
from refspace import ReferenceSpace
from refspace.errors import AnnotationError, FormatError, GridError, RefspaceError, StoreError
from refspace.grid import Grid
from refspace.labels import labelled
from refspace.store.digests import metadata_digest

pytestmark = pytest.mark.usefixtures("no_sync")


# ----- written with zarr alone


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("micrometer", 1), ("nanometer", 1000), ("millimeter", 0.001), ("um", 1), ("µm", 1)],
)
def test_units(tmp_path, version, unit, factor):
    levels = [(VOXELS, 25 * factor), (COARSE, 50 * factor)]
    write(tmp_path / "a", version, levels, unit=unit)
    space = opened(tmp_path / "a")
    assert space.grid == Grid(SHAPE, (25, 25, 25))
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    assert space.annotation.ap.values.tolist() == Grid(SHAPE, (25,) * 3).coordinates("ap").tolist()
    coarse = opened(tmp_path / "a", resolution=50)
    assert coarse.grid == Grid(COARSE.shape, (50, 50, 50))
    np.testing.assert_array_equal(coarse.annotation.values, COARSE)
    with pytest.raises(GridError, match=r"has no level of 33 µm; it has 25, 50 µm: open one of"):
        opened(tmp_path / "a", resolution=33)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_unit(tmp_path, version):
    write(tmp_path / "a", version, unit=None)
    with pytest.raises(GridError, match=r"a: the axes z, y, x have no unit; give resolution="):
        opened(tmp_path / "a")
    assert opened(tmp_path / "a", resolution=10).grid == Grid(SHAPE, (10, 10, 10))


def test_units_that_are_no_length(tmp_path):
    write(tmp_path / "a", unit="second")
    with pytest.raises(FormatError, match=r"a: axis z has the unit 'second', which is none of"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("names", ["zyx", "abc", ("ap", "dv", "ml"), "xyz"])
def test_names_of_axes(tmp_path, version, names):
    write(tmp_path / "a", version, names=names)
    np.testing.assert_array_equal(opened(tmp_path / "a").annotation.values, VOXELS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("extra", ["c", "t", "tc"])
def test_axes_of_one(tmp_path, version, extra):
    write(tmp_path / "a", version, extra=extra)
    space = opened(tmp_path / "a")
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    np.testing.assert_array_equal(space.annotation.isel(dv=slice(1, 3)).values, VOXELS[:, 1:3])
    assert space.grid == Grid(SHAPE, (25, 25, 25))


def test_axes_that_are_long(tmp_path):
    group = write(tmp_path / "a", extra="c")
    del group["0"]
    group.create_array("0", shape=(2, *SHAPE), dtype="u4", chunks=(1, 4, 4, 4))
    with pytest.raises(FormatError, match="more than one volume: c has length 2"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("version", VERSIONS)
def test_orientation(tmp_path, version):
    write(tmp_path / "bare", version)
    text = (
        r"bare: the axes do not state in which directions they run \(z: nothing, y: nothing, "
        "x: nothing\\); give orientation=, three letters like 'PIR', that of the Allen CCF$"
    )
    with pytest.raises(GridError, match=text):
        refspace.open(tmp_path / "bare", structures=TREE)
    assert opened(tmp_path / "bare", orientation="RAS").grid.orientation == "RAS"
    write(tmp_path / "stated", version, orientation=PIR)
    assert refspace.open(tmp_path / "stated", structures=TREE).grid.orientation == "PIR"
    with pytest.raises(GridError, match="orientation 'RAS' contradicts the axes, which state z:"):
        opened(tmp_path / "stated", orientation="RAS")
    with pytest.raises(GridError, match="is not a code of three letters"):
        opened(tmp_path / "bare", orientation="zyx")


@pytest.mark.parametrize("paths", [("0", "1"), ("s0", "s1"), ("a/b", "scale1/image"), ("0 µ", "#")])
def test_paths_of_levels(tmp_path, paths):
    write(tmp_path / "a", paths=paths)
    np.testing.assert_array_equal(opened(tmp_path / "a").annotation.values, VOXELS)
    np.testing.assert_array_equal(opened(tmp_path / "a", resolution=50).annotation.values, COARSE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("fill", [0, 8])
def test_chunks_that_were_not_written(tmp_path, version, separator, fill):
    omit = [(0, 0, 0), (4, 4, 0)]
    write(tmp_path / "a", version, separator=separator, fill=fill, omit=omit)
    expected = VOXELS.copy()
    expected[:4, :4], expected[4:, 4:] = fill, fill
    space = opened(tmp_path / "a")
    np.testing.assert_array_equal(space.annotation.values, expected)
    assert space.total_voxel_map[997] == (expected > 0).sum()
    converted = refspace.convert(tmp_path / "a", TREE, tmp_path / "b.zarr", orientation="PIR")
    np.testing.assert_array_equal(converted.annotation.values, expected)


def test_no_chunk_at_all(tmp_path):
    write(tmp_path / "a", omit=list(itertools.product((0, 4), (0, 4), (0,))), levels=[(VOXELS, 25)])
    assert not opened(tmp_path / "a").annotation.values.any()


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u8", "f4", "f8", ">u4", ">i2"])
@pytest.mark.parametrize("version", VERSIONS)
def test_types_of_labels(tmp_path, dtype, version):
    voxels = (VOXELS % 120).astype(dtype)
    write(tmp_path / "a", version, [(voxels, 25)])
    space = opened(tmp_path / "a")
    np.testing.assert_array_equal(space.annotation.values, voxels)
    assert space.annotation.dtype == np.uint32


@pytest.mark.parametrize(("dtype", "value"), [("i4", -8), ("f4", 0.5), ("f4", np.nan)])
def test_values_that_are_no_ids(tmp_path, dtype, value):
    voxels = VOXELS.astype(dtype)
    voxels[0, 0, 0] = value
    write(tmp_path / "a", levels=[(voxels, 25)])
    space = opened(tmp_path / "a")
    with pytest.raises(AnnotationError, match="annotation holds"):
        space.annotation.compute()


@pytest.mark.parametrize("dtype", ["bool", "c8", "M8[s]"])
def test_arrays_of_no_labels(tmp_path, dtype):
    group = write(tmp_path / "a")
    del group["0"]
    group.create_array("0", shape=SHAPE, dtype=dtype, chunks=(4, 4, 4))
    with pytest.raises(FormatError, match=r"0 is no array of labels|0: its values are of the type"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", ["", "/", "/labels", "/labels/", "/labels/brain", "/labels/a/b"])
def test_label_images_within_images(tmp_path, version, place):
    name = "a/b" if place.endswith("b") else "brain"
    nested(tmp_path / "image.zarr", version, [name])
    space = opened(f"{tmp_path}/image.zarr{place}")
    np.testing.assert_array_equal(space.annotation.values, VOXELS)


@pytest.mark.parametrize("version", VERSIONS)
def test_several_label_images(tmp_path, version):
    nested(tmp_path / "i", version, ["brain", "cells"])
    url = f"{tmp_path}/i"
    text = rf"has several label images; open one of {url}/labels/brain, {url}/labels/cells$"
    for place in ("", "/labels"):
        with pytest.raises(FormatError, match=text):
            opened(url + place)
    assert opened(f"{url}/labels/cells").annotation.shape == SHAPE


def test_label_images_that_are_not_there(tmp_path):
    nested(tmp_path / "i")
    shutil.rmtree(tmp_path / "i" / "labels" / "brain")
    with pytest.raises(StoreError, match=r"there is no zarr store at .*i/labels/brain$"):
        opened(tmp_path / "i")
    labels = tmp_path / "i" / "labels" / "zarr.json"
    for text in ("<html>", "[1]", "{", '{"zarr_format": 3, "node_type": "nothing"}'):
        labels.write_text(text)
        with pytest.raises(FormatError, match=r"i: labels/zarr\.json is n"):
            opened(tmp_path / "i")
    group = zarr.open_group(tmp_path / "i" / "labels", mode="w")
    for names in (["../0"], ["/etc"], [5], "brain", {"a": 1}):
        group.attrs["ome"] = {"version": "0.5", "labels": names}
        with pytest.raises(FormatError, match=r"i: labels(\[0\])? is .*; it must be a"):
            opened(tmp_path / "i")


@pytest.mark.parametrize("version", VERSIONS)
def test_structures_must_be_given(tmp_path, version):
    write(tmp_path / "a", version)
    with pytest.raises(FormatError, match=r"a names no structures; give structures=, a tree or"):
        refspace.open(tmp_path / "a", orientation="PIR")
    path = tmp_path / "structures.json"
    refspace.write_structures(path, TREE)
    space = refspace.open(tmp_path / "a", orientation="PIR", structures=path)
    assert space.structure_tree.node_ids() == TREE.node_ids()
    assert dict(space.provenance) == {}
    assert space.template is None


# ----- written by others


@pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=VERSIONS)
@pytest.mark.parametrize("place", ["", "/labels", "/labels/brain"])
def test_ome_zarr_py(tmp_path, fmt, place):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=fmt.zarr_format)
    how = {
        "axes": "zyx",
        "fmt": fmt,
        "scale": dict.fromkeys("zyx", 0.025),
        "axes_units": dict.fromkeys("zyx", "millimeter"),
    }
    with warnings.catch_warnings():
        # Its default arguments are deprecated, by itself.
        warnings.simplefilter("ignore")
        import ome_zarr.writer

        intensities = np.random.default_rng(0).random(SHAPE)
        ome_zarr.writer.write_image(intensities, group, scale_factors=[], **how)
        ome_zarr.writer.write_labels(VOXELS, group, name="brain", **how)
    space = opened(f"{tmp_path}/a.zarr{place}")
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    # It puts the centre of the first voxel at 0.
    assert space.grid == Grid(SHAPE, (25, 25, 25), (-12.5, -12.5, -12.5))
    assert space.annotation.ml.values.tolist() == [0, 25, 50, 75]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("orientation", [None, "LPS"])
def test_ngff_zarr(tmp_path, version, orientation):
    image = ngff_zarr.to_ngff_image(
        VOXELS,
        dims=["z", "y", "x"],
        scale=dict.fromkeys("zyx", 25),
        translation=dict.fromkeys("zyx", 12.5),
        name="brain",
        axes_units=dict.fromkeys("zyx", "micrometer"),
    )
    levels = ngff_zarr.to_multiscales(
        image,
        scale_factors=[2],
        method=ngff_zarr.Methods.DASK_IMAGE_MODE,
        chunks=4,
        orientation=orientation,
    )
    ngff_zarr.to_ngff_zarr(tmp_path / "a.zarr", levels, version=version)
    # Its orientations are those of x, y and z.
    given, code = ({"orientation": "PIR"}, "PIR") if orientation is None else ({}, "SPL")
    for resolution, expected in [(25, VOXELS), (50, levels.images[1].data.compute())]:
        space = refspace.open(tmp_path / "a.zarr", structures=TREE, resolution=resolution, **given)
        np.testing.assert_array_equal(space.annotation.values, expected)
        assert space.grid == Grid(expected.shape, (resolution,) * 3, orientation=code)
    converted = refspace.convert(tmp_path / "a.zarr", TREE, tmp_path / "b.zarr", **given)
    assert converted.grid.orientation == code
    np.testing.assert_array_equal(converted.annotation.values, VOXELS)


# ----- bare arrays, and what is no store


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bare_arrays(tmp_path, zarr_format):
    zarr.create_array(
        tmp_path / "a", shape=SHAPE, dtype="u4", chunks=(3, 3, 3), zarr_format=zarr_format
    )[...] = VOXELS
    with pytest.raises(GridError, match="a is an array without geometry; give its resolution in"):
        opened(tmp_path / "a")
    space = refspace.open(tmp_path / "a", structures=TREE, resolution=(10, 20, 30))
    assert space.grid == Grid(SHAPE, (10, 20, 30))
    assert opened(tmp_path / "a", resolution=10, orientation="LPS").grid.orientation == "LPS"
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    zarr.create_array(tmp_path / "b", shape=(4, 4), dtype="u4", zarr_format=zarr_format)
    with pytest.raises(FormatError, match=r"has shape \(4, 4\); a volume has three axes"):
        opened(tmp_path / "b", resolution=10)
    for dtype in ("bool", "c8"):
        zarr.create_array(tmp_path / dtype, shape=SHAPE, dtype=dtype, zarr_format=zarr_format)
        with pytest.raises(RefspaceError, match=r"structure ids are|its values are of the type"):
            opened(tmp_path / dtype, resolution=10)


def test_places_without_a_store(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    with pytest.raises(FormatError, match="text: starts with b'hello', like no format"):
        opened(tmp_path / "text")
    for name in ("empty", "other", "missing", "missing/deeper", "text/deeper"):
        with pytest.raises(StoreError, match=rf"there is no zarr store at .*/{name}$"):
            opened(tmp_path / name)
    with pytest.raises(StoreError, match=r"there is no zarr store at memory://nothing"):
        opened("memory://nothing.zarr")


GROUP = '{"zarr_format": 3, "node_type": "group", "attributes": %s}'
ROOTS = {
    "an HTML page": ("<!DOCTYPE html><html><body>404</body></html>", FormatError, "is no JSON"),
    "nothing": ("", FormatError, "is no JSON"),
    "half": (GROUP[:30], FormatError, "is no JSON"),
    "no text": ("\0\1\2", FormatError, "is no JSON"),
    "a deep list": ("[" * 100_000, FormatError, "is no JSON"),
    "a list": ("[1]", FormatError, "not the metadata of a zarr node"),
    "null": ("null", FormatError, "not the metadata of a zarr node"),
    "no format": ("{}", FormatError, "not the metadata of a zarr node"),
    "zarr 4": ('{"zarr_format": 4}', FormatError, "not the metadata of a zarr node"),
    "an array of nothing": ('{"zarr_format": 3, "node_type": "array"}', FormatError, "damaged"),
    "a bare group": (GROUP % "{}", FormatError, "is neither an image of OME-Zarr, nor a group of"),
    "odd attributes": (GROUP % "5", FormatError, "attributes that are no mapping"),
    "null attributes": (GROUP % "null", FormatError, "attributes that are no mapping"),
    "an odd ome": (GROUP % '{"ome": 5}', FormatError, "ome is 5; it must be a JSON object"),
    "version 0.7": (
        GROUP % '{"ome": {"version": "0.7", "multiscales": [{}]}}',
        FormatError,
        r"root: the metadata are of OME-Zarr version '0\.7'; 0\.4 .* 0\.5 and 0\.6 .* are read",
    ),
    "not complete": (
        GROUP % '{"refspace": {"format": 1}}',
        StoreError,
        "is not complete: .* the same again",
    ),
    "complete: 1": (GROUP % '{"refspace": {"complete": 1}}', StoreError, "is not complete"),
    "odd facts": (GROUP % '{"refspace": []}', StoreError, "is not complete"),
    "a later format": (
        GROUP % '{"refspace": {"complete": true, "format": 6}}',
        FormatError,
        "has format 6; this refspace reads 5: upgrade refspace",
    ),
    "an earlier format": (
        GROUP % '{"refspace": {"complete": true, "format": 2}}',
        FormatError,
        "has format 2, of an earlier refspace; this one reads 5: write it again",
    ),
    "an odd format": (
        GROUP % '{"refspace": {"complete": true, "format": "new"}}',
        FormatError,
        "has format 'new'; this refspace reads 5: upgrade refspace",
    ),
    "no digest": (
        GROUP
        % '{"ome": {}, "refspace": {"complete": true, "format": 5, "arrays": {}, "objects": {}, '
        '"provenance": {}}}',
        FormatError,
        "has no 'consolidated_metadata'",
    ),
}


@pytest.mark.parametrize("kind", ROOTS)
def test_roots_that_are_none(tmp_path, kind):
    text, error, message = ROOTS[kind]
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "zarr.json").write_text(text)
    with pytest.raises(error, match=message) as caught:
        opened(tmp_path / "root")
    assert "root" in str(caught.value)


@pytest.mark.parametrize("name", [".zgroup", ".zarray", ".zattrs"])
@pytest.mark.parametrize("text", ["<html>", "", "{", "[]", "{}", "null", '{"zarr_format": 2}'])
def test_roots_of_zarr_2_that_are_none(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(RefspaceError):
        opened(tmp_path)


@pytest.mark.parametrize("version", ["0.0", "0.5", "0.6", "0.7", "1.0", "0.4 "])
def test_other_versions(tmp_path, version):
    group = write(tmp_path / "a", "0.4")
    (image,) = group.attrs["multiscales"]
    group.attrs["multiscales"] = [image | {"version": version}]
    with pytest.raises(FormatError, match=rf"a: the metadata are of OME-Zarr version '{version}'"):
        opened(tmp_path / "a")


# ----- damaged images of others


def rewrite(path, change):
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def first_dataset(document):
    return document["attributes"]["ome"]["multiscales"][0]["datasets"][0]


def set_path(path):
    return lambda document: first_dataset(document).update(path=path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("5", "there is no array '5'"),
        ("", "must be a path below the group"),
        ("../0", "must be a path below the group"),
        ("/0", "must be a path below the group"),
        ("0/0", "there is no array '0/0'"),
        (5, "must be a path below the group"),
        ("group", "group is a group, and no array"),
    ],
)
def test_levels_that_are_not_there(tmp_path, path, text):
    write(tmp_path / "a").create_group("group")
    rewrite(tmp_path / "a" / "zarr.json", set_path(path))
    with pytest.raises(FormatError, match=text):
        opened(tmp_path / "a")


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        ([10**12] * 3, FormatError, "voxels along an axis, of at most 10000000; if it is right"),
        ([10**6] * 3, FormatError, r"0 has the shape \(1000000, 1000000, 1000000\) in 1562\d+ ch"),
        ([2**70] * 3, FormatError, "it must be at most 32 whole numbers from 0 on"),
        ([10**8, 1, 1], FormatError, "raise the limit by .*axis_length"),
        ([0, 6, 4], RefspaceError, "an axis without voxels|at least one voxel"),
        ([-8, 6, 4], FormatError, "0: its shape is"),
        ([8, 6], FormatError, "differ in their number of axes"),
        ([8, 6, 4, 1], FormatError, "differ in their number of axes"),
        (["8", 6, 4], FormatError, "0: its shape is"),
        (None, FormatError, "0: its shape is"),
    ],
)
def test_shapes_that_are_none(tmp_path, shape, error, text):
    write(tmp_path / "a", levels=[(VOXELS, 25)])

    def change(document):
        document["shape"] = shape

    rewrite(tmp_path / "a" / "0" / "zarr.json", change)
    with pytest.raises((error, FormatError), match=text):
        opened(tmp_path / "a").annotation.compute()


@pytest.mark.parametrize("size", [0, -1, 2**70, "4", None, 1.5])
def test_chunks_that_are_none(tmp_path, size):
    write(tmp_path / "a", levels=[(VOXELS, 25)])

    def change(document):
        document["chunk_grid"]["configuration"]["chunk_shape"][0] = size

    rewrite(tmp_path / "a" / "0" / "zarr.json", change)
    with pytest.raises(RefspaceError):
        opened(tmp_path / "a").annotation.compute()


@pytest.mark.promise(
    "a store of another program is damaged in a way that its codec notices",
    "an error that names the chunk",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_chunks(tmp_path, version):
    write(tmp_path / "a", version)
    name = "0/c/1/0/0" if version == "0.5" else "0/1/0/0"
    chunk = tmp_path / "a" / name
    for data in (b"", b"damaged", chunk.read_bytes()[:20]):
        chunk.write_bytes(data)
        space = opened(tmp_path / "a")
        with pytest.raises(FormatError, match=f"chunk {name} cannot be read: .* is damaged"):
            space.annotation.compute()
        np.testing.assert_array_equal(space.annotation[:4].values, VOXELS[:4])
        with pytest.raises(FormatError, match=f"chunk {name} cannot be read"):
            refspace.convert(tmp_path / "a", TREE, tmp_path / "b.zarr", orientation="PIR")
        assert not (tmp_path / "b.zarr").exists()


# ----- damaged stores of ours

LABELS = np.array([0, 8, 997, 2**32 - 1], "u4")


@pytest.fixture(scope="module")
def ours():
    """A small space, of several levels and blocks."""
    grid = Grid((9, 7, 10), (25, 25, 25), (100, 0, -12.5))
    numbers = np.random.default_rng(0)
    template = labelled(numbers.integers(0, 500, grid.shape).astype("u2"), grid, "template")
    return ReferenceSpace(
        TREE, labelled(numbers.choice(LABELS, grid.shape), grid), template=template
    )


@pytest.fixture(scope="module", params=[{"chunks": 5}, {"chunks": 3, "shards": 6}])
def written(request, ours, tmp_path_factory):
    url = tmp_path_factory.mktemp("ours") / "atlas.zarr"
    ours.to_zarr(url, **request.param)
    return url


@pytest.fixture
def store(written, tmp_path):
    """A store to be damaged."""
    return shutil.copytree(written, tmp_path / "atlas.zarr")


def everything(url):
    """All that a store says."""
    said = []
    for level in range(2):
        space = refspace.open(url, resolution=25 * 2**level)
        volumes = [space.annotation, space.template]
        said += [volume.values.tolist() for volume in volumes]
        said += [volume[dim].values.tolist() for volume in volumes for dim in volume.dims]
        said += [volume[dim].attrs for volume in volumes for dim in volume.dims]
        said += [volume.attrs for volume in volumes]
        said += [space.grid, space.structure_tree.nodes(), dict(space.provenance)]
        said += [space.label_index.counts()]
    return said


def files_of(url):
    """Files that a reader of ours needs, and a few that are there for others."""
    chunks = sorted(path for path in url.rglob("*") if path.is_file() and path.name != "zarr.json")
    return [url / "zarr.json", url / "s0/zarr.json", url / "s0/annotation/zarr.json", *chunks]


def survives(url, expected):
    """Whether a damaged store is refused, or says what it said before."""
    try:
        with warnings.catch_warnings():
            # Of an index that is not used.
            warnings.simplefilter("ignore", UserWarning)
            assert everything(url) == expected
    except RefspaceError:
        return False
    return True


@pytest.mark.slow
def test_flipped_bits_never_change_what_is_said(store):
    expected = everything(store)
    draw = random.Random(7)
    damaged = refused = 0
    for path in files_of(store):
        whole = path.read_bytes()
        at_root = path == store / "zarr.json"
        for _ in range(40 if at_root else 1):
            flipped = bytearray(whole)
            flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(flipped)
            damaged += 1
            refused += not survives(store, expected)
        path.write_bytes(whole)
    # The columns of the ontology, and the metadata of nodes, are read by others alone.
    assert damaged / 2 < refused < damaged


@pytest.mark.promise("a store of another program is damaged in a way that its codec notices")
@pytest.mark.slow
def test_truncated_and_missing_files_never_change_what_is_said(store):
    expected = everything(store)
    damages = itertools.cycle([lambda b: b"", lambda b: b[:-1], lambda b: b + b"x", lambda b: None])
    for path in files_of(store):
        whole = path.read_bytes()
        voxels = "/c/" in str(path) and path.relative_to(store).parts[0] in ("s0", "s1")
        for damage in itertools.islice(damages, 3 if voxels else 1):
            path.unlink()
            part = damage(whole)
            path.mkdir() if part is None else path.write_bytes(part)
            assert not (survives(store, expected) and voxels)
            if part is None:
                path.rmdir()
            path.write_bytes(whole)
    assert everything(store) == expected


def test_what_is_missing_is_named(store):
    path = store / "s0" / "annotation" / "c" / "0" / "1" / "0"
    whole = path.read_bytes()
    path.unlink()
    space = refspace.open(store)
    text = r"chunk s0/annotation/c/0/1/0 is missing; the store is damaged: write it again, or"
    with pytest.raises(FormatError, match=text):
        space.annotation.compute()
    path.write_bytes(whole[:-1])
    with pytest.raises(FormatError, match="chunk s0/annotation/c/0/1/0 is not the one that"):
        space.annotation.compute()
    path.write_bytes(whole)
    centres = store / "s0" / "ap" / "c" / "0"
    whole = centres.read_bytes()
    centres.unlink()
    with pytest.raises(FormatError, match="chunk s0/ap/c/0 is missing"):
        refspace.open(store)
    centres.write_bytes(whole)


def test_a_damaged_index_is_not_trusted(store, ours):
    path = store / "label_index" / "s0" / "table" / "c" / "0" / "0"
    whole = path.read_bytes()
    for data in (whole[:-1], b"", (store / "label_index/s1/table/c/0/0").read_bytes()):
        path.write_bytes(data)
        space = refspace.open(store)
        with pytest.warns(
            UserWarning, match=r"the label index of s0/annotation is not used: .* Vox"
        ):
            counts = space.total_voxel_map
        assert counts == ours.total_voxel_map
    path.write_bytes(whole)


@pytest.fixture
def document(store):
    """Root metadata of the store."""
    return json.loads((store / "zarr.json").read_bytes())


def sealed(document):
    """Metadata with a digest that is right, as somebody with bad intentions makes them."""
    document["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(document)
    return json.dumps(document)


def nodes_of(document):
    return document["consolidated_metadata"]["metadata"]


HOSTILE = {
    "a level without its array": lambda d: nodes_of(d).pop("s0/annotation"),
    "a level without centres": lambda d: nodes_of(d).pop("s0/ap"),
    "no arrays": lambda d: d["consolidated_metadata"].update(metadata={}),
    "no metadata": lambda d: d["consolidated_metadata"].clear(),
    "another shape": lambda d: nodes_of(d)["s0/annotation"].update(shape=[9, 7, 11]),
    "a huge shape": lambda d: nodes_of(d)["s0/annotation"].update(shape=[2**40] * 3),
    "a huge axis": lambda d: nodes_of(d)["s0/ap"].update(shape=[2**70]),
    "a small axis": lambda d: nodes_of(d)["s0/ap"].update(shape=[3]),
    "two axes": lambda d: nodes_of(d)["s0/ap"].update(shape=[3, 3]),
    "another type": lambda d: nodes_of(d)["s0/ap"].update(data_type="int64"),
    "chunks of nothing": lambda d: nodes_of(d)["s0/annotation"]["chunk_grid"][
        "configuration"
    ].update(chunk_shape=[0, 5, 5]),
    "an unknown codec": lambda d: nodes_of(d)["s0/annotation"].update(codecs=[{"name": "pickle"}]),
    "no codecs": lambda d: nodes_of(d)["s0/annotation"].update(codecs=[]),
    "odd attributes": lambda d: nodes_of(d)["s0/annotation"].update(attributes=[1]),
    "odd provenance": lambda d: d["attributes"]["refspace"].update(provenance="x"),
    "odd digests": lambda d: d["attributes"]["refspace"].update(arrays="x"),
    "an odd digest": lambda d: d["attributes"]["refspace"]["arrays"].update({"s0/annotation": 5}),
    "no image": lambda d: d["attributes"]["ome"].pop("multiscales"),
    "no levels": lambda d: d["attributes"]["ome"]["multiscales"][0].update(datasets=[]),
    "no axes": lambda d: d["attributes"]["ome"]["multiscales"][0].update(axes=[]),
    "a path that leads out": lambda d: first_dataset(d).update(path="../../etc"),
    "an odd scale": lambda d: first_dataset(d)["coordinateTransformations"][0].update(
        scale=[0] * 3
    ),
    "an odd ontology": lambda d: d["attributes"]["ome"]["image-label"].update(properties=[5]),
    "a circle": lambda d: d["attributes"]["ome"]["image-label"]["properties"][0].update(
        parent_structure_id=8
    ),
}


@pytest.mark.promise(
    "metadata of a store of another program are hostile",
    "an error of ours before anything is allocated",
)
@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_metadata(store, document, change):
    HOSTILE[change](document)
    # As it is, the digest tells; where that has been made anew, what is wrong does.
    (store / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        refspace.open(store)
    (store / "zarr.json").write_text(sealed(document))
    with pytest.raises(RefspaceError):
        refspace.open(store).annotation.compute()


ODD = [
    None,
    0,
    -1,
    2**70,
    1e300,
    "",
    "x",
    "../x",
    [],
    {},
    [1],
    {"a": 1},
    True,
    float("nan"),
    10**12,
]


def places_in(value, place=()):
    """Where there is a value, within a JSON document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*place, key)
        if isinstance(part, dict | list):
            yield from places_in(part, (*place, key))


@pytest.mark.promise("metadata of a store of another program are hostile")
def test_random_changes_raise_errors_of_ours(store, document):
    text = json.dumps(document)
    places = list(places_in(document))
    draw = random.Random(3)
    for _ in range(100):
        changed = json.loads(text)
        *above, last = draw.choice(places)
        inner = changed
        for key in above:
            inner = inner[key]
        inner[last] = draw.choice(ODD)
        try:
            changed = sealed(changed)
        except (KeyError, TypeError, AttributeError):
            changed = json.dumps(changed)
        (store / "zarr.json").write_text(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                everything(store)
            except RefspaceError:
                continue


def test_attributes_of_others_are_no_damage(store, document, ours):
    document["attributes"]["note"] = "looked at"
    (store / "zarr.json").write_text(json.dumps(document))
    assert refspace.open(store).direct_voxel_map == ours.direct_voxel_map


def test_an_interrupted_run_is_told(tmp_path, ours):
    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours.to_zarr(tmp_path / "atlas.zarr", progress=stop)
    text = r"there is no zarr store at .*: an unfinished conversion lies in .*; run it again with"
    with pytest.raises(StoreError, match=text):
        refspace.open(tmp_path / "atlas.zarr")
    with pytest.raises(StoreError, match=r"there is no zarr store|is not complete"):
        refspace.open(Path(tmp_path / ".atlas.zarr.partial"))
