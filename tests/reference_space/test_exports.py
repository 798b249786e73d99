"""Plain OME-Zarr stores, as programs of others read them, and volumes with their label tables."""

import itertools
import json

import dask.array as da
import ngff_zarr
import nibabel
import numpy as np
import ome_zarr.format
import ome_zarr.io
import ome_zarr.reader
import ome_zarr_models
import pandas as pd
import pytest
import SimpleITK
import tensorstore
import yaozarrs
import zarr
from helpers.volumes import CountingSource, raising
from nilearn.maskers import NiftiLabelsMasker

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.errors import FormatError, GridError, OntologyError, StoreError
from refspace.grid import Grid
from refspace.labels import labelled

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

SHAPE, SPACING = (12, 10, 8), (25.0, 50.0, 100.0)
LARGE = 614454277
NODES = [
    {
        "id": 997,
        "acronym": "root",
        "name": "root",
        "rgb_triplet": [255, 255, 255],
        "structure_set_ids": [1, 2],
        "structure_id_path": [997],
    },
    {
        "id": 8,
        "acronym": "grey",
        "name": "Grey matter",
        "rgb_triplet": [191, 218, 227],
        "structure_set_ids": [],
        "index": "taken",
        "structure_id_path": [997, 8],
    },
    {"id": LARGE, "name": "without a colour", "structure_id_path": [997, 8, LARGE]},
]
TREE = StructureTree(NODES)
MARK = (3, 7, 1)
VERSIONS = ["0.5", "0.4"]
ORDERS = ["PIR", "RAS", "LIA", "SPL"]


def space_of(orientation="PIR", *, template=True, frame=None, data=None):
    """Space of random labels, of which the large one marks a single voxel."""
    rng = np.random.default_rng(0)
    voxels = rng.choice(np.array([0, 8, 997], "u4"), SHAPE)
    voxels[MARK] = LARGE
    grid = Grid(SHAPE, SPACING, (1000, -200, 30), orientation, frame or orientation)
    image = labelled(rng.integers(0, 900, SHAPE).astype("u2"), grid, "template")
    labels = labelled(voxels if data is None else data(voxels), grid)
    return ReferenceSpace(TREE, labels, template=image if template else None)


def marked(space):
    """Position of the marked voxel in ITK's world, in µm, by the coordinates of the space."""
    turned = space.in_frame("LPS")
    position = turned.centroid(LARGE)
    return [position[dim] for dim in ("ml", "ap", "dv")]


def read_tensorstore(folder, version):
    driver = "zarr3" if version == "0.5" else "zarr"
    spec = {"driver": driver, "kvstore": f"file://{folder}/"}
    return tensorstore.open(spec).result().read().result()


def read_ome_zarr(path, version):
    """Nodes of ome-zarr-py's reader that have voxels, by their names."""
    kind = ome_zarr.format.FormatV05 if version == "0.5" else ome_zarr.format.FormatV04
    location = ome_zarr.io.parse_url(path, fmt=kind())
    return {n.metadata["name"]: n for n in ome_zarr.reader.Reader(location)() if n.data}


def by_itk(image):
    """Position of the marked voxel of an image of ITK, in the unit of its spacing."""
    data = np.asarray(image.data)
    index = np.argwhere(data == LARGE)[0][::-1]
    direction = np.asarray(image.direction).reshape(3, 3)
    return (np.asarray(image.origin) + direction @ (index * np.asarray(image.spacing))).tolist()


# ----- positions


