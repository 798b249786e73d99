"""Hemispheres: what a verb says of one is what NumPy says of the voxels on that side."""

import copy
import json
import math
import pickle
from hashlib import sha256
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from helpers.places import memory_url
from helpers.profiles import examples
from helpers.strategies import families
from helpers.volumes import IDS, UNKNOWN, bounding_box, chunked, chunkings, subtree, volumes
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.cli.main import main
from refspace.errors import AnnotationError, FormatError, GridError
from refspace.grid import Grid
from refspace.label_index import LabelIndex, cell_rows, cut_at_midline
from refspace.labels import labelled
from refspace.store import verify_store
from refspace.store.digests import json_digest, metadata_digest
from refspace.store.metadata import store_layout
from refspace.store.object_records import ObjectRecord
from refspace.store.stored_array import StoredArray

FLAGS = {"left": 1, "right": 2}
VISP, ISOCORTEX, ROOT = 385, 315, 997


def is_in(space, hemisphere):
    """Whether each voxel is in a hemisphere, as the docs say it."""
    own = space.volume.hemispheres.volume
    if own is not None:
        return own.values == FLAGS[hemisphere]
    grid, axis = space.grid, space.grid.axis("ml")
    centres = grid.coordinates("ml")
    on_it = np.isclose(centres, space.midline, rtol=0, atol=1e-4 * grid.spacing[axis])
    further = centres > space.midline if grid.direction("ml") == "right" else (
        centres < space.midline
    )  # fmt: skip
    side = ~further | on_it if hemisphere == "left" else further & ~on_it
    return np.broadcast_to(np.expand_dims(side, [a for a in range(3) if a != axis]), grid.shape)


# ----- any volume, anywhere


class Situation(NamedTuple):
    space: ReferenceSpace
    chunks: tuple
    blocks: tuple
    asked: list


@st.composite
def situations(draw):
    tree = draw(families(6, st.sampled_from([0, *IDS]))).tree()
    voxels = draw(volumes((*tree.node_ids(), *UNKNOWN)))
    spacing = draw(st.tuples(*[st.sampled_from([10.0, 25.0, 33.3, 0.1, 39.0625])] * 3))
    origin = draw(st.tuples(*[st.sampled_from([0.0, -57.5, 1e4])] * 3))
    orientation = draw(st.sampled_from(["PIR", "PIL", "RAS", "LPS", "SLA", "ARI"]))
    grid = Grid(voxels.shape, spacing, origin, orientation)
    axis = grid.axis("ml")
    halves = draw(st.none() | st.integers(-2, 2 * grid.shape[axis] + 2))  # edges and centres
    midline = None if halves is None else origin[axis] + halves * spacing[axis] / 2
    own = None
    if voxels.size > 1 and draw(st.booleans()):
        sides = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 3, grid.shape)
        sides.flat[:2] = draw(st.permutations([1, 2]))  # at least one of each
        own = labelled(da.from_array(sides, chunks=draw(chunkings(grid.shape))), grid)
    space = ReferenceSpace(tree, labelled(voxels, grid), hemispheres=own, midline=midline)
    blocks = tuple(max(1, math.ceil(n / draw(st.integers(1, 3)))) for n in voxels.shape)
    asked = draw(st.lists(st.sampled_from(tree.node_ids()), min_size=1))
    return Situation(space, draw(chunkings(voxels.shape)), blocks, asked)


def in_memory(situation, url):
    return situation.space


def in_dask(situation, url):
    space = situation.space
    data = labelled(chunked(space.annotation.values, situation.chunks), space.grid)
    return ReferenceSpace(
        space.structure_tree,
        data,
        hemispheres=space.volume.hemispheres.volume,
        midline=space.midline,
    )


def measured(situation, url):
    return in_dask(situation, url).with_index()


def stored(situation, url):
    situation.space.to_zarr(url, chunks=situation.blocks)
    return refspace.open(url)


def converted(situation, url):
    space = situation.space
    return refspace.convert(
        space.annotation,
        space.structure_tree,
        url,
        chunks=situation.blocks,
        hemispheres=space.volume.hemispheres.volume,
        midline=space.midline,
    )


def tree(situation, url):
    return ReferenceSpace.from_datatree(situation.space.to_datatree())


