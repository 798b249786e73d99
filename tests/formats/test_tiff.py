import itertools
import json
import lzma
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zlib

import dask
import dask.array as da
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from helpers.profiles import examples
from helpers.serving import Server
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

import refspace
from refspace.errors import (
    AnnotationError,
    FormatError,
    GridError,
    MissingDependencyError,
)
from refspace.formats.tiff import read_tiff, read_tiff_image, write_tiff
from refspace.formats.tiff.segments import PageLayout
from refspace.formats.volumes import (
    open_header,
    read_image_file,
    read_volume,
    read_voxels,
    stated_spacing,
    stream_volume,
    write_volume,
)
from refspace.grid import Grid
from refspace.labels import Midline, infer_grid, labelled, with_hemispheres
from refspace.limits import set_limits

SHAPE = (5, 37, 41)
VOXELS = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype("u2")
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
PLACE = {"resolution": 25, "orientation": "ASR"}
TREE = [
    {"id": n, "acronym": f"a{n}", "name": f"area {n}", "structure_id_path": [n]} for n in (1, 2)
]

fuzz = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
orientations = st.permutations(["AP", "SI", "LR"]).flatmap(
    lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
)


def save(path, voxels=VOXELS, **options):
    """File of tifffile's own writer."""
    tifffile.imwrite(path, voxels, **{"photometric": "minisblack"} | options)
    return path


def patched(path, old, new):
    """File with some bytes of it exchanged."""
    data = path.read_bytes()
    assert data.count(old) == 1, data.count(old)
    path.write_bytes(data.replace(old, new))
    return path


def classic(entries, data=b"", *, following=0):
    """File of one directory as it is told, little-endian; data begin at byte 1000."""
    directory = struct.pack("<H", len(entries))
    for code, kind, count, value in entries:
        directory += struct.pack("<HHII", code, kind, count, value)
    directory += struct.pack("<I", following)
    return (struct.pack("<2sHI", b"II", 42, 8) + directory).ljust(1000, b"\0") + data


def directory(width=4, length=4, size=16, compression=8, **changed):
    """Entries of a directory of one strip of uint8."""
    tags = {
        256: (4, 1, width),
        257: (4, 1, length),
        258: (3, 1, 8),
        259: (3, 1, compression),
        262: (3, 1, 1),
        273: (4, 1, 1000),
        277: (3, 1, 1),
        278: (4, 1, length),
        279: (4, 1, size),
    } | {int(code.strip("t")): value for code, value in changed.items()}
    return [(code, *value) for code, value in sorted(tags.items())]


def two(path, data, **changed):
    """File of two pages, which are the same strip but for what is changed in the second."""
    first = directory(size=len(data), **changed)
    second = directory(size=len(data), **changed)
    place = 1000 + len(data)
    content = classic(first, data, following=place)
    content += struct.pack("<H", len(second))
    content += b"".join(struct.pack("<HHII", *entry) for entry in second) + bytes(4)
    path.write_bytes(content)
    return path


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ----- what other programs write


@fuzz
@given(
    voxels=hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype),
        st.tuples(st.integers(2, 5), st.integers(2, 40), st.sampled_from([2, 7, 33])),
        fill=st.just(0),
    ),
    byteorder=st.sampled_from("<>"),
    bigtiff=st.booleans(),
    compression=st.sampled_from([None, "zlib", "lzma"]),
    cut=st.sampled_from([{}, {"rowsperstrip": 3}, {"tile": (16, 32)}]),
    thickness=st.integers(1, 6),
)
def test_files_of_tifffile_are_read_alike(
    tmp_path, voxels, byteorder, bigtiff, compression, cut, thickness
):
    path = tmp_path / "theirs.tif"
    options = {"byteorder": byteorder, "bigtiff": bigtiff, "compression": compression, **cut}
    save(path, voxels, **options)
    array = read_tiff(path, **PLACE)
    assert array.dtype == voxels.dtype
    assert array.dtype.isnative
    assert (array.name, array.dims) == ("theirs", ("ap", "dv", "ml"))
    np.testing.assert_array_equal(array.values, tifffile.imread(path))
    slabs = [slab.copy() for _, slab in stream_volume(path, **PLACE).slabs(thickness)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=2).T, voxels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("predictor", [2, 3])
def test_predictors(tmp_path, dtype, byteorder, predictor):
    values = np.random.default_rng(5).random((6, 7)) * 200
    voxels = values.astype(np.dtype(dtype).newbyteorder(byteorder))
    if predictor == 3 and voxels.dtype.kind != "f":
        return
    itemsize = voxels.dtype.itemsize
    if predictor == 2:
        numbers = voxels.view(voxels.dtype.str.replace("i", "u").replace("f", "u"))
        differences = np.diff(numbers, axis=1, prepend=numbers[:, :1] * 0)
        stored = differences.astype(numbers.dtype).tobytes()
    else:
        raw = voxels.astype(voxels.dtype.newbyteorder(">")).view("u1").reshape(6, 7, itemsize)
        planes = raw.swapaxes(1, 2).reshape(6, -1)
        stored = np.diff(planes, axis=1, prepend=planes[:, :1] * 0).astype("u1").tobytes()
    layout = PageLayout(7, 6, 7, 6, False, 8, predictor, voxels.dtype)
    np.testing.assert_array_equal(layout.decode(zlib.compress(stored), 0), values.astype(dtype))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "zlib"])
