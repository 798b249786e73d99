"""What a store is on the disk, for readers that know nothing of refspace, and what comes back."""

import itertools
import json
import operator
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import fsspec
import hypothesis.extra.numpy as hnp
import ngff_zarr
import numpy as np
import ome_zarr.io
import ome_zarr.reader
import ome_zarr_models
import pytest
import tensorstore
import xarray as xr
import yaozarrs
import zarr
from helpers.files import names
from helpers.profiles import examples
from helpers.strategies import families
from helpers.volumes import UNKNOWN, chunked, chunkings, grids, mode, subtree
from hypothesis import Phase, assume, example, given
from hypothesis import strategies as st

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import FormatError, GridError, OntologyError, RemoteError, StoreError
from refspace.grid import Grid
from refspace.labels import infer_grid, labelled
from refspace.store.metadata import store_layout

pytestmark = pytest.mark.usefixtures("no_sync")

few = examples(15, phases=[Phase.explicit, Phase.generate])
fewer = examples(6, parent=few)
counter = itertools.count()

INTENSITIES = ["u1", "u2", "i2", "i4", "f2", "f4", "f8", ">u2", ">f4"]
# Beside the phantom's own: what readers may stumble over.
ODD_NODES = [
    {
        "id": 997,
        "acronym": "root",
        "name": 'Wurzel "µ", 脳\nÀ',
        "structure_id_path": [997],
        "rgb_triplet": [255, 255, 255],
        "graph_order": 0,
        "structure_set_ids": [],
    },
    {
        "id": 2**32 - 1,
        "acronym": "",
        "name": None,
        "structure_id_path": [997, 2**32 - 1],
        "rgb_triplet": [0, 0, 0],
        "graph_order": None,
        "structure_set_ids": [5, 2**40],
        "st_level": 1.5,
        "failed": False,
        "note": {"of": ["several", None]},
    },
]


def url_in_memory():
    return f"memory://store-{next(counter)}.zarr"


def root_of(url):
    file_system, path = fsspec.core.url_to_fs(f"{url}/zarr.json")
    return json.loads(file_system.cat_file(path))


def facts_of(url):
    return root_of(url)["attributes"]["refspace"]


# ----- random spaces


class Cut(NamedTuple):
    """How a store is cut."""

    chunks: tuple
    shards: tuple | None

    @property
    def block(self):
        return self.shards or self.chunks


@st.composite
def cuts(draw):
    chunks = draw(st.tuples(*[st.sampled_from([2, 3, 4, 100])] * 3))
    times = draw(st.none() | st.tuples(*[st.integers(1, 3)] * 3))
    return Cut(chunks, times and tuple(n * c for n, c in zip(times, chunks, strict=True)))


@st.composite
def coordinates(draw, grid):
    """Centres that a user may have: not quite those of the grid."""
    centres = {dim: grid.coordinates(dim).copy() for dim in grid.dims}
    for values in centres.values():
        nudged = draw(hnp.arrays(bool, values.shape))
        values[nudged] = np.nextafter(values[nudged], np.inf)
    return centres


@st.composite
def spaces(draw):
    """A random space, in memory or in irregular chunks, in either byte order."""
    tree = draw(families(6)).tree()
    grid = replace(draw(grids), shape=draw(st.tuples(*[st.integers(1, 6)] * 3)))
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4", ">u4"])))
    labels = [i for i in (0, *tree.node_ids(), *UNKNOWN) if i <= np.iinfo(dtype).max]
    voxels = draw(hnp.arrays(dtype, grid.shape, elements=st.sampled_from(labels)))
    chunks = draw(st.none() | chunkings(grid.shape))
    annotation = labelled(voxels if chunks is None else chunked(voxels, chunks), grid)
    if draw(st.booleans()):
        attrs = {dim: annotation[dim].attrs for dim in grid.dims}
        centres = draw(coordinates(grid))
        annotation = annotation.assign_coords({d: (d, centres[d], attrs[d]) for d in grid.dims})
    template = draw(st.none() | templates(grid))
    return ReferenceSpace(tree, annotation, template=template)