def turned(situation, url):
    """Turned and turned back, where the midline was negated twice."""
    space = stored(situation, url)
    return space.reorient("LAS").reorient(space.grid.orientation)


WAYS = [in_memory, in_dask, measured, stored, converted, tree, turned]


@given(situations(), st.sampled_from(WAYS))
@examples(60)
def test_a_side_is_what_numpy_says(situation, way):
    plain, _, _, asked = situation
    with dask.config.set(scheduler="sync"), memory_url() as url:
        space = way(situation, url)
        assert space.midline == pytest.approx(plain.midline)
        check_against_numpy(space, plain, asked)


def check_against_numpy(space, plain, asked):
    voxels, tree, grid = plain.annotation.values, plain.structure_tree, plain.grid
    flags = sum(np.uint8(flag) * is_in(plain, side) for side, flag in FLAGS.items())
    np.testing.assert_array_equal(space.hemispheres.values, flags)
    labels = {i for s in asked for i in subtree(tree, s)}
    domain = np.random.default_rng(7).random(grid.shape) < 0.5
    for hemisphere in FLAGS:
        here = is_in(plain, hemisphere)
        inside = np.isin(voxels.astype("i8"), sorted(labels - {0})) & here
        side = space.hemisphere(hemisphere)
        mask = side.make_structure_mask(asked)
        assert (mask.dtype, mask.chunks) == (bool, side.annotation.chunks)
        np.testing.assert_array_equal(side.annotation, np.where(here, voxels, 0))
        assert mask.attrs["hemisphere"] == hemisphere
        np.testing.assert_array_equal(mask.values, inside)
        np.testing.assert_array_equal(mask.ml, space.annotation.ml)
        compared = space.hemisphere(hemisphere).check_coverage(asked, domain)
        np.testing.assert_array_equal(compared.values, (domain * 1 - inside) * here)
        check_counts(space, voxels[here], hemisphere)
        check_places(space, plain, asked, inside & (voxels != 0), hemisphere)
    if space.volume.hemispheres.volume is None:
        check_sums(space)


def check_counts(space, voxels, hemisphere):
    tree = space.structure_tree
    direct = {i: np.count_nonzero(voxels == i) if i else 0 for i in tree.node_ids()}
    total = {i: sum(direct[j] for j in subtree(tree, i)) for i in direct}
    assert space.hemisphere(hemisphere).direct_voxel_counts() == direct
    assert space.hemisphere(hemisphere).total_voxel_counts() == total
    table = space.hemisphere(hemisphere).voxel_counts()
    assert table.direct.to_series().to_dict() == direct
    assert table.total.to_series().to_dict() == total
    unknown = {i for i in np.unique(voxels).tolist() if i and i not in tree}
    assert table.attrs["unknown_ids"] == sorted(unknown)
    assert table.attrs["hemisphere"] == hemisphere


def check_places(space, plain, asked, inside, hemisphere):
    """Box, centroid and what is cropped to it; 0 is outside, whatever structure has it as id."""
    box, side = bounding_box(inside, {1}), space.hemisphere(hemisphere)
    if box is None:
        for verb in (side.bounds, side.centroid, side.crop):
            with pytest.raises(AnnotationError, match=f"no voxels in the {hemisphere} hemisphere"):
                verb(asked)
        return
    dims, key = space.grid.dims, tuple(slice(*ends) for ends in zip(*box, strict=True))
    bounds = space.hemisphere(hemisphere).bounds(asked)
    assert bounds.voxels == dict(zip(dims, key, strict=True))
    centre = space.hemisphere(hemisphere).centroid(asked)
    index = np.argwhere(inside).mean(axis=0)
    assert [centre[dim] for dim in dims] == pytest.approx(
        [
            o + (i + 0.5) * s
            for o, i, s in zip(space.grid.origin, index, space.resolution, strict=True)
        ]
    )
    part = space.hemisphere(hemisphere).crop(asked)
    here = np.where(is_in(plain, hemisphere), plain.annotation.values, 0)
    np.testing.assert_array_equal(part.annotation.values, here[key])
    assert part.midline == space.midline
    cropped = space.hemisphere(hemisphere).make_structure_mask(asked, crop=True)
    whole = space.hemisphere(hemisphere).make_structure_mask(asked)
    np.testing.assert_array_equal(cropped.values, whole.values[key])


