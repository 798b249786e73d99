import bz2
import gzip
import os
import pickle
import re
import threading
import tracemalloc
import zlib
from pathlib import Path

import dask
import dask.array as da
import hypothesis.extra.numpy as hnp
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import xarray as xr
from helpers.profiles import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import refspace
from refspace.errors import AnnotationError, FormatError, GridError
from refspace.formats import encoded_voxels as reading
from refspace.formats import voxel_files
from refspace.formats import voxel_output as writing
from refspace.formats.nrrd import NRRD, read_nrrd, write_nrrd
from refspace.formats.volumes import stream_volume
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled

SHAPE = (4, 3, 2)
VOXELS = np.arange(24, dtype="<u4").reshape(SHAPE, order="F")
FIELDS = {
    "type": "uint32",
    "dimension": "3",
    "sizes": "4 3 2",
    "spacings": "25 25 25",
    "endian": "little",
    "encoding": "gzip",
}
ALLEN = {
    "space": "left-posterior-superior",
    "spacings": None,
    "space directions": "(25,0,0) (0,25,0) (0,0,25)",
    "space origin": "(0,0,0)",
}
MICROMETRES = {"space units": '"um" "um" "um"'}

ORIENTATIONS = ["PIR", "LPS", "RAS", "ASR", "SRA", "IRP", "LAS", "PSL"]
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u4", ">u2"]

tmp_path_fuzz = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def header_text(**changes):
    """Header of a small valid file; a field that is changed to None is left out."""
    changed = {name.replace("_", " "): value for name, value in changes.items()}
    fields = {k: v for k, v in (FIELDS | changed).items() if v is not None}
    # The format wants the space before the fields that refer to it.
    first = [name for name in ("type", "dimension", "space") if name in fields]
    order = first + [name for name in fields if name not in first]
    return "".join(["NRRD0005\n", *(f"{name}: {fields[name]}\n" for name in order), "\n"])


def make(tmp_path, data=None, text=None, **changes):
    """Write a file by hand."""
    path = tmp_path / "made.nrrd"
    data = gzip.compress(VOXELS.tobytes("F")) if data is None else data
    text = header_text(**changes) if text is None else text
    path.write_bytes(text.encode() + data)
    return path


def volume(grid, dtype="u4", seed=0, chunks=None):
    array = np.random.default_rng(seed).integers(0, 120, grid.shape).astype(dtype)
    return labelled(array if chunks is None else da.from_array(array, chunks), grid)


grids = st.builds(
    Grid,
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.sampled_from([1.0, 10.0, 25.0, 33.3, 0.1, 16.752, 1 / 3])] * 3),
    st.tuples(*[st.sampled_from([0.0, -12.5, 100.0, -5700.0, 0.1, 123.456789])] * 3),
    st.permutations(["AP", "SI", "LR"]).flatmap(
        lambda axes: st.tuples(*map(st.sampled_from, axes)).map("".join)
    ),
)

# --- reading and writing ------------------------------------------------------------------------


@tmp_path_fuzz
@given(
    grid=grids,
    dtype=st.sampled_from(DTYPES),
    chunks=st.none() | st.tuples(*[st.integers(1, 4)] * 3),
    order=st.sampled_from("CF"),
    level=st.integers(1, 9),
)
def test_what_is_written_is_read_with_its_grid(tmp_path, grid, dtype, chunks, order, level):
    path = tmp_path / "round.nrrd"
    array = volume(grid, dtype)
    values = np.asarray(array.values, order=order)
    data = values if chunks is None else da.from_array(values, chunks)
    write_nrrd(path, array.copy(data=data), compression_level=level)
    back = read_nrrd(path)
    assert infer_grid(back) == grid
    assert back.dims == grid.dims
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back.values, values)
    by_pynrrd, header = nrrd.read(str(path))
    np.testing.assert_array_equal(by_pynrrd, values)
    assert by_pynrrd.dtype.itemsize == values.dtype.itemsize
    # In mm, each a double of its own: 33.3 µm are 0.0333 mm.
    np.testing.assert_allclose(
        np.abs(header["space directions"]).max(axis=1), np.float64(grid.spacing) / 1000, rtol=1e-15
    )


@tmp_path_fuzz
@given(
    values=hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype), st.tuples(*[st.integers(1, 5)] * 3), fill=st.just(0)
    ),
    encoding=st.sampled_from(["gzip", "raw"]),
    order=st.sampled_from("CF"),
)
def test_files_of_pynrrd_are_read_alike(tmp_path, values, encoding, order):
    path = tmp_path / "theirs.nrrd"
    nrrd.write(
        str(path), values, {"encoding": encoding, "spacings": [25, 25, 25]}, index_order=order
    )
    expected, _ = nrrd.read(str(path))
    array = read_nrrd(path)
    assert array.dtype.isnative
    assert array.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(array.values, expected)