@pytest.mark.parametrize("predictor", [False, True])
def test_files_of_imagecodecs(tmp_path, dtype, compression, predictor):
    pytest.importorskip("imagecodecs")
    voxels = (VOXELS % 200).astype(dtype)
    cut = {"rowsperstrip": 8}
    save(tmp_path / "a.tif", voxels, compression=compression, predictor=predictor, **cut)
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif", **PLACE).values, voxels)


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_adobe_deflate", "tiff_deflate"])
def test_files_of_pillow(tmp_path, compression):
    pages = [Image.fromarray((page % 251).astype("u1")) for page in VOXELS]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS % 251)


def test_what_needs_imagecodecs_says_so(tmp_path, monkeypatch):
    pages = [Image.fromarray(page) for page in VOXELS[:2].astype("u1")]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    with pytest.raises(MissingDependencyError, match=r"by LZW, .*: pip install imagecodecs; or sa"):
        read_tiff(path, **PLACE)
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(MissingDependencyError, match=r"pip install tifffile"):
        read_tiff(path, **PLACE)


def test_labels_as_floats(tmp_path):
    ids = np.where(VOXELS % 3, 1, 2).astype("f4")
    space = refspace.ReferenceSpace(
        refspace.StructureTree(TREE), read_tiff(save(tmp_path / "a.tif", ids), **PLACE)
    )
    assert space.annotation.dtype == np.uint32
    np.testing.assert_array_equal(space.annotation.values, ids)


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CTZYX", "ZTCYX", "ZCTYX"])
@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_channels_and_times_lead(tmp_path, axes, kind):
    if kind == "imagej" and axes != "TZCYX":
        return
    voxels = np.arange(2 * 3 * 4 * 5 * 6, dtype="u2").reshape(2, 3, 4, 5, 6)
    path = save(tmp_path / "a.tif", voxels, **{kind: True}, metadata={"axes": axes})
    image = read_tiff_image(path, **PLACE)
    names = {"T": "time", "C": "channel", "Z": "ap", "Y": "dv", "X": "ml"}
    assert image.dims[2:] == ("ap", "dv", "ml")
    np.testing.assert_array_equal(image.transpose(*(names[a] for a in axes)).values, voxels)
    np.testing.assert_array_equal(image[1, 1, 2:, 3].values, image.values[1, 1, 2:, 3])
    with pytest.raises(
        FormatError, match=r"holds several volumes, \d along (time|channel), \d alo"
    ):
        read_tiff(path, **PLACE)
    with pytest.raises(FormatError, match="holds several volumes"):
        stream_volume(path, is_image=True, **PLACE)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize("axis", "TCZ")
def test_a_single_axis_is_z_whatever_it_is_called(tmp_path, kind, axis):
    path = save(tmp_path / "a.tif", **{kind: True}, metadata={"axes": f"{axis}YX"})
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_written_one_by_one(tmp_path, compression):
    voxels = np.random.default_rng(5).integers(0, 2**16, (4, 5, 6), np.uint16)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for plane in voxels:
            file.write(plane, compression=compression)
    oracle = sitk.GetArrayFromImage(sitk.ReadImage(path))
    np.testing.assert_array_equal(oracle, voxels)
    np.testing.assert_array_equal(read_tiff(path, **PLACE), oracle)


def test_axes_without_names(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((2, 3, 4, 5, 6), "u1"))
    assert read_voxels(path, is_image=True).dims == ("dim_5", "dim_4", "i", "j", "k")
    path = save(tmp_path / "b.tif", np.zeros((1, 1, 4, 5, 6), "u1"))
    assert read_tiff(path, **PLACE).shape == (4, 5, 6)
    path = save(tmp_path / "c.tif", np.zeros((2, 3, 5, 6), "u1"), metadata={"axes": "TCYX"})
    with pytest.raises(FormatError, match="none of which is z: 2 along time, 3 along channel"):
        read_voxels(path, is_image=True)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("imagej", [True, False])
def test_planes_in_a_run_behind_one_directory(tmp_path, byteorder, imagej):
    path = tmp_path / "run.tif"
    with tifffile.TiffWriter(path, imagej=imagej, byteorder=byteorder) as file:
        axes = {"axes": "ZYX"}
        file.write(VOXELS, truncate=True, photometric="minisblack", metadata=axes)
    with tifffile.TiffFile(path) as theirs:
        assert len(theirs.pages) == 1
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        FormatError, match=r"5 planes of 3034 bytes, but the file has .* is cut sho"
    ):
        read_tiff(path, **PLACE)