def check_sums(space):
    """What lies left and what lies right is all there is."""
    sides = [space.hemisphere(h).total_voxel_counts() for h in FLAGS]
    assert {i: sides[0][i] + sides[1][i] for i in sides[0]} == space.total_voxel_counts()
    names = [list(FLAGS)[flag - 1] for flag in (1, 2)]
    assert set(space.annotation.hemisphere.values.tolist()) <= {*names}
    left = space.annotation.hemisphere == "left"
    flags = space.hemispheres.isel({dim: 0 for dim in space.grid.dims if dim != "ml"})
    np.testing.assert_array_equal(left, flags == 1)


@given(situations())
def test_plans_say_what_a_mask_reads(situation):
    plain = situation.space
    source = CountedBlocks(plain.annotation.values, situation.chunks)
    own = plain.volume.hemispheres.volume
    space = ReferenceSpace(
        plain.structure_tree,
        labelled(source.array, plain.grid),
        hemispheres=own,
        midline=plain.midline,
    )
    with dask.config.set(scheduler="sync"):
        space = space.with_index()
        for hemisphere in FLAGS:
            source.read.clear()
            side = space.hemisphere(hemisphere)
            side.make_structure_mask(situation.asked).compute()
            plan = side.plan(situation.asked)
            blocks = {*source_blocks(plan, side, situation.chunks)}
            assert source.read == blocks
            assert plan.block_count == math.prod(map(len, side.annotation.chunks))
            assert own is not None or all(
                is_in(plain, hemisphere)[source.boxes[number]].any() for number in blocks
            )


def source_blocks(plan, side, chunks):
    """Blocks of the whole that those of a plan are, which the midline may have cut."""
    cut, whole = (
        [np.cumsum((0, *sizes)) for sizes in each] for each in (side.annotation.chunks, chunks)
    )
    return [
        tuple(
            int(np.searchsorted(ends, starts[i], side="right")) - 1
            for i, starts, ends in zip(block_id, cut, whole, strict=True)
        )
        for block_id in plan.blocks
    ]


class CountedBlocks:
    """A lazy array that knows which of its blocks were made."""

    def __init__(self, voxels, chunks):
        self.read = set()
        numbers = np.ndindex(*map(len, chunks))
        parts = da.core.slices_from_chunks(chunks)
        self.boxes = dict(zip(numbers, parts, strict=True))

        def block(block_info):
            number = tuple(block_info[None]["chunk-location"])
            self.read.add(number)
            return voxels[self.boxes[number]]

        meta = np.empty((0, 0, 0), voxels.dtype)
        name = f"counted-{id(self)}"
        self.array = da.map_blocks(block, chunks=chunks, meta=meta, name=name)


# ----- where the midline is


@pytest.mark.parametrize(
    ("count", "midline", "left"), [(4, None, 2), (5, None, 3), (5, 0, 0), (5, 5, 1), (5, 99, 5)]
)
@pytest.mark.parametrize("direction", ["R", "L"])
def test_the_plane_on_the_midline_is_left(count, midline, left, direction):
    grid = Grid((1, 1, count), (10, 10, 10), orientation=f"PI{direction}")
    if midline is not None and direction == "L":
        midline = 10 * count - midline
    space = ReferenceSpace(StructureTree([]), labelled(np.zeros(grid.shape, "u4"), grid),
                           midline=midline)  # fmt: skip
    names = ["left"] * left + ["right"] * (count - left)
    assert space.annotation.hemisphere.values.tolist() == names[:: 1 if direction == "R" else -1]


@pytest.fixture(scope="module")
def phantom():
    return refspace.phantom(resolution=200)


def test_the_midline_stays_where_it_is(phantom, tmp_path):
    space = ReferenceSpace(phantom.structure_tree, phantom.annotation, midline=5000)
    part = space.hemisphere("right").crop("VISp")
    assert part.midline == 5000
    assert part.annotation.ml[0] > 5000
    assert set(part.annotation.hemisphere.values) == {"right"}
    assert part.hemisphere("left").total_voxel_counts()[ROOT] == 0
    assert not part.hemisphere("left").make_structure_mask(ROOT).any()
    assert space.downsample(400).midline == 5000
    assert space.reorient("LAS").midline == 5000
    assert space.in_frame("LAS").midline == -5000
    space.to_zarr(tmp_path / "a.zarr", chunks=32)
    assert refspace.open(tmp_path / "a.zarr", resolution=400).midline == 5000
    tree = xr.open_datatree(tmp_path / "a.zarr", engine="zarr")
    assert ReferenceSpace.from_datatree(tree, resolution=400).midline == 5000