def test_geometry_is_that_of_a_left_posterior_superior_space(tmp_path):
    path = tmp_path / "ccf.nrrd"
    write_nrrd(path, volume(Grid(SHAPE, (25, 25, 25))))
    header = nrrd.read_header(str(path))
    assert header["space"] == "left-posterior-superior"
    assert header["space units"] == ["mm", "mm", "mm"]
    np.testing.assert_array_equal(
        header["space directions"], [[0, 0.025, 0], [0, 0, -0.025], [-0.025, 0, 0]]
    )
    np.testing.assert_array_equal(header["space origin"], [-0.0125, 0.0125, -0.0125])


def test_an_lps_grid_is_written_so_that_it_can_be_believed(tmp_path):
    path = tmp_path / "lps.nrrd"
    grid = Grid(SHAPE, (25, 25, 25), (5, 6, 7), "LPS")
    write_nrrd(path, volume(grid))
    assert nrrd.read_header(str(path))["space"] == "right-anterior-superior"
    assert infer_grid(read_nrrd(path)) == grid


def test_a_bare_array_is_written_without_geometry(tmp_path):
    path = tmp_path / "bare.nrrd"
    write_nrrd(path, VOXELS)
    expected, header = nrrd.read(str(path))
    np.testing.assert_array_equal(expected, VOXELS)
    assert not {"space", "spacings", "space directions"} & header.keys()
    with pytest.raises(GridError, match=r"bare.nrrd: .* states no spacing; give resolution="):
        read_nrrd(path)
    assert infer_grid(read_nrrd(path, resolution=25)) == Grid(SHAPE, (25, 25, 25))


def test_a_mask_of_booleans_is_written_as_0_and_1(tmp_path):
    write_nrrd(tmp_path / "mask.nrrd", VOXELS > 5)
    values, _ = nrrd.read(str(tmp_path / "mask.nrrd"))
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, VOXELS > 5)


def test_a_gzip_stream_has_one_member_and_the_same_bytes_every_time(tmp_path):
    array = volume(Grid((8, 8, 8), (25, 25, 25)), chunks=(8, 8, 1))
    write_nrrd(tmp_path / "a.nrrd", array)
    write_nrrd(tmp_path / "b.nrrd", array.compute())
    first = (tmp_path / "a.nrrd").read_bytes()
    member = zlib.decompressobj(wbits=31)
    assert member.decompress(first.split(b"\n\n", 1)[1]) == array.values.tobytes("F")
    assert member.eof
    assert member.unused_data == b""
    second = (tmp_path / "b.nrrd").read_bytes()
    assert second == first


def _counted(block, seen, block_info=None):
    seen.append(tuple(block_info[0]["chunk-location"]))
    return block


def test_every_chunk_is_computed_once_and_never_all_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_SLAB_BYTES", 1)
    seen = []
    source = da.from_array(np.arange(6**3, dtype="u4").reshape(6, 6, 6), (2, 3, 2))
    lazy = source.map_blocks(_counted, seen, dtype="u4", meta=np.empty((0, 0, 0), "u4"))
    with dask.config.set(scheduler="synchronous"):
        write_nrrd(tmp_path / "once.nrrd", lazy)
    assert len(seen) == len(set(seen)) == 18
    # Slab by slab: all chunks of one depth before any of the next.
    assert [where[2] for where in seen] == [0] * 6 + [1] * 6 + [2] * 6
    np.testing.assert_array_equal(nrrd.read(str(tmp_path / "once.nrrd"))[0], source.compute())


def test_small_chunks_are_written_together(monkeypatch):
    monkeypatch.setattr(writing, "_SLAB_BYTES", 100)
    data = da.zeros((2, 5, 12), chunks=(1, 2, (1, 2, 9)), dtype="u4")
    assert list(writing.slabs(data)) == [slice(0, 3), slice(3, 12)]


# --- the written file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2)), r"shape \(2, 2\).*three axes"),
        (np.zeros((2, 0, 2)), r"shape \(2, 0, 2\).*at least one voxel"),
        (np.zeros((2, 2, 2), "c8"), "no type for complex64; convert .* uint8"),
        (np.zeros((2, 2, 2), "f2"), "no type for float16"),
    ],
)
def test_arrays_that_nrrd_cannot_hold_are_refused(tmp_path, array, message):
    with pytest.raises(AnnotationError, match=message):
        write_nrrd(tmp_path / "x.nrrd", array)
    assert list(tmp_path.iterdir()) == []


def test_names_folders_and_levels_are_checked(tmp_path):
    with pytest.raises(FormatError, match=r"x\.nhdr does not end in \.nrrd"):
        write_nrrd(tmp_path / "x.nhdr", VOXELS)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_nrrd(tmp_path / "nowhere" / "x.nrrd", VOXELS)
    with pytest.raises(FormatError, match=r"compression_level is 11; give 1 \(fast\) to 9"):
        write_nrrd(tmp_path / "x.nrrd", VOXELS, compression_level=11)
    with pytest.raises(GridError, match="no coordinates"):
        write_nrrd(tmp_path / "x.nrrd", xr.DataArray(VOXELS, dims=("ap", "dv", "ml")))