def test_smaller_copies_and_masks_are_no_planes(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in VOXELS:
            file.write(page, metadata=None, photometric="minisblack")
            file.write(np.zeros((4, 4, 3), "u1"), subfiletype=1, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


def test_levels_of_a_pyramid_are_passed_over(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"photometric": "minisblack", "tile": (16, 16)}
        file.write(VOXELS, subifds=1, metadata={"axes": "ZYX"}, **options)
        file.write(VOXELS[:, ::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


def test_a_convert_makes_the_same_store(tmp_path):
    ids = np.where(VOXELS % 3, 1, 2).astype("u2")
    path = save(tmp_path / "a.tif", ids, compression="zlib", rowsperstrip=5)
    tree = refspace.StructureTree(TREE)
    stored = refspace.convert(
        path, tree, tmp_path / "a.zarr", template=save(tmp_path / "t.tif"), **PLACE
    )
    np.testing.assert_array_equal(stored.annotation.values, ids)
    np.testing.assert_array_equal(stored.template.values, VOXELS)
    assert infer_grid(stored.annotation) == Grid(SHAPE, (25, 25, 25), orientation="ASR")


# ----- lengths


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("um", 1), ("micron", 1), (r"\u00B5m", 1), ("mm", 1000), ("cm", 1e4)],
)
def test_lengths_of_imagej(tmp_path, unit, factor):
    spacing = np.array([50, 16.752, 25]) / factor
    # As ImageJ rounds it.
    per_unit = [(round(1e6 / n), 1000000) for n in (spacing[2], spacing[1])]
    path = save(
        tmp_path / "a.tif",
        imagej=True,
        metadata={"axes": "ZYX", "unit": unit, "spacing": float(spacing[0])},
        resolution=per_unit,
    )
    assert stated_spacing(path).spacing == pytest.approx((50, 16.752, 25), rel=2e-5)
    if factor == 1:
        assert stated_spacing(path).spacing == (50, 16.752, 25)
    assert infer_grid(read_tiff(path, orientation="ASR")).spacing == stated_spacing(path).spacing
    with pytest.raises(GridError, match="contradicts the header, whose voxels are"):
        read_tiff(path, resolution=10, orientation="ASR")
    assert infer_grid(read_tiff(path, override=True, **PLACE)).spacing == (25, 25, 25)


@pytest.mark.parametrize(
    "metadata",
    [
        {"unit": "pixel", "spacing": 25.0},
        {"spacing": 25.0},
        {"unit": "um"},
        {"unit": "inch", "spacing": 1.0},
        {"unit": "cm", "spacing": 25.0},
        {"unit": "um", "spacing": 0.0},
        {"unit": "um", "spacing": float("nan")},
    ],
)
def test_lengths_that_are_none_are_asked_for(tmp_path, metadata):
    path = save(
        tmp_path / "a.tif", imagej=True, metadata={"axes": "ZYX", **metadata}, resolution=(72, 72)
    )
    with pytest.raises(GridError, match=r"a.tif: the header states no spacing; give resolution="):
        read_tiff(path, orientation="ASR")
    assert infer_grid(read_tiff(path, **PLACE)).spacing == (25, 25, 25)


def test_dots_per_inch_are_no_lengths(tmp_path):
    path = save(tmp_path / "a.tif", resolution=(72, 72), resolutionunit="inch")
    assert stated_spacing(path).spacing is None


@pytest.mark.parametrize(
    ("unit", "factor"), [("µm", 1), ("mm", 1000), ("nm", 0.001), ("cm", 1e4), ("m", 1e6)]
)
def test_lengths_of_ome(tmp_path, unit, factor):
    lengths = {"Z": 50.0, "Y": 33.3, "X": 25.0}
    sizes = {f"PhysicalSize{axis}": n / factor for axis, n in lengths.items()}
    units = {f"PhysicalSize{axis}Unit": unit for axis in lengths}
    metadata = {"axes": "ZYX", **sizes, **units}
    path = save(tmp_path / "a.ome.tif", ome=True, metadata=metadata)
    assert stated_spacing(path).spacing == (50, 33.3, 25)
    assert read_tiff(path, orientation="ASR").ap.values.tolist() == [25, 75, 125, 175, 225]


def test_lengths_of_ome_that_are_none(tmp_path):
    sizes = {"PhysicalSizeX": 25.0, "PhysicalSizeY": 25.0, "PhysicalSizeZ": 25.0}
    units = {"PhysicalSizeZUnit": "pixel"}
    path = save(tmp_path / "a.tif", ome=True, metadata={"axes": "ZYX", **sizes, **units})
    assert stated_spacing(path).spacing is None
    path = save(tmp_path / "b.tif", ome=True, metadata={"axes": "ZYX", **sizes})
    patched(path, b'PhysicalSizeZ="25.0"', b'PhysicalSizeZ="-1.0"')
    with pytest.raises(GridError, match="has a PhysicalSizeZ that is no length; correct the heade"):
        read_tiff(path, orientation="ASR")
    assert read_tiff(path, override=True, **PLACE).shape == SHAPE


def test_seconds(tmp_path):
    voxels = np.zeros((3, 4, 5, 6), "u2")
    path = save(
        tmp_path / "a.tif", voxels, imagej=True, metadata={"axes": "TZYX", "finterval": 0.1}
    )
    assert read_tiff_image(path, **PLACE).time.values.tolist() == [0, 0.1, 0.2]
    more = {"TimeIncrement": 500.0, "TimeIncrementUnit": "ms"}
    path = save(tmp_path / "b.tif", voxels, ome=True, metadata={"axes": "TZYX", **more})
    assert read_tiff_image(path, **PLACE).time.values.tolist() == [0, 0.5, 1]


def test_orientation_is_asked_for(tmp_path):
    path = save(tmp_path / "a.tif")
    with pytest.raises(
        GridError, match=r"axes run, which are those of pages, rows and columns; gi"
    ):
        read_tiff(path, resolution=25)
    like = Grid(SHAPE, (20, 20, 20), (5, 6, 7), "LPS", "RAS")
    assert infer_grid(read_tiff(path, like=like)) == like
    assert read_voxels(path).dims == ("i", "j", "k")


# ----- lazily


@pytest.fixture
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.usefixtures("in_this_thread")
def test_of_a_part_its_tiles_alone_are_decoded(tmp_path, monkeypatch):
    voxels = np.arange(4 * 100 * 120, dtype="u4").reshape(4, 100, 120)
    path = save(tmp_path / "a.tif", voxels, tile=(32, 16), compression="zlib")
    decoded = []
    decode = PageLayout.decode
    monkeypatch.setattr(
        PageLayout, "decode", lambda self, data, row: decoded.append(row) or decode(self, data, row)
    )
    # Planes are cut too where they are large.
    monkeypatch.setattr("refspace.formats.tiff.voxels.SLAB_BYTES", 2**13)
    array = read_tiff(path, **PLACE)
    assert decoded == []
    assert array.chunks == ((1, 1, 1, 1), (32, 32, 32, 4), (32, 32, 32, 24))
    part = array[1, 10:60, 20:40]
    assert decoded == []
    np.testing.assert_array_equal(part.values, voxels[1, 10:60, 20:40])
    # Blocks of two tiles each, two above one another and two side by side.
    assert sorted(decoded) == [0, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(array[:, ::7, ::-1].values, voxels[:, ::7, ::-1])
    np.testing.assert_array_equal(array[2].values, voxels[2])
    np.testing.assert_array_equal(array.data[:, [3, 90], 5].compute(), voxels[:, [3, 90], 5])


def test_blocks_of_pages(tmp_path, monkeypatch):
    monkeypatch.setattr("refspace.formats.voxel_files.SLAB_BYTES", 2 * 37 * 41 * 2)
    path = save(tmp_path / "a.tif", compression="zlib")
    assert read_tiff(path, **PLACE).chunks == ((2, 2, 1), (37,), (41,))
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


def test_large_strips_are_blocks_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("refspace.formats.tiff.voxels.SLAB_BYTES", 41 * 2 * 10)
    path = save(tmp_path / "a.tif", rowsperstrip=4)
    assert read_tiff(path, **PLACE).chunks[1] == (8, 8, 8, 8, 5)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


def test_layers_that_are_done_are_not_read(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((6, 4, 4), "u1"), compression="zlib")
    slabs = stream_volume(path, **PLACE).slabs(2, lambda cut: cut.start == 2, from_end=True)
    assert [(cut.start, cut.stop) for cut, _ in slabs] == [(0, 2), (4, 6)]


def test_streams_take_slabs_of_memory(tmp_path):
    path = tmp_path / "a.tif"
    pages = (np.full((512, 512), n, "u2") for n in range(64))  # 32 MiB
    save(path, pages, shape=(64, 512, 512), dtype="u2", compression="zlib")
    stream = stream_volume(path, **PLACE)
    assert stream.slab_bytes(2) == 2 * 512 * 512 * 2
    assert peak_of(lambda: sum(slab.shape[2] for _, slab in stream.slabs(2))) < 6 * 2**20


def test_an_array_pickles_as_its_path(tmp_path):
    array = read_tiff(save(tmp_path / "a.tif"), **PLACE)
    assert len(pickle.dumps(array.data)) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array.data)).compute(), VOXELS)