def test_an_annotation_says_where_its_midline_is(phantom):
    part = phantom.hemisphere("left").crop("VISp")
    again = ReferenceSpace(phantom.structure_tree, part.annotation)
    assert again.midline == phantom.midline
    assert ReferenceSpace(phantom.structure_tree, part.annotation, midline=0).midline == 0


def test_of_every_level_the_midline_is_the_same(tmp_path):
    """57 voxels halve to 28, whose middle is elsewhere."""
    refspace.phantom(resolution=200).to_zarr(tmp_path / "a.zarr", chunks=32)
    assert refspace.open(tmp_path / "a.zarr", resolution=400).midline == 5700
    assert refspace.open(tmp_path / "a.zarr", resolution=400).grid.middle != 5700


def test_masks_and_slices_say_which_hemisphere(phantom):
    mask = phantom.make_structure_mask("VISp")
    left = mask.where(mask.hemisphere == "left", 0)
    assert left.sum() == phantom.hemisphere("left").total_voxel_counts()[VISP]
    assert phantom.get_slice_image("ml", 3300).hemisphere == "left"


def test_other_trees_are_heard_of(phantom):
    space = copy.copy(phantom)
    before = space.hemisphere("left").voxel_counts().sizes["structure"]
    space.remove_unassigned()
    assert space.hemisphere("left").voxel_counts().sizes["structure"] == before - 16


def test_larger_trees_are_heard_of(phantom):
    space = copy.copy(phantom)
    assert space.total_voxel_map[VISP] > space.hemisphere("left").total_voxel_counts()[VISP]
    nodes = phantom.structure_tree.nodes()
    new = {**nodes[0], "id": 999, "acronym": "new", "name": "new", "parent_structure_id": VISP}
    new["structure_id_path"] = [*phantom.structure_tree.nodes([VISP])[0]["structure_id_path"], 999]
    space.structure_tree = refspace.StructureTree([*nodes, new])
    for side in (space, space.hemisphere("left")):
        assert side.direct_voxel_counts()[999] == 0
        assert side.total_voxel_counts()[999] == 0
    assert 999 in space.validate().unassigned
    assert len(space.remove_unassigned()) == len(phantom.remove_unassigned(update_self=False))


def test_spaces_that_were_asked_for_a_side_are_pickled(phantom_store):
    space = refspace.open(phantom_store)
    counts = space.hemisphere("left").total_voxel_counts()
    again = pickle.loads(pickle.dumps(space))
    assert again.hemisphere("left").total_voxel_counts() == counts
    assert again.hemisphere("left").make_structure_mask("VISp").sum() == counts[VISP]


# ----- errors


@pytest.mark.parametrize("wrong", ["both", "Left", "", 1, True, 0, ["left"], np.array([1, 2])])
@pytest.mark.parametrize(
    "verb",
    [
        lambda s, h: s.hemisphere(h).make_structure_mask("VISp"),
        lambda s, h: s.hemisphere(h).make_structure_mask("VISp", crop=True),
        lambda s, h: next(s.hemisphere(h).many_structure_masks("VISp")),
        lambda s, h: s.hemisphere(h).voxel_counts(),
        lambda s, h: s.hemisphere(h).direct_voxel_counts(),
        lambda s, h: s.hemisphere(h).total_voxel_counts(),
        lambda s, h: s.hemisphere(h).bounds("VISp"),
        lambda s, h: s.hemisphere(h).centroid("VISp"),
        lambda s, h: s.hemisphere(h).crop("VISp"),
        lambda s, h: s.hemisphere(h).plan("VISp"),
        lambda s, h: s.hemisphere(h).check_coverage("VISp", np.ones(s.grid.shape)),
        lambda s, h: s.hemisphere(h).validate_structures("VISp", np.ones(s.grid.shape)),
        lambda s, h: s.volume.hemisphere(h),
    ],
)
def test_what_is_no_hemisphere(phantom, asymmetric, verb, wrong):
    for space in (phantom, asymmetric):
        with pytest.raises(GridError, match=r"hemisphere is .*give 'left' or 'right'$"):
            verb(space, wrong)