def _failing(block, block_info=None):
    if block_info[0]["chunk-location"][2] == 1:
        raise RuntimeError("lost")
    return block


@pytest.mark.promise("a file is written and the writer fails")
def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.nrrd"
    write_nrrd(path, VOXELS)
    before = path.read_bytes()
    broken = da.from_array(VOXELS, (4, 3, 1)).map_blocks(_failing, meta=np.empty((0, 0, 0), "u4"))
    with pytest.raises(RuntimeError, match="lost"):
        write_nrrd(path, broken)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept.nrrd"]


# --- laziness -----------------------------------------------------------------------------------


def test_opening_reads_the_header_only(tmp_path):
    path = make(tmp_path, data=b"no gzip at all, but long enough to hold 96 bytes")
    array = read_nrrd(path)
    assert array.shape == SHAPE
    for _ in range(2):  # a second access must not see half of an array
        with pytest.raises(FormatError, match=r"made\.nrrd: the gzip data are damaged"):
            array.compute()


def test_blocks_are_read_only_views_of_one_array(tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_files, "SLAB_BYTES", 4 * 3 * 4)
    loads = []
    original = reading._inflated
    monkeypatch.setattr(
        reading, "_inflated", lambda *args: loads.append(threading.get_ident()) or original(*args)
    )
    array = read_nrrd(make(tmp_path))
    assert array.chunks == ((4,), (3,), (1, 1))
    blocks = dask.compute(*array.data.to_delayed().ravel(), scheduler="threads")
    assert len(loads) == 1
    assert all(block.flags.f_contiguous and not block.flags.owndata for block in blocks)
    assert not any(block.flags.writeable for block in blocks)
    assert np.concatenate(blocks, axis=2).tobytes("F") == VOXELS.tobytes("F")
    first, second = (block.__array_interface__["data"][0] for block in blocks)
    assert second - first == 4 * 3 * 4
    assert array.isel(ml=1).values.tolist() == VOXELS[..., 1].tolist()
    assert len(loads) == 1


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_an_array_pickles_as_its_path(tmp_path, encoding):
    path = tmp_path / "big.nrrd"
    values = np.random.default_rng(0).integers(0, 2**32, (40, 40, 40), dtype="u4")
    nrrd.write(str(path), values, {"encoding": encoding, "spacings": [25, 25, 25]})
    array = read_nrrd(path)
    array.compute()
    pickled = pickle.dumps(array.data)
    assert len(pickled) < 10_000
    np.testing.assert_array_equal(pickle.loads(pickled).compute(), values)


def test_names_follow_the_file(tmp_path):
    path = make(tmp_path)
    first = read_nrrd(path).data.name
    assert read_nrrd(str(path)).data.name == first
    os.utime(path, ns=(0, 0))
    assert read_nrrd(path).data.name != first


def test_a_file_that_changed_is_not_read_under_its_old_header(tmp_path):
    array = read_nrrd(make(tmp_path))
    make(tmp_path, sizes="2 3 4")
    os.utime(tmp_path / "made.nrrd", ns=(0, 0))
    with pytest.raises(FormatError, match="has changed since it was opened; read it again"):
        array.compute()


def test_an_array_survives_the_removal_of_its_file_once_read(tmp_path):
    path = make(tmp_path)
    array = read_nrrd(path)
    array.compute()
    path.unlink()
    np.testing.assert_array_equal(array.compute(), VOXELS)
    with pytest.raises(FileNotFoundError):
        read_nrrd(path)


@pytest.mark.parametrize("dtype", ["<u4", ">u4"])
def test_reading_holds_one_copy(tmp_path, dtype):
    values = np.zeros((256, 256, 64), dtype)  # 16 MiB
    nrrd.write(str(tmp_path / "big.nrrd"), values, {"spacings": [25, 25, 25]})
    tracemalloc.start()
    try:
        blocks = dask.compute(*read_nrrd(tmp_path / "big.nrrd").data.to_delayed().ravel())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(block.nbytes for block in blocks) == values.nbytes
    assert peak <= 1.2 * values.nbytes


def test_raw_data_are_mapped(tmp_path):
    values = np.zeros((256, 256, 64), "u4")
    nrrd.write(str(tmp_path / "r.nrrd"), values, {"encoding": "raw", "spacings": [25, 25, 25]})
    tracemalloc.start()
    try:
        (block,) = dask.compute(*read_nrrd(tmp_path / "r.nrrd").data.to_delayed().ravel())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert block.nbytes == values.nbytes
    assert peak < 0.1 * values.nbytes


# --- geometry -----------------------------------------------------------------------------------


def test_spacings_alone_are_pir_from_0(tmp_path):
    array = read_nrrd(make(tmp_path, spacings="10 20 30"))
    assert infer_grid(array) == Grid(SHAPE, (10, 20, 30))


