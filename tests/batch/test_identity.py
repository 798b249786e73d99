"""Jobs know voxels by their content: what has changed, or is in doubt, is done again."""

import os
import shutil

import dask.array
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from helpers.foreign_stores import SHAPE, TREE, VOXELS, write
from helpers.serving import Fault, Server

import refspace
from refspace.batch import (
    AtlasReference,
    ImageOptions,
    aggregate_images,
    atlas_reference,
    statistics,
    write_masks,
)
from refspace.errors import JobError, StoreError
from refspace.remote import retry
from refspace.store.images import open_image

REGIONS = [8, 997]
SILENT = Fault(headers={"ETag": None, "Last-Modified": None})
LABELS = refspace.ReferenceSpace(TREE, VOXELS, 25).annotation
HOW = {"orientation": "PIR"}


@pytest.fixture
def atlas(tmp_path):
    """An atlas of ours, on the grid of the images."""
    refspace.ReferenceSpace(TREE, VOXELS, 25).to_zarr(tmp_path / "atlas.zarr")
    return tmp_path / "atlas.zarr"


@pytest.fixture(params=["zarr v2", "zarr v3", "sharded"])
def image(tmp_path, request):
    """An image in zarr, as any program writes it."""
    shards = {"shards": (4, 6, 4)} if request.param == "sharded" else {}
    version = 2 if request.param == "zarr v2" else 3
    return zarr.create_array(
        tmp_path / "image.zarr",
        data=np.ones(SHAPE, "f4"),
        chunks=(2, 3, 2),
        zarr_format=version,
        **shards,
    )


def change(array):
    """Write some voxels in place, with which no metadata change."""
    array[4:6] = 0.25


def edit(path):
    """Change an array of labels in place."""
    zarr.open_array(path, mode="r+")[:4] = 8


def mean(out):
    return pd.read_parquet(out)["mean"].tolist()


# ----- images


@pytest.mark.promise("an image of a table has changed")
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_image_that_is_computed_again_in_place(atlas, image, tmp_path, overwrite):
    out, path = tmp_path / "t.parquet", tmp_path / "image.zarr"
    aggregate_images(atlas, [path], out, REGIONS)
    assert aggregate_images(atlas, [path], out, REGIONS, overwrite=overwrite).kept == 1
    before, files = mean(out), {p: p.stat() for p in path.rglob("*") if p.is_file()}
    change(image)
    for file, status in files.items():
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = aggregate_images(atlas, [path], out, REGIONS, overwrite=overwrite)
    assert (done.written, done.kept) == (1, 0)
    assert mean(out) != before


def test_an_image_of_ours_is_known_by_its_digests(tmp_path, atlas):
    image, out = tmp_path / "image.zarr", tmp_path / "t.parquet"
    for number, kept in ((1, 0), (1, 1), (2, 0)):
        template = LABELS.astype("f4") + number
        space = refspace.ReferenceSpace(TREE, VOXELS, 25, template=template)
        space.to_zarr(image, overwrite=True, resume=False)
        assert aggregate_images(atlas, [image], out, REGIONS).kept == kept


def test_valid_voxels_that_change_in_place(atlas, image, tmp_path):
    out, path = tmp_path / "t.parquet", tmp_path / "image.zarr"
    shutil.copytree(path, tmp_path / "valid.zarr")
    how = {"regions": REGIONS, "valid": tmp_path / "valid.zarr"}
    aggregate_images(atlas, [path], out, **how)
    change(zarr.open_array(tmp_path / "valid.zarr", mode="r+"))
    with pytest.raises(StoreError, match="has rows of another job"):
        aggregate_images(atlas, [path], out, **how)


def test_another_level_or_variable_is_no_matter(atlas, tmp_path):
    """Only the array that is read identifies an image."""
    values = xr.DataArray(np.ones(SHAPE, "f4"), refspace.open(atlas).annotation.coords)
    image, out = tmp_path / "image.zarr", tmp_path / "t.parquet"
    dataset = xr.Dataset({"energy": values, "other": values})
    dataset = dataset.drop_vars([name for name in dataset.coords if name not in dataset.dims])
    dataset.to_zarr(image, zarr_format=2)
    options = ImageOptions(variable="energy")
    aggregate_images(atlas, [image], out, REGIONS, image_options=options)
    zarr.open_array(image / "other", mode="r+")[:] = 3
    assert aggregate_images(atlas, [image], out, REGIONS, image_options=options).kept == 1
    zarr.open_array(image / "energy", mode="r+")[:] = 3
    assert aggregate_images(atlas, [image], out, REGIONS, image_options=options).written == 1