@pytest.mark.parametrize("midline", [math.nan, math.inf, "middle", [1, 2], 1j, 10**400])
def test_what_is_no_midline(phantom, midline):
    with pytest.raises(GridError, match="give its position along ml in µm, like 5700"):
        ReferenceSpace(phantom.structure_tree, phantom.annotation, midline=midline)


def test_what_are_no_hemispheres(phantom, tmp_path):
    volume, tree = phantom.annotation, phantom.structure_tree
    with pytest.raises(GridError, match="on the grid of the annotation"):
        ReferenceSpace(tree, volume, hemispheres=volume[1:])
    with pytest.raises(GridError, match="must be a DataArray"):
        ReferenceSpace(tree, volume, hemispheres=volume.values)
    with pytest.raises(AnnotationError, match="hemispheres have dtype float32; give integers"):
        ReferenceSpace(tree, volume, hemispheres=volume.astype("f4"))
    with pytest.raises(AnnotationError, match="hemispheres have dtype float32; give integers"):
        refspace.convert(volume, tree, tmp_path / "a.zarr", hemispheres=volume.astype("f4"))
    with pytest.raises(GridError, match="volume of hemispheres lies on"):
        refspace.convert(volume, tree, tmp_path / "a.zarr", hemispheres=volume[1:])


# ----- a volume of its own


@pytest.fixture(scope="module")
def asymmetric(phantom):
    """Hemispheres that no plane parts, with voxels in neither."""
    grid = phantom.grid
    ap, _, ml = np.indices(grid.shape)
    own = np.where(ml + ap // 8 < 31, 1, 2) * (ap > 3)
    return ReferenceSpace(
        phantom.structure_tree, phantom.annotation, hemispheres=labelled(own.astype("i8"), grid)
    )


def test_hemispheres_of_their_own_are_kept(asymmetric, tmp_path):
    asymmetric.to_zarr(tmp_path / "a.zarr", chunks=32)
    stored = refspace.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored.hemispheres, asymmetric.hemispheres)
    assert "hemisphere" not in stored.annotation.coords
    images = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]["multiscales"]
    assert [image["name"] for image in images] == ["annotation", "hemispheres"]
    assert verify_store(tmp_path / "a.zarr").faults == ()
    xarray = xr.open_zarr(tmp_path / "a.zarr", group="s1", chunks=None)
    coarse = refspace.open(tmp_path / "a.zarr", resolution=400)
    expected = asymmetric.downsample(400, "mode").hemispheres
    np.testing.assert_array_equal(coarse.hemispheres, expected)
    np.testing.assert_array_equal(xarray.hemispheres, expected)
    read = ReferenceSpace.from_datatree(xr.open_datatree(tmp_path / "a.zarr", engine="zarr"))
    np.testing.assert_array_equal(read.hemispheres, asymmetric.hemispheres)


def test_damage_to_hemispheres_is_found(asymmetric, tmp_path):
    url = tmp_path / "a.zarr"
    asymmetric.to_zarr(url, chunks=32)
    chunk = url / "s0/hemispheres/c/0/0/0"
    chunk.write_bytes((url / "s0/hemispheres/c/1/0/0").read_bytes())
    (fault,) = {fault.key for fault in verify_store(url).faults if "zarr.json" not in fault.key}
    assert fault == "s0/hemispheres/c/0/0/0"


def test_the_other_hemisphere_is_empty_where_a_structure_is_ruled_out(asymmetric, tmp_path, reads):
    asymmetric.to_zarr(tmp_path / "a.zarr", chunks=16)
    space = refspace.open(tmp_path / "a.zarr")
    mask = space.hemisphere("left").make_structure_mask("VISp")
    blocks = space.plan("VISp").blocks
    reads.clear()
    mask.compute()
    assert {number for path, number in reads if path == "s0/annotation"} == {*blocks}
    assert {number for path, number in reads if path == "s0/hemispheres"} == {*blocks}