def test_resolution_must_agree_with_the_header(tmp_path):
    path = make(tmp_path, units='"um" "um" "um"')
    assert infer_grid(read_nrrd(path, resolution=25)).spacing == (25, 25, 25)
    with pytest.raises(
        GridError, match=r"made.nrrd: resolution \(10.0, 10.0, 10.0\) contradicts.*25"
    ):
        read_nrrd(path, resolution=10)


@pytest.mark.parametrize(
    ("units", "spacings", "expected"),
    [
        ('"mm" "mm" "mm"', "0.01 0.025 0.0333", (10, 25, 33.3)),
        ('"um" "µm" "μm"', "10 10 10", (10, 10, 10)),
        ('"microns" "mm" "m"', "10 0.1 1e-5", (10, 100, 10)),
        ('"" "" ""', "10 10 10", (10, 10, 10)),
    ],
)
def test_units_are_converted(tmp_path, units, spacings, expected):
    path = make(tmp_path, spacings=spacings, units=units)
    assert infer_grid(read_nrrd(path)).spacing == expected


def test_unknown_units_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r"units are \['inch'.*allowed are three of nm, um"):
        read_nrrd(make(tmp_path, units='"inch" "inch" "inch"'))


def test_directions_say_where_the_axes_run(tmp_path):
    path = make(
        tmp_path,
        spacings=None,
        space="right-anterior-superior",
        space_directions="(0,-0.025,0) (0,0,-0.01) (0.02,0,0)",
        space_units='"mm" "mm" "mm"',
        space_origin="(-5.69,0,0.1)",
    )
    assert infer_grid(read_nrrd(path)) == Grid(
        SHAPE, (25, 10, 20), (-87.5, 75, -5700), "PIR", "RAS"
    )
    with pytest.raises(GridError, match="orientation ASR contradicts the header, which states PIR"):
        read_nrrd(path, orientation="ASR")
    # The origin belongs to the orientation that is not used.
    assert infer_grid(read_nrrd(path, orientation="ASR", override=True)) == Grid(
        SHAPE, (25, 10, 20), orientation="ASR"
    )


def test_pynrrd_may_be_set_to_parse_directions_as_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(nrrd, "SPACE_DIRECTIONS_TYPE", "double vector list")
    path = tmp_path / "ccf.nrrd"
    grid = Grid(SHAPE, (25, 10, 33.3), (1, 2, 3))
    write_nrrd(path, volume(grid))
    assert infer_grid(read_nrrd(path)) == grid
    for directions in ("none (0,25,0) (0,0,25)", "none (0,25) (0,25)"):
        with pytest.raises(FormatError, match="three vectors of three numbers"):
            read_nrrd(make(tmp_path, **(ALLEN | {"space directions": directions})))


def test_a_volume_without_origin_starts_at_0(tmp_path):
    directions = {"space directions": "(-25,0,0) (0,25,0) (0,0,25)", "space origin": None}
    array = read_nrrd(make(tmp_path, **(ALLEN | directions | MICROMETRES)))
    assert infer_grid(array) == Grid(SHAPE, (25, 25, 25), orientation="RPS", frame="RAS")


def test_a_space_without_anatomy_is_pir(tmp_path):
    path = make(
        tmp_path,
        spacings=None,
        space_dimension="3",
        space_directions="(25,0,0) (0,25,0) (0,0,25)",
        space_origin="(7,7,7)",
    )
    assert infer_grid(read_nrrd(path)) == Grid(SHAPE, (25, 25, 25))


def test_the_header_of_allen_files_is_not_believed(tmp_path):
    shape = (132, 80, 114)
    directions = "(100,0,0) (0,100,0) (0,0,100)"
    data = gzip.compress(np.zeros(shape, "u4").tobytes())
    changes = ALLEN | {"space directions": directions, "sizes": "132 80 114"}
    path = make(tmp_path, data, **changes)
    assert infer_grid(read_nrrd(path)) == Grid(shape, (100, 100, 100))
    trusted = infer_grid(read_nrrd(path, orientation="LPS"))
    assert trusted == Grid(shape, (100, 100, 100), (50 - 13200, 50 - 8000, -50), "LPS", "RAS")


def test_an_orientation_that_nobody_can_know_is_asked_for(tmp_path):
    path = make(tmp_path, **(ALLEN | MICROMETRES))
    with pytest.raises(GridError, match=r"made.nrrd: .*orientation='PIR' for such data, or 'LPS'"):
        read_nrrd(path)
    assert infer_grid(read_nrrd(path, orientation="PIR")) == Grid(SHAPE, (25, 25, 25))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space directions": "(25,0,0) (25,0,0) (0,0,25)"}, "not those of a volume"),
        ({"space directions": "(25,0,0) (0,0,0) (0,0,25)"}, "not those of a volume"),
        ({"space directions": "(25,0,0) (0,25,0) (25,25,0)"}, "or lie in one plane"),
    ],
)
def test_directions_of_no_volume_are_refused(tmp_path, changes, message):
    with pytest.raises(GridError, match=message):
        read_nrrd(make(tmp_path, **(ALLEN | changes)), orientation="PIR")