@pytest.mark.parametrize(("orientation", "version"), [*itertools.product(ORDERS, VERSIONS)])
def test_a_voxel_is_at_one_place_for_everyone(tmp_path, orientation, version):
    space = space_of(orientation)
    expected = marked(space)
    url = f"{tmp_path}/a.zarr"
    space.to_ome_zarr(url, version=version, chunks=6)
    # ngff-zarr, and ITK through it.
    images = ngff_zarr.from_ngff_zarr(f"{url}/labels/annotation", validate=True)
    assert len(images.images) == 2
    found = images.images[0]
    assert found.dims == ("z", "y", "x")
    assert set(found.axes_units.values()) == {"micrometer"}
    index = np.argwhere(np.asarray(found.data) == LARGE)[0]
    by_ngff = [found.translation[d] + i * found.scale[d] for d, i in zip("zyx", index, strict=True)]
    assert by_ngff[::-1] == pytest.approx(expected)
    itk = ngff_zarr.ngff_image_to_itk_image(found)
    assert itk.imageType.dimension == 3
    assert sorted(itk.spacing) == sorted(SPACING)
    np.testing.assert_array_equal(itk.direction, np.eye(3))
    assert by_itk(itk) == pytest.approx(expected)
    # ome-zarr-py and tensorstore.
    voxels = read_tensorstore(f"{url}/labels/annotation/0", version)
    assert np.argwhere(voxels == LARGE)[0].tolist() == index.tolist()
    node = read_ome_zarr(url, version)["annotation"]
    np.testing.assert_array_equal(np.asarray(node.data[0]), voxels)
    scale, translation = node.metadata["coordinateTransformations"][0]
    by_ome = np.add(translation["translation"], np.multiply(index, scale["scale"]))
    assert by_ome[::-1].tolist() == pytest.approx(expected)
    # SimpleITK and nibabel, of files of the same space, in mm.
    for ending in ("nrrd", "nii.gz"):
        path = f"{tmp_path}/a.{ending}"
        space.write_annotation(path)
        volume = SimpleITK.ReadImage(path)
        index = [int(i) for i in np.argwhere(SimpleITK.GetArrayFromImage(volume) == LARGE)[0][::-1]]
        point = volume.TransformIndexToPhysicalPoint(index)
        assert np.multiply(point, 1000).tolist() == pytest.approx(expected)
    image = nibabel.load(path)
    index = np.argwhere(np.asarray(image.dataobj) == LARGE)[0]
    world = nibabel.affines.apply_affine(image.affine, index) * [-1000, -1000, 1000]
    assert world.tolist() == pytest.approx(expected)
    # And refspace itself.
    again = refspace.open(f"{url}/labels/annotation", structures=TREE)
    assert marked(again) == pytest.approx(expected)
    assert again.grid.orientation == "SPL"


@pytest.mark.parametrize("orientation", ["PIR", "LSA"])
def test_another_order(tmp_path, orientation):
    space = space_of("RAS")
    space.to_ome_zarr(tmp_path / "a.zarr", orientation=orientation, chunks=6)
    again = refspace.open(tmp_path / "a.zarr", structures=TREE)
    assert again.grid.orientation == orientation
    expected = space.reorient(orientation)
    np.testing.assert_array_equal(again.annotation.values, expected.annotation.values)
    assert marked(again) == pytest.approx(marked(space))
    image = ngff_zarr.from_ngff_zarr(str(tmp_path / "a.zarr"), validate=True).images[0]
    itk = ngff_zarr.ngff_image_to_itk_image(image)
    # Each axis of ITK runs as its axis of the store states.
    columns = {"P": [0, 1, 0], "I": [0, 0, -1], "R": [-1, 0, 0], "L": [1, 0, 0], "S": [0, 0, 1]}
    columns["A"] = [0, -1, 0]
    directions = [columns[letter] for letter in orientation[::-1]]
    np.testing.assert_array_equal(np.asarray(itk.direction).T, directions)


# ----- what is in it


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("template", [True, False])
def test_levels_of_the_image_and_its_labels(tmp_path, version, template):
    space = space_of("SPL", template=template)
    url = f"{tmp_path}/a.zarr"
    space.to_ome_zarr(url, version=version, chunks=4)
    yaozarrs.validate_zarr_store(url)
    nodes = read_ome_zarr(url, version)
    assert list(nodes) == (["template", "annotation"] if template else ["annotation"])
    # As a store of ours halves them.
    space.to_zarr(tmp_path / "own.zarr", chunks=4)
    own = zarr.open_group(tmp_path / "own.zarr", mode="r")
    for level in range(3):
        labels = read_tensorstore(f"{url}/labels/annotation/{level}", version)
        np.testing.assert_array_equal(labels, own[f"s{level}/annotation"][...])
        assert np.asarray(nodes["annotation"].data[level]).dtype == np.uint32
        if template:
            image = read_tensorstore(f"{url}/{level}", version)
            np.testing.assert_array_equal(image, own[f"s{level}/template"][...])
    root = ngff_zarr.from_ngff_zarr(url, validate=True)
    wanted = space.template if template else space.annotation
    np.testing.assert_array_equal(np.asarray(root.images[0].data), wanted.values)
    assert refspace.open(url, structures=TREE).total_voxel_map == space.total_voxel_map


def attributes(folder, version):
    found = dict(zarr.open_group(folder, mode="r").attrs)
    return found["ome"] if version == "0.5" else found


