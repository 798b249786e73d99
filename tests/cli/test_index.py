"""The command ``index``, and what ``info`` says of indices."""

import json

import pytest
from click.testing import CliRunner
from helpers.brainglobe_replay import NAME, write_bucket
from helpers.indexed_images import change_voxel, sample, write_image

import refspace
from refspace.cli import main


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "brain.ome.zarr")


def run(*words, status=0):
    result = CliRunner().invoke(main, [str(word) for word in words], prog_name="refspace")
    assert result.exit_code == status, result.output
    return result


def index_row(image):
    return next(
        line for line in run("info", image).stdout.splitlines() if line.startswith("label index")
    )


def test_info_tells_of_the_index(image):
    assert index_row(image).endswith("none; 'refspace index' makes one")
    assert json.loads(run("info", image, "--json").stdout)["label_index"] is None
    said = run("index", image).stdout
    assert said.startswith(f"wrote {image}.label_index, beside the image: 72 chunks (")
    assert " of 2 levels, 330 labels, " in said
    assert run("index", image).stdout.startswith(f"{image}.label_index was complete, beside")
    assert index_row(image).endswith(
        "beside the image; every one of 60 chunks is as it was indexed"
    )
    found = json.loads(run("info", image, "--json").stdout)["label_index"]
    assert found["proof"] == "every one of 60 chunks is as it was indexed"
    change_voxel(image)
    row = index_row(image)
    assert "none that fits: " in row
    assert "has changed since the image was indexed" in row
    assert run("index", image).stdout.startswith("wrote ")


def test_info_of_a_store_of_ours(tmp_path):
    sample().to_zarr(tmp_path / "a.zarr")
    assert index_row(tmp_path / "a.zarr").endswith("in the store; proven by its digest")
    assert "holds its label index" in run("index", tmp_path / "a.zarr", status=1).stderr


def test_a_command_uses_the_index(image, tmp_path):
    structures = tmp_path / "structures.json"
    refspace.write_structures(structures, sample().structure_tree)
    plan = ("mask", image, structures, "-s", "VISp", "--orientation", "PIL", "--dry-run")
    before, _ = run(*plan).stdout, run("index", image)
    after = run(*plan).stdout
    assert "60 of 60" in before
    assert "60 of 60" not in after


def test_to_a_file(image, tmp_path):
    out = tmp_path / "brain.index"
    result = json.loads(run("index", image, "--out", out, "--json").stdout)
    assert result["place"] == str(out)
    assert result["nbytes"] == out.stat().st_size
    assert run("index", image, "--out", out).stdout.startswith(f"{out} was complete: 72 chunks")
    assert run("index", image, "--from", out).stdout.startswith(f"wrote {image}.label_index, ")
    out.write_text("notes")
    assert "give --overwrite" in run("index", image, "--out", out, status=1).stderr
    run("index", image, "--out", out, "--overwrite")
    refused = run("index", image, "--out", image / "s0" / "index", status=2).stderr
    assert "lies in what is read" in refused


def test_an_atlas_by_name(tmp_path, monkeypatch):
    bucket = write_bucket(tmp_path / "bucket")
    monkeypatch.setenv("REFSPACE_BRAINGLOBE", str(bucket))
    assert "beside the image" in run("index", f"brainglobe:{NAME}").stdout
    assert refspace.open(f"brainglobe:{NAME}").block_labels is not None
    refused = run("index", "allen:ccf_2017", status=2).stderr
    assert "is read from a store in the cache, which has an index" in " ".join(refused.split())


def test_files_are_converted(tmp_path):
    refspace.write_nrrd(tmp_path / "a.nrrd", sample().annotation)
    refused = run("index", tmp_path / "a.nrrd", status=2).stderr
    assert "'refspace convert' makes a store of it" in " ".join(refused.split())


def test_no_copies_are_kept(image, tmp_path):
    refused = run("index", image, "--chunk-cache", tmp_path / "copies", status=2).stderr
    assert "leave --chunk-cache" in refused
