"""Statistics of many images in one table: on threads and clusters, through failures and kills."""

import errno
import itertools
import json
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.clusters import Job, ended_before, started_cluster
from helpers.commands import run
from helpers.serving import Server

import refspace
from refspace.batch import (
    AtlasReference,
    ImageOptions,
    aggregate_images,
    atlas_reference,
    image_table,
    parquet_table,
    text_table,
)
from refspace.batch.statistics import Image, StatisticsRequest, compute_all
from refspace.blockwise import bounded
from refspace.errors import (
    AnnotationError,
    FormatError,
    JobError,
    LockedError,
    SourceError,
    StoreError,
)
from refspace.pools import connected
from refspace.remote import retry

STRUCTURES = ["VISp", "TH", "FRP6b"]
KILLS = 5
WHERE = ["threads", pytest.param("cluster", marks=pytest.mark.cluster)]


@pytest.fixture(scope="module")
def space():
    return refspace.phantom(resolution=400)


@pytest.fixture(scope="module")
def values(space):
    """Image whose values are all different."""
    numbers = np.random.default_rng(0).permutation(space.annotation.size).astype("f4")
    return space.annotation.copy(data=numbers.reshape(space.annotation.shape))


@pytest.fixture(scope="module")
def folder(space, values, tmp_path_factory):
    """An atlas and images of it, in many forms; not to be changed."""
    folder = tmp_path_factory.mktemp("images")
    space.to_zarr(folder / "atlas.zarr", chunks=16)
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    refspace.write_nrrd(folder / "a.nrrd", values)
    refspace.write_nifti(folder / "b.nii.gz", 2 * values.assign_attrs(values.attrs))
    (3 * values).rename("energy").to_dataset().to_zarr(folder / "c.zarr", zarr_format=2)
    return folder


FACTORS = {"a.nrrd": 1, "b.nii.gz": 2, "c.zarr": 3}


def images(folder):
    return [folder / name for name in FACTORS]


def expected(space, values, folder, **how):
    """Rows of the images by the verb itself, image by image."""
    tables = []
    for name, factor in FACTORS.items():
        table = space.aggregate(factor * values, STRUCTURES, **how).compute().to_dataframe()
        tables.append(table.reset_index().assign(image=str(folder / name)))
    return pd.concat(tables).sort_values(["image", "structure"], ignore_index=True)


def read(path):
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    return table.sort_values(["image", "structure"], ignore_index=True)


