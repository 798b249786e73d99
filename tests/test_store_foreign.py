"""OME-Zarr label images of other programs, opened with structures given."""

import itertools

import numpy as np
import pytest
import zarr

import refspace
from refspace import StructureTree
from refspace.errors import FormatError, GridError, RefspaceError, StoreError

TREE = StructureTree([{"id": 8, "acronym": "grey", "structure_id_path": [8]}])
VOXELS = np.zeros((5, 4, 6), np.uint32)
VOXELS[1:3, 2:, 3] = 8
VOXELS[4, 3, 5] = 2**32 - 1
SPACE = {"type": "space", "unit": "micrometer"}
ORIENTATIONS = ("anterior-to-posterior", "superior-to-inferior", "left-to-right")


def axes(names="zyx", unit="micrometer", oriented=True):
    made = []
    for name in names:
        if name in "tc":
            made.append({"name": name, "type": "time" if name == "t" else "channel"})
            continue
        axis = {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
        if oriented:
            value = ORIENTATIONS["zyx".index(name)]
            axis["orientation"] = {"type": "anatomical", "value": value}
        made.append(axis)
    return made


def multiscales(version, made, scales, paths):
    datasets = [
        {
            "path": path,
            "coordinateTransformations": [
                {"type": "scale", "scale": [1] * (len(made) - 3) + [scale] * 3}
            ],
        }
        for path, scale in zip(paths, scales, strict=True)
    ]
    entry = {"axes": made, "datasets": datasets, "name": "labels"}
    if version == "0.4":
        return {"multiscales": [{**entry, "version": "0.4"}], "image-label": {"version": "0.4"}}
    return {"ome": {"version": "0.5", "multiscales": [entry], "image-label": {}}}


def write(
    url,
    voxels=VOXELS,
    *,
    version="0.5",
    group="",
    made=None,
    scales=(25,),
    paths=("0",),
    separator="/",
    **keywords,
):
    """Write a label image with zarr alone, every level with the same voxels."""
    made = axes() if made is None else made
    form = 2 if version == "0.4" else 3
    root = zarr.open_group(url, mode="a", zarr_format=form)
    place = root.require_group(group) if group else root
    place.attrs.update(multiscales(version, made, scales, paths))
    data = voxels.reshape((1,) * (len(made) - 3) + voxels.shape)
    for path in paths:
        array = place.create_array(
            path,
            shape=data.shape,
            dtype=data.dtype,
            chunks=(1,) * (data.ndim - 3) + (2, 2, 4),
            fill_value=0,
            chunk_key_encoding={"name": "v2" if form == 2 else "default", "separator": separator},
            **keywords,
        )
        array[...] = data
    return url


def check(space, voxels=VOXELS, spacing=(25, 25, 25)):
    assert space.annotation.dtype == np.uint32
    np.testing.assert_array_equal(space.annotation.values, voxels)
    assert space.annotation.dims == ("ap", "dv", "ml")
    assert space.grid.spacing == spacing
    assert space.grid.orientation == "PIR"
    assert space.total_voxel_map == {8: 4}
    np.testing.assert_array_equal(space.make_structure_mask(8), voxels == 8)
    assert space.voxel_counts().attrs["unknown_ids"] == [2**32 - 1]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("names", ["zyx", "czyx", "tczyx"])
@pytest.mark.parametrize(
    ("unit", "scale"), [("micrometer", 25), ("millimeter", 0.025), ("nanometer", 25000)]
)
def test_versions_axes_and_units(tmp_path, version, separator, names, unit, scale):
    url = write(
        str(tmp_path / "labels.zarr"),
        version=version,
        separator=separator,
        made=axes(names, unit),
        scales=(scale,),
    )
    check(refspace.open(url, structures=TREE))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_nested_in_an_image(tmp_path, version):
    url = write(str(tmp_path / "image.zarr"), version=version, group="labels/atlas")
    labels = zarr.open_group(f"{url}/labels", mode="a", zarr_format=2 if version == "0.4" else 3)
    listed = {"labels": ["atlas"]}
    labels.attrs.update(listed if version == "0.4" else {"ome": {"version": "0.5", **listed}})
    for place in (url, f"{url}/labels", f"{url}/labels/atlas", f"{url}/"):
        check(refspace.open(place, structures=TREE))
    more = {"labels": ["atlas", "other"]}
    labels.attrs.update(more if version == "0.4" else {"ome": {"version": "0.5", **more}})
    with pytest.raises(FormatError, match=r"several label images; open one of .*atlas, .*other"):
        refspace.open(url, structures=TREE)


def test_levels(tmp_path):
    url = write(str(tmp_path / "a.zarr"), scales=(10, 20, 40), paths=("s0", "s1", "s2"))
    check(refspace.open(url, structures=TREE), spacing=(10, 10, 10))
    check(refspace.open(url, structures=TREE, resolution=20), spacing=(20, 20, 20))
    with pytest.raises(GridError, match=r"has no level of 25 µm; it has 10, 20, 40 µm"):
        refspace.open(url, structures=TREE, resolution=25)


def test_what_the_image_does_not_say_is_asked_for(tmp_path):
    url = write(str(tmp_path / "a.zarr"), made=axes(unit=None, oriented=False))
    with pytest.raises(FormatError, match=r"names no structures; give structures="):
        refspace.open(url, resolution=25, orientation="PIR")
    with pytest.raises(GridError, match="orientation="):
        refspace.open(url, structures=TREE, resolution=25)
    with pytest.raises(GridError, match="resolution"):
        refspace.open(url, structures=TREE, orientation="PIR")
    check(refspace.open(url, structures=TREE, resolution=25, orientation="PIR"))


def test_a_stated_orientation_is_not_overruled(tmp_path):
    url = write(str(tmp_path / "a.zarr"))
    with pytest.raises(GridError, match="contradicts"):
        refspace.open(url, structures=TREE, orientation="RAS")


def test_missing_chunks_are_background(tmp_path):
    url = write(str(tmp_path / "a.zarr"), np.zeros_like(VOXELS))
    assert not list((tmp_path / "a.zarr").glob("0/c/*/*/*"))
    assert refspace.open(url, structures=TREE).total_voxel_map == {8: 0}


@pytest.mark.parametrize("dtype", ["i4", "i8", "f8", ">u4", "u8"])
def test_other_types_become_ids(tmp_path, dtype):
    voxels = np.where(VOXELS == 8, 8, 0).astype(dtype)
    space = refspace.open(write(str(tmp_path / "a.zarr"), voxels), structures=TREE)
    np.testing.assert_array_equal(space.annotation.values, voxels)
    assert space.annotation.dtype == np.uint32
    wrong = write(str(tmp_path / "b.zarr"), -np.ones_like(VOXELS, "i4"))
    with pytest.raises(RefspaceError, match="holds -1"):
        refspace.open(wrong, structures=TREE).annotation.compute()


def test_several_times_or_channels_are_refused(tmp_path):
    url = str(tmp_path / "a.zarr")
    root = zarr.open_group(url, mode="w", zarr_format=3)
    root.attrs.update(multiscales("0.5", axes("czyx"), (25,), ("0",)))
    root.create_array("0", shape=(2, 5, 4, 6), dtype="u4", chunks=(1, 5, 4, 6))
    with pytest.raises(FormatError, match=r"(?s)a\.zarr.*c"):
        refspace.open(url, structures=TREE)


@pytest.mark.parametrize("compressor", ["blosc", "gzip", None, "zstd"])
def test_codecs(tmp_path, compressor):
    codecs = {
        "blosc": zarr.codecs.BloscCodec(),
        "gzip": zarr.codecs.GzipCodec(),
        "zstd": zarr.codecs.ZstdCodec(),
        None: None,
    }
    url = write(str(tmp_path / "a.zarr"), compressors=codecs[compressor])
    check(refspace.open(url, structures=TREE))


def test_bare_arrays(tmp_path):
    url = str(tmp_path / "a.zarr")
    for form in (2, 3):
        array = zarr.create_array(
            url, shape=VOXELS.shape, dtype="u4", chunks=(2, 2, 2), zarr_format=form, overwrite=True
        )
        array[...] = VOXELS
        check(refspace.open(url, structures=TREE, resolution=25))
        with pytest.raises(GridError, match="array without geometry; give its resolution"):
            refspace.open(url, structures=TREE)


def write_text(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("zarr.json", "<!DOCTYPE html><html></html>", "no JSON"),
        ("zarr.json", "", "no JSON"),
        ("zarr.json", "[" * 100_000, "no JSON"),
        ("zarr.json", "[]", "not the metadata"),
        ("zarr.json", '{"zarr_format": 3, "node_type": "group", "attributes": 5}', "no mapping"),
        ("zarr.json", '{"zarr_format": 3, "node_type": "group", "attributes": {}}', "multiscales"),
        ("zarr.json", '{"zarr_format": 3, "node_type": "grave", "attributes": {}}', "a.zarr"),
        (".zgroup", "{", "a.zarr"),
        ("notes.txt", "no zarr here", "there is no zarr store"),
    ],
)
def test_what_is_no_image_is_told(tmp_path, name, text, said):
    write_text(tmp_path / "a.zarr", name, text)
    with pytest.raises(RefspaceError, match=said):
        refspace.open(tmp_path / "a.zarr", structures=TREE)