# --- slab by slab -------------------------------------------------------------------------------


def members(data, count):
    """A gzip stream of several members, as some programs write them."""
    size = -(-len(data) // count)
    return b"".join(gzip.compress(data[i : i + size]) for i in range(0, len(data), size))


@tmp_path_fuzz
@given(
    values=hnp.arrays(
        st.sampled_from(DTYPES).map(np.dtype), st.tuples(*[st.integers(1, 5)] * 3), fill=st.just(0)
    ),
    encoding=st.sampled_from(["gzip", "raw", "members"]),
    thickness=st.integers(1, 7),
    unwanted=st.sets(st.integers(0, 4)),
)
def test_slabs_are_the_volume(tmp_path, values, encoding, thickness, unwanted):
    path = tmp_path / "slabs.nrrd"
    kind = "raw" if encoding == "raw" else "gzip"
    nrrd.write(str(path), values, {"encoding": kind, "spacings": [25, 10, 30]})
    if encoding == "members":
        head, _, _ = path.read_bytes().partition(b"\n\n")
        path.write_bytes(head + b"\n\n" + members(values.tobytes("F"), 3))
    stream, whole = stream_volume(path), read_nrrd(path)
    assert (stream.grid, stream.dtype) == (infer_grid(whole), whole.dtype)
    cuts = []
    for cut, slab in stream.slabs(thickness, lambda cut: cut.start in unwanted):
        assert slab.dtype == whole.dtype
        assert slab.flags.f_contiguous
        assert slab.nbytes == stream.slab_bytes(cut.stop - cut.start)
        np.testing.assert_array_equal(slab, values[..., cut])
        cuts.append(cut)
    starts = [i for i in range(0, values.shape[2], thickness) if i not in unwanted]
    assert [cut.start for cut in cuts] == starts
    assert all(cut.stop == min(cut.start + thickness, values.shape[2]) for cut in cuts)
    assert stream.slab_bytes(10**6) == values.nbytes


def test_a_stream_has_the_geometry_of_the_file(tmp_path):
    path = make(tmp_path, spacings=None)
    with pytest.raises(GridError, match=r"made\.nrrd: the header states no spacing; give resol"):
        stream_volume(path)
    assert stream_volume(path, resolution=10).grid == Grid(SHAPE, (10, 10, 10))
    turned = stream_volume(path, resolution=(1, 2, 3), orientation="RAS").grid
    assert turned == Grid(SHAPE, (1, 2, 3), orientation="RAS")
    with pytest.raises(GridError, match="contradicts the header"):
        stream_volume(make(tmp_path, units='"um" "um" "um"'), resolution=10)


def test_a_stream_is_told_from_others(tmp_path):
    path = make(tmp_path)
    stream = stream_volume(path)
    identity = stream.content_identity()
    assert identity == stream_volume(str(path)).content_identity()
    assert identity.facts["path"] == str(path)
    os.utime(path, ns=(1, 1))
    assert stream_volume(path).content_identity() != identity
    with pytest.raises(FormatError, match=r"made\.nrrd: the file has changed since it was opened"):
        next(stream.slabs(1))


def test_a_file_of_which_nothing_is_wanted_is_not_read(tmp_path):
    path = make(tmp_path)
    stream = stream_volume(path)
    path.unlink()
    assert list(stream.slabs(1, lambda cut: True)) == []


@pytest.mark.parametrize("dtype", ["<u4", ">u4"])
@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_a_stream_holds_one_slab(tmp_path, dtype, encoding):
    values = np.zeros((256, 256, 64), dtype)  # 16 MiB
    fields = {"encoding": encoding, "spacings": [25, 25, 25]}
    nrrd.write(str(tmp_path / "big.nrrd"), values, fields)
    stream = stream_volume(tmp_path / "big.nrrd")
    places = set()
    tracemalloc.start()
    try:
        for _, slab in stream.slabs(16):
            places.add(slab.ctypes.data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 4 MiB, and again in the other byte order, the one before not yet let go.
    assert peak < stream.slab_bytes(16) * (1.2 if dtype == "<u4" else 3.2)
    assert len(places) == 1 or dtype == ">u4"


DAMAGES = {
    "a byte too few": lambda data: members(data[:-1], 2),
    "a byte too many": lambda data: members(data + b"x", 2),
    "no end": lambda data: gzip.compress(data)[:-1],
    "a wrong sum": lambda data: gzip.compress(data)[:-8] + b"sum!" + gzip.compress(data)[-4:],
    "a wrong length": lambda data: gzip.compress(data)[:-1] + b"!",
    "garbage after it": lambda data: gzip.compress(data) + b"garbage",
    "another volume after it": lambda data: gzip.compress(data) * 2,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("wanted", [True, False])
def test_the_last_slab_proves_the_whole(tmp_path, damage, wanted):
    stream = stream_volume(make(tmp_path, DAMAGES[damage](VOXELS.tobytes("F"))))
    slabs = stream.slabs(1, lambda cut: not wanted and cut.start == 1)
    cut, first = next(slabs)
    np.testing.assert_array_equal(first, VOXELS[..., cut])
    # Though its voxels are there, and whether or not they are wanted.
    with pytest.raises(FormatError, match=r"made\.nrrd: .*get (it|the file) again"):
        next(slabs)


def test_a_raw_stream_is_as_long_as_declared(tmp_path):
    path = make(tmp_path, VOXELS.tobytes("F"), encoding="raw")
    stream = stream_volume(path)
    status = path.stat()
    # Cut behind the back of the header, at the same size and time.
    path.write_bytes(path.read_bytes()[:-5])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(FormatError, match="the file has changed since it was opened"):
        list(stream.slabs(1))


def test_a_stream_reads_no_more_than_declared(tmp_path, monkeypatch):
    path = make(tmp_path, gzip.compress(VOXELS.tobytes("F") + b"\0" * 50_000_000))
    read = []
    original = gzip.GzipFile.readinto

    def counted(self, room):
        count = original(self, room)
        read.append(count)
        return count

    monkeypatch.setattr(gzip.GzipFile, "readinto", counted)
    with pytest.raises(FormatError, match="the gzip data hold more than 96"):
        list(stream_volume(path).slabs(1))
    assert sum(read) == 96


# --- damaged and hostile files ------------------------------------------------------------------

HEADERS = [
    ({"dimension": "2", "sizes": "4 6"}, "dimension is 2 .*three sizes"),
    ({"dimension": "4"}, "dimension is 4"),
    ({"sizes": "4 3"}, "sizes are '4 3'"),
    ({"sizes": "4 0 2"}, "sizes are '4 0 2'; they must be positive whole numbers"),
    ({"sizes": "4 -3 2"}, "positive whole numbers"),
    ({"sizes": "4.5 3 2"}, "positive whole numbers"),
    ({"sizes": "4 3 1e30"}, "cannot be parsed|positive whole numbers"),
    ({"sizes": "4 3 99999999999999999"}, "positive whole numbers"),
    ({"sizes": "400000 300000 2"}, "make 960000000000 bytes, but the file holds"),
    ({"sizes": None}, "no field 'sizes'"),
    ({"type": "block"}, "type 'block' is not supported"),
    ({"type": "quaternion"}, "type 'quaternion' is not supported"),
    ({"encoding": "text"}, "encoding 'text' is not supported; .* gzip or raw"),
    ({"encoding": "hex"}, "encoding 'hex' is not supported"),
    ({"encoding": "bzip2"}, "encoding 'bzip2' is not supported"),
    ({"endian": None}, "endian None for type 'uint32'; it must be 'little' or 'big'"),
    ({"endian": "middle"}, "endian 'middle'"),
    ({"data file": "/etc/passwd"}, "another file, '/etc/passwd'"),
    ({"datafile": "LIST"}, "in several files, 'LIST'"),
    ({"line skip": "1000000000"}, "line skip 1000000000 and byte skip 0 are not supported"),
    ({"lineskip": "1"}, "line skip 1"),
    ({"byte skip": "7"}, "byte skip 7"),
    ({"byteskip": "-1"}, "byte skip -1 are not supported with encoding gzip"),
    ({"byte skip": "0", "byteskip": "0"}, "both 'byte skip' and 'byteskip'; remove one"),
    ({"spacings": "25 nan 25"}, "spacings are .*nan.*three positive numbers"),
    ({"spacings": "25 -25 25"}, "three positive numbers"),
    ({"spacings": "25 25"}, "three positive numbers"),
    ({"spacings": "25 25 inf"}, "spacings holds inf"),
    (ALLEN | {"space origin": "(0,nan,0)"}, "space origin holds nan"),
    (ALLEN | {"space origin": "(0,0)"}, r"space origin is \[0.0, 0.0\]"),
    (ALLEN | {"space directions": "(25,0,0) none (0,0,25)"}, "three vectors of three numbers"),
    (ALLEN | {"space directions": "(25,0) (0,25)"}, "three vectors of three numbers"),
    (ALLEN | {"space directions": "(25,0,0) (0,25"}, "cannot be parsed"),
    (ALLEN | MICROMETRES | {"spacings": "10 10 10"}, r"spacings \(10.0, .* contradict"),
    ({"sizes ": "4 3 2"}, "Duplicate header field"),
    ({"space units": '"um'}, "cannot be parsed"),
]


@pytest.mark.promise(
    "the header of a volume lies about sizes",
    "an error before memory is taken",
)
@pytest.mark.parametrize(("changes", "message"), HEADERS)
def test_headers_that_cannot_be_trusted_are_refused(tmp_path, changes, message):
    path = make(tmp_path, **changes)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*({message})"):
        read_nrrd(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an NRRD file: it is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an NRRD file: it starts with"),
        (b"<html>\n", "starts with '<html>'"),
        (b"NRRD0005\n", "no field 'type'"),
        (b"NRRD0009\n\n", "cannot be parsed .*version"),
        (b"NRRD0005\nnonsense\n\n", "cannot be parsed"),
        (b"NRRD0005\ntype: uint32\ndimen", "cannot be parsed"),
        (b"NRRD0005\n" + b"# more\n" * 200_000, "no end within 1048576 bytes"),
        (b"NRRD0005" + b"x" * 3_000_000, "no end within 1048576 bytes"),
    ],
)
def test_files_without_a_whole_header_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.nrrd"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_nrrd(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_nrrd(tmp_path / "none.nrrd")
    with pytest.raises(OSError, match="directory"):
        read_nrrd(tmp_path)


@pytest.mark.parametrize("read", [read_nrrd, refspace.read_image, refspace.open])
def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.nrrd")
    (tmp_path / "endless.nrrd").symlink_to("/dev/zero")
    for name in ("pipe.nrrd", "endless.nrrd"):
        with pytest.raises(FormatError, match=f"{name} is a pipe or device, and no file"):
            read(tmp_path / name)


WHOLE = gzip.compress(VOXELS.tobytes("F"), mtime=0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE[:-9], "damaged .*end-of-stream"),
        (WHOLE[:-4], "damaged"),
        (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "damaged .*CRC"),
        (gzip.compress(VOXELS.tobytes()[:-4]), "declares 96 bytes, but the gzip data hold 92"),
        (gzip.compress(VOXELS.tobytes() + b"!"), "hold more than 96"),
        (gzip.compress(bytes(50_000_000)), "hold more than 96"),
        (WHOLE + WHOLE, "hold more than 96"),
        (WHOLE + b"trailing", "damaged"),
        (bz2.compress(VOXELS.tobytes()), "damaged .*[Gg]zip"),
    ],
    # Not the data, which hold the time of their compression: every process must see one name.
    ids=["no end", "no size", "wrong sum", "short", "long", "bomb", "twice", "tail", "bzip2"],
)
def test_damaged_data_raise_when_they_are_computed(tmp_path, data, message):
    array = read_nrrd(make(tmp_path, data))
    for _ in range(2):
        with pytest.raises(FormatError, match=f"made.nrrd: .*{message}"):
            array.compute()