def test_a_file_that_has_changed_is_refused(tmp_path):
    path = save(tmp_path / "a.tif")
    array, stream = read_tiff(path, **PLACE), stream_volume(path, **PLACE)
    save(path, VOXELS + 1)
    with pytest.raises(FormatError, match=r"a.tif: the file has changed since it was opened; read"):
        array.compute()
    with pytest.raises(
        FormatError, match="the file has changed since it was opened; read it again"
    ):
        list(stream.slabs(1))


def test_a_url_is_copied_once(tmp_path):
    save(tmp_path / "a.tif", compression="zlib")
    with Server(tmp_path) as server:
        url = f"{server.url}/a.tif"
        array = read_image_file(url, **PLACE)
        asked = len(server.ended())
        # Its first bytes, and then the whole.
        assert server.paths("GET") == ["/a.tif", "/a.tif"]
        assert asked == 6
        np.testing.assert_array_equal(array.values, VOXELS)
        np.testing.assert_array_equal(array[2].values, VOXELS[2])
        assert len(server.ended()) == asked
    again = pickle.loads(pickle.dumps(array.data))
    np.testing.assert_array_equal(again.compute(), VOXELS)


def test_copies_are_kept_for_some_files_alone(tmp_path):
    from refspace.formats.tiff import voxels

    for n in range(4):
        save(tmp_path / f"{n}.tif", VOXELS + n)
    with Server(tmp_path) as server:
        arrays = [read_volume(f"{server.url}/{n}.tif", **PLACE) for n in range(4)]
        assert len(voxels._copies) == 2
        for n, array in enumerate(arrays):
            np.testing.assert_array_equal(array.values, VOXELS + n)