def test_a_file_is_no_store(tmp_path):
    path = tmp_path / "a.zarr"
    path.write_text("no folder")
    with pytest.raises(StoreError, match="there is no zarr store"):
        refspace.open(path, structures=TREE)


@pytest.mark.parametrize("version", ["0.1", "0.3", "0.6"])
def test_other_versions_are_named(tmp_path, version):
    url = str(tmp_path / "a.zarr")
    root = zarr.open_group(url, mode="w", zarr_format=3)
    root.attrs["ome"] = multiscales("0.5", axes(), (25,), ("0",))["ome"] | {"version": version}
    with pytest.raises(FormatError, match=version):
        refspace.open(url, structures=TREE)


def test_a_level_that_is_not_there(tmp_path):
    url = write(str(tmp_path / "a.zarr"))
    root = zarr.open_group(url, mode="a")
    root.attrs.update(multiscales("0.5", axes(), (25, 50), ("0", "1")))
    with pytest.raises(FormatError, match="there is no array '1'"):
        refspace.open(url, structures=TREE)


def test_other_writers(tmp_path):
    """What ngff-zarr writes, at several versions."""
    ngff_zarr = pytest.importorskip("ngff_zarr")
    image = ngff_zarr.to_ngff_image(
        VOXELS, dims=["z", "y", "x"], scale=dict.fromkeys("zyx", 0.025), name="labels"
    )
    image.axes_units = dict.fromkeys("zyx", "millimeter")
    pyramid = ngff_zarr.to_multiscales(image, scale_factors=[], chunks=4)
    for version in ("0.4", "0.5"):
        url = str(tmp_path / f"{version}.zarr")
        ngff_zarr.to_ngff_zarr(url, pyramid, version=version)
        check(refspace.open(url, structures=TREE, orientation="PIR"))


def test_every_verb_takes_a_foreign_image(tmp_path):
    url = write(str(tmp_path / "a.zarr"))
    space = refspace.open(url, structures=TREE)
    assert space.bounds(8).voxels == {"ap": slice(1, 3), "dv": slice(2, 4), "ml": slice(3, 4)}
    # Without a translation the first voxel has its centre, not its corner, at 0.
    assert space.centroid(8) == {"ap": 37.5, "dv": 62.5, "ml": 75.0}
    space.to_zarr(tmp_path / "ours.zarr", chunks=2)
    check(refspace.open(tmp_path / "ours.zarr"))
    stored = refspace.convert(url, TREE, tmp_path / "converted.zarr")
    check(stored)
    for axis, position in itertools.product(("ap", "dv", "ml"), (10, 90)):
        image, other = (s.get_slice_image(axis, position) for s in (space, stored))
        np.testing.assert_array_equal(image, other)