@pytest.mark.promise("the header of a volume lies about sizes")
def test_a_bomb_is_not_inflated(tmp_path):
    array = read_nrrd(make(tmp_path, gzip.compress(bytes(100_000_000))))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="hold more than 96"):
            array.compute()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_several_gzip_members_are_one_stream(tmp_path):
    whole = VOXELS.tobytes("F")
    members = b"".join(gzip.compress(whole[i : i + 7]) for i in range(0, len(whole), 7))
    np.testing.assert_array_equal(read_nrrd(make(tmp_path, members)).values, VOXELS)


@pytest.mark.parametrize("change", [b"", b"1", -1])
def test_raw_data_have_the_size_that_the_header_says(tmp_path, change):
    raw = VOXELS.tobytes("F")
    data = raw[:-1] if change == -1 else raw + change
    path = make(tmp_path, data, encoding="raw")
    if change == b"":
        np.testing.assert_array_equal(read_nrrd(path).values, VOXELS)
        return
    with pytest.raises(
        FormatError, match=f"make 96 bytes, but the file holds {len(data)} bytes of raw"
    ):
        read_nrrd(path)


def test_raw_data_may_be_the_end_of_the_file(tmp_path):
    path = make(tmp_path, b"junk" + VOXELS.tobytes("F"), encoding="raw", byte_skip="-1")
    np.testing.assert_array_equal(read_nrrd(path).values, VOXELS)
    with pytest.raises(FormatError, match="make 96 bytes"):
        read_nrrd(make(tmp_path, b"junk", encoding="raw", byte_skip="-1"))