def test_conversion_takes_files(asymmetric, tmp_path):
    for name in ("annotation", "hemispheres"):
        refspace.write_nrrd(tmp_path / f"{name}.nrrd", getattr(asymmetric, name))
    stored = refspace.convert(
        tmp_path / "annotation.nrrd",
        asymmetric.structure_tree,
        tmp_path / "a.zarr",
        hemispheres=tmp_path / "hemispheres.nrrd",
        midline=5000,
    )
    np.testing.assert_array_equal(stored.hemispheres, asymmetric.hemispheres)
    assert stored.hemispheres.dtype == np.uint8
    assert stored.midline == 5000
    again = refspace.convert(
        tmp_path / "a.zarr", asymmetric.structure_tree, tmp_path / "again.zarr"
    )
    assert again.midline == 5000


# ----- what is read of a store


@pytest.fixture
def reads(monkeypatch):
    """Blocks of voxels that are decoded: array and number."""
    seen = []
    decoded = StoredArray.decoded

    def counted(self, block_id, data):
        if self.ndim == 3:
            seen.append((self.array.path, tuple(block_id)))
        return decoded(self, block_id, data)

    monkeypatch.setattr(StoredArray, "decoded", counted)
    return seen


@pytest.mark.parametrize("hemisphere", FLAGS)
@pytest.mark.parametrize("orientation", [None, "LPS"])
@pytest.mark.parametrize("resolution", [50, 100])
def test_counting_a_hemisphere_reads_no_voxel(
    phantom_store, reads, hemisphere, orientation, resolution
):
    space = refspace.open(phantom_store, resolution=resolution)
    space = space if orientation is None else space.reorient(orientation)
    space.hemisphere(hemisphere).voxel_counts()
    space.hemisphere(hemisphere).total_voxel_counts()
    space.hemisphere(hemisphere).bounds("VISp")
    space.hemisphere(hemisphere).centroid("VISp")
    space.hemisphere(hemisphere).crop("VISp")
    space.hemisphere(hemisphere).plan("VISp")
    assert reads == []


def test_a_mask_reads_nothing_of_the_other_hemisphere(phantom_store, reads):
    """Blocks of 64 voxels, 228 of them along ml: the midline is in the second."""
    space = refspace.open(phantom_store)
    here = {"left": {0, 1}, "right": {1, 2, 3}}
    for hemisphere, structure in [("left", ISOCORTEX), ("right", ISOCORTEX), ("right", "VISp")]:
        reads.clear()
        space.hemisphere(hemisphere).make_structure_mask(structure).compute()
        assert {number[2] for _, number in reads} <= here[hemisphere]
        plan = space.hemisphere(hemisphere).plan(structure)
        blocks = source_blocks(plan, space.hemisphere(hemisphere), space.annotation.chunks)
        assert sorted(number for _, number in reads) == sorted(blocks)
        assert plan.stored_bytes < space.plan(structure).stored_bytes
    # VISp is in that block, but not to the right of the midline.
    visp = {number[2] for _, number in reads}
    assert 1 in {number[2] for number in space.hemisphere("left").plan("VISp").blocks}
    assert 1 not in visp


def test_a_store_that_knows_of_no_midline_is_counted_by_reading(tmp_path, reads, phantom):
    """Those that were written before; their index is that of whole chunks."""
    url = tmp_path / "a.zarr"
    phantom.to_zarr(url, chunks=32)
    forget_midline(url, phantom)
    space = refspace.open(url)
    assert space.midline == 5700
    assert verify_store(url).faults == ()
    reads.clear()
    assert space.total_voxel_map == phantom.total_voxel_map
    assert reads == []
    counts = space.hemisphere("left").total_voxel_counts()
    assert counts == phantom.hemisphere("left").total_voxel_counts()
    assert {number[2] for _, number in reads} == {0}