# ----- what is refused


@pytest.mark.parametrize(
    ("voxels", "options", "text"),
    [
        (
            np.zeros((5, 6, 7, 3), "u1"),
            {"photometric": "rgb"},
            r"page 0 has 3 numbers .*\(RGB\); s",
        ),
        (np.zeros((3, 5, 6), "u1"), {"photometric": "rgb", "planarconfig": 2}, "has 3 numbers for"),
        (np.zeros((5, 6), "u1"), {}, "it is a single picture; give a volume: a stack of pictures"),
        (np.zeros((5, 6, 7), "c8"), {}, "numbers of 64 bits, sample format 6; save it with integ"),
        (np.zeros((5, 6, 8), "?"), {}, "page 0 has numbers of 1 bits"),
        (np.zeros((4, 16, 16), "u1"), {"volumetric": True, "tile": (2, 16, 16)}, "is one plane"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, voxels, options, text):
    path = save(tmp_path / "a.tif", voxels, **options)
    for read in (read_volume, read_image_file):
        with pytest.raises(FormatError, match=text):
            read(path, **PLACE)


def test_pages_that_differ_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for shape in [(4, 5), (4, 5), (4, 6)]:
            file.write(np.zeros(shape, "u2"), metadata=None, photometric="minisblack")
    with pytest.raises(FormatError, match=r"a.tif: page 2 is 6 × 4 of uint16 in strips of 6 × 4 "):
        read_volume(path, **PLACE)


def test_compressions_for_pictures_are_refused(tmp_path):
    pages = [Image.fromarray(page) for page in VOXELS.astype("u1")]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="jpeg")
    with pytest.raises(FormatError, match="its compression, JPEG, is not read; save it without"):
        read_volume(path, **PLACE)


@pytest.mark.promise("the header of a volume lies about sizes")
@pytest.mark.parametrize("compression", [8, 32946, 34925])
def test_a_bomb_behind_a_small_page_is_not_inflated(tmp_path, compression):
    data = {34925: lzma.compress}.get(compression, zlib.compress)(bytes(2**24))
    path = two(tmp_path / "bomb.tif", data, t259=(3, 1, compression))
    # The same strip twice: apart from that, nothing shows before it is inflated.
    path.write_bytes(path.read_bytes() + data)
    array = read_tiff(path, **PLACE)

    def refused():
        with pytest.raises(
            FormatError, match=r"bomb.tif: a strip or tile holds more than its 16 b"
        ):
            array.compute()

    assert peak_of(refused) < 12 * 2**20


@pytest.mark.promise("the header of a volume lies about sizes")
def test_a_bomb_of_packbits(tmp_path):
    path = two(tmp_path / "bomb.tif", b"\x81\x00" * 10**5, t259=(3, 1, 32773))
    path.write_bytes(path.read_bytes() + bytes(10**6))
    with pytest.raises(FormatError, match="holds more than its 16 bytes"):
        read_tiff(path, **PLACE).compute()


@pytest.mark.parametrize(
    "data", [b"", b"x", zlib.compress(bytes(15)), zlib.compress(bytes(16))[:-8]]
)
def test_damaged_strips(tmp_path, data):
    data = data or b"\x78"
    path = two(tmp_path / "a.tif", data)
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(
        FormatError, match=r"a.tif: .*(is damaged|holds 15 bytes instead of 16|get it)"
    ):
        read_tiff(path, **PLACE).compute()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"t273": (4, 1, 10**6)}, "page 0 lie beyond the end of the file, which has 1200 bytes"),
        ({"t279": (4, 1, 10**6)}, "page 0 lie beyond the end of the file, which has 1200 bytes"),
        ({"t256": (4, 1, 2**31), "t257": (4, 1, 2**31)}, "has a side of 2147483648 pixels, of at"),
        (
            {"t256": (4, 1, 9 * 10**6)},
            "strip or tile 0 of page 0 has 16 bytes, of which no 36000000",
        ),
        ({"t256": (4, 1, 0)}, "has 0 × 4 × 1 pixels"),
        ({"t278": (4, 1, 1)}, "page 0 has 1 strips or tiles, of 4 that its size makes"),
        ({"t259": (3, 1, 999)}, "its compression, number 999, is not read"),
        ({"t317": (3, 1, 9)}, "its predictor, number 9, is not read of uint8"),
        ({"t317": (3, 1, 3)}, "its predictor, number 3, is not read of uint8"),
        ({"t266": (3, 1, 2)}, "page 0 has its bits in reversed order"),
        (
            {"t322": (4, 1, 2**30), "t323": (4, 1, 2**30)},
            "strips or tiles|has 1152921504606846976 by",
        ),
        ({"t258": (3, 1, 12)}, "page 0 has numbers of 12 bits"),
    ],
)
def test_directories_that_lie(tmp_path, changed, text):
    path = tmp_path / "a.tif"
    path.write_bytes(classic(directory(**changed), bytes(200)))
    for read in (read_volume, read_image_file):
        with pytest.raises(FormatError, match=text):
            read(path, **PLACE)