@pytest.mark.parametrize("version", VERSIONS)
def test_properties_are_single_values(tmp_path, version):
    space = space_of()
    for with_index in (True, False):
        url = tmp_path / f"{with_index}.zarr"
        space.to_ome_zarr(url, version=version, with_index=with_index)
        label = attributes(url / "labels/annotation", version)["image-label"]
        assert label["version"] == version
        assert label["source"] == {"image": "../../"}
        index = [{"index": i} if with_index else {} for i in TREE.node_ids()]
        values = [("root", "root", None), ("grey", "Grey matter", 997), (None, NODES[2]["name"], 8)]
        names = ("acronym", "name", "parent_structure_id")
        assert label["properties"] == [
            {"label-value": i, **own, **dict(zip(names, row, strict=True))}
            for i, own, row in zip(TREE.node_ids(), index, values, strict=True)
        ]
        colors = {entry["label-value"]: entry["rgba"] for entry in label["colors"]}
        assert colors[8] == [191, 218, 227, 255]
        # Readers take it for granted that each has a colour.
        assert len(colors[LARGE]) == 4
    assert attributes(url / "labels", version)["labels"] == ["annotation"]
    assert not (set(dict(zarr.open_group(url, mode="r").attrs)) & {"refspace"})


def test_models_of_others_accept_it(tmp_path):
    space_of().to_ome_zarr(tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    ome_zarr_models.v05.Image.from_zarr(group)
    ome_zarr_models.v05.ImageLabel.from_zarr(group["labels/annotation"])
    for path, model in (("zarr.json", "image"), ("labels/annotation/zarr.json", "label")):
        found = json.loads((tmp_path / "a.zarr" / path).read_text())["attributes"]
        ngff_zarr.validate(found, version="0.5", model=model, strict=True)


def test_a_structure_called_0_is_transparent(tmp_path):
    nodes = [
        {"id": 0, "acronym": "universe", "structure_id_path": [0]},
        {"id": 5, "acronym": "a", "structure_id_path": [0, 5]},
    ]
    space = ReferenceSpace(StructureTree(nodes), np.full((4, 4, 4), 5, "u4"), 25)
    space.to_ome_zarr(tmp_path / "a.zarr")
    colors = attributes(tmp_path / "a.zarr/labels/annotation", "0.5")["image-label"]["colors"]
    assert [entry["rgba"][3] for entry in colors] == [0, 255]


def test_hemispheres_are_spaces_too(tmp_path):
    left = space_of("PIR", frame="PIR").hemisphere("left")
    left.to_ome_zarr(tmp_path / "left.zarr")
    again = refspace.open(tmp_path / "left.zarr", structures=TREE)
    assert again.total_voxel_map == left.total_voxel_map


def test_shards(tmp_path):
    space = space_of("SPL")
    space.to_ome_zarr(tmp_path / "a.zarr", chunks=2, shards=4)
    voxels = read_tensorstore(tmp_path / "a.zarr/labels/annotation/0", "0.5")
    np.testing.assert_array_equal(voxels, space.annotation.values)
    with pytest.raises(FormatError, match=r"0\.4 knows no shards; leave them out, or give version"):
        space.to_ome_zarr(tmp_path / "b.zarr", chunks=2, shards=4, version="0.4")


def test_what_is_refused_leaves_nothing(tmp_path):
    space = space_of()
    for options, error, said in (
        ({"version": "0.3"}, FormatError, r"version is '0\.3'; give one of 0\.5, 0\.4"),
        ({"orientation": "zyx"}, GridError, "three letters"),
        ({"chunks": 0}, GridError, "at least one voxel"),
    ):
        with pytest.raises(error, match=said):
            space.to_ome_zarr(tmp_path / "a.zarr", **options)
    nodes = [{"id": 8, "name": {"a": {1}}, "structure_id_path": [8]}]
    odd = ReferenceSpace(StructureTree([nodes[0] | {"name": "x"}]), np.zeros((2, 2, 2), "u4"), 25)
    odd.structure_tree.records[8]["name"] = {1, 2}
    with pytest.raises(OntologyError, match=r"structure 8 has name \{1, 2\}, which JSON"):
        odd.to_ome_zarr(tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


# ----- how it is written


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_written_once_and_never_over_another(tmp_path, version):
    space, url = space_of(), tmp_path / "a.zarr"
    space.to_ome_zarr(url, version=version)
    before = {path: path.stat().st_mtime_ns for path in url.rglob("*")}
    calls = []
    space.to_ome_zarr(url, version=version, progress=lambda *count: calls.append(count))
    assert calls == []
    assert before == {path: path.stat().st_mtime_ns for path in url.rglob("*")}
    other = "0.4" if version == "0.5" else "0.5"
    for options in ({"version": other}, {"with_index": False}, {"orientation": "PIR"}):
        with pytest.raises(StoreError, match="exists; give another name, or replace it"):
            space.to_ome_zarr(url, **({"version": version} | options))
    space.to_ome_zarr(url, version=other, overwrite=True)
    assert (url / "zarr.json").exists() == (other == "0.5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["{0}/a.zarr", "memory://exports/{1}.zarr"])
def test_an_interrupted_run_goes_on(tmp_path, version, target):
    url = target.format(tmp_path, version)
    space = space_of()

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        space.to_ome_zarr(url, version=version, chunks=4, progress=interrupt)
    with pytest.raises(StoreError):
        refspace.open(url, structures=TREE)
    calls = []
    space.to_ome_zarr(url, version=version, chunks=4, progress=lambda *n: calls.append(n))
    assert 5 <= calls[0][0] < calls[-1][0] == calls[-1][1]
    again = refspace.open(url, structures=TREE)
    assert again.total_voxel_map == space.total_voxel_map
    assert again.annotation.chunks is not None


@pytest.mark.parametrize(("orientation", "memory"), [("SPL", 4 * 4**3), ("PIR", 2**20)])
def test_each_chunk_is_read_once(tmp_path, orientation, memory):
    lazy = []

    def lazily(voxels):
        source = CountingSource(voxels)
        lazy.extend([source, source.dask((4, 4, 4))])
        return lazy[1]

    # Turned, chunks lie across those of the store: as many as memory allows are computed at once.
    space = space_of(orientation, template=False, data=lazily)
    space.to_ome_zarr(tmp_path / "a.zarr", chunks=4, memory=memory)
    source, voxels = lazy
    assert set(source.chunk_reads(voxels.chunks).values()) == {1}
    with pytest.raises(GridError, match="one block of the store holds 256 bytes"):
        space.to_ome_zarr(tmp_path / "b.zarr", chunks=4, memory=255)


def test_nothing_is_computed_before_it_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "notes.txt").write_text("mine")
    space = space_of(
        template=False, data=lambda v: da.from_array(v).map_blocks(raising, dtype="u4")
    )
    with pytest.raises(StoreError, match="is not empty and is no zarr store"):
        space.to_ome_zarr(tmp_path / "a.zarr", overwrite=True)


# ----- a volume, and a table of its labels


def test_nilearn_takes_the_label_table(tmp_path):
    space = space_of("RAS")
    path = tmp_path / "atlas_dseg.nii.gz"
    table = space.write_annotation(path, label_table=True)
    assert table == tmp_path / "atlas_dseg.tsv"
    voxels, image = space.annotation.values, nibabel.load(path)
    values = np.random.default_rng(1).random(SHAPE).astype("f4")
    data = nibabel.Nifti1Image(values[..., None].repeat(2, -1), image.affine)
    for lut in (table, pd.read_csv(table, sep="\t")):
        masker = NiftiLabelsMasker(labels_img=path, lut=lut, standardize=None)
        signals = masker.fit_transform(data)
        names = list(masker.region_names_.values())
        assert names == ["Grey matter", "root", "without a colour"]
        means = [values[voxels == i].mean() for i in (8, 997, LARGE)]
        np.testing.assert_allclose(signals[0], means, rtol=1e-5)


def test_where_the_label_table_is(tmp_path):
    space = space_of()
    assert space.write_annotation(tmp_path / "a.nrrd") is None
    assert space.write_annotation(tmp_path / "b.nii", label_table=True) == tmp_path / "b.tsv"
    other = tmp_path / "labels.tsv"
    assert space.write_annotation(tmp_path / "c.nrrd", label_table=other) == other
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a.nrrd", "b.nii", "b.tsv", "c.nrrd", "labels.tsv")
    }
    with pytest.raises(
        FormatError, match=r"label_table is .*l\.csv; give a name that ends in \.tsv"
    ):
        space.write_annotation(tmp_path / "d.nrrd", label_table=tmp_path / "l.csv")
    with pytest.raises(FormatError, match=r"d\.xyz does not end in \.nrrd, \.nii, \.nii\.gz, "):
        space.write_annotation(tmp_path / "d.xyz", label_table=True)
    # Neither appears where the other cannot be written.
    with pytest.raises(FileNotFoundError):
        space.write_annotation(tmp_path / "no/d.nrrd", label_table=tmp_path / "l.tsv")
    assert not (tmp_path / "l.tsv").exists()
