"""Stores that somebody made to do harm: nothing runs, nothing grows, and errors are ours."""

import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from helpers import hostile_zarr
from helpers.bombs import ENCODERS, RUNNING, little_memory, unsized_zstd, write_running, zarray
from helpers.foreign_stores import opened, write
from helpers.serving import Fault, Server
from zarr.errors import ZarrUserWarning

import refspace
from refspace.errors import FormatError, RefspaceError, StoreError
from refspace.limits import set_limits
from refspace.store.images import open_image
from refspace.store.location import Location, map_concurrently
from refspace.store.masks import open_masks
from refspace.store.nodes import members_of, read_node

SHAPE = (4, 4, 4)
CENTRES = {dim: np.arange(4) * 10 + 5.0 for dim in ("ap", "dv", "ml")}
IMAGE = xr.DataArray(np.arange(64.0).reshape(SHAPE), CENTRES, name="energy")


# ----- nothing runs


@pytest.fixture
def marker(tmp_path):
    """A file that is there if something ran."""
    yield tmp_path / "it-ran"
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.promise(
    "metadata of zarr ask for pickles or other code", "nothing is decoded, nothing runs"
)
@pytest.mark.parametrize("fields", RUNNING)
def test_an_image_runs_nothing(tmp_path, marker, fields):
    write_running(tmp_path / "array", SHAPE, marker, fields)
    group = tmp_path / "group"
    zarr.open_group(group, mode="w", zarr_format=2)
    write_running(group / "energy", SHAPE, marker, fields, _ARRAY_DIMENSIONS=["ap", "dv", "ml"])
    for url in (tmp_path / "array", group):
        with pytest.raises(FormatError, match=rf"{url.name}: .*(only integers|pickle)"):
            open_image(str(url), resolution=25).compute()


@pytest.mark.promise("metadata of zarr ask for pickles or other code")
@pytest.mark.parametrize("fields", RUNNING)
def test_a_coordinate_runs_nothing(tmp_path, marker, fields):
    url = tmp_path / "image"
    IMAGE.expand_dims(channel=2).to_dataset().to_zarr(url, zarr_format=2, consolidated=False)
    # One that no image needs is not even looked at.
    write_running(url / "other", (4,), marker, fields, _ARRAY_DIMENSIONS=["dv"])
    assert open_image(str(url)).sizes["channel"] == 2
    for dim in ("ap", "channel"):
        length = 2 if dim == "channel" else 4
        write_running(url / dim, (length,), marker, fields, _ARRAY_DIMENSIONS=[dim])
        with pytest.raises(FormatError, match=rf"image: {dim}: .*(only integers|pickle)"):
            open_image(str(url)).compute()


@pytest.mark.promise("metadata of zarr ask for pickles or other code")
@pytest.mark.parametrize("fields", RUNNING)
def test_labels_run_nothing(tmp_path, marker, fields):
    write(tmp_path / "a", "0.4")
    write_running(tmp_path / "a" / "0", (8, 6, 4), marker, fields)
    write_running(tmp_path / "b", (8, 6, 4), marker, fields)
    for url in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(FormatError, match=rf"{url.name}: .*(only integers|pickle)"):
            opened(url, resolution=25).annotation.compute()
        refspace.verify_store(url, resolution=25, orientation="PIR")


# ----- nothing grows


@pytest.mark.parametrize("name", ENCODERS)
def test_images_do_not_grow(tmp_path, name):
    configuration, encode = ENCODERS[name]
    (tmp_path / ".zarray").write_text(json.dumps(zarray(SHAPE, compressor=configuration)))
    (tmp_path / "0.0.0").write_bytes(encode(bytes(2**25)))
    image = open_image(str(tmp_path), resolution=25)
    with little_memory(), pytest.raises(FormatError, match=r"0\.0\.0 "):
        image.compute()
    (tmp_path / "0.0.0").write_bytes(encode(bytes(256)))
    assert not image.compute().any()