def parts(table):
    """When each file of a table was written, by name."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in table.glob("part-*")}


# ----- what is in the table


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize("where", WHERE)
def test_the_verb_says_the_same(space, values, folder, tmp_path, request, ending, where):
    how = {"client": request.getfixturevalue("cluster")} if where == "cluster" else {"threads": 2}
    out, told = tmp_path / f"table{ending}", []
    done = aggregate_images(
        folder / "atlas.zarr",
        images(folder),
        out,
        STRUCTURES,
        progress=lambda n, total: told.append((n, total)),
        **how,
    )
    assert (done.written, done.kept) == (3, 0)
    assert told == [(n, 3) for n in range(4)]
    table, wanted = read(out), expected(space, values, folder)
    assert list(table)[:4] == ["image", "structure", "acronym", "name"]
    for name in ("image", "structure", "count", "mean", "std", "min", "max"):
        if name in ("image", "structure", "count"):
            assert table[name].tolist() == wanted[name].tolist()
        else:
            np.testing.assert_allclose(table[name], wanted[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("chosen", "how"),
    [
        ({"structures": STRUCTURES}, {"quantiles": [0.25, 0.5], "statistics": ["sum", "var"]}),
        ({"structures": STRUCTURES}, {"hemisphere": "left"}),
        ({"structures": STRUCTURES, "direct_only": True}, {}),
        ({"depth": 5}, {}),
        ({"structures": "leaves"}, {"statistics": "mean"}),
        ({"structure_set": 167587189}, {}),
        ({"structures": {"VIS": "visual", "VISp": "primary", "TH": "other"}}, {}),
    ],
)
def test_what_is_asked(space, values, folder, tmp_path, chosen, how):
    out, options = tmp_path / "t.parquet", dict(how)
    side = options.pop("hemisphere", None)
    regions = space.structure_tree.regions(**chosen)
    atlas = AtlasReference.from_arguments(folder / "atlas.zarr", hemisphere=side)
    aggregate_images(atlas, [folder / "a.nrrd"], out, regions, **options)
    table = pd.read_parquet(out)
    of = space if side is None else space.hemisphere(side)
    wanted = of.aggregate(values, regions, **{"statistics": ("count", "mean"), **options}).compute()
    assert table["structure"].tolist() == wanted.structure.values.tolist()
    for name in wanted.data_vars:
        if name != "quantiles":
            np.testing.assert_allclose(table[name], wanted[name], rtol=1e-6)
    for share in how.get("quantiles", ()):
        found = wanted.quantiles.sel(quantile=share)
        np.testing.assert_allclose(table[f"q{share}"], found, rtol=1e-6)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_by_hemisphere(space, values, folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES, by_hemisphere=True)
    table = read(out)
    assert list(table)[:5] == ["image", "structure", "acronym", "name", "hemisphere"]
    assert len(table) == 3 * len(STRUCTURES) * 2
    for side in ("left", "right"):
        one = table[table["hemisphere"] == side]
        wanted = expected(space.hemisphere(side), values, folder)
        assert one["count"].tolist() == wanted["count"].tolist()
        np.testing.assert_allclose(one["mean"], wanted["mean"], rtol=1e-6)


def test_paths_relative_to_where_the_command_runs(folder, tmp_path, monkeypatch, cluster):
    """The workers run elsewhere."""
    monkeypatch.chdir(folder)
    out = tmp_path / "t.parquet"
    done = aggregate_images("atlas.zarr", ["a.nrrd", "c.zarr"], out, client=cluster)
    assert done.written == 2
    assert {*read(out)["image"]} == {"a.nrrd", "c.zarr"}


def test_voxels_that_count(space, values, folder, tmp_path):
    some = (space.annotation.copy(data=values.data % 2)).astype("u1")
    refspace.write_nrrd(tmp_path / "valid.nrrd", some)
    out = tmp_path / "t.parquet"
    aggregate_images(
        folder / "atlas.zarr", [folder / "a.nrrd"], out, STRUCTURES, valid=tmp_path / "valid.nrrd"
    )
    wanted = space.aggregate(values, STRUCTURES, valid=some, statistics="sum").compute()
    table = pd.read_parquet(out)
    np.testing.assert_allclose(table["count"] * table["mean"].fillna(0), wanted["sum"], rtol=1e-6)


def test_an_annotation_in_files(space, values, folder, tmp_path):
    atlas = AtlasReference.from_arguments(
        folder / "annotation.nrrd", structures=folder / "structures.json"
    )
    out = tmp_path / "t.parquet"
    aggregate_images(atlas, images(folder), out, STRUCTURES)
    np.testing.assert_allclose(
        read(out)["mean"], expected(space, values, folder)["mean"], rtol=1e-6
    )


def test_images_that_say_little(space, values, folder, tmp_path):
    bare = xr.DataArray(values.data, dims=("x", "y", "z"), name="energy")
    bare.to_dataset().to_zarr(tmp_path / "bare.zarr", zarr_format=2)
    options = ImageOptions(variable="energy", same_grid=True)
    out = tmp_path / "t.parquet"
    aggregate_images(
        folder / "atlas.zarr", [tmp_path / "bare.zarr"], out, STRUCTURES, image_options=options
    )
    wanted = space.aggregate(values, STRUCTURES, statistics="mean")["mean"]
    np.testing.assert_allclose(pd.read_parquet(out)["mean"], wanted, rtol=1e-6)


def test_images_and_table_on_s3(space, values, folder, tmp_path, cluster, s3):
    import fsspec

    fs = fsspec.filesystem("s3", **s3.writer)
    for path in images(folder):
        fs.put(str(path), f"atlases/images/{path.name}", recursive=path.is_dir())
    urls = [f"s3://atlases/images/{name}" for name in FACTORS]
    options = ImageOptions(access={"storage_options": s3.writer})
    how = {"image_options": options, "storage_options": s3.writer}
    out = "s3://atlases/tables/t.parquet"
    done = aggregate_images(folder / "atlas.zarr", urls, out, STRUCTURES, client=cluster, **how)
    assert done.written == 3
    assert aggregate_images(folder / "atlas.zarr", urls, out, STRUCTURES, **how).kept == 3
    fs.get("atlases/tables/t.parquet", str(tmp_path / "t.parquet"), recursive=True)
    wanted = expected(space, values, folder)
    np.testing.assert_allclose(read(tmp_path / "t.parquet")["mean"], wanted["mean"], rtol=1e-6)
    # What has changed there is done again.
    fs.put(str(folder / "b.nii.gz"), "atlases/images/b.nii.gz")
    fs.put(str(folder / "a.nrrd"), "atlases/images/a.nrrd")
    again = aggregate_images(folder / "atlas.zarr", urls, out, STRUCTURES, **how)
    assert again.kept >= 1
    assert aggregate_images(folder / "atlas.zarr", urls[:1], out, ["TH"], overwrite=True, **how)
    assert len(fs.find("atlases/tables/t.parquet")) == 2  # the image and the record


def test_images_over_http(space, values, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "POLICY", retry.Retry(3, 0.01))
    with Server(folder) as server:
        urls = [f"{server.url}/{name}" for name in ("a.nrrd", "b.nii.gz", "missing.nrrd")]
        out = tmp_path / "t.parquet"
        with pytest.raises(JobError, match="1 of 3 images failed") as caught:
            aggregate_images(folder / "atlas.zarr", urls, out, STRUCTURES)
        assert "missing.nrrd does not exist" in caught.value.failures[urls[2]]
    table = read(out)
    wanted = expected(space, values, folder)["mean"].to_numpy()
    np.testing.assert_allclose(table["mean"], wanted[: len(table)], rtol=1e-6)


# ----- again


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_more_images(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    first, *others = images(folder)
    aggregate_images(folder / "atlas.zarr", [first], out, STRUCTURES)
    before = parts(out) if ending == ".parquet" else out.read_bytes()
    done = aggregate_images(folder / "atlas.zarr", [first, *others, first], out, STRUCTURES)
    assert (done.written, done.kept) == (2, 1)
    if ending == ".parquet":
        assert before.items() <= parts(out).items()
    else:
        assert out.read_bytes().startswith(before)
    assert len(read(out)) == 9
    assert not list(tmp_path.glob(".*.lock"))


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_another_job(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    before = read(out)
    left = AtlasReference.from_arguments(folder / "atlas.zarr", hemisphere="left")
    alone = refspace.open(folder / "atlas.zarr").structure_tree.regions(
        STRUCTURES, direct_only=True
    )
    for how in (
        {"atlas": left},
        {"regions": alone},
        {"by_hemisphere": True},
        {"statistics": ["mean"]},
        {"quantiles": [0.5]},
    ):
        job = {"atlas": folder / "atlas.zarr", "regions": STRUCTURES} | how
        with pytest.raises(StoreError, match="or options; give another name, or replace"):
            aggregate_images(images=images(folder), out=out, **job)
    pd.testing.assert_frame_equal(read(out), before)
    done = aggregate_images(folder / "atlas.zarr", images(folder)[:1], out, ["TH"], overwrite=True)
    assert done.written == 1
    assert len(read(out)) == 1


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_overwriting_goes_on_with_the_same_job(space, values, folder, tmp_path, ending):
    out, path = tmp_path / f"t{ending}", tmp_path / "image.nrrd"
    how = {"regions": STRUCTURES, "overwrite": True}
    refspace.write_nrrd(path, values)
    aggregate_images(folder / "atlas.zarr", [path], out, **how)
    assert aggregate_images(folder / "atlas.zarr", [path], out, **how).kept == 1
    # Rows that would be others are replaced, and those of images not asked for go.
    refspace.write_nrrd(path, 5 * values)
    assert aggregate_images(folder / "atlas.zarr", [path], out, **how).written == 1
    wanted = space.aggregate(5 * values, STRUCTURES, statistics="mean")["mean"]
    np.testing.assert_allclose(read(out)["mean"], wanted.sortby("structure"), rtol=1e-6)
    aggregate_images(folder / "atlas.zarr", images(folder), out, **how)
    assert {*read(out)["image"]} == {*map(str, images(folder))}
    # What cannot be found may be what it was.
    lost = tmp_path / "lost.nrrd"
    lost.write_bytes((folder / "a.nrrd").read_bytes())
    aggregate_images(folder / "atlas.zarr", [lost], out, **how)
    lost.unlink()
    with pytest.raises(JobError, match="1 of 1 images failed"):
        aggregate_images(folder / "atlas.zarr", [lost], out, **how)
    assert {*read(out)["image"]} == {str(lost)}


@pytest.mark.parametrize("where", WHERE)
def test_an_atlas_that_has_changed(space, values, folder, tmp_path, request, where):
    """Processes keep the atlas open, and look whether it is that of the job."""
    how = {"client": request.getfixturevalue("cluster")} if where == "cluster" else {}
    atlas, out = tmp_path / "atlas.zarr", tmp_path / "t.parquet"
    other = refspace.ReferenceSpace(
        space.structure_tree, space.annotation.copy(data=space.annotation.data[::-1].copy())
    )
    for number, version in enumerate((space, other)):
        version.to_zarr(atlas, overwrite=True)
        if number:
            with pytest.raises(StoreError, match="of another atlas, or other structures, stat"):
                aggregate_images(atlas, [folder / "a.nrrd"], out, STRUCTURES, **how)
        aggregate_images(atlas, [folder / "a.nrrd"], out, STRUCTURES, overwrite=True, **how)
        wanted = version.aggregate(values, STRUCTURES, statistics="mean")["mean"]
        np.testing.assert_allclose(pd.read_parquet(out)["mean"], wanted, rtol=1e-6)
    pinned = AtlasReference.from_arguments(atlas).pinned()
    space.to_zarr(atlas, overwrite=True)
    # As in a process that has not opened it yet.
    atlas_reference._opened.cache_clear()
    with pytest.raises(StoreError, match="has changed since the job began"):
        pinned.open()


@pytest.mark.parametrize("kind", ["nrrd", "nii.gz"])
def test_annotations_in_files_are_the_same_for_all(space, folder, tmp_path, cluster, kind):
    path = tmp_path / f"annotation.{kind}"
    write = refspace.write_nrrd if kind == "nrrd" else refspace.write_nifti
    write(path, space.annotation)
    atlas = AtlasReference.from_arguments(path, structures=folder / "structures.json")
    out = tmp_path / "t.csv"
    assert aggregate_images(atlas, images(folder), out, STRUCTURES, client=cluster).written == 3


@pytest.mark.promise("an image of a table has changed")
def test_zarr_that_is_written_again(values, folder, tmp_path):
    """Its metadata says the same."""
    image, out = tmp_path / "image.zarr", tmp_path / "t.parquet"
    for factor in (1, 2):
        (factor * values).rename("energy").to_dataset().to_zarr(image, mode="w", zarr_format=2)
        done = aggregate_images(folder / "atlas.zarr", [image], out, STRUCTURES)
        assert (done.written, done.kept) == (1, 0)


def test_what_a_killed_run_was_writing(folder, tmp_path):
    out = tmp_path / "t.parquet"
    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    before = {path.name for path in out.iterdir()}
    (out / ".part-0123456789abcdef.12345678.partial.parquet").write_bytes(b"PAR1")
    (out / ".record.12345678.partial.parquet").write_bytes(b"PAR1")
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES).kept == 3
    assert {path.name for path in out.iterdir()} == before


@pytest.mark.promise("an image of a table has changed", "its rows are computed again")
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_an_image_that_has_changed(space, values, folder, tmp_path, ending):
    out, path = tmp_path / f"t{ending}", tmp_path / "image.nrrd"
    for factor in (1, 5):
        refspace.write_nrrd(path, factor * values)
        paths = [folder / "b.nii.gz", path, folder / "c.zarr"]
        done = aggregate_images(folder / "atlas.zarr", paths, out, STRUCTURES)
        assert (done.written, done.kept) == ((3, 0) if factor == 1 else (1, 2))
    wanted = space.aggregate(5 * values, STRUCTURES, statistics="mean")["mean"]
    table = read(out)
    assert len(table) == 9
    found = table[table["image"] == str(path)]["mean"]
    np.testing.assert_allclose(found, wanted.sortby("structure"), rtol=1e-6)


@pytest.mark.promise("a table is edited, or another program's")
def test_other_files_in_the_folder(folder, tmp_path):
    out = tmp_path / "t.parquet"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match=r"has notes\.txt, which is none of its files"):
            aggregate_images(
                folder / "atlas.zarr", images(folder), out, STRUCTURES, overwrite=overwrite
            )
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    aggregate_images(folder / "atlas.zarr", images(folder)[:1], out, STRUCTURES)
    (path,) = out.glob("part-*")
    copy = out / f"part-{'0' * 16}.parquet"
    copy.write_bytes(path.read_bytes())
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="whose name is that of no image of it"):
            aggregate_images(
                folder / "atlas.zarr", images(folder)[:1], out, STRUCTURES, overwrite=overwrite
            )
    assert copy.exists()


@pytest.mark.promise("a table is edited, or another program's")
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_file_of_others(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"
    out.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="it is left as it is; move it away, or give another"):
            aggregate_images(
                folder / "atlas.zarr", images(folder), out, STRUCTURES, overwrite=overwrite
            )
        assert out.read_text() == "mine"


@pytest.mark.promise("a part of a table is damaged", "its rows are computed again")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_part_that_is_damaged(folder, tmp_path, damage):
    out = tmp_path / "t.parquet"
    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    before = read(out)
    path = sorted(out.iterdir())[1]
    data = bytearray(path.read_bytes())
    data[40] ^= 255
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-5]), "empty": b""}[damage])
    done = aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert (done.written, done.kept) == (1, 2)
    pd.testing.assert_frame_equal(read(out), before)


def parts_folder(out):
    return out.with_name(f".{out.name}.parts")


def interrupt_after(count):
    """Progress that stops a job, as Ctrl-C does, when so many images are done."""

    def interrupt(done, total):
        if done == count:
            raise KeyboardInterrupt

    return interrupt


def test_text_is_written_when_the_job_ends(folder, tmp_path):
    out, whole = tmp_path / "t.csv", tmp_path / "whole.csv"
    aggregate_images(folder / "atlas.zarr", images(folder), whole, STRUCTURES)
    with pytest.raises(KeyboardInterrupt):
        aggregate_images(
            folder / "atlas.zarr", images(folder), out, STRUCTURES, progress=interrupt_after(2)
        )
    assert not out.exists()
    assert len(list(parts_folder(out).iterdir())) == 2
    done = aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert (done.written, done.kept) == (1, 2)
    # In the order of the images, whatever was done first.
    assert out.read_bytes() == whole.read_bytes()
    (record,) = parts_folder(out).iterdir()
    assert record.name.startswith("table-")
    lines = map(json.loads, record.read_text().splitlines())
    assert [line["image"] for line in lines] == [*map(str, images(folder))]


@pytest.mark.promise("a part of a table is damaged")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_text_rows_that_are_damaged(folder, tmp_path, damage):
    out = tmp_path / "t.csv"
    with pytest.raises(KeyboardInterrupt):
        aggregate_images(
            folder / "atlas.zarr", images(folder), out, STRUCTURES, progress=interrupt_after(2)
        )
    path = sorted(parts_folder(out).iterdir())[0]
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-9]), "empty": b""}[damage])
    (parts_folder(out) / ".part-0123456789abcdef.12345678.partial.csv").write_bytes(b"{")
    done = aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert (done.written, done.kept) == (2, 1)
    assert len(list(parts_folder(out).iterdir())) == 1
    assert len(read(out)) == 9


@pytest.mark.promise("a table is edited, or another program's", "it is refused and kept")
def test_text_that_was_edited(folder, tmp_path):
    out = tmp_path / "t.csv"
    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    whole = out.read_bytes()
    for edited in (whole.replace(b"VISp", b"VISl"), whole[:-9], whole + b"mine\n"):
        out.write_bytes(edited)
        with pytest.raises(StoreError, match="is no table that was written here, or was changed"):
            aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
        assert out.read_bytes() == edited
    # As it was, it is known again; without its record, or with a damaged one, it is not.
    out.write_bytes(whole)
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES).kept == 3
    (record,) = parts_folder(out).iterdir()
    record.write_bytes(b"nonsense")
    with pytest.raises(StoreError, match="is no table that was written here, or was changed"):
        aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert out.read_bytes() == whole


def test_text_that_others_write_meanwhile(folder, tmp_path):
    out = tmp_path / "t.csv"

    def write(done, total):
        out.write_text("mine")

    with pytest.raises(StoreError, match="was written by another program meanwhile"):
        aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES, progress=write)
    assert out.read_text() == "mine"
    out.unlink()
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES).kept == 3


def test_overwriting_text_that_is_stopped(space, values, folder, tmp_path):
    """The old table stays until the new one is written, and what is done is not done again."""
    out, image = tmp_path / "t.csv", tmp_path / "image.nrrd"
    paths = [image, tmp_path / "other.nrrd", *images(folder)[1:]]
    for path in paths[:2]:
        refspace.write_nrrd(path, values)
    aggregate_images(folder / "atlas.zarr", paths, out, STRUCTURES)
    before = out.read_bytes()
    refspace.write_nrrd(image, 5 * values)
    how = {"regions": STRUCTURES, "overwrite": True}
    refspace.write_nrrd(paths[1], 7 * values)
    with pytest.raises(KeyboardInterrupt):
        aggregate_images(folder / "atlas.zarr", paths, out, **how, progress=interrupt_after(3))
    assert out.read_bytes() == before
    done = aggregate_images(folder / "atlas.zarr", paths, out, **how)
    assert (done.written, done.kept) == (1, 3)
    table = read(out)
    assert len(table) == 12
    wanted = space.aggregate(5 * values, STRUCTURES, statistics="mean")["mean"]
    found = table[table["image"] == str(image)]["mean"]
    np.testing.assert_allclose(found, wanted.sortby("structure"), rtol=1e-6)


def test_a_failed_overwriting_leaves_the_table(folder, tmp_path):
    out = tmp_path / "t.csv"
    aggregate_images(folder / "atlas.zarr", images(folder), out, ["TH"])
    before = out.read_bytes()
    with pytest.raises(JobError, match="1 of 1 images failed"):
        aggregate_images(
            folder / "atlas.zarr", [tmp_path / "no.nrrd"], out, STRUCTURES, overwrite=True
        )
    assert out.read_bytes() == before
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, ["TH"]).kept == 3


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the record", "before the table", "after the table"])
def test_a_kill_while_the_table_is_written(folder, tmp_path, moment):
    out, whole = tmp_path / "t.csv", tmp_path / "whole.csv"
    atlas, more = folder / "atlas.zarr", images(folder)
    aggregate_images(atlas, more, whole, STRUCTURES)
    for old in (b"", None):
        if old is None:  # a table that is there, and gets more rows
            parts_folder(out).rename(tmp_path / "away")
            out.unlink()
            aggregate_images(atlas, more[:1], out, STRUCTURES)
            old = out.read_bytes()
        process = Job(main, "", atlas, folder, out, moment)
        assert process.wait(120) == -signal.SIGKILL
        there = out.read_bytes() if out.exists() else b""
        assert there == (whole.read_bytes() if moment == "after the table" else old)
        done = aggregate_images(atlas, more, out, STRUCTURES)
        assert (done.written, done.kept) == (0, 3)
        assert out.read_bytes() == whole.read_bytes()
        assert len(list(parts_folder(out).iterdir())) == 1
        assert not list(tmp_path.glob(".*.partial*"))


def test_a_record_without_its_table(folder, tmp_path):
    """Of a table that was deleted, or of a run that failed before the first rows."""
    out = tmp_path / "t.csv"
    with pytest.raises(JobError, match="1 of 1 images failed"):
        aggregate_images(folder / "atlas.zarr", [tmp_path / "no.nrrd"], out, STRUCTURES)
    assert not out.exists()
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, ["TH"]).written == 3
    out.unlink()
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, ["TH"]).written == 3
    assert aggregate_images(folder / "atlas.zarr", images(folder), out, ["TH"]).kept == 3


@pytest.mark.promise("two writers want the same store or table")
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_two_writers(folder, tmp_path, ending):
    out = tmp_path / f"t{ending}"

    def again(done, total):
        with pytest.raises(LockedError, match="another process writes"):
            aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)

    aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES, progress=again)


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        ("t.xlsx", FormatError, "does not end in"),
        ("no/t.csv", FileNotFoundError, "make it, then try again"),
        ("s3://bucket/t.csv", FormatError, r"there, give a name in \.parquet"),
    ],
)
def test_tables_that_cannot_be(folder, tmp_path, monkeypatch, out, error, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert list(tmp_path.iterdir()) == []


def test_statistics_that_are_none(folder, tmp_path):
    with pytest.raises(AnnotationError, match="there is no statistic 'median'; choose from count"):
        aggregate_images(
            folder / "atlas.zarr", images(folder), tmp_path / "t.csv", statistics="median"
        )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_sent(space, folder, tmp_path):
    with pytest.raises(SourceError, match="a ReferenceSpace cannot be sent to other processes"):
        aggregate_images(space, images(folder), tmp_path / "t.csv")
    with pytest.raises(SourceError, match=r"cannot be sent to other processes .*; give texts"):
        AtlasReference.from_arguments(folder / "atlas.zarr", storage_options={"session": object()})


@pytest.mark.parametrize(("given", "used"), [(None, 1), (2, 2)])
def test_threads_for_large_chunks(folder, tmp_path, monkeypatch, given, used):
    """Each holds a chunk: fewer work at a time, unless the caller says how many."""
    monkeypatch.setattr(bounded, "HELD_BYTES", 1)
    monkeypatch.setattr(bounded, "CPU_COUNT", 4)
    seen = []
    compute = xr.Dataset.compute

    def noted(self, **how):
        seen.append(how["num_workers"])
        return compute(self, **how)

    monkeypatch.setattr(xr.Dataset, "compute", noted)
    with dask.config.set(num_workers=3):
        aggregate_images(
            folder / "atlas.zarr", images(folder)[:1], tmp_path / "t.csv", ["TH"], threads=given
        )
    assert seen == [used]


# ----- what fails


@pytest.mark.parametrize("where", WHERE)
def test_images_that_fail(space, values, folder, tmp_path, request, where):
    how = {"client": request.getfixturevalue("cluster")} if where == "cluster" else {}
    bad = {name: tmp_path / name for name in ("missing.nrrd", "damaged.nrrd", "far.nrrd", "empty")}
    whole = (folder / "a.nrrd").read_bytes()
    bad["damaged.nrrd"].write_bytes(whole[:-100])
    refspace.write_nrrd(bad["far.nrrd"], values.assign_coords(ap=values.ap + 1e6))
    bad["empty"].mkdir()
    out = tmp_path / "t.parquet"
    every = [*bad.values(), *images(folder)]
    with pytest.raises(
        JobError, match="4 of 7 images failed; the rows of the others are"
    ) as caught:
        aggregate_images(folder / "atlas.zarr", every, out, STRUCTURES, **how)
    causes = {Path(name).name: cause for name, cause in caught.value.failures.items()}
    assert causes.keys() == bad.keys()
    assert "does not exist" in causes["missing.nrrd"]
    assert "gzip data are damaged" in causes["damaged.nrrd"]
    assert "lies elsewhere" in causes["far.nrrd"]
    assert "there is no zarr store at" in causes["empty"]
    before = parts(out)
    assert len(before) == 3
    bad["damaged.nrrd"].write_bytes(whole)
    with pytest.raises(JobError, match="3 of 7 images failed"):
        aggregate_images(folder / "atlas.zarr", every, out, STRUCTURES, **how)
    assert before.items() < parts(out).items()
    assert len(parts(out)) == 4


def test_columns_that_differ(values, folder, tmp_path):
    both = xr.concat([values, values], "channel").rename("energy").to_dataset()
    both.to_zarr(tmp_path / "both.zarr", zarr_format=2)
    paths = [folder / "a.nrrd", tmp_path / "both.zarr"]
    with pytest.raises(JobError, match="its columns are image,structure,acronym,name,channel,"):
        aggregate_images(folder / "atlas.zarr", paths, tmp_path / "t.csv", STRUCTURES)
    assert len(read(tmp_path / "t.csv")) == 3


@pytest.mark.promise("a disk is full")
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize("count", [2, 3])
def test_a_full_disk(folder, tmp_path, monkeypatch, ending, count):
    """At the rows of an image, or when all rows are there and the table is written."""
    out = tmp_path / f"t{ending}"
    write, calls = image_table.write_whole, itertools.count()
    modules = image_table, text_table, parquet_table

    def full(place, *rest):
        if next(calls) >= count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(place, *rest)

    for module in modules:
        monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(OSError, match=r"[Nn]o space left"):
        aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    monkeypatch.undo()
    done = aggregate_images(folder / "atlas.zarr", images(folder), out, STRUCTURES)
    assert done.kept == count
    assert len(read(out)) == 9


# ----- what is sent


def test_tasks_are_small(folder):
    asked = StatisticsRequest.from_arguments(
        folder / "atlas.zarr", regions="leaves", quantiles=[0.5]
    )
    image = Image.from_path("a.nrrd", 64 * "0")
    sizes = []
    pool = SimpleNamespace(
        is_local=False,
        outcomes=lambda work, items, **_: sizes.append(len(cloudpickle.dumps((work, items)))) or (),
    )
    compute_all(asked, [image], pool)
    compute_all(StatisticsRequest.from_arguments(folder / "atlas.zarr"), [image], pool)
    # Of all structures, each with its subtree, the ids of its descendants are most of it.
    assert sizes[0] < 10_000
    assert sizes[1] < 50_000
    again = StatisticsRequest.from_arguments(
        folder / "atlas.zarr", regions="leaves", quantiles=[0.5]
    )
    assert asked.digest() == again.digest()
    left = AtlasReference.from_arguments(folder / "atlas.zarr", hemisphere="left")
    for other in (
        {"regions": "leaves"},
        {"quantiles": [0.5]},
        {"regions": "leaves", "quantiles": [0.5], "by_hemisphere": True},
        {"regions": "leaves", "quantiles": [0.5], "atlas": left},
    ):
        request = StatisticsRequest.from_arguments(**({"atlas": folder / "atlas.zarr"} | other))
        assert request.digest() != asked.digest()


def test_names_of_tasks_hold_all_that_goes_into_them(folder, tmp_path):
    """Two jobs with one scheduler at the same time must not be taken for one."""
    names = set()
    named = SimpleNamespace(
        is_local=False, outcomes=lambda *_, token, **__: names.add(token(image)) or ()
    )
    refspace.write_nrrd(tmp_path / "valid.nrrd", refspace.phantom(resolution=400).annotation)
    image = Image.from_path("a.nrrd", "1")
    kinds = [
        {},
        {"valid": tmp_path / "valid.nrrd"},
        {"regions": "leaves"},
        {"by_hemisphere": True},
        {"statistics": "mean"},
        {"image_options": ImageOptions(same_grid=True)},
        {"image_options": ImageOptions(image_origin="corner")},
    ]
    for how in [*kinds, *kinds]:
        compute_all(StatisticsRequest.from_arguments(folder / "atlas.zarr", **how), [image], named)
    assert len(names) == len(kinds)
    image = Image.from_path("a.nrrd", "2")
    compute_all(StatisticsRequest.from_arguments(folder / "atlas.zarr"), [image], named)
    assert len(names) == len(kinds) + 1


@pytest.mark.promise("a password or key is in a URL or in options")
def test_secrets_are_not_shown(folder):
    secret = {"storage_options": {"key": "hunter2"}}
    atlas = AtlasReference.from_arguments("s3://b/a.zarr", **secret)
    assert "hunter2" not in repr((atlas, ImageOptions(access=secret)))


# ----- kills


@pytest.mark.promise("a writer is killed at any step")
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_clients_that_are_killed(folder, tmp_path, values, ending):
    draw, kills = random.Random(0), 0
    source = tmp_path / "images"
    source.mkdir()
    for number in range(40):
        refspace.write_nrrd(source / f"{number:02}.nrrd", values + number)
    whole = tmp_path / f"whole{ending}"
    paths = sorted(source.iterdir())
    aggregate_images(folder / "atlas.zarr", paths, whole, STRUCTURES)
    with started_cluster(tmp_path) as (scheduler, _):
        for number in itertools.count():
            out, before = tmp_path / f"{number}{ending}", {}
            kept = out.with_suffix(".kept")
            while True:
                process = Job(main, scheduler.address, folder / "atlas.zarr", source, out)
                # When so many images are done: a slow machine is killed at work too.
                enough = len(before) + draw.randrange(15)
                if kills < KILLS and not ended_before(process, reached(out, enough)):
                    time.sleep(draw.uniform(0, 0.05))
                    process.kill()
                code = process.wait(300)
                assert code in (0, -signal.SIGKILL)
                kills += code == -signal.SIGKILL
                # Text has the rows of its table in no other files.
                if ending == ".parquet" or not out.exists():
                    assert before.items() <= noted(out).items()
                if code == 0:
                    break
                before = noted(out)
            # What was noted was not done again.
            assert int(kept.read_text()) >= len(before)
            pd.testing.assert_frame_equal(read(out), read(whole))
            if kills == KILLS:
                break


def reached(out, count):
    """Tells whether so many images are done."""
    return lambda: len(noted(out)) >= count


def noted(out):
    """When the rows of each image that is done were written; of text, until the table is there."""
    return parts(out if out.suffix == ".parquet" else parts_folder(out))


# ----- the command


@pytest.mark.cluster
def test_command(space, values, folder, tmp_path):
    out = tmp_path / "t.parquet"
    words = ["aggregate", folder / "atlas.zarr", *images(folder), "-s", ",".join(STRUCTURES)]
    for switches, said in (
        (["--workers", "2"], f"wrote {out}: 3 images\n"),
        (["--threads", "1"], f"wrote {out}: 0 images, 3 were there\n"),
    ):
        result = run(*words, "--out", out, *switches)
        assert result.exit_code == 0, result.output
        assert result.stdout == said
    assert "aggregating … " in result.stderr
    wanted = expected(space, values, folder)
    np.testing.assert_allclose(read(out)["mean"], wanted["mean"], rtol=1e-6)
    failed = run(*words[:2], "no.nrrd", *words[2:], "--out", out)
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-2:] == [
        f"no.nrrd: {Path('no.nrrd').absolute()} does not exist",
        f"Error: 1 of 4 images failed; the rows of the others are in {out}, and are not made again",
    ]


def test_command_without_a_table(folder, tmp_path):
    result = run("aggregate", folder / "atlas.zarr", *images(folder), "-s", "TH")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["structure", "image", "acronym"]
    assert [line[1] for line in lines[1:]] == [str(path) for path in images(folder)]
    words = [folder / "annotation.nrrd", folder / "structures.json", folder / "a.nrrd"]
    assert run("aggregate", *words, "-s", "TH").exit_code == 0
    lacking = run("aggregate", words[0], words[2])
    assert "names no structures: give a structures file after it" in lacking.stderr


def main(address, atlas, source, out, moment=""):
    """Aggregate images: on a cluster, or in threads with a kill while the table is written."""
    out, source = Path(out), Path(source)
    if moment:
        kill_at(out, moment)
        aggregate_images(atlas, images(source), out, STRUCTURES, threads=1)
        return
    with connected(address) as client:
        done = aggregate_images(atlas, sorted(source.iterdir()), out, STRUCTURES, client=client)
    out.with_suffix(".kept").write_text(str(done.kept))


def kill_at(out, moment):
    """Have this process die at a moment of writing a table."""
    replace = Path.replace

    def replace_and_die(self, target):
        name = "the record" if target.name.startswith("table-") else "the table"
        is_it = moment.endswith(name) and (name == "the record" or target.name == out.name)
        if is_it and moment.startswith("before"):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, target)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = replace_and_die