@st.composite
def templates(draw, grid):
    dtype = np.dtype(draw(st.sampled_from(INTENSITIES)))
    noise = draw(hnp.arrays("u1", grid.shape)).astype("i4")
    scaled = {"f": noise / 3, "i": 100 * noise - 1000, "u": noise}[dtype.kind]
    values = scaled.astype(dtype)
    lazy = draw(st.booleans())
    return labelled(da.from_array(values, 3) if lazy else values, grid, "template")


def assert_same(back, space):
    """The very same voxels, coordinates, geometry and ontology, along the frame."""
    space = space.reorient(space.grid.orientation_along_frame)
    assert_same_volume(back.annotation, space.annotation)
    assert_same_centres(back.annotation, space.annotation)
    assert (back.template is None) == (space.template is None)
    if space.template is not None:
        assert_same_volume(back.template, space.template)
        # Those of the annotation, lest the two be misaligned.
        assert_same_centres(back.template, space.annotation)
    assert back.grid == space.grid
    assert back.structure_tree.nodes() == space.structure_tree.nodes()
    assert back.structure_tree.get_colormap() == space.structure_tree.get_colormap()
    sets = space.structure_tree.get_structure_sets()
    assert back.structure_tree.get_structure_sets() == sets
    assert back.direct_voxel_map == space.direct_voxel_map
    assert back.total_voxel_map == space.total_voxel_map


def assert_same_volume(back, volume):
    assert back.dims == volume.dims
    assert back.dtype.newbyteorder("=") == volume.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back.values, volume.values)
    for dim in volume.dims:
        assert back[dim].dtype == np.float64
        assert back[dim].attrs == volume[dim].attrs


def assert_same_centres(back, annotation):
    for dim in annotation.dims:
        assert back[dim].values.tolist() == annotation[dim].values.tolist()


# ----- layout


@pytest.fixture(scope="module")
def phantom():
    space = refspace.phantom(resolution=100)
    ap, dv, ml = (space.annotation[dim].values for dim in space.grid.dims)
    template = (ap[:, None, None] + dv[:, None] * ml / 900 + space.annotation.values % 7) % 2**16
    data = da.from_array(template.astype("u2"), 50)
    return ReferenceSpace(
        space.structure_tree, space.annotation, template=labelled(data, space.grid, "template")
    )


@pytest.fixture(scope="module")
def url(phantom, tmp_path_factory):
    url = tmp_path_factory.mktemp("layout") / "phantom.zarr"
    phantom.to_zarr(url, chunks=40)
    return str(url)


@pytest.fixture(scope="module")
def ccf(ccf_data, ccf_store):
    structures = ccf_data / "structures_1.json"
    return str(ccf_store), refspace.open(ccf_data / "annotation_25.nrrd", structures=structures)


def test_the_files(url):
    folder = Path(url)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in names} == {
        *("zarr.json", "s0", "s1", "s2", "structures", "label_index"),
    }
    # The root describes every node, so that nothing else is needed to open it.
    nodes = {str(Path(n).parent) for n in names if n.endswith("zarr.json")} - {"."}
    assert root_of(url)["consolidated_metadata"]["metadata"].keys() == nodes
    assert sum(name.startswith("s0/annotation/c/") for name in names) == 4 * 2 * 3


@pytest.mark.parametrize("level", range(3))
def test_xarray_opens_a_level(url, phantom, level):
    level_grid = refspace.open(url, resolution=100 * 2**level).grid
    dataset = xr.open_zarr(url, group=f"s{level}")
    assert set(dataset.data_vars) == {"annotation", "template"}
    assert set(dataset.coords) == set(dataset.dims) == {"ap", "dv", "ml"}
    # Fill values that are missing values would have made floats of them.
    assert dataset.annotation.dtype == phantom.annotation.dtype
    assert dataset.template.dtype == np.uint16
    assert dataset.annotation.attrs == {"long_name": "structure id"}
    for dim in level_grid.dims:
        assert dataset[dim].values.tolist() == level_grid.coordinates(dim).tolist()
    assert dataset.ap.attrs == {
        "long_name": "anterior, posterior",
        "units": "micrometer",
        "direction": "posterior",
        "spacing": 100.0 * 2**level,
    }
    assert infer_grid(dataset.annotation) == infer_grid(dataset.template) == level_grid
    assert dataset.annotation.data.chunksize == tuple(min(40, n) for n in level_grid.shape)
    if level == 0:
        np.testing.assert_array_equal(dataset.annotation.values, phantom.annotation.values)
        np.testing.assert_array_equal(dataset.template.values, phantom.template.values)