@pytest.mark.promise(
    "a source changes while it is read", "an error that names it; nothing is written"
)
@pytest.mark.parametrize("kind", ["image", "valid", "atlas", "file"])
def test_what_changes_while_it_is_read(tmp_path, monkeypatch, kind):
    write(tmp_path / "atlas.zarr", label=True)
    refspace.write_structures(tmp_path / "structures.json", TREE)
    for name in ("image.zarr", "valid.zarr"):
        zarr.create_array(tmp_path / name, data=np.ones(SHAPE, "f4"), chunks=(2, 3, 2))
    refspace.write_nrrd(tmp_path / "image.nrrd", LABELS)
    changes = {
        "image": lambda: change(zarr.open_array(tmp_path / "image.zarr", mode="r+")),
        "valid": lambda: change(zarr.open_array(tmp_path / "valid.zarr", mode="r+")),
        "atlas": lambda: edit(tmp_path / "atlas.zarr/0"),
        "file": lambda: refspace.write_nrrd(tmp_path / "image.nrrd", LABELS + 1),
    }
    statistics_table = statistics.statistics_table

    def meanwhile(*given):
        changes[kind]()
        return statistics_table(*given)

    monkeypatch.setattr(statistics, "statistics_table", meanwhile)
    reference = AtlasReference.from_arguments(
        tmp_path / "atlas.zarr", structures=tmp_path / "structures.json", **HOW
    )
    image = "image.nrrd" if kind == "file" else "image.zarr"
    out = tmp_path / "t.parquet"
    with pytest.raises(JobError, match="has changed while it was read"):
        aggregate_images(
            reference,
            [tmp_path / image],
            out,
            REGIONS,
            valid=tmp_path / "valid.zarr",
            image_options=ImageOptions(same_grid=True),
        )
    assert not [*out.glob("part-*")]


# ----- servers


def served(folder, out, server, **how):
    urls = [f"{server.url}/{name}" for name in ("image.zarr", "image.nrrd")]
    return aggregate_images(
        folder / "atlas.zarr", urls, out, REGIONS, image_options=ImageOptions(same_grid=True), **how
    )


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_server_that_states_no_versions(atlas, image, tmp_path, ending):
    refspace.write_nrrd(tmp_path / "image.nrrd", LABELS)
    out = tmp_path / f"t{ending}"
    with Server(tmp_path) as server:
        assert served(tmp_path, out, server).written == 2
        # Each object is asked for, and none is brought.
        assert served(tmp_path, out, server).kept == 2
        change(image)
        assert served(tmp_path, out, server).written == 1
        server.faults = lambda request: SILENT
        with pytest.warns(UserWarning, match="states neither an ETag nor a time") as told:
            assert served(tmp_path, out, server).written == 2
        assert len(told) == 2
        rows = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
        assert len(rows) == 4


def test_objects_that_servers_refuse(atlas, image, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(2, 0.01))
    out = tmp_path / "t.parquet"
    with Server(tmp_path) as server:
        server.faults = lambda request: Fault(status=500) if "image.nrrd" in request.path else None
        with pytest.raises(JobError, match="cannot be reached: HTTP status 500") as caught:
            served(tmp_path, out, server)
        assert len(caught.value.failures) == 1


def test_copies_of_chunks_are_of_one_version(atlas, image, tmp_path):
    """A copy of a chunk that was written again since is none."""
    copies = tmp_path / "copies"
    with Server(tmp_path) as server:
        for number in (1, 2):
            image[:] = number
            opened = open_image(f"{server.url}/image.zarr", chunk_cache=copies)
            np.testing.assert_array_equal(opened, np.full(SHAPE, number))
        server.requests.clear()
        assert float(opened.max()) == 2
        assert {request.method for request in server.requests} == {"HEAD"}
        # Without versions there are no copies.
        server.faults = lambda request: SILENT
        for number in (3, 4):
            image[:] = number
            np.testing.assert_array_equal(opened, np.full(SHAPE, number))


@pytest.mark.parametrize("place", ["memory", "zip", pytest.param("obstore", marks=pytest.mark.s3)])
def test_places_that_can_be_listed(atlas, image, tmp_path, place, request):
    out, local = tmp_path / "t.parquet", tmp_path / "image.zarr"
    options = ImageOptions(same_grid=True)
    archive = tmp_path / "image.zip"
    url = {"memory": "memory://identity/image.zarr", "zip": f"zip::{archive}"}.get(place, "")
    if place == "obstore":
        s3 = request.getfixturevalue("s3")
        options = ImageOptions(
            same_grid=True, access={"engine": "obstore", "storage_options": s3.writer}
        )
        url = "s3://atlases/identity/image.zarr"

    def put():
        if place == "zip":
            archive.unlink(missing_ok=True)
            shutil.make_archive(str(archive.with_suffix("")), "zip", local)
            return
        fs, path = fsspec.url_to_fs(url, **options.storage_options)
        if fs.exists(path):
            fs.rm(path, recursive=True)
        fs.put(f"{local}/", path, recursive=True)

    put()
    for kept in (0, 1):
        assert aggregate_images(atlas, [url], out, REGIONS, image_options=options).kept == kept
    change(image)
    put()
    assert aggregate_images(atlas, [url], out, REGIONS, image_options=options).written == 1
    assert min(mean(out)) < 1