def test_objects_larger_than_their_chunk_are_not_read(tmp_path):
    (tmp_path / ".zarray").write_text(json.dumps(zarray(SHAPE, compressor={"id": "zstd"})))
    (tmp_path / "0.0.0").write_bytes(unsized_zstd(bytes(256)) + bytes(2**25))
    image = open_image(str(tmp_path), resolution=25)
    with little_memory(), pytest.raises(FormatError, match=r"0\.0\.0 has more than \d+ bytes; it"):
        image.compute()


@pytest.mark.promise("metadata are larger than any", "an error that names the limit")
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zattrs", ".zgroup"])
def test_metadata_that_are_too_large(tmp_path, name):
    zarr_format = 3 if name == "zarr.json" else 2
    if name == ".zarray":
        zarr.create_array(tmp_path, shape=SHAPE, dtype="u1", zarr_format=2)
    else:
        IMAGE.to_dataset().to_zarr(tmp_path, zarr_format=zarr_format, consolidated=False)
    file = tmp_path / name
    file.write_text((file.read_text() if file.exists() else "{}").ljust(2**20))
    how = {"resolution": 10}
    open_image(str(tmp_path), **how)
    large = rf"{name} has more than 1048575 bytes; if it is right, raise .*metadata_bytes"
    with set_limits(metadata_bytes=2**20 - 1):
        with pytest.raises(FormatError, match=large):
            open_image(str(tmp_path), **how)
        with pytest.raises(FormatError, match=large):
            opened(tmp_path, **how)


def test_consolidated_metadata_that_are_too_large(tmp_path):
    IMAGE.to_dataset().to_zarr(tmp_path, zarr_format=2, consolidated=True)
    file = tmp_path / ".zmetadata"
    file.write_text(file.read_text().ljust(2**20))
    with (
        set_limits(metadata_bytes=2**19),
        pytest.raises(FormatError, match=r"\.zmetadata has"),
    ):
        open_image(str(tmp_path))


def test_a_store_of_ours_whose_metadata_are_too_large(tmp_path):
    space = refspace.phantom(resolution=800)
    space.to_zarr(tmp_path / "a.zarr")
    refspace.write_masks(space, tmp_path / "masks.zarr", ["VISp"])
    large = r"zarr\.json has more than 1000 bytes"
    with set_limits(metadata_bytes=1000):
        with pytest.raises(FormatError, match=large):
            refspace.open(tmp_path / "a.zarr")
        with pytest.raises(FormatError, match=large):
            open_masks(str(tmp_path / "masks.zarr"))
        for name in ("a.zarr", "masks.zarr"):
            (fault,) = refspace.verify_store(tmp_path / name).faults
            assert "has more than 1000 bytes" in str(fault)


@pytest.mark.promise(
    "an object is larger than it can be", "an error, before the rest of it is read"
)
@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_objects_of_other_machines_are_read_up_to_a_limit(engine):
    with Server({"a.zarr/c": bytes(2**22), "a.zarr/zarr.json": b"{}"}) as server:
        location = Location(f"{server.url}/a.zarr", {}, engine)
        assert len(location.read("c", 2**22)) == 2**22
        with pytest.raises(FormatError, match=r"a\.zarr: c has more than 99 bytes; it is damaged"):
            location.read("c", 99)
        assert location.read("zarr.json") == b"{}"
        assert location.read("none", 5) is None
        # Not announced, and without an end.
        endless = Fault(body=b" " * 2**25, headers={"Content-Length": None})
        server.faults = lambda request: endless
        with set_limits(metadata_bytes=2**20), little_memory():
            expected = FormatError if engine == "fsspec" else RefspaceError
            with pytest.raises(expected, match=r"zarr\.json"):
                location.read("zarr.json")