def test_xarray_opens_everything(url):
    tree = xr.open_datatree(url)
    groups = {node.path for node in tree.subtree}
    assert groups == {
        *("/", "/s0", "/s1", "/s2", "/structures"),
        *("/label_index", "/label_index/s0", "/label_index/s1", "/label_index/s2"),
    }
    for node in tree.subtree:
        alone = xr.open_zarr(url, group=node.path)
        # What is described can be read.
        assert alone.load().identical(node.to_dataset(inherit=False).load())
        assert all(variable.dtype.kind in "uifbT" for variable in alone.variables.values())


def test_the_ontology_as_columns(url, phantom):
    table = xr.open_zarr(url, group="structures").load()
    tree = phantom.structure_tree
    assert table.structure.values.tolist() == [node["id"] for node in tree.nodes()]
    for node in tree.nodes():
        row = table.sel(structure=node["id"])
        assert row.acronym.item() == node["acronym"]
        assert row["name"].item() == node["name"]
        assert row.rgb.values.tolist() == node["rgb_triplet"]
        assert row.graph_order.item() == node["graph_order"]
        assert [row.parent_id.item(), node["id"]] == [-1, *node["structure_id_path"]][-2:]
        sets = table.structure_set.values[row.in_set.values].tolist()
        assert sets == sorted(node["structure_set_ids"])


def assert_valid(url):
    """Whether everyone takes it for what it says to be, on the disk and not in its words alone."""
    opened = yaozarrs.validate_zarr_store(url)
    assert opened.ome_version() == "0.5"
    group = zarr.open_group(url, mode="r")
    model = ome_zarr_models.open_ome_zarr(group)
    assert type(model).__name__ == "ImageLabel"
    ngff_zarr.validate(dict(group.attrs), version="0.5", model="label", strict=True)


def assert_read_alike(url, space):
    """Whether every reader sees the voxels where they are."""
    first = {dim: space.annotation[dim].values[0] for dim in space.grid.dims}
    spacing = dict(zip(space.grid.dims, space.resolution, strict=True))
    voxels = space.annotation.values
    for read in (by_ome_zarr, by_ngff_zarr, by_tensorstore):
        seen, scale, translation = read(url)
        assert seen.dtype == voxels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(seen, voxels)
        assert scale is None or dict(zip(space.grid.dims, scale, strict=True)) == spacing
        if translation is not None:
            assert list(translation) == pytest.approx(list(first.values()), abs=1e-6)


def by_ome_zarr(url):
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(url))()
    scale, translation = node.metadata["coordinateTransformations"][0]
    return node.data[0].compute(), scale["scale"], translation["translation"]


def by_ngff_zarr(url):
    image = ngff_zarr.from_ngff_zarr(url).images[0]
    assert set(image.axes_units.values()) == {"micrometer"}
    scale, translation = (
        [part[d] for d in image.dims] for part in (image.scale, image.translation)
    )
    return image.data.compute(), scale, translation


def by_tensorstore(url):
    store = {"driver": "file", "path": f"{url}/s0/annotation/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
    assert set(array.domain.labels) == {"ap", "dv", "ml"}
    return array.read().result(), None, None


def test_the_phantom_is_valid_and_read_alike(url, phantom):
    assert_valid(url)
    assert_read_alike(url, phantom)


def test_levels_are_read_alike(url):
    images = ngff_zarr.from_ngff_zarr(url).images
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(url))()
    for level, (image, data) in enumerate(zip(images, node.data, strict=True)):
        ours = refspace.open(url, resolution=100 * 2**level)
        np.testing.assert_array_equal(image.data, ours.annotation.values)
        np.testing.assert_array_equal(data, ours.annotation.values)
        assert tuple(image.scale.values()) == ours.resolution
        first = tuple(ours.annotation[dim].values[0] for dim in ours.grid.dims)
        assert tuple(image.translation.values()) == first


