"""Volumes of any kind become the same store; run as a script, this is a writer that is killed."""

import errno
import functools
import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.files import contents, journal, names
from helpers.places_to_write import small_disk
from helpers.profiles import examples
from helpers.volumes import CountingSource, chunkings, in_memory_order
from hypothesis import Phase, given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree, conversion
from refspace.errors import (
    AnnotationError,
    FormatError,
    GridError,
    OntologyError,
    StoreError,
    WriteError,
)
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.store import BlockSource, block_writer, write

pytestmark = pytest.mark.usefixtures("no_sync")

SHAPE = (23, 14, 19)
GRID = Grid(SHAPE, (25, 25, 25))
NODES = [
    {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
    {"id": 8, "acronym": "grey", "name": "grey", "structure_id_path": [997, 8]},
    {"id": 614454277, "acronym": "VIS", "name": "vis", "structure_id_path": [997, 8, 614454277]},
]
TREE = StructureTree(NODES)
LABELS = np.array([0, 8, 997, 614454277, 2**32 - 1], "u4")


def piecewise(seed=0, labels=LABELS):
    """Labels in blobs, as annotations are, and some noise."""
    random_numbers = np.random.default_rng(seed)
    coarse = random_numbers.choice(labels, [-(-n // 5) for n in SHAPE])
    voxels = coarse.repeat(5, 0).repeat(5, 1).repeat(5, 2)[tuple(map(slice, SHAPE))]
    noisy = random_numbers.random(SHAPE) < 0.02
    return np.where(noisy, random_numbers.choice(labels, SHAPE), voxels)


VOXELS = piecewise()
# What float32 and int32 hold without loss.
SMALL = piecewise(labels=np.array([0, 8, 997, 2**24 - 1], "u4"))


def facts_of(target):
    return json.loads((target / "zarr.json").read_bytes())["attributes"]["refspace"]


def convert(annotation, target, **how):
    how = {"chunks": 8, "resolution": 25} | how
    return refspace.convert(annotation, TREE, target, **how)


# ----- files by hand


def nrrd(path, voxels, encoding="gzip", members=1, **fields):
    """NRRD file with the parts that pynrrd does not write."""
    endian = "big" if voxels.dtype.byteorder == ">" else "little"
    kinds = {"i": "int", "u": "uint", "f": {4: "float", 8: "double"}.get(voxels.itemsize)}
    kind = kinds[voxels.dtype.kind]
    fields = {
        "type": kind if voxels.dtype.kind == "f" else f"{kind}{8 * voxels.itemsize}",
        "dimension": 3,
        "sizes": " ".join(map(str, voxels.shape)),
        "spacings": "25 25 25",
        "endian": endian,
        "encoding": encoding,
    } | fields
    header = "".join(
        ["NRRD0005\n", *(f"{name}: {value}\n" for name, value in fields.items()), "\n"]
    )
    data = voxels.tobytes("F")
    if encoding == "gzip":
        size = -(-len(data) // members)
        data = b"".join(
            gzip.compress(data[i : i + size], mtime=0) for i in range(0, len(data), size)
        )
    path.write_bytes(header.encode() + data)
    return path


def ome(path, voxels, version="0.5", unit="micrometer", chunks=(10, 10, 10)):
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("0", shape=voxels.shape, dtype=voxels.dtype, chunks=chunks)[...] = voxels
    transformations = [
        {"type": "scale", "scale": [25.0] * 3},
        {"type": "translation", "translation": [12.5] * 3},
    ]
    image = {
        "version": version,
        "axes": [{"name": name, "type": "space", "unit": unit} for name in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }
    content = {"multiscales": [image], "image-label": {"version": version}}
    group.attrs.update(content if version == "0.4" else {"ome": {"version": "0.5", **content}})
    return path


def bare(path, voxels, **how):
    how = {"chunks": (7, 14, 5)} | how
    zarr.create_array(path, shape=voxels.shape, dtype=voxels.dtype, **how)[...] = voxels
    return path


def own(path, voxels):
    ReferenceSpace(TREE, voxels, 25).to_zarr(path, chunks=5)
    return path


# ----- equal voxels from anywhere make equal stores

SOURCES = {
    "one gzip member": lambda path, v: nrrd(path / "a.nrrd", v),
    "gzip members": lambda path, v: nrrd(path / "a.nrrd", v, members=5),
    "raw": lambda path, v: nrrd(path / "a.nrrd", v, "raw"),
    "nhdr ending, upper case": lambda path, v: nrrd(path / "a.NHDR", v, "raw"),
    "big-endian gzip": lambda path, v: nrrd(path / "a.nrrd", v.astype(">u4")),
    "big-endian raw": lambda path, v: nrrd(path / "a.nrrd", v.astype(">u4"), "raw"),
    "int64": lambda path, v: nrrd(path / "a.nrrd", v.astype("i8")),
    "uint64": lambda path, v: nrrd(path / "a.nrrd", v.astype("u8"), "raw"),
    "double": lambda path, v: nrrd(path / "a.nrrd", v.astype("f8")),
    "big-endian double": lambda path, v: nrrd(path / "a.nrrd", v.astype(">f8")),
    "zarr v2": lambda path, v: bare(path / "v2", v, zarr_format=2),
    "zarr v2, big-endian": lambda path, v: bare(path / "v2", v.astype(">u4"), zarr_format=2),
    "zarr v2, Fortran order": lambda path, v: bare(path / "v2", v, zarr_format=2, order="F"),
    "zarr v2, dots": lambda path, v: bare(
        path / "v2", v, chunk_key_encoding={"name": "v2", "separator": "."}, zarr_format=2
    ),
    "zarr v3": lambda path, v: bare(path / "v3", v),
    "zarr v3, shards": lambda path, v: bare(path / "v3", v, chunks=(3, 7, 5), shards=(12, 14, 5)),
    "zarr v3, int64": lambda path, v: bare(path / "v3", v.astype("i8")),
    "OME-Zarr 0.4": lambda path, v: ome(path / "ome", v, "0.4"),
    "OME-Zarr 0.5": lambda path, v: ome(path / "ome", v),
    "a store": lambda path, v: own(path / "own.zarr", v),
    "NumPy, int64": lambda path, v: v.astype("i8"),
    "NumPy, float64": lambda path, v: v.astype("f8"),
    "NumPy, big-endian": lambda path, v: v.astype(">u4"),
    **{
        f"NumPy, {order}": functools.partial(
            lambda path, v, order: in_memory_order(v, order), order=order
        )
        for order in ("C", "F", "strided", "reversed")
    },
    "dask, planes": lambda path, v: da.from_array(v, chunks=(1, -1, -1)),
    "dask, columns": lambda path, v: da.from_array(v, chunks=(-1, 3, 2)),
    "dask, other cubes": lambda path, v: da.from_array(v, chunks=(6, 6, 6)),
    "dask, one chunk": lambda path, v: da.from_array(v, chunks=-1),
    "dask, big-endian": lambda path, v: da.from_array(v.astype(">u4"), chunks=5),
    "dask, float64": lambda path, v: da.from_array(v.astype("f8"), chunks=5),
    "DataArray": lambda path, v: labelled(v, GRID),
    "DataArray from a store": lambda path, v: (
        xr.open_zarr(own(path / "o", v), group="s0").annotation
    ),
    "DataArray without dask": lambda path, v: (
        xr.open_zarr(own(path / "o", v), group="s0", chunks=None).annotation
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Store of the voxels, and its digests."""
    target = tmp_path_factory.mktemp("plain") / "atlas.zarr"
    convert(VOXELS, target)
    return target


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_makes_the_same_store(tmp_path, plain, kind):
    source = SOURCES[kind](tmp_path, VOXELS)
    how = {"orientation": "PIR"} if "OME" in kind else {}
    target = tmp_path / "atlas.zarr"
    space = convert(source, target, **how)
    np.testing.assert_array_equal(space.annotation.values, VOXELS)
    assert space.annotation.dtype == np.uint32
    assert space.grid == GRID
    assert space.structure_tree.nodes() == TREE.nodes()
    made, expected = facts_of(target), facts_of(plain)
    assert made["digest"] == expected["digest"]
    assert made["arrays"] == expected["arrays"]
    # All but the root, which says where the voxels come from.
    ours, theirs = contents(target), contents(plain)
    assert ours.pop("zarr.json") != b""
    theirs.pop("zarr.json")
    assert ours == theirs
    if "source" in space.provenance:
        assert space.provenance["source"] == str(source)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "i4", ">i4", "f4", ">f4", "u8"])
@pytest.mark.parametrize("form", ["gzip", "zarr", "dask"])
def test_types_of_labels(tmp_path, dtype, form):
    dtype = np.dtype(dtype)
    voxels = SMALL.astype(dtype) if dtype.itemsize > 2 else (SMALL % 100).astype(dtype)
    source = {
        "gzip": lambda: nrrd(tmp_path / "a.nrrd", voxels),
        "zarr": lambda: bare(tmp_path / "zarr", voxels),
        "dask": lambda: da.from_array(voxels, chunks=6),
    }[form]()
    space = convert(source, tmp_path / "atlas.zarr", chunks=12)
    kept = dtype.kind == "u" and dtype.itemsize <= 4
    assert space.annotation.dtype == (dtype.newbyteorder("=") if kept else np.uint32)
    np.testing.assert_array_equal(space.annotation.values, voxels.astype("i8"))


def test_other_voxels_or_chunks_have_another_digest(tmp_path, plain):
    changed = VOXELS.copy()
    changed[-1, -1, -1] += 1
    digests = {facts_of(plain)["digest"]}
    for n, (voxels, how) in enumerate(
        [
            (changed, {}),
            (VOXELS, {"chunks": 9}),
            (VOXELS, {"resolution": 10}),
            (VOXELS, {"orientation": "PIL"}),
            (VOXELS[::-1], {}),
        ]
    ):
        convert(voxels, tmp_path / f"{n}.zarr", **how)
        digests.add(facts_of(tmp_path / f"{n}.zarr")["digest"])
    assert len(digests) == 6


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
@pytest.mark.parametrize("kind", ["nrrd", "array", "dask", "zarr", "own", "DataArray"])
def test_templates(tmp_path, encoding, kind):
    values = np.random.default_rng(1).integers(0, 516, SHAPE).astype("u2")
    template = {
        "nrrd": lambda: nrrd(tmp_path / "t.nrrd", values, encoding),
        "array": lambda: values,
        "dask": lambda: da.from_array(values, chunks=(5, 14, 19)),
        "zarr": lambda: bare(tmp_path / "t", values),
        "own": lambda: own(tmp_path / "own.zarr", values),
        "DataArray": lambda: labelled(values, GRID, "anything"),
    }[kind]()
    source = nrrd(tmp_path / "a.nrrd", VOXELS, encoding)
    space = convert(source, tmp_path / "atlas.zarr", template=template, chunks=12)
    np.testing.assert_array_equal(space.template.values, values)
    assert space.template.dtype == np.uint16
    assert space.template.name == "template"
    assert infer_grid(space.template) == GRID


def test_what_the_headers_state(tmp_path):
    path = nrrd(
        tmp_path / "a.nrrd",
        VOXELS,
        **{
            "space": "right-anterior-superior",
            "space directions": "(25,0,0) (0,25,0) (0,0,25)",
            "space units": '"um" "um" "um"',
        },
    )
    text = path.read_bytes().replace(b"spacings: 25 25 25\n", b"")
    path.write_bytes(text)
    space = convert(path, tmp_path / "atlas.zarr", resolution=None)
    assert space.grid == Grid(SHAPE, (25, 25, 25), orientation="RAS")
    turned = convert(
        path, tmp_path / "turned.zarr", resolution=None, orientation="PIR", override=True
    )
    assert turned.grid == GRID
    with pytest.raises(GridError, match="contradicts the header"):
        convert(path, tmp_path / "no.zarr", resolution=10)


def test_structures_from_a_file(tmp_path):
    path = tmp_path / "structures.json"
    refspace.write_structures(path, TREE)
    for form in (path, str(path)):
        space = refspace.convert(
            VOXELS, form, tmp_path / "atlas.zarr", resolution=25, overwrite=True
        )
        assert space.structure_tree.node_ids() == TREE.node_ids()


def test_a_level_of_a_store_is_converted(tmp_path):
    own(tmp_path / "own.zarr", VOXELS)
    coarse = convert(tmp_path / "own.zarr", tmp_path / "coarse.zarr", resolution=50)
    expected = refspace.open(tmp_path / "own.zarr", resolution=50)
    np.testing.assert_array_equal(coarse.annotation.values, expected.annotation.values)
    assert coarse.grid == expected.grid


# ----- what cannot be converted leaves nothing


def refused(folder, annotation, error, text, **how):
    """Whether it is refused with that text, and all is as it was."""
    before = contents(folder)
    with pytest.raises(error, match=text):
        convert(annotation, folder / "atlas.zarr", **how)
    assert contents(folder) == before
    assert "atlas.zarr" not in names(folder)


BAD = {
    "nan": ("f8", np.nan, "annotation holds NaN or infinite values"),
    "infinity": ("f4", np.inf, "annotation holds NaN or infinite values"),
    "a fraction": ("f4", 0.5, r"annotation holds 0\.5; give integer structure ids"),
    "a rounded float": ("f4", 2**25, "float32 skips integers above 16777216"),
    "a negative id": ("i4", -5, "annotation holds -5; structure ids are not negative"),
    "a large id": ("i8", 2**32, "annotation holds 4294967296; structure ids go up to"),
}


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("form", ["gzip", "raw", "array", "dask", "zarr"])
def test_values_that_are_no_ids(tmp_path, fault, form):
    dtype, value, text = BAD[fault]
    voxels = (SMALL % 100).astype(dtype)
    voxels[-1, -1, -1] = value
    source = {
        "gzip": lambda: nrrd(tmp_path / "a.nrrd", voxels),
        "raw": lambda: nrrd(tmp_path / "a.nrrd", voxels, "raw"),
        "array": lambda: voxels,
        "dask": lambda: da.from_array(voxels, chunks=6),
        "zarr": lambda: bare(tmp_path / "zarr", voxels),
    }[form]()
    refused(tmp_path, source, AnnotationError, text)


@pytest.mark.parametrize(
    ("template", "error", "text"),
    [
        (np.zeros((23, 14, 18), "u2"), GridError, r"has shape \(23, 14, 18\), the annotation"),
        (np.zeros((*SHAPE, 3), "u1"), GridError, "the template has shape .* resample it"),
        (da.zeros((19, 14, 23), "u2"), GridError, "the template has shape .* resample it"),
        (5, GridError, r"the template has shape \(\)"),
        (np.zeros(SHAPE, bool), AnnotationError, "dtype bool; intensities are numbers of at most"),
        (np.zeros(SHAPE, "c8"), AnnotationError, "dtype complex64; intensities are numbers"),
        (np.zeros(SHAPE, object), AnnotationError, "dtype object; intensities are numbers"),
        (np.zeros(SHAPE, np.longdouble), AnnotationError, "intensities are numbers of at most 64"),
        (labelled(np.zeros(SHAPE), Grid(SHAPE, (25, 25, 26))), GridError, "the template lies on"),
        (labelled(np.zeros(SHAPE), Grid(SHAPE, (25,) * 3, (0, 0, 5))), GridError, "lies on"),
        (labelled(np.zeros(SHAPE), Grid(SHAPE, (25,) * 3, orientation="PIL")), GridError, "lies"),
        (xr.DataArray(np.zeros(SHAPE), dims=["ap", "dv", "ml"]), GridError, "no coordinates"),
    ],
)
def test_templates_that_do_not_fit(tmp_path, template, error, text):
    refused(tmp_path, VOXELS, error, text, template=template)


def test_template_files_that_do_not_fit(tmp_path):
    values = np.zeros(SHAPE, "u2")
    small = nrrd(tmp_path / "small.nrrd", values[:-1])
    refused(tmp_path, VOXELS, GridError, "the template lies on", template=small)
    fine = nrrd(tmp_path / "fine.nrrd", values, spacings="10 10 10")
    refused(tmp_path, VOXELS, GridError, "contradicts the header", template=fine)
    flat = bare(tmp_path / "flat", values[0], chunks=(5, 5))
    refused(tmp_path, VOXELS, FormatError, "a volume has three axes", template=flat)
    refused(tmp_path, VOXELS, StoreError, "there is no zarr store", template=tmp_path / "none")
    (tmp_path / "short.nrrd").write_bytes(fine.read_bytes()[:-20])
    short = tmp_path / "short.nrrd"
    refused(tmp_path, VOXELS, FormatError, "damaged", template=short, resolution=10)


def test_a_template_without_a_unit_may_be_in_another_one(tmp_path):
    other = nrrd(tmp_path / "mm.nrrd", np.zeros(SHAPE, "u2"), spacings="0.025 0.025 0.025")
    space = convert(VOXELS, tmp_path / "atlas.zarr", template=other)
    assert infer_grid(space.template) == GRID


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"bytes", 1 + 2j])
def test_structures_that_are_not_json(tmp_path, value):
    tree = StructureTree([{**NODES[0], "note": value}])
    with pytest.raises(OntologyError, match=r"has note .*, which JSON does not carry"):
        refspace.convert(VOXELS, tree, tmp_path / "atlas.zarr", resolution=25)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("annotation", "error", "text"),
    [
        ([[[1]]], AnnotationError, "annotation is a list; give a NumPy array"),
        (None, AnnotationError, "annotation is a NoneType"),
        (np.zeros((3, 3), "u4"), AnnotationError, "a volume has three axes"),
        (np.zeros((3, 0, 3), "u4"), AnnotationError, "with at least one voxel"),
        (np.zeros(SHAPE, "M8[s]"), AnnotationError, "structure ids are unsigned integers"),
    ],
)
def test_annotations_that_are_none(tmp_path, annotation, error, text):
    refused(tmp_path, annotation, error, text)


def test_files_that_are_no_volumes(tmp_path):
    (tmp_path / "text.nrrd").write_text("hello")
    (tmp_path / "text.zarr").write_text("hello")
    (tmp_path / "folder").mkdir()
    refused(tmp_path, tmp_path / "text.nrrd", FormatError, r"text\.nrrd")
    refused(tmp_path, tmp_path / "text.zarr", FormatError, r"text\.zarr: starts with b'hello'")
    refused(tmp_path, tmp_path / "folder", StoreError, "there is no zarr store at")
    refused(tmp_path, tmp_path / "missing.zarr", StoreError, "there is no zarr store at")
    refused(tmp_path, tmp_path / "missing.nrrd", FileNotFoundError, "missing")


# ----- memory


@pytest.mark.parametrize("memory", [0, -1, "-5 MB", "much", None, "5 apples", float("nan")])
def test_memory_that_is_none(tmp_path, memory):
    refused(tmp_path, VOXELS, GridError, "^memory is ", memory=memory)


@pytest.mark.parametrize("form", ["gzip", "raw", "array", "dask", "own"])
def test_too_little_memory(tmp_path, form):
    source = {
        "gzip": lambda: nrrd(tmp_path / "a.nrrd", VOXELS),
        "raw": lambda: nrrd(tmp_path / "a.nrrd", VOXELS, "raw"),
        "array": lambda: VOXELS,
        "dask": lambda: da.from_array(VOXELS, chunks=6),
        "own": lambda: own(tmp_path / "own.zarr", VOXELS),
    }[form]()
    streamed = form in ("gzip", "raw")
    text = (
        r"^8 layers of .*a\.nrrd take 0\.0 MB at a time; give memory of 1 MB, or chunks with "
        r"fewer voxels along the last axis, like chunks=\(128, 128, 32\)$"
        if streamed
        else "^one block of the store holds 2048 bytes, and parts may take 2047; give more memory"
    )
    # A third of it is for parts; three quarters for layers.
    enough = -(-23 * 14 * 8 * 4 * 4 // 3) if streamed else 3 * 2048
    refused(tmp_path, source, GridError, text, memory=enough - 3)
    space = convert(source, tmp_path / "atlas.zarr", memory=enough)
    np.testing.assert_array_equal(space.annotation.values, VOXELS)


def test_too_little_memory_for_the_template(tmp_path):
    template = np.zeros(SHAPE, "f8")
    refused(tmp_path, VOXELS, GridError, "holds 4096 bytes", memory=3 * 2048, template=template)


@examples(30, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_parts_are_whole_blocks_and_cover_everything_once(data):
    shape = data.draw(st.tuples(*[st.integers(1, 10)] * 3))
    block = data.draw(st.tuples(*[st.integers(2, 8)] * 3))
    chunks = data.draw(chunkings(shape))
    source = CountingSource(np.arange(np.prod(shape), dtype="u2").reshape(shape))
    smallest = 2 * int(np.prod([min(b, n) for b, n in zip(block, shape, strict=True)]))
    memory = data.draw(st.integers(smallest, 4 * smallest) | st.just(10**9))
    back = np.zeros(shape, "u2")
    reads = {}
    with dask.config.set(scheduler="sync"):
        for box, part in BlockSource.from_array(source.dask(chunks), block, memory).slabs(
            lambda box: False
        ):
            part = part.compute()
            assert part.nbytes <= memory
            assert not back[box].any() or box == (slice(0, 1),) * 3
            for axis, size, n in zip(box, block, shape, strict=True):
                assert axis.start % size == 0
                assert axis.stop % size == 0 or axis.stop == n
            back[box] = part
            for chunk, times in source.chunk_reads(chunks).items():
                # No chunk twice for the same part.
                assert times == 1
                reads[chunk] = reads.get(chunk, 0) + 1
            source.reads.clear()
    np.testing.assert_array_equal(back, source.voxels)
    if memory == 10**9:
        assert set(reads.values()) == {1}


@pytest.mark.parametrize(
    ("chunks", "memory", "times"),
    [
        ((128, 128, 128), "30 MB", 1),
        ((1, 160, 200), "60 MB", 1),
        ((256, 1, 200), "80 MB", 1),
        ((-1, -1, -1), "100 MB", 1),
        ((100, 100, 100), "100 MB", 1),
        # Eight blocks take 64 MB; what is cut, is computed for each of its parts.
        ((100, 100, 100), "30 MB", 8),
        ((-1, -1, -1), "30 MB", 8),
        ((1, 160, 200), "30 MB", 4),
    ],
)
def test_how_often_a_chunk_is_computed(tmp_path, chunks, memory, times):
    voxels = np.zeros((256, 160, 200), "u4")
    computed = []

    def block(block_info=None):
        computed.append(tuple(block_info[None]["chunk-location"]))
        location = block_info[None]["array-location"]
        return voxels[tuple(slice(*part) for part in location)]

    normal = da.core.normalize_chunks(chunks, voxels.shape)
    data = da.map_blocks(block, chunks=normal, dtype="u4", meta=np.empty((0, 0, 0), "u4"), name="x")
    convert(data, tmp_path / "atlas.zarr", memory=memory, chunks=128)
    counts = [computed.count(location) for location in set(computed)]
    assert len(counts) == np.prod(list(map(len, normal)))
    assert max(counts) <= times
    assert times > 1 or set(counts) == {1}


def test_a_file_is_read_once_from_its_beginning(tmp_path, monkeypatch):
    source = nrrd(tmp_path / "a.nrrd", VOXELS)
    opened = []
    original = gzip.GzipFile.__init__

    def counted(self, *args, **kwargs):
        opened.append(kwargs)
        original(self, *args, **kwargs)

    monkeypatch.setattr(gzip.GzipFile, "__init__", counted)
    convert(source, tmp_path / "atlas.zarr")
    assert len(opened) == 1


# ----- damaged files

HEADER_LIES = {
    "more layers": ({"sizes": "23 14 20"}, FormatError),
    "fewer layers": ({"sizes": "23 14 18"}, FormatError),
    "more rows": ({"sizes": "24 14 19"}, FormatError),
    "a gigantic volume": ({"sizes": "100000 100000 100000"}, FormatError),
    # Whose ids are too large, as far as there are any.
    "a wider type": ({"type": "uint64"}, (FormatError, AnnotationError)),
    "a narrower type": ({"type": "uint16"}, FormatError),
    "no type": ({"type": "block"}, FormatError),
    "four axes": ({"dimension": 4, "sizes": "23 14 19 1"}, FormatError),
    "negative sizes": ({"sizes": "-23 14 19"}, FormatError),
    "another encoding": ({"encoding": "bzip2"}, FormatError),
    "no spacing at all": ({"spacings": "nan nan nan"}, FormatError),
    "data elsewhere": ({"data file": "/etc/passwd"}, FormatError),
}


@pytest.mark.parametrize("lie", HEADER_LIES)
@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_headers_that_lie(tmp_path, lie, encoding):
    fields, error = HEADER_LIES[lie]
    source = nrrd(tmp_path / "a.nrrd", VOXELS, encoding)
    text, _, data = source.read_bytes().partition(b"\n\n")
    lines = dict(line.split(": ", 1) for line in text.decode().splitlines()[1:]) | fields
    header = "".join(["NRRD0005\n", *(f"{name}: {value}\n" for name, value in lines.items()), "\n"])
    source.write_bytes(header.encode() + data)
    refused(tmp_path, source, error, r"a\.nrrd|structure ids go up to")


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
@pytest.mark.parametrize("members", [1, 4])
def test_truncated_files_and_garbage(tmp_path, encoding, members):
    whole = nrrd(tmp_path / "a.nrrd", VOXELS, encoding, members).read_bytes()
    start = whole.index(b"\n\n") + 2
    source = tmp_path / "a.nrrd"
    for end in [start, start + 1, start + 10, (start + len(whole)) // 2, len(whole) - 1]:
        source.write_bytes(whole[:end])
        refused(tmp_path, source, FormatError, r"a\.nrrd")
    for garbage in (b"x", b"\0x", gzip.compress(b"more"), whole[start:]):
        source.write_bytes(whole + garbage)
        refused(tmp_path, source, FormatError, r"a\.nrrd")


@pytest.mark.slow
def test_flipped_bits(tmp_path, plain):
    whole = nrrd(tmp_path / "a.nrrd", VOXELS).read_bytes()
    start = whole.index(b"\n\n") + 2
    source, target = tmp_path / "a.nrrd", tmp_path / "atlas.zarr"
    draw = random.Random(5)
    raised = 0
    for position in [*range(start, start + 10), *draw.sample(range(start + 10, len(whole)), 20)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        source.write_bytes(damaged)
        try:
            convert(source, target, overwrite=True)
        except FormatError:
            raised += 1
            assert names(tmp_path) == ["a.nrrd"]
        else:
            # Time stamp and such: bytes that no voxel depends on.
            assert position < start + 10
            assert facts_of(target)["digest"] == facts_of(plain)["digest"]
            for path in sorted(target.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            target.rmdir()
    assert raised > 20


@pytest.mark.promise("a job fails")
def test_a_damaged_source_leaves_the_old_store(tmp_path):
    target = tmp_path / "atlas.zarr"
    source = nrrd(tmp_path / "a.nrrd", VOXELS)
    convert(source, target)
    old = contents(tmp_path)
    for damage in (source.read_bytes()[:-4], source.read_bytes() + b"x"):
        source.write_bytes(damage)
        with pytest.raises(FormatError, match="damaged"):
            convert(source, target, overwrite=True)
        source.write_bytes(old["a.nrrd"])
        assert contents(tmp_path) == old


@pytest.mark.promise("the source of a stopped conversion has changed")
def test_a_file_that_changes_while_it_is_read(tmp_path):
    source = nrrd(tmp_path / "a.nrrd", VOXELS)

    def progress(done, total):
        if done == 0:
            os.utime(source, ns=(1, 1))

    with pytest.raises(FormatError, match="has changed since it was opened"):
        convert(source, tmp_path / "atlas.zarr", progress=progress)
    assert names(tmp_path) == ["a.nrrd"]


# ----- interrupted runs


class Run(NamedTuple):
    """What a conversion has done."""

    puts: list
    progress: list


def run(source, target, *, stop_at=None, stop=KeyboardInterrupt, record_seconds=0.0, **how):
    """Convert, and remember which blocks were put; raise when so many are done."""
    done = Run([], [])

    class Counting(write.BlockWriter):
        def put(self, number, block):
            done.puts.append((self.array.array.path, number))
            return super().put(number, block)

    def progress(count, total):
        done.progress.append((count, total))
        # Threads may finish several between two calls.
        if stop_at is not None and count >= stop_at:
            raise stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "BlockWriter", Counting)
        writer = functools.partial(write.StoreWriter, record_seconds=record_seconds)
        patch.setattr(write, "StoreWriter", writer)
        try:
            convert(source, target, progress=progress, **how)
        except stop:
            assert stop_at is not None
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return nrrd(tmp_path_factory.mktemp("source") / "a.nrrd", VOXELS, members=3)


@pytest.fixture(scope="module")
def template(source):
    values = np.random.default_rng(1).integers(0, 516, SHAPE).astype("u2")
    return nrrd(source.with_name("t.nrrd"), values, "raw")


@pytest.fixture(scope="module")
def undisturbed(source, template, tmp_path_factory):
    target = tmp_path_factory.mktemp("undisturbed") / "atlas.zarr"
    done = run(source, target, template=template)
    return contents(target), done


def records(target):
    return journal(target.with_name(f".{target.name}.partial"))


def test_progress_counts_blocks(undisturbed):
    _, done = undisturbed
    # 3 × 2 × 3 blocks, then 2 × 1 × 2 and 1, of annotation and template.
    counts = [count for count, _ in done.progress]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], len(counts)) == (0, 2 * (18 + 4 + 1), 47)
    assert {total for _, total in done.progress} == {46}
    assert len(done.puts) == len(set(done.puts)) == 46


# In the first layers, between arrays, in coarser levels, in the template, at the very end.
@pytest.mark.parametrize("stop_at", [0, 1, 7, 18, 19, 22, 23, 24, 35, 45, 46])
def test_an_interrupted_run_goes_on(tmp_path, source, template, undisturbed, stop_at):
    target = tmp_path / "atlas.zarr"
    first = run(source, target, template=template, stop_at=stop_at)
    assert names(tmp_path) == [".atlas.zarr.partial"]
    recorded = len(records(target))
    under_way = 2 * (os.cpu_count() or 1)
    assert stop_at - 1 - under_way <= recorded <= len(first.puts) <= stop_at + 2 * under_way
    second = run(source, target, template=template, resume=True)
    assert len(second.puts) == len(set(second.puts)) == 46 - recorded
    assert {*first.puts, *second.puts} == set(undisturbed[1].puts)
    assert second.progress[0] == (recorded, 46)
    assert contents(tmp_path) == {f"atlas.zarr/{k}": data for k, data in undisturbed[0].items()}


def test_a_run_that_is_interrupted_again_and_again(tmp_path, source, template, undisturbed):
    target = tmp_path / "atlas.zarr"
    puts = 0
    for stop_at in range(3, 46, 4):
        puts += len(run(source, target, template=template, stop_at=stop_at, resume=True).puts)
    puts += len(run(source, target, template=template, resume=True).puts)
    # Blocks under way when it stops are all that is done twice.
    assert 46 <= puts <= 46 + 11 * 3 * (os.cpu_count() or 1)
    assert contents(tmp_path) == {f"atlas.zarr/{k}": data for k, data in undisturbed[0].items()}


def test_what_zarr_leaves_of_a_killed_write_is_removed(tmp_path, source, template, undisturbed):
    target = tmp_path / "atlas.zarr"
    run(source, target, template=template, stop_at=20)
    work = tmp_path / ".atlas.zarr.partial"
    # As zarr's local store names what it is writing, and what a run with other chunks may leave.
    for stray in ("s0/annotation/c/0/0/0.5f3a.partial", "s0/template/c/9/9/9", "stray/zarr.json"):
        (work / stray).parent.mkdir(parents=True, exist_ok=True)
        (work / stray).write_bytes(b"half")
    run(source, target, template=template, resume=True)
    assert contents(tmp_path) == {f"atlas.zarr/{k}": data for k, data in undisturbed[0].items()}


def test_without_a_record_everything_is_done_again(tmp_path, source, undisturbed):
    target = tmp_path / "atlas.zarr"
    run(source, target, stop_at=3)
    for record in (tmp_path / ".atlas.zarr.partial" / ".refspace").glob("*.record"):
        record.unlink()
    assert len(run(source, target, resume=True).puts) == 23


def test_a_finished_run_is_not_done_twice(tmp_path, source):
    target = tmp_path / "atlas.zarr"
    run(source, target)
    before = contents(tmp_path)
    assert run(source, target, resume=True).puts == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["dask, planes", "NumPy, F", "zarr v2", "OME-Zarr 0.5", "a store"])
def test_other_sources_go_on(tmp_path, plain, kind):
    source = SOURCES[kind](tmp_path, VOXELS)
    how = {"orientation": "PIR"} if "OME" in kind else {}
    target = tmp_path / "atlas.zarr"
    run(source, target, stop_at=9, **how)
    recorded = len(records(target))
    assert 0 < recorded < 23
    # As in another process, in which the same voxels are read again.
    again = SOURCES[kind](tmp_path, VOXELS) if kind[0] in "dN" else source
    assert len(run(again, target, resume=True, **how).puts) == 23 - recorded
    assert facts_of(target)["digest"] == facts_of(plain)["digest"]


OTHER = {
    "chunks": ({"chunks": 9}, r"layout\.chunks is \[8, 8, 8\] there, \[9, 9, 9\] here"),
    "shards": ({"shards": 16}, r"layout\.shards is null there, \[16, 16, 16\] here"),
    "orientation": ({"orientation": "PIL"}, r'layout\.orientation is "PIR" there, "PIL" here'),
    "provenance": ({"provenance": {"version": 2}}, r"provenance\.version is missing there, 2 here"),
    "template": ({"template": np.zeros(SHAPE, "u1")}, r"layout\.dtypes\.template is missing there"),
}


@pytest.mark.parametrize("change", OTHER)
def test_other_arguments_are_not_resumed(tmp_path, source, change):
    how, text = OTHER[change]
    target = tmp_path / "atlas.zarr"
    run(source, target, stop_at=9)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=rf"is another job: .*{text}"):
        convert(source, target, **how)
    assert contents(tmp_path) == before
    with pytest.raises(StoreError, match="an unfinished conversion lies in"):
        convert(source, target, resume=False)
    assert contents(tmp_path) == before
    # Discarded, where that is said.
    convert(source, target, overwrite=True, **how)
    assert names(tmp_path) == ["atlas.zarr"]


@pytest.mark.promise(
    "the source of a stopped conversion has changed",
    "it is begun anew or refused, never mixed",
)
def test_other_structures_or_voxels_are_not_resumed(tmp_path, source):
    target = tmp_path / "atlas.zarr"
    run(source, target, stop_at=9)
    with pytest.raises(StoreError, match=r"is another job: structures is "):
        refspace.convert(source, StructureTree(NODES[:2]), target, chunks=8, resume=True)
    with pytest.raises(StoreError, match=r"is another job: .*source"):
        convert(VOXELS, target, resume=True)
    changed = nrrd(tmp_path / "a.nrrd", VOXELS)
    run(changed, tmp_path / "b.zarr", stop_at=9)
    os.utime(changed, ns=(10**18, 10**18))
    with pytest.raises(StoreError, match=r"source\.annotation\.stamp is"):
        convert(changed, tmp_path / "b.zarr", resume=True)


def test_memory_and_threads_are_no_matter(tmp_path, source, template, undisturbed):
    target = tmp_path / "atlas.zarr"
    run(source, target, template=template, stop_at=9, threads=3, memory="1 MB")
    run(source, target, template=template, resume=True, threads=1)
    assert contents(target) == undisturbed[0]


@pytest.mark.promise("a job fails", "nothing unfinished is left under a name of a store")
@pytest.mark.parametrize("stop_at", [1, 18, 46])
def test_errors_leave_nothing(tmp_path, source, template, stop_at):
    target = tmp_path / "atlas.zarr"
    run(source, target, template=template, stop_at=stop_at, stop=ZeroDivisionError)
    assert names(tmp_path) == []


@pytest.mark.parametrize("stop_at", [1, 18, 46])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_old_store_stays_until_the_new_one_is_complete(tmp_path, source, stop_at, stop):
    target = tmp_path / "atlas.zarr"
    convert(SMALL, target)
    old = contents(target)
    with pytest.raises(StoreError, match="exists; give another name, or replace it with"):
        convert(source, target)
    how = {"stop_at": min(stop_at, 23), "stop": stop, "overwrite": True}
    run(source, target, **how)
    assert contents(target) == old
    np.testing.assert_array_equal(refspace.open(target).annotation.values, SMALL)
    run(source, target, overwrite=True, resume=stop is KeyboardInterrupt)
    np.testing.assert_array_equal(refspace.open(target).annotation.values, VOXELS)
    assert names(tmp_path) == ["atlas.zarr"]


def test_a_worker_that_fails(tmp_path, monkeypatch):
    calls = itertools.count()
    original = block_writer.BlockWriter.put

    def failing(*args):
        if next(calls) == 12:
            raise PermissionError(errno.EACCES, "no more")
        return original(*args)

    monkeypatch.setattr(block_writer.BlockWriter, "put", failing)
    with pytest.raises(WriteError, match=r"no right to write .*atlas\.zarr"):
        convert(VOXELS, tmp_path / "atlas.zarr")
    # What it had done is there, for when it is allowed more.
    assert names(tmp_path) == [".atlas.zarr.partial"]
    monkeypatch.undo()
    stored = convert(VOXELS, tmp_path / "atlas.zarr")
    np.testing.assert_array_equal(stored.annotation.values, VOXELS)


# ----- a full disk


@pytest.mark.parametrize("old", [True, False])
def test_a_disk_that_is_full(tmp_path, old):
    noise = np.random.default_rng(0).integers(0, 2**32, (64, 64, 32), dtype="u4")
    with small_disk(tmp_path / "disk", "600k") as disk:
        target = disk / "atlas.zarr"
        if old:
            convert(SMALL, target, chunks=64)
        before = contents(disk)
        left = "; the old store is untouched" if old else ""
        text = (
            rf"^no space left on {disk} \([\d,]+ bytes free\) for {target}{left}; "
            "make room, or give another place$"
        )
        with pytest.raises(WriteError, match=text) as caught:
            convert(noise, target, chunks=16, overwrite=True)
        assert caught.value.errno == errno.ENOSPC
        # What it had done stays, beside the old store.
        assert {k: data for k, data in contents(disk).items() if k in before} == before
        if old:
            np.testing.assert_array_equal(refspace.open(target).annotation.values, SMALL)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        stored = convert(noise, target, chunks=16, overwrite=True)
        np.testing.assert_array_equal(stored.annotation.values, noise)
        assert names(disk) == ["atlas.zarr"]


@pytest.mark.promise("a disk is full")
@pytest.mark.parametrize("at", [0, 11, 30])
@pytest.mark.parametrize("call", ["Location.write", "put"])
def test_no_space_at_any_step(tmp_path, monkeypatch, source, at, call):
    target = tmp_path / "atlas.zarr"
    convert(SMALL, target)
    old = contents(tmp_path)
    calls = itertools.count()

    def refuse():
        if next(calls) >= at:
            raise OSError(errno.ENOSPC, "No space left on device")

    place = write.Location if call == "Location.write" else write.BlockWriter
    method = call.rpartition(".")[2]
    original = getattr(place, method)
    monkeypatch.setattr(place, method, lambda *args: (refuse(), original(*args))[1])
    at = min(at, 15)
    if call != "Location.write" and at > 22:
        at = 22
    with pytest.raises(WriteError, match=r"no space left on .*; the old store is untouched;"):
        convert(source, target, overwrite=True)
    monkeypatch.undo()
    assert {k: data for k, data in contents(tmp_path).items() if k in old} == old
    stored = convert(source, target, overwrite=True)
    np.testing.assert_array_equal(stored.annotation.values, VOXELS)
    assert names(tmp_path) == ["atlas.zarr"]


# ----- kill -9

KILLS = 20


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    space = refspace.phantom(resolution=80)
    refspace.write_nrrd(tmp_path / "a.nrrd", space.annotation, compression_level=1)
    refspace.write_structures(tmp_path / "structures.json", space.structure_tree)
    command = [sys.executable, __file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, capture_output=True, env=environment, check=False, text=True)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["kills"] == KILLS
    assert told["interrupts"] > 0
    # Some die before the first block is recorded, and some go on with others' blocks.
    assert told["resumed"] > KILLS // 4
    assert told["faults"] == []


def child(folder, target):
    """Go on with the conversion, in a process of its own."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        writer = functools.partial(write.StoreWriter, record_seconds=0)
        write.StoreWriter = writer
        conversion.convert(
            folder / "a.nrrd",
            folder / "structures.json",
            target,
            chunks=48,
            template=folder / "a.nrrd",
            resume=True,
        )
        code = 0
    finally:
        os._exit(code)


def ended(pid, is_enough=lambda: False):
    """Whether a process ends before something is so, in any time that a slow machine may take."""
    end = time.monotonic() + 120
    while not is_enough() and time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    return False


def main(folder):
    """Convert once undisturbed, then be killed at random moments, and compare."""
    os.fsync = lambda file: None  # which is most of the time, and no matter to a kill
    draw = random.Random(0)
    whole = folder / "whole" / "atlas.zarr"
    whole.parent.mkdir()
    os.waitpid(child(folder, whole), 0)
    expected = contents(whole.parent)
    told = {"kills": 0, "interrupts": 0, "resumed": 0, "rounds": 0, "faults": []}
    while told["kills"] < KILLS:
        target = folder / f"round-{told['rounds']}" / "atlas.zarr"
        target.parent.mkdir()
        while not stopped(folder, target, draw, told):
            pass
        found = contents(target.parent)
        odd = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        told["faults"] += [f"{target}: {name}" for name in odd[:20]]
        told["rounds"] += 1
    print(json.dumps(told))  # noqa: T201


def stopped(folder, target, draw, told):
    """Go on for a while; whether the store is complete."""
    told["resumed"] += bool(before := len(records(target)))
    pid = child(folder, target)
    last = told["kills"] >= KILLS
    # So many blocks later, or at once: by the work that is done, and not by the time that it takes.
    enough = before + draw.randint(-5, 25)
    if ended(pid) if last else ended(pid, lambda: len(records(target)) >= enough):
        return True
    time.sleep(draw.uniform(0, 0.02))
    if last or draw.random() < 0.2:
        # As when somebody presses Ctrl-C.
        os.kill(pid, signal.SIGINT)
        told["interrupts"] += 1
        if ended(pid):
            return last
        told["faults"].append(f"{target}: does not end")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    told["kills"] += 1
    return last


if __name__ == "__main__":
    main(Path(sys.argv[1]))