def test_directories_in_circles(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(classic(directory(), bytes(100), following=8))
    with pytest.raises(FormatError, match="its directories go in circles; the file is damaged"):
        read_volume(path, **PLACE)


def test_directories_beyond_a_limit(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((200, 4, 4), "u1"))
    with (
        set_limits(metadata_bytes=10_000),
        pytest.raises(FormatError, match=r"go in circles; .*metadata_bytes="),
    ):
        read_volume(path, **PLACE)


@pytest.mark.parametrize("following", [10**6, 1099, 2**32 - 1])
def test_a_chain_that_is_cut_is_no_shorter_volume(tmp_path, following):
    path = tmp_path / "a.tif"
    path.write_bytes(classic(directory(), b"\xff" * 100, following=following))
    with pytest.raises(FormatError, match=r"directories cannot be (found|parsed)"):
        read_volume(path, **PLACE)


@pytest.mark.promise("the file of a volume is cut short")
def test_every_cut_file_is_refused(tmp_path):
    path = save(tmp_path / "a.tif", VOXELS[:3, :5, :6], compression="zlib")
    data = path.read_bytes()
    for stop in range(0, len(data), 7):
        path.write_bytes(data[:stop])
        with pytest.raises(FormatError, match=r"a\.tif: "):
            read_volume(path, **PLACE).compute()


def test_strips_over_each_other_are_refused(tmp_path):
    data = zlib.compress(bytes(16)) + bytes(5000)
    path = two(tmp_path / "a.tif", data)
    with pytest.raises(FormatError, match="its strips or tiles lie over each other; write it anew"):
        read_volume(path, **PLACE)


def test_a_huge_text(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(classic(directory(t270=(2, 2**31, 8)), bytes(100)))

    def refused():
        with pytest.raises(FormatError, match="single picture"):
            read_volume(path)

    assert peak_of(refused) < 2**22


# ----- hostile texts


def ome(path, text):
    """OME-TIFF of five planes with a text as it stands."""
    return save(path, description=text.encode(), metadata=None)


def xml(inside="", pixels="", image='<Image ID="Image:0">', uuid=""):
    sizes = 'SizeX="41" SizeY="37" SizeZ="5" SizeC="1" SizeT="1" DimensionOrder="XYZCT"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/S/O"{uuid}>'
        f"{image}<Pixels {pixels or sizes} Type='uint16'>{inside}</Pixels></Image></OME>"
    )


SIZES = 'SizeX="41" SizeY="37" SizeC="1" SizeT="1" DimensionOrder="XYZCT" SizeZ='
OTHER = (
    '<TiffData IFD="0" PlaneCount="5"><UUID FileName="/etc/passwd">urn:uuid:{}</UUID></TiffData>'
)


@pytest.mark.promise(
    "XML declares entities, or is nested without end", "it is refused before anything grows"
)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (xml("<TiffData IFD='6'/>"), "has IFD '6', beyond 4"),
        (xml("<TiffData IFD='x'/>"), "has IFD 'x'"),
        (xml("<TiffData IFD='-1'/>"), "has IFD '-1'"),
        (xml("<TiffData IFD='4' PlaneCount='2'/>"), "names pages that are not there"),
        (xml("<TiffData FirstZ='5'/>"), "has FirstZ '5', beyond 4"),
        (xml("<TiffData IFD='0' PlaneCount='4'/>"), "leaves out 1 of 5 planes"),
        (xml("<TiffData IFD='0'/>" * 6), "tells of more parts than there are pages, 5"),
        (xml(pixels=SIZES + '"1000000000"'), "has 1000000000 planes, but there are 5 pages"),
        (xml(pixels=SIZES + '"99999999999999999999"'), "has SizeZ '99999999999999999999'"),
        (xml(pixels=SIZES + '"0"'), "has SizeZ '0'"),
        (xml(pixels='DimensionOrder="ZYX"'), "has the DimensionOrder 'ZYX'"),
        (xml(image='<Image ID="1"/><Image ID="2">'), "its OME-XML has several images; save the o"),
        (xml("<BinaryOnly/>"), "its OME-XML is in another file"),
        (xml(OTHER.format("1") + OTHER.format("2")), "planes are in other files, which are not re"),
        (xml(OTHER.format("1"), uuid=' UUID="urn:uuid:2"'), "planes are in other files, which are"),
        (xml("<a>"), "its OME-XML cannot be parsed"),
        ("<OME></OME>", "its OME-XML has no image"),
        (
            '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
            "<OME>&b;&b;&b;</OME>",
            "its OME-XML defines a document type, which is not read",
        ),
        ('<!DOCTYPE OME SYSTEM "file:///etc/passwd"><OME></OME>', "defines a document type"),
    ],
)
def test_hostile_ome_xml(tmp_path, text, told):
    path = ome(tmp_path / "a.tif", text)
    with pytest.raises(FormatError, match=told) as caught:
        read_volume(path, **PLACE)
    assert "passwd" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("inside", "order"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("<TiffData/>", [0, 1, 2, 3, 4]),
        ("".join(f"<TiffData FirstZ='{z}' IFD='{4 - z}'/>" for z in range(5)), [4, 3, 2, 1, 0]),
        ("<TiffData IFD='2' PlaneCount='3'/><TiffData FirstZ='3' NumPlanes='2'/>", [2, 3, 4, 0, 1]),
    ],
)
def test_ome_says_which_page_is_which_plane(tmp_path, inside, order):
    path = ome(tmp_path / "a.tif", xml(inside))
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS[order])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("slices=7", "ImageJ's text says 7 planes, but there are 5"),
        ("slices=1000000000", "says slices=1000000000, which is no number of planes"),
        ("slices=-5", "says slices=-5, which is no number of planes"),
        ("frames=5\nslices=100000000\nchannels=99999999", "but there are 5"),
    ],
)
def test_hostile_texts_of_imagej(tmp_path, line, told):
    path = save(tmp_path / "a.tif", description=f"ImageJ=1.54f\nimages=5\n{line}\n", metadata=None)
    with pytest.raises(FormatError, match=told):
        read_volume(path, **PLACE)