def test_colours_and_names_are_read(url, phantom):
    (node,) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(url))()
    colors = phantom.structure_tree.get_colormap()
    assert {
        i: tuple(round(255 * c) for c in rgba) for i, rgba in node.metadata["color"].items()
    } == {i: (*rgb, 255) for i, rgb in colors.items()}
    assert node.metadata["properties"][385]["name"] == "Primary visual area"


@fewer
@given(space=spaces(), cut=cuts())
def test_random_stores_are_valid_and_read_alike(space, cut):
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/random.zarr"
        # One of the validators takes the template for labels.
        space = ReferenceSpace(space.structure_tree, space.annotation)
        space.to_zarr(url, chunks=cut.chunks, shards=cut.shards)
        assert_valid(url)
        assert_read_alike(url, space.reorient(space.grid.orientation_along_frame))


@pytest.mark.ccf
def test_the_ccf_is_valid_and_read_alike(ccf):
    url, space = ccf
    assert_valid(url)
    assert_read_alike(url, space)
    for node in xr.open_datatree(url).subtree:
        assert all(v.dtype.kind in "uifbT" for v in node.variables.values())
    dataset = xr.open_zarr(url, group="s0")
    assert dataset.annotation.dtype == np.uint32
    assert dataset.ml.values[[0, -1]].tolist() == [12.5, 11387.5]


@pytest.mark.ccf
def test_the_ccf_comes_back(ccf):
    url, space = ccf
    back = refspace.open(url)
    assert_same(back, space)
    assert_same(ReferenceSpace.from_datatree(xr.open_datatree(url)), space)
    levels = [refspace.open(url, resolution=25 * 2**n) for n in range(4)]
    for finer, coarser in itertools.pairwise(levels):
        expected = finer.downsample(coarser.resolution, "mode")
        assert coarser.grid == expected.grid
        np.testing.assert_array_equal(coarser.annotation.values, expected.annotation.values)


# ----- pyramid


def mean(voxels, shape):
    """Mean of the voxels that each cell holds, in float64."""
    cells = []
    for cell in np.ndindex(*shape):
        part = tuple(
            slice(c * f, (c + 1) * f)
            for c, f in zip(cell, (2 if n > 1 else 1 for n in voxels.shape), strict=True)
        )
        cells.append(voxels[part].astype("f8").mean())
    return np.reshape(cells, shape)


@few
@given(space=spaces(), cut=cuts())
def test_levels_are_modes_and_means_of_the_one_before(space, cut):
    url = url_in_memory()
    space.to_zarr(url, chunks=cut.chunks, shards=cut.shards)
    paths = [d["path"] for d in root_of(url)["attributes"]["ome"]["multiscales"][0]["datasets"]]
    assert paths == [f"s{n}/annotation" for n in range(len(paths))]
    tree = xr.open_datatree(url)
    finer = space.reorient(space.grid.orientation_along_frame)
    for path in paths[1:]:
        level = ReferenceSpace(space.structure_tree, tree[path].load())
        expected = finer.downsample(level.resolution, "mode")
        assert level.grid == expected.grid
        np.testing.assert_array_equal(level.annotation.values, expected.annotation.values)
        if space.template is not None:
            finer_template = tree[finer_path(path)].values
            template = tree[path.replace("annotation", "template")].values
            assert_mean(template, finer_template)
        finer = level
    # Until it fits one block, and no further.
    assert all(n <= size for n, size in zip(finer.annotation.shape, cut.block, strict=True))
    assert len(paths) == 1 or any(
        n > size for n, size in zip(tree[paths[-2]].shape, cut.block, strict=True)
    )