# ----- annotations


def test_an_atlas_that_changes_in_place(tmp_path):
    write(tmp_path / "atlas.zarr")
    refspace.write_structures(tmp_path / "structures.json", TREE)
    zarr.create_array(tmp_path / "image.zarr", data=np.ones(SHAPE, "f4"))
    reference = AtlasReference.from_arguments(
        tmp_path / "atlas.zarr", structures=tmp_path / "structures.json", **HOW
    )
    how = {"regions": REGIONS, "image_options": ImageOptions(same_grid=True)}
    images, out = [tmp_path / "image.zarr"], tmp_path / "t.csv"
    aggregate_images(reference, images, out, **how)
    assert aggregate_images(reference, images, out, **how).kept == 1
    pinned = reference.pinned()
    edit(tmp_path / "atlas.zarr/0")
    atlas_reference._opened.cache_clear()  # as of another process
    with pytest.raises(StoreError, match="has changed since the job began"):
        pinned.open()
    with pytest.raises(StoreError, match="has rows of another job"):
        aggregate_images(reference, images, out, **how)


def test_an_atlas_in_doubt(tmp_path):
    write(tmp_path / "atlas.zarr")
    refspace.write_structures(tmp_path / "structures.json", TREE)
    zarr.create_array(tmp_path / "image.zarr", data=np.ones(SHAPE, "f4"))
    how = {"regions": REGIONS, "image_options": ImageOptions(same_grid=True)}
    images, out = [tmp_path / "image.zarr"], tmp_path / "t.parquet"
    with Server(tmp_path, lambda request: SILENT) as server:
        reference = AtlasReference.from_arguments(
            f"{server.url}/atlas.zarr", structures=tmp_path / "structures.json", **HOW
        )
        assert aggregate_images(reference, images, out, **how).written == 1
        with pytest.raises(StoreError, match=r"which cannot be proven: .* neither an ETag"):
            aggregate_images(reference, images, out, **how)
        assert aggregate_images(reference, images, out, overwrite=True, **how).written == 1


@pytest.mark.parametrize("target", ["masks.zarr", "masks"])
def test_masks_of_an_annotation_that_changes_in_place(tmp_path, target):
    write(tmp_path / "atlas.zarr")
    how = {"structures": TREE, **HOW}
    out = tmp_path / target
    for written in (True, False):
        space = refspace.open(tmp_path / "atlas.zarr", **how)
        assert bool(write_masks(space, out, REGIONS).written) is written
    edit(tmp_path / "atlas.zarr/0")
    space = refspace.open(tmp_path / "atlas.zarr", **how)
    with pytest.raises((StoreError, JobError), match=r"exists|is no mask of that structure"):
        write_masks(space, out, REGIONS)
    assert write_masks(space, out, REGIONS, overwrite=True).written
    wanted = np.isin(space.annotation.values, [8])
    if target == "masks":
        found = refspace.read_nrrd(out / "structure_8.nrrd").values
    else:
        found = refspace.open_masks(out).sel(structure=8).values
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("target", ["masks.zarr", "masks"])
def test_masks_of_an_annotation_that_changes_meanwhile(tmp_path, target):
    write(tmp_path / "atlas.zarr")
    space = refspace.open(tmp_path / "atlas.zarr", structures=TREE, **HOW)

    def meanwhile(done, total):
        edit(tmp_path / "atlas.zarr/0")

    with pytest.raises(StoreError, match="the annotation has changed while it was read"):
        write_masks(space, tmp_path / target, REGIONS, progress=meanwhile)
    assert not [*tmp_path.glob("masks*/structure*"), *tmp_path.glob("*masks.zarr*")]


@pytest.mark.parametrize("target", ["masks.zarr", "masks"])
def test_masks_in_doubt(tmp_path, target):
    """An array that dask reads from zarr by itself."""
    zarr.create_array(tmp_path / "labels.zarr", data=VOXELS, chunks=(2, 3, 2))
    data = dask.array.from_zarr(str(tmp_path / "labels.zarr"))
    space = refspace.ReferenceSpace(TREE, data, 25)
    out = tmp_path / target
    assert write_masks(space, out, REGIONS).written
    if target == "masks":
        # Each file is made again, and found to be the same.
        assert write_masks(space, out, REGIONS).kept == 0
        return
    with pytest.raises(StoreError, match="cannot be proven to hold the same voxels: it holds"):
        write_masks(space, out, REGIONS)
    assert write_masks(space, out, REGIONS, overwrite=True).written