@pytest.mark.parametrize("order", ["czt", "tzc", "bad"])
def test_orders_of_imagej(tmp_path, order):
    voxels = np.arange(6 * 4 * 5, dtype="u1").reshape(6, 4, 5)
    text = f"ImageJ=1.54f\nimages=6\nchannels=2\nslices=3\norder={order}\n"
    image = read_tiff_image(
        save(tmp_path / "a.tif", voxels, description=text, metadata=None), **PLACE
    )
    cubes = (
        voxels.reshape(2, 3, 4, 5) if order == "tzc" else voxels.reshape(3, 2, 4, 5).swapaxes(0, 1)
    )
    np.testing.assert_array_equal(image.values, cubes)


def test_old_texts_of_imagej(tmp_path):
    path = save(tmp_path / "a.tif", description="ImageJ=1.2\nimages=5\n", metadata=None)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


@pytest.mark.parametrize(
    "text", ['{"shape": [7, 37, 41]}', '{"shape": [100000000, 99999999, 37, 41], "axes": 7}']
)
def test_hostile_texts_of_tifffile(tmp_path, text):
    path = save(tmp_path / "a.tif", description=text, metadata=None)
    with pytest.raises(FormatError, match="planes, but there are 5"):
        read_volume(path, **PLACE)


@pytest.mark.parametrize(
    "text", ['{"shape": [5, 5]}', '{"shape": "x"}', '{"shape"', "[" * 10**5, '{"shape": [true, 1]}']
)
def test_other_texts_say_nothing(tmp_path, text):
    path = save(tmp_path / "a.tif", description=text, metadata=None)
    np.testing.assert_array_equal(read_tiff(path, **PLACE).values, VOXELS)


# ----- written


@fuzz
@given(
    voxels=hnp.arrays(
        st.sampled_from(["u1", "u2", "u4", "f4", "?"]).map(np.dtype),
        st.tuples(*[st.integers(1, 6)] * 3),
        fill=st.just(1),
    ),
    spacing=st.tuples(*[st.sampled_from([1000.0, 10.0, 25.0, 33.3, 16.752, 0.65])] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -12.5, 100.0, -5700.0])] * 3),
    orientation=orientations,
    frame=st.sampled_from(["RAS", "PIR", "LPS"]),
    chunks=st.integers(1, 4),
)
def test_what_is_written_reads_back(tmp_path, voxels, spacing, origin, orientation, frame, chunks):
    grid = Grid(voxels.shape, spacing, origin, orientation, frame)
    volume = labelled(da.from_array(voxels, chunks=chunks), grid)
    path = tmp_path / "own.tif"
    write_tiff(path, volume, compression_level=1, scheduler="synchronous")
    np.testing.assert_array_equal(tifffile.imread(path).reshape(voxels.shape), voxels)
    back = read_volume(path)
    assert infer_grid(back) == grid
    np.testing.assert_array_equal(back.values, voxels)


def test_programs_read_what_is_written(tmp_path):
    import skimage.io

    grid = Grid(SHAPE, (50, 16.752, 25), orientation="ASR")
    for name in ("a.tif", "a.TIFF"):
        write_volume(tmp_path / name, labelled(VOXELS, grid))
    with tifffile.TiffFile(tmp_path / "a.tif") as theirs:
        told = theirs.imagej_metadata
        assert theirs.series[0].kind == "imagej"
        assert theirs.series[0].axes == "ZYX"
        assert (told["slices"], told["unit"], told["spacing"]) == (5, "um", 50)
        x, y = (theirs.pages[0].tags[code].value for code in (282, 283))
        assert (x[1] / x[0], y[1] / y[0]) == pytest.approx((25, 16.752))
        assert not theirs.is_bigtiff
        assert theirs.pages[0].compression == 8
        np.testing.assert_array_equal(theirs.asarray(), VOXELS)
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "a.tif"), VOXELS)
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(3)
        np.testing.assert_array_equal(np.asarray(image), VOXELS[3])


def test_hemispheres_are_kept(tmp_path):
    grid = Grid((4, 3, 6), (25, 25, 25), orientation="PIR")
    midline = Midline(50.0, "the test")
    volume = with_hemispheres(labelled(np.ones(grid.shape, "u1"), grid), midline)
    volume.attrs["hemisphere"] = "left"
    write_tiff(tmp_path / "a.tif", volume)
    back = read_volume(tmp_path / "a.tif")
    assert back.attrs["hemisphere"] == "left"
    assert back.hemisphere.values.tolist() == volume.hemisphere.values.tolist()