@few
@given(data=st.data())
def test_every_level_of_a_deep_pyramid_is_the_mode_of_the_finer_one(data):
    shape = data.draw(st.tuples(*[st.integers(1, 13)] * 3))
    grid = Grid(shape, (25, 30, 20))
    # Few labels, so that many cells are ties.
    voxels = data.draw(hnp.arrays("u4", shape, elements=st.sampled_from([0, 1, 2**32 - 1])))
    sides = data.draw(hnp.arrays("u1", shape, elements=st.sampled_from([1, 2])))
    assume(sides.min() < sides.max())
    chunks = data.draw(st.none() | chunkings(shape))
    annotation = labelled(voxels if chunks is None else chunked(voxels, chunks), grid)
    hemispheres = labelled(sides, grid, "hemispheres")
    tree = StructureTree([{"id": 1, "structure_id_path": [1], "acronym": "a", "name": "a"}])
    side = st.tuples(*[st.integers(1, 3)] * 3)
    url, block = url_in_memory(), data.draw(side)
    shards = data.draw(st.none() | side.map(lambda n: tuple(map(operator.mul, n, block))))
    ReferenceSpace(tree, annotation, hemispheres=hemispheres).to_zarr(
        url, chunks=block, shards=shards
    )
    levels = len(root_of(url)["attributes"]["ome"]["multiscales"][0]["datasets"])
    stored = xr.open_datatree(url)
    for name, finer in (("annotation", voxels), ("hemispheres", sides)):
        for level in range(levels):
            values = stored[f"s{level}/{name}"].values
            if level > 0:
                # An axis of one voxel stays; a last voxel that is rounded away is in no cell.
                factors = [2 if count > 1 else 1 for count in finer.shape]
                halved = [max(1, round(n / f)) for n, f in zip(finer.shape, factors, strict=True)]
                finer = mode(finer, factors, tuple(halved))
            np.testing.assert_array_equal(values, finer)


def finer_path(path):
    return f"s{int(path[1 : path.index('/')]) - 1}/template"


def assert_mean(template, finer):
    expected = mean(finer, template.shape)
    if template.dtype.kind in "ui":
        np.testing.assert_array_equal(template, np.rint(expected))
    else:
        # To the last digit but one: a sum in another order.
        np.testing.assert_allclose(template, expected, rtol=2 * np.finfo(template.dtype).eps)


def test_a_level_is_opened_by_its_resolution(url):
    assert refspace.open(url).resolution == (100, 100, 100)
    for resolution, shape in [
        (100, (132, 80, 114)),
        (200.0, (66, 40, 57)),
        ([400, 400, 400], (33, 20, 28)),
        (np.float32(200), (66, 40, 57)),
    ]:
        space = refspace.open(url, resolution=resolution)
        assert space.annotation.shape == space.template.shape == shape
        assert space.label_index.shape == shape
        counts = dict(zip(*np.unique(space.annotation.values, return_counts=True), strict=True))
        assert space.label_index.counts() == counts


@pytest.mark.parametrize(
    ("resolution", "written"), [(50, "50"), ((100, 100, 200), "100 × 100 × 200")]
)
def test_levels_that_exist_are_named(url, resolution, written):
    text = (
        rf"phantom\.zarr has no level of {written} µm; it has 100, 200, 400 µm: open one of "
        "these, and downsample it$"
    )
    with pytest.raises(GridError, match=text):
        refspace.open(url, resolution=resolution)
    with pytest.raises(GridError, match=rf"^the DataTree has no level of {written} µm"):
        ReferenceSpace.from_datatree(xr.open_datatree(url), resolution=resolution)


@pytest.mark.parametrize("resolution", [0, -25, "fine", (25, 25), float("nan")])
def test_resolutions_that_are_none(url, resolution):
    with pytest.raises(GridError, match="is not one positive number of µm per voxel"):
        refspace.open(url, resolution=resolution)


def test_a_subtree_is_counted_at_every_level(url, phantom):
    ids = subtree(phantom.structure_tree, 315)
    for resolution in (100, 200, 400):
        space = refspace.open(url, resolution=resolution)
        assert space.total_voxel_map[315] == np.isin(space.annotation.values, ids).sum()


# ----- chunks and shards