def test_big_endian_raw_data_are_swapped_in_memory_only(tmp_path):
    data = VOXELS.astype(">u4").tobytes("F")
    path = make(tmp_path, data, encoding="raw", endian="big")
    np.testing.assert_array_equal(read_nrrd(path).values, VOXELS)
    assert path.read_bytes().endswith(data)


def test_a_swapped_header_order_and_comments_are_fine(tmp_path):
    text = (
        header_text().replace("type:", "# a comment\r\ntype:").replace("\n\n", "\nkey:=value\n\n")
    )
    np.testing.assert_array_equal(read_nrrd(make(tmp_path, text=text)).values, VOXELS)


# A header whose unit is lost, or whose axes are turned a little, is told and read.
@pytest.mark.promise("a file of any format is mutated")
@pytest.mark.filterwarnings("ignore:.*(states no unit|axes are oblique):UserWarning")
@examples(400, parent=tmp_path_fuzz)
@given(
    encoding=st.sampled_from(["gzip", "raw", "directions"]),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    cut=st.none() | st.integers(0, 500),
)
def test_a_damaged_file_is_read_right_or_refused(tmp_path, encoding, flips, cut):
    path = tmp_path / "fuzzed.nrrd"
    if encoding == "directions":
        write_nrrd(path, labelled(VOXELS, Grid(SHAPE, (25, 10, 30), (1, 2, 3))))
    else:
        nrrd.write(str(path), VOXELS, {"encoding": encoding, "spacings": [25, 25, 25]})
    content = bytearray(path.read_bytes())
    header_end = content.index(b"\n\n")
    for position, value in flips:
        content[position % len(content)] = value
    damaged_header = any(position % len(content) <= header_end + 1 for position, _ in flips)
    path.write_bytes(content[:cut])
    try:
        values = read_nrrd(path).values
    except (FormatError, GridError, OSError):
        return
    header = NRRD.read_header(path)
    assert values.shape == header.shape
    assert values.nbytes == header.image.voxels.nbytes
    if not damaged_header and encoding != "raw":
        np.testing.assert_array_equal(values, VOXELS)