def forget_midline(url, space):
    """Make a store what it was before there were midlines."""
    root = json.loads((url / "zarr.json").read_text())
    facts = root["attributes"]["refspace"]
    del facts["midline"]
    for level in [name for name in facts["arrays"] if name.endswith("/annotation")]:
        number = level.split("/")[0]
        array = zarr.open_array(url, path=level, mode="r")
        blocks = da.core.normalize_chunks(array.chunks, array.shape)
        rows = cell_rows(array[...], (0, 0, 0), blocks)
        table = LabelIndex.from_rows(array.shape, blocks, [rows]).table
        group = zarr.open_group(url, mode="r+", use_consolidated=False)
        old = group[f"label_index/{number}/table"]
        made = group.create_array(
            f"label_index/{number}/table",
            data=table,
            chunks=table.shape,
            overwrite=True,
            compressors=old.compressors,
            dimension_names=old.metadata.dimension_names,
            attributes=dict(old.attrs),
        )
        node = json.loads((url / f"label_index/{number}/table/zarr.json").read_text())
        root["consolidated_metadata"]["metadata"][made.path] = node
        facts["arrays"][level]["label_index"] = sha256(table.tobytes()).hexdigest()
        for key in (f"{made.path}/zarr.json", f"{made.path}/c/0/0"):
            facts["objects"][key] = ObjectRecord.of((url / key).read_bytes()).to_json()
    layout = store_layout(space.grid, {"annotation": np.dtype("u4")}, chunks=32).metadata
    del layout["midline"]
    label = root["attributes"]["ome"]["image-label"]
    facts["digest"] = json_digest([facts["arrays"], label, layout])
    facts["metadata_sha256"] = metadata_digest(root)
    (url / "zarr.json").write_text(json.dumps(root))


@pytest.mark.parametrize("midline", [None, "5700", True, [1], math.nan])
def test_a_store_with_a_midline_that_is_none_is_refused(tmp_path, phantom, midline):
    url = tmp_path / "a.zarr"
    phantom.to_zarr(url)
    root = json.loads((url / "zarr.json").read_text())
    root["attributes"]["refspace"]["midline"] = midline
    root["attributes"]["refspace"]["metadata_sha256"] = metadata_digest(root)
    (url / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(FormatError, match=r"its midline is .*no position"):
        refspace.open(url)


def test_cells_are_blocks_cut_at_the_midline():
    """The table of 25 µm: cut in its second block."""
    grid = Grid((528, 320, 456), (25, 25, 25))
    blocks = ((128,) * 4 + (16,), (128, 128, 64), (128, 128, 128, 72))
    assert cut_at_midline(grid, blocks, grid.middle)[2] == (128, 100, 28, 128, 72)
    assert cut_at_midline(grid, blocks, 128 * 25)[2] == (128, 128, 128, 72)
    assert cut_at_midline(grid, blocks, -1) == blocks


# ----- commands


def test_commands(phantom_store, tmp_path):
    space = refspace.open(phantom_store)
    runner = CliRunner()
    table = tmp_path / "counts.csv"
    arguments = [str(phantom_store), "-s", "VISp", "--hemisphere", "left"]
    result = runner.invoke(main, ["counts", *arguments, "-o", str(table)])
    assert result.exit_code == 0, result.output
    left = space.hemisphere("left").total_voxel_counts()[VISP]
    assert str(left) in table.read_text()
    for crop in ([], ["--crop"]):
        output = tmp_path / f"mask{len(crop)}.nrrd"
        result = runner.invoke(main, ["mask", *arguments, *crop, "-o", str(output)])
        assert result.exit_code == 0, result.output
        assert int(refspace.read_nrrd(output).sum()) == left
    dry = runner.invoke(main, ["mask", *arguments, "--dry-run"])
    assert str(space.hemisphere("left").plan("VISp")) in dry.output
    assert runner.invoke(main, ["counts", *arguments[:-1], "both"]).exit_code == 2


# ----- the real annotation


@pytest.mark.ccf
def test_the_real_annotation(ccf_store, reads):
    space = refspace.open(ccf_store)
    sides = [space.hemisphere(h).total_voxel_counts() for h in FLAGS]
    assert sides[0][VISP] + sides[1][VISP] == 452_664
    # 162 voxels fewer to the right: nearly symmetric.
    assert (sides[0][VISP], sides[1][VISP]) == (226_413, 226_251)
    centres = [space.hemisphere(h).centroid("VISp")["ml"] for h in FLAGS]
    assert sum(centres) / 2 == pytest.approx(5700, abs=10)
    assert reads == []
    mask = space.hemisphere("right").make_structure_mask("VISp").values
    assert {number[2] for _, number in reads} <= {1, 2, 3}
    assert not mask[..., :228].any()
    ids = subtree(space.structure_tree, VISP)
    voxels = space.annotation.values
    np.testing.assert_array_equal(mask[..., 228:], np.isin(voxels[..., 228:], ids))
    assert np.isin(voxels[..., :228], ids).sum() == sides[0][VISP]