@pytest.mark.parametrize(
    ("chunks", "shards", "chunk_shape", "shard_shape"),
    [
        (128, None, (10, 9, 8), None),
        (4, None, (4, 4, 4), None),
        (np.int64(4), np.int16(8), (4, 4, 4), (8, 8, 8)),
        ([3, 100, 1], [9, 100, 2], (3, 9, 1), (9, 9, 2)),
        ((4, 4, 4), (40, 400, 4), (4, 4, 4), (12, 12, 4)),
        (10**12, None, (10, 9, 8), None),
    ],
)
def test_chunks_are_no_larger_than_the_volume(chunks, shards, chunk_shape, shard_shape):
    layout = store_layout(
        Grid((10, 9, 8), (25, 25, 25)), {"annotation": np.dtype("u4")}, chunks=chunks, shards=shards
    )
    assert (layout.chunk_shape, layout.shard_shape) == (chunk_shape, shard_shape)
    url = url_in_memory()
    voxels = np.arange(720, dtype="u4").reshape(10, 9, 8)
    tree = StructureTree(ODD_NODES)
    ReferenceSpace(tree, voxels, 25).to_zarr(url, chunks=chunks, shards=shards)
    array = zarr.open_array(f"{url}/s0/annotation", mode="r")
    assert (array.chunks, array.shards) == (chunk_shape, shard_shape)
    back = refspace.open(url).annotation
    assert back.data.chunksize == tuple(
        min(b, n) for b, n in zip(shard_shape or chunk_shape, (10, 9, 8), strict=True)
    )
    np.testing.assert_array_equal(back.values, voxels)


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        ({"chunks": 0}, "chunks are 0; give at least one voxel along each axis"),
        ({"chunks": (4, 4, -1)}, "at least one voxel along each axis"),
        ({"chunks": 2.5}, r"chunks are 2.5; give one number of voxels, or three"),
        ({"chunks": (4, 4)}, r"chunks are \(4, 4\); give one number of voxels, or three"),
        ({"chunks": None}, "give one number of voxels, or three"),
        ({"chunks": "auto"}, "give one number of voxels, or three"),
        ({"shards": "many"}, "shards are 'many'; give one number of voxels, or three"),
        (
            {"chunks": 4, "shards": 6},
            r"shards \(6, 6, 6\) are no multiples of chunks \(4, 4, 4\); give some",
        ),
    ],
)
def test_chunks_that_are_none(tmp_path, cut, text):
    space = ReferenceSpace(StructureTree(ODD_NODES), np.zeros((4, 4, 4), "u4"), 25)
    with pytest.raises(GridError, match=text):
        space.to_zarr(tmp_path / "no.zarr", **cut)
    assert names(tmp_path) == []


# ----- round trips


@few
@given(space=spaces(), cut=cuts())
@example(
    ReferenceSpace(StructureTree(ODD_NODES), np.full((1, 1, 1), 2**32 - 1), 0.1),
    Cut((1, 1, 1), None),
)
@example(
    ReferenceSpace(StructureTree(ODD_NODES), np.zeros((7, 1, 2), "u1"), 1 / 3),
    Cut((2, 2, 2), (4, 2, 2)),
)
def test_a_store_gives_back_what_it_was_given(space, cut):
    url = url_in_memory()
    space.to_zarr(url, chunks=cut.chunks, shards=cut.shards)
    back = refspace.open(url)
    assert_same(back, space)
    assert back.annotation.dtype.isnative
    assert_same(ReferenceSpace.from_datatree(xr.open_datatree(url)), space)
    # And again, of what was read, with an index that is known by then.
    again = url_in_memory()
    back.to_zarr(again, chunks=cut.chunks, shards=cut.shards)
    assert_same(refspace.open(again), space)
    assert facts_of(again)["arrays"] == facts_of(url)["arrays"]
    assert facts_of(again)["digest"] == facts_of(url)["digest"]


@few
@given(space=spaces())
def test_a_datatree_gives_back_what_it_was_given(space):
    tree = space.to_datatree()
    assert_same(ReferenceSpace.from_datatree(tree), space)
    saved = url_in_memory()
    tree.compute().to_zarr(saved, consolidated=False)
    assert_same(
        ReferenceSpace.from_datatree(xr.open_datatree(saved, engine="zarr", consolidated=False)),
        space,
    )
    with pytest.raises(StoreError, match=r"opens with xarray\.open_datatree and ReferenceSpace"):
        refspace.open(saved)


def test_levels_of_a_datatree(url, phantom):
    tree = phantom.to_datatree()
    assert [*tree.children] == ["s0", "s1", "structures"]
    coarse = ReferenceSpace.from_datatree(tree, resolution=200)
    assert coarse.template is None
    stored = ReferenceSpace.from_datatree(xr.open_datatree(url), resolution=200)
    np.testing.assert_array_equal(stored.annotation.values, coarse.annotation.values)
    assert stored.template.shape == coarse.annotation.shape