# --- the real CCF -------------------------------------------------------------------------------


@pytest.mark.ccf
@pytest.mark.usefixtures("ccf_data")
def test_the_real_annotation(tmp_path):
    annotation = read_nrrd(Path(os.environ["REFSPACE_CCF_DATA"]) / "annotation_25.nrrd")
    assert annotation.dtype == np.uint32
    assert infer_grid(annotation) == Grid((528, 320, 456), (25, 25, 25))
    expected, _ = nrrd.read(f"{os.environ['REFSPACE_CCF_DATA']}/annotation_25.nrrd")
    assert np.array_equal(annotation.values, expected)
    write_nrrd(tmp_path / "copy.nrrd", annotation)
    copy = read_nrrd(tmp_path / "copy.nrrd")
    assert infer_grid(copy) == infer_grid(annotation)
    assert np.array_equal(copy.values, expected)


# ----- fields as other programs may name them

FULL = {
    "type": "uint16",
    "dimension": "3",
    "space": "right-anterior-superior",
    "sizes": "4 3 2",
    "space directions": "(0,0.2,0) (-0.1,0,0) (0,0,0.3)",
    "space origin": "(1,2,3)",
    "space units": '"um" "um" "um"',
    "encoding": "raw",
    "endian": "little",
}
FEW = np.arange(24, dtype="<u2").reshape(4, 3, 2)


def by_hand(folder, **changes):
    """Write a file of these fields; one that is None is left out."""
    fields = {**FULL, **{name.replace("_", " "): value for name, value in changes.items()}}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    path = folder / "x.nrrd"
    path.write_bytes(f"NRRD0005\n{text}\n".encode() + FEW.tobytes("F"))
    return path


@pytest.mark.parametrize("name", [*FULL])
@pytest.mark.parametrize("write", [str.title, str.upper, lambda name: name.replace(" ", "")])
def test_names_of_fields_may_be_written_otherwise(tmp_path, name, write):
    wanted = read_nrrd(by_hand(tmp_path)).compute()
    assert infer_grid(wanted).origin == (1.9, 0.75, 2.85)
    path = by_hand(tmp_path)
    path.write_bytes(path.read_bytes().replace(f"\n{name}:".encode(), f"\n{write(name)}:".encode()))
    found = read_nrrd(path)
    xr.testing.assert_identical(found.compute(), wanted)
    # As ITK reads it, which takes all lengths as mm.
    image = sitk.ReadImage(path)
    np.testing.assert_allclose(image.GetSpacing(), (0.2, 0.1, 0.3))
    np.testing.assert_allclose(image.GetOrigin(), (-1, -2, 3))


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "RAI", "RAST"])
def test_directions_in_a_space_that_is_not_anatomical_are_asked_for(tmp_path, space):
    path = by_hand(tmp_path, space=space)
    with pytest.raises(GridError, match=rf"the space '{space}' is not one of anatomy; give orient"):
        read_nrrd(path)
    assert read_nrrd(path, orientation="RAS").dims == ("ml", "ap", "dv")


def test_directions_without_a_space_are_asked_for(tmp_path):
    path = by_hand(tmp_path, space=None, space_dimension="3")
    with pytest.raises(GridError, match="directions, and no 'space' for them; give orientation="):
        read_nrrd(path)
    straight = "(25,0,0) (0,25,0) (0,0,25)"
    path = by_hand(tmp_path, space=None, space_dimension="3", space_directions=straight)
    assert infer_grid(read_nrrd(path)).orientation == "PIR"


@pytest.mark.parametrize("kinds", ["list domain domain", "domain domain vector", "RGB-color ??? ?"])
def test_pictures_of_several_channels_are_no_volume(tmp_path, kinds):
    path = by_hand(tmp_path, kinds=kinds)
    for read in (read_nrrd, refspace.read_image):
        with pytest.raises(FormatError, match="so that two are left for space"):
            read(path)