def test_objects_in_memory_are_read_up_to_a_limit():
    with fsspec.open("memory://limited/c", "wb") as file:
        file.write(bytes(100))
    location = Location("memory://limited")
    assert location.read("c", 100) == location.read("c") == bytes(100)
    with pytest.raises(FormatError, match="c has more than 99 bytes"):
        location.read("c", 99)
    assert location.read("none", 99) is None


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_objects_of_s3_are_read_up_to_a_limit(s3, engine):
    writer = Location("s3://atlases/limited", s3.writer)
    for key, size in {"c": 2**20, "empty": 0}.items():
        writer.write(key, bytes(size))
    location = Location("s3://atlases/limited", s3.reader, engine)
    assert location.read("c", 2**20) == bytes(2**20)
    assert location.read("empty", 5) == b""
    assert location.read("none", 5) is None
    with pytest.raises(FormatError, match="c has more than 99 bytes"):
        location.read("c", 99)


# ----- thousands of things


@pytest.mark.promise("metadata name thousands of levels", "an error; no thread for each")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_thousands_of_levels(tmp_path, version):
    group = write(tmp_path / "a", version)
    attrs = dict(group.attrs)
    (image,) = (attrs["ome"] if version == "0.5" else attrs)["multiscales"]
    image["datasets"] = image["datasets"][:1] * 33
    group.attrs.update(attrs)
    for read in (opened, open_image):
        with pytest.raises(FormatError, match=r"multiscales\[0\] has 33 datasets, of at most 32"):
            read(str(tmp_path / "a"))
    with set_limits(levels=33):
        assert opened(tmp_path / "a").annotation.shape == (8, 6, 4)
    (attrs["ome"] if version == "0.5" else attrs)["multiscales"] = [image] * 33
    group.attrs.update(attrs)
    with pytest.raises(FormatError, match="multiscales has 33 entries, of at most 32"):
        opened(tmp_path / "a")


def test_thousands_of_things_do_not_take_as_many_threads():
    lock, running, most = threading.Lock(), set(), [0]

    def read(number):
        with lock:
            running.add(threading.get_ident())
            most[0] = max(most[0], threading.active_count())
        return number

    before = threading.active_count()
    assert map_concurrently(read, range(2000)) == list(range(2000))
    assert most[0] <= before + 32
    assert len(running) <= 32
    with set_limits(requests=2):
        running.clear()
        map_concurrently(read, range(50))
        assert len(running) <= 2


def test_images_of_a_shape_that_is_none(tmp_path):
    for shape, text in (((10**8, 4, 4), "axis_length"), ((10**6,) * 3, "blocks")):
        document = zarray(shape, chunks=[4, 4, 4])
        (tmp_path / ".zarray").write_text(json.dumps(document))
        with little_memory(), pytest.raises(FormatError, match=f"raise the limit .*{text}"):
            open_image(str(tmp_path), resolution=25)
    (tmp_path / ".zarray").write_text(json.dumps(zarray((0, 4, 4), chunks=[4, 4, 4])))
    with pytest.raises(RefspaceError, match=f"{tmp_path}: .* an axis without voxels"):
        open_image(str(tmp_path), resolution=25)


# ----- groups that are none