def test_what_was_cropped_since_states_no_position(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(path, labelled(VOXELS, Grid(SHAPE, (25, 25, 25), (100, 0, 0))))
    with tifffile.TiffFile(path) as file:
        text = file.pages[0].description
    text = text.replace("=5\n", "=4\n")
    save(path, VOXELS[1:], description=text, metadata=None, resolution=((1, 25), (1, 25)))
    assert stated_spacing(path).spacing == (25, 25, 25)
    with pytest.raises(GridError, match="give orientation="):
        read_volume(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("refspace_orientation", "XYZ"),
        ("refspace_origin_um", [1, 2]),
        ("refspace_origin_um", "abc"),
        ("refspace_origin_um", [float("nan"), 1, 2]),
        ("refspace_midline_um", "left"),
        ("refspace_frame", 7),
    ],
)
def test_a_damaged_position_is_refused(tmp_path, field, value):
    own = {"refspace_shape": [*SHAPE], "refspace_orientation": "PIR"}
    own |= {"refspace_origin_um": [0, 0, 0], field: value}
    text = f"ImageJ=1.54f\nimages=5\nslices=5\nrefspace={json.dumps(own)}\n"
    path = save(tmp_path / "a.tif", description=text, metadata=None)
    with pytest.raises(FormatError, match="refspace"):
        read_volume(path, **PLACE)
    assert open_header(path, geometry=False)[0].name == "tiff"


def test_each_chunk_is_computed_once(tmp_path):
    computed = itertools.count()

    def block(block_info=None):
        next(computed)
        return np.ones(block_info[None]["chunk-shape"], "u1")

    data = da.map_blocks(
        block, chunks=((2, 3), (20, 17), (41,)), dtype="u1", meta=np.empty((0, 0, 0), "u1")
    )
    volume = labelled(data, Grid(SHAPE, (25, 25, 25)))
    assert next(computed) == 0
    write_tiff(tmp_path / "a.tif", volume)
    assert next(computed) == 1 + 4


def test_writing_takes_a_slab_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("refspace.formats.tiff.write.SLAB_BYTES", 2**19)
    data = da.zeros((64, 256, 256), dtype="u2", chunks=(2, 64, 256))  # 8 MiB
    volume = labelled(data, Grid(data.shape, (25, 25, 25)))

    def write():
        write_tiff(tmp_path / "a.tif", volume, scheduler="synchronous")

    assert peak_of(write) < 3 * 2**20


def test_large_volumes_are_of_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("refspace.formats.tiff.write._LARGEST", 2**25 + 1000)
    write_tiff(tmp_path / "a.tif", labelled(VOXELS, Grid(SHAPE, (25, 25, 25))))
    with tifffile.TiffFile(tmp_path / "a.tif") as theirs:
        assert theirs.is_bigtiff
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").values, VOXELS)


@pytest.mark.parametrize(
    ("volume", "name", "error", "text"),
    [
        (VOXELS, "a.tif", AnnotationError, "array is a ndarray, which says nothing of where"),
        (labelled(VOXELS, Grid(SHAPE, (1, 1, 1))), "a.png", FormatError, "does not end in .tif"),
        (
            labelled(VOXELS.astype("i8"), Grid(SHAPE, (1, 1, 1))),
            "a.tif",
            AnnotationError,
            "TIFF of ImageJ has no type for int64; convert the array to one of bool, uint8, uint16",
        ),
    ],
)
def test_what_cannot_be_written(tmp_path, volume, name, error, text):
    with pytest.raises(error, match=text):
        write_tiff(tmp_path / name, volume)
    assert [*tmp_path.iterdir()] == []


def test_nothing_is_left_of_a_file_that_fails(tmp_path):
    def fail(block):
        raise RuntimeError("no voxels")

    data = da.zeros(SHAPE, dtype="u1", chunks=20).map_blocks(fail, meta=np.empty((0, 0, 0), "u1"))
    volume = labelled(data, Grid(SHAPE, (25, 25, 25)))
    with pytest.raises(RuntimeError, match="no voxels"):
        write_tiff(tmp_path / "a.tif", volume)
    assert [*tmp_path.iterdir()] == []


LARGE = """
import resource, sys
import refspace, refspace.conversion, dask.array, zarr, tifffile
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
tree = refspace.StructureTree([{"id": 1, "acronym": "a", "name": "a", "structure_id_path": [1]}])
refspace.convert(sys.argv[1], tree, sys.argv[2], resolution=10, orientation="PIR", threads=2)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_large_file_is_converted_in_bounded_memory(tmp_path):
    shape = (2048, 320, 320)  # 800 MiB of uint32
    page = np.arange(320 * 320, dtype="u4").reshape(320, 320) // 5000 % 2
    pages = (page for _ in range(shape[0]))
    save(tmp_path / "a.tif", pages, shape=shape, dtype="u4", compression="zlib")
    words = [sys.executable, "-c", LARGE, tmp_path / "a.tif", tmp_path / "a.zarr"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    # A slab of 128 layers has 50 MiB; the workers that write its blocks need the rest.
    assert int(printed) < 400 * 2**20