def test_a_tree_from_a_store_stays_lazy(url):
    space = ReferenceSpace.from_datatree(xr.open_datatree(url))
    assert space.annotation.data.chunksize == (40, 40, 40)
    assert space.template.data.chunksize == (40, 40, 40)


def test_trees_that_are_none(url):
    for tree in (xr.DataTree(), xr.DataTree(xr.Dataset(attrs={"refspace": 1}))):
        with pytest.raises(FormatError, match="its attributes lack 'refspace'; give one that"):
            ReferenceSpace.from_datatree(tree)
    tree = xr.open_datatree(url)
    del tree["s1"]
    with pytest.raises(FormatError, match="lacks one of s0/annotation, s1/annotation, s2/ann"):
        ReferenceSpace.from_datatree(tree)
    tree = xr.open_datatree(url)
    del tree.attrs["ome"]
    with pytest.raises(FormatError, match="has no 'multiscales'"):
        ReferenceSpace.from_datatree(tree)


def test_provenance_comes_back():
    provenance = {"source": "a b µ", "version": 3, "cite": {"doi": ["x", None]}, "share": 0.1}
    url = url_in_memory()
    voxels = np.zeros((3, 2, 1), "u1")
    tree = StructureTree(ODD_NODES)
    made = refspace.convert(voxels, tree, url, resolution=25, provenance=provenance)
    expected = {**provenance, "converter": f"refspace {refspace.__version__}"}
    assert made.provenance == expected
    assert refspace.open(url).provenance == expected
    assert ReferenceSpace.from_datatree(xr.open_datatree(url)).provenance == expected
    assert ReferenceSpace.from_datatree(made.to_datatree()).provenance == expected
    made.to_zarr(f"{url}.copy")
    assert refspace.open(f"{url}.copy").provenance == expected


@pytest.mark.parametrize(
    "provenance",
    [
        {"day": np.datetime64("2017-10-01")},
        {"share": float("nan")},
        {"share": np.float32(1)},
        {"names": ("a", "b")},
        {3: "three"},
        {"a": {1, 2}},
        {"a": {1: 2}},
    ],
)
def test_provenance_that_would_not_come_back(tmp_path, provenance):
    text = "^provenance is .*, which JSON does not carry as it is; use texts, finite numbers,"
    voxels = np.zeros((3, 2, 1), "u1")
    with pytest.raises(FormatError, match=text):
        refspace.convert(
            voxels,
            StructureTree(ODD_NODES),
            tmp_path / "no.zarr",
            resolution=25,
            provenance=provenance,
        )
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("note", {1, 2}, "JSON does not carry as it is"),
        ("when", np.datetime64("2017"), "JSON does not carry as it is"),
        ("share", float("inf"), "JSON does not carry as it is"),
        ("label-value", 5, "'label-value' is taken"),
        ("graph_order", "first", "graph_order 'first'; a store takes integers of 64 bits"),
        ("graph_order", 1.5, "graph_order 1.5; a store takes integers of 64 bits"),
        ("graph_order", 2**63, "graph_order 9223372036854775808; a store takes integers"),
        ("structure_set_ids", ["a"], "structure_set_ids 'a'; a store takes integers of 64 bits"),
        ("structure_set_ids", 7, "structure_set_ids 7; give a list"),
    ],
)
def test_structures_that_would_not_come_back(tmp_path, field, value, text):
    tree = StructureTree([ODD_NODES[0] | {field: value}])
    space = ReferenceSpace(tree, np.zeros((3, 2, 1), "u1"), 25)
    with pytest.raises(OntologyError, match=text):
        space.to_zarr(tmp_path / "no.zarr")
    assert names(tmp_path) == []


def test_an_empty_ontology():
    url = url_in_memory()
    space = ReferenceSpace(StructureTree([]), np.zeros((3, 2, 1), "u1"), 25)
    space.to_zarr(url)
    with pytest.raises(FormatError, match="names no structures; give structures="):
        refspace.open(url)
    assert_same(refspace.open(url, structures=StructureTree([])), space)
    assert xr.open_zarr(url, group="structures").load().sizes["structure"] == 0