def test_groups_that_do_not_say_what_is_in_them():
    url = "memory://not-consolidated"
    IMAGE.to_dataset().to_zarr(url, zarr_format=2, consolidated=False)
    with pytest.raises(FormatError, match="does not say what is in it, and cannot be listed: c"):
        open_image(url)
    with fsspec.open(f"{url}/.zmetadata", "w") as file:
        file.write('{"metadata": 5}')
    with pytest.raises(FormatError, match=r"metadata in \.zmetadata is no JSON object"):
        open_image(url)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("zarr.json", "[" * 10**5, "zarr.json is no JSON"),
        ("zarr.json", "9" * 10**5, "zarr.json is no JSON"),
        ("zarr.json", "1e999", "zarr.json is no"),
        ("zarr.json", '{"zarr_format": 3}', "is not the metadata of a zarr node"),
        ("zarr.json", '{"zarr_format": 3, "node_type": "group", "attributes": 1}', "attributes"),
        (
            "zarr.json",
            '{"zarr_format": 3, "node_type": "group", "consolidated_metadata": {}}',
            "consolidated metadata of zarr.json is no JSON object",
        ),
        (".zgroup", "NaN", ".zgroup is no JSON object"),
        (".zgroup", '{"zarr_format": 3}', ".zgroup is not of zarr 2"),
        (".zgroup", "\xff", ".zgroup is no JSON"),
    ],
)
def test_nodes_that_are_none(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, "latin-1")
    for read in (open_image, opened):
        with pytest.raises(FormatError, match=f"^{tmp_path}: .*{said}"):
            read(str(tmp_path))


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"_FillValue": 5}, "has the _FillValue 5, which is no float in base64"),
        ({"_FillValue": "AAA="}, "which is no float in base64"),
        ({"units": "days since 1e99"}, "energy cannot be decoded"),
        ({"scale_factor": "x"}, "energy has the scale_factor 'x', which is no number"),
        ({"add_offset": [1]}, r"energy has the add_offset \[1\], which is no number"),
    ],
)
def test_attributes_that_are_none(tmp_path, attrs, said):
    IMAGE.to_dataset().to_zarr(tmp_path, zarr_format=3, consolidated=False)
    file = tmp_path / "energy" / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"] = attrs
    file.write_text(json.dumps(document))
    with pytest.raises(FormatError, match=said):
        open_image(str(tmp_path)).compute()


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("fill", [-1.0, np.nan, None])
def test_images_as_xarray_reads_them(tmp_path, zarr_format, consolidated, fill):
    image = IMAGE.where(IMAGE > 5, -1.0).assign_attrs(units="mV")
    encoding = {"energy": {"_FillValue": fill}}
    with warnings.catch_warnings():
        # That zarr 3 does not specify it.
        warnings.simplefilter("ignore", ZarrUserWarning)
        image.to_dataset().to_zarr(
            tmp_path, zarr_format=zarr_format, consolidated=consolidated, encoding=encoding
        )
    expected = xr.open_zarr(tmp_path, consolidated=consolidated)["energy"]
    xr.testing.assert_identical(open_image(str(tmp_path)).compute(), expected.compute())


def test_variables_whose_dims_are_none(tmp_path):
    group = zarr.open_group(tmp_path, mode="w", zarr_format=2)
    array = group.create_array("x", shape=SHAPE, dtype="u1")
    for dims in (["ap", "dv"], ["ap", "dv", "dv", "ml"], ["ap", "dv", "ml", "ap"]):
        array.attrs["_ARRAY_DIMENSIONS"] = dims
        with pytest.raises(FormatError, match=r"x has 3 axes, and the dims|nor a group of a vari"):
            open_image(str(tmp_path))
    array.attrs["_ARRAY_DIMENSIONS"] = ["ap", "dv", "ml"]
    group.create_array("ap", shape=(5,), dtype="f8").attrs["_ARRAY_DIMENSIONS"] = ["ap"]
    with pytest.raises(FormatError, match=r"ap has the shape \(5,\), where the variable has 4"):
        open_image(str(tmp_path))
    assert open_image(str(tmp_path), shape=SHAPE).shape == SHAPE


def test_members_of_a_group_within(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        IMAGE.to_dataset().to_zarr(tmp_path, zarr_format=3, consolidated=True)
    node = read_node(Location(str(tmp_path)))
    assert set(members_of(node)) == {"energy", *CENTRES}
    assert node.nodes_at(["none"]) == [None]
    assert node.array_at("ap").dims == ("ap",)
    assert read_node(Location(str(tmp_path / "none"))) is None
    with pytest.raises(StoreError, match="there is no zarr store at"):
        open_image(str(tmp_path / "none"))


# ----- whatever comes


def test_changed_stores_are_read_or_refused():
    run = subprocess.run(
        [sys.executable, hostile_zarr.__file__, "1", "60"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of zarr, about what is written here and read
@pytest.mark.parametrize("seed", [2, 3])
def test_many_changed_stores(seed, tmp_path):
    assert list(hostile_zarr.findings(Path(tmp_path), seed, 500)) == []