def test_other_structures_may_be_given(url):
    tree = StructureTree(ODD_NODES)
    assert refspace.open(url, structures=tree).structure_tree.nodes() == tree.nodes()


# ----- names


NAMES = [
    "atlas",
    "a b.zarr",
    "a::b.zarr",
    "memory::b.zarr",
    "a#b.zarr",
    "a%20b?.zarr",
    "[a]*.zarr",
    "脳 µ.zarr",
    "~nobody-here.zarr",
    "C:atlas.zarr",
    "x" * 200,
]


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_names_of_folders(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    name = NAMES[number]
    spellings = [tmp_path / name, f"{tmp_path}/{name}", f"./{name}/", f"{tmp_path}/./{name}//"]
    target = spellings[number % len(spellings)]
    space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
    space.to_zarr(target)
    assert names(tmp_path) == [name]
    for spelling in spellings:
        assert_same(refspace.open(spelling), space)
        with pytest.raises(StoreError, match="exists; give another name"):
            space.to_zarr(spelling, resume=False)
        space.to_zarr(spelling)  # it is there
    space.to_zarr(target, resume=False, overwrite=True)
    assert names(tmp_path) == [name]


def test_a_name_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
    for name in ("atlas.zarr", "a::b", "~nobody-here"):
        space.to_zarr(name)
        assert_same(refspace.open(name), space)
    assert names(tmp_path) == ["a::b", "atlas.zarr", "~nobody-here"]


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
    space.to_zarr("~/atlas.zarr")
    assert names(tmp_path) == ["atlas.zarr"]
    assert_same(refspace.open("~/atlas.zarr"), space)


def test_a_relative_name_stays_when_the_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ReferenceSpace(StructureTree(ODD_NODES), np.zeros((2, 3, 4), "u2"), 25).to_zarr("atlas.zarr")
    space = refspace.open("atlas.zarr")
    monkeypatch.chdir("/")
    assert not space.annotation.values.any()
    assert space.label_index.counts() == {0: 24}


def test_urls(tmp_path):
    space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
    for url in (f"file://{tmp_path}/a b.zarr", url_in_memory(), f"{url_in_memory()}/a b#c/"):
        space.to_zarr(url)
        assert_same(refspace.open(url), space)
    assert names(tmp_path) == ["a b.zarr"]


@pytest.mark.parametrize(
    "url", ["nothing://at/all.zarr", "zip::/no/such/file.zip", "zip://a::/no/such/file.zip"]
)
def test_urls_that_lead_nowhere(url):
    with pytest.raises(RemoteError, match="cannot be reached"):
        refspace.open(url)


def test_the_root_of_a_file_system():
    space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
    with fsspec.open("memory://elsewhere", "wb") as file:
        file.write(b"not ours")
    with pytest.raises(StoreError, match="never overwritten"):
        space.to_zarr("memory://", overwrite=True)


# ----- selections


@few
@given(space=spaces(), cut=cuts(), data=st.data())
def test_selections_of_a_store(space, cut, data):
    url = url_in_memory()
    space.to_zarr(url, chunks=cut.chunks, shards=cut.shards)
    along = space.reorient(space.grid.orientation_along_frame)
    stored, voxels = refspace.open(url).annotation, along.annotation.values
    key = []
    for n in voxels.shape:
        key.append(
            data.draw(
                st.integers(-n, n - 1)
                | st.slices(n)
                | st.lists(st.integers(-n, n - 1), max_size=4).map(lambda ids: np.array(ids, int))
            )
        )
    parts = dict(zip(stored.dims, key, strict=True))
    expected = voxels
    for axis in reversed(range(3)):
        expected = expected[(slice(None),) * axis + (key[axis],)]
    np.testing.assert_array_equal(stored.isel(parts).values, expected)


def test_no_warning_escapes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = ReferenceSpace(StructureTree(ODD_NODES), np.ones((2, 3, 4), "u2"), 25)
        space.to_zarr(tmp_path / "atlas.zarr")
        refspace.open(tmp_path / "atlas.zarr").annotation.compute()
        xr.open_datatree(tmp_path / "atlas.zarr").load()
