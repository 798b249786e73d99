"""Commands as a user types them: their output, files, errors and exit status."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import Result
from helpers.commands import run
from helpers.servers import S3

import refspace
from refspace.cli import info
from refspace.cli.describe import size_text
from refspace.cli.progress import BlockProgress, Progress, showing_waits
from refspace.errors import StoreError
from refspace.store import Location


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def atlas(space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("atlas")
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    return [str(folder / "annotation.nrrd"), str(folder / "structures.json")]


@pytest.fixture(scope="module")
def store(atlas: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the atlas at 400 and 800 µm, not to be changed."""
    url = tmp_path_factory.mktemp("store") / "atlas.zarr"
    refspace.convert(*atlas, url, chunks=20, provenance={"licence": "none"})
    return url


def last_line(result: Result) -> str:
    """What an error says."""
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", ["", "convert", "verify", "export itksnap"])
def test_help_needs_no_array_library(words: str) -> None:
    code = (
        "import sys; from refspace.cli import main\n"
        f"try: main({[*words.split(), '--help']})\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'xarray', 'dask', 'pandas', 'networkx', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    commands = ["convert", "counts", "demo", "downsample", "export", "info", "mask", "verify"]
    assert words or all(f"\n  {command} " in done.stdout for command in commands)


def test_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = run("demo", folder, "--resolution", 200)
    assert result.exit_code == 0, result.output
    assert "Isocortex" in result.stdout
    assert f"wrote into {folder}:" in result.stdout
    assert (
        refspace.open(folder / "atlas.zarr").total_voxel_map
        == refspace.phantom(200).total_voxel_map
    )
    assert "computing the sample brain … " in result.stderr
    for plane in ("coronal", "horizontal", "sagittal"):
        png = (folder / f"slice_{plane}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
    sample = refspace.phantom(200)
    for area in ("VISp", "AUDd", "MOp"):
        mask = refspace.read_nrrd(folder / f"mask_{area}.nrrd")
        np.testing.assert_array_equal(mask, sample.make_structure_mask(area))
    coarse = refspace.read_nrrd(folder / "coarse.nrrd")
    np.testing.assert_array_equal(coarse, sample.downsample(400, "mode").annotation)
    assert "Clear Label" in (folder / "itksnap_labels.txt").read_text()
    # What it says to try next works as it stands.
    (line,) = [line for line in result.stdout.splitlines() if " counts " in line]
    assert run(*line.split()[1:]).exit_code == 0


def test_counts_prints_a_table(atlas: list[str], space: refspace.ReferenceSpace) -> None:
    result = run("counts", *atlas, "-s", "VISp,Primary visual area, layer 4,672")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["structure", "385", "721", "672"]
    assert int(rows[1][-2]) == space.total_voxel_map[385]


def test_counts_writes_csv(
    atlas: list[str], space: refspace.ReferenceSpace, tmp_path: Path
) -> None:
    path = tmp_path / "counts.csv"
    assert run("counts", *atlas, "-o", path).exit_code == 0
    table = pd.read_csv(path, index_col="structure")
    assigned = {i: n for i, n in space.total_voxel_map.items() if n}
    assert table["total"].to_dict() == assigned
    np.testing.assert_allclose(table["volume_mm3"], table["total"] * 0.4**3)


def test_counts_warns_of_unknown_ids(atlas: list[str], tmp_path: Path) -> None:
    tree = refspace.StructureTree([{"id": 997, "acronym": "root", "structure_id_path": [997]}])
    refspace.write_structures(tmp_path / "root.json", tree)
    result = run("counts", atlas[0], tmp_path / "root.json")
    assert result.exit_code == 0
    assert "ids that the structures lack: " in result.stderr


def test_mask_of_each(atlas: list[str], space: refspace.ReferenceSpace, tmp_path: Path) -> None:
    result = run("mask", *atlas, "-s", "CP", "-s", "TH,HY", "-o", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["structure_1097.nrrd", "structure_549.nrrd", "structure_672.nrrd"]
    mask = refspace.read_nrrd(tmp_path / "masks" / "structure_549.nrrd")
    np.testing.assert_array_equal(mask, space.make_structure_mask("TH"))


def test_mask_of_a_union(atlas: list[str], space: refspace.ReferenceSpace, tmp_path: Path) -> None:
    path = tmp_path / "union.nrrd"
    assert run("mask", *atlas, "-s", "CP,LGd", "--direct-only", "-o", path).exit_code == 0
    expected = space.make_structure_mask(["CP", "LGd"], direct_only=True)
    np.testing.assert_array_equal(refspace.read_nrrd(path), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("switches", [[], ["--crop"]])
def test_mask_of_a_hemisphere(
    store: Path, space: refspace.ReferenceSpace, tmp_path: Path, side: str, switches: list[str]
) -> None:
    path = tmp_path / "m.nrrd"
    words = ["-s", "CP", "--hemisphere", side, "-o", path, *switches]
    assert run("mask", store, *words).exit_code == 0
    mask = refspace.read_nrrd(path)
    expected = space.hemisphere(side).make_structure_mask("CP", crop=bool(switches))
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(mask.ml, expected.ml)
    here = space.annotation["hemisphere"] == side
    assert mask.values.sum() == (space.make_structure_mask("CP") * here).values.sum()


@pytest.mark.parametrize("method", ["nearest", "mode", "corner", "allensdk"])
def test_downsample(
    atlas: list[str], space: refspace.ReferenceSpace, tmp_path: Path, method: str
) -> None:
    path = tmp_path / "coarse.nrrd"
    result = run("downsample", atlas[0], "--to", "800,1000,600", "--method", method, "-o", path)
    assert result.exit_code == 0, result.output
    expected = space.downsample([800, 1000, 600], method).annotation  # type: ignore[arg-type]
    written = refspace.read_nrrd(path)
    np.testing.assert_array_equal(written, expected)
    np.testing.assert_array_equal(written.ap, expected.ap)


def test_slice(atlas: list[str], tmp_path: Path) -> None:
    for axis in ("coronal", "dv"):
        path = tmp_path / f"{axis}.png"
        result = run("slice", *atlas, "--axis", axis, "--outline", "CP,TH", "-o", path)
        assert result.exit_code == 0, result.output
        assert path.read_bytes().startswith(b"\x89PNG")


def test_export_itksnap(atlas: list[str], tmp_path: Path) -> None:
    volume, labels = tmp_path / "labels.nrrd", tmp_path / "labels.txt"
    assert run("export", "itksnap", *atlas, volume, labels).exit_code == 0
    plain = labels.read_text()
    assert (
        run("export", "itksnap", *atlas, volume, labels, "--header", "--overwrite").exit_code == 0
    )
    assert labels.read_text().endswith(plain)
    assert labels.read_text().startswith("# ITK-SNAP")
    numbers = {int(line.split()[0]) for line in plain.splitlines()}
    assert set(np.unique(refspace.read_nrrd(volume))) <= numbers | {0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("counts", "{0}", "{1}", "-s", "VISpp"), "did you mean VISp"),
        (("counts", "{0}", "{0}"), "a volume in NRRD, and no table; give it as the annotation"),
        (("counts", "{0}", "{1}", "--resolution", "25"), "contradicts the header"),
        (("counts", "{0}", "nothing.json"), "does not exist"),
        (("slice", "{0}", "{1}", "--position", "-30"), "is outside the volume; ap runs from 0"),
        (("slice", "{0}", "{1}", "-o", "slice.nonsense"), "slice.nonsense does not end in .eps, "),
        (("downsample", "{0}", "--to", "1e9"), "leaves no voxel"),
        (("downsample", "{0}", "--to", "800", "-o", "x.xyz"), "does not end in .nrrd"),
        (("export", "itksnap", "{0}", "{1}", "no/a.nrrd", "no/b.txt"), "make it, then try again"),
    ],
)
def test_errors_are_one_line(
    atlas: list[str],
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(word.format(*atlas) for word in words))
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert said in last
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_bad_resolution_is_a_usage_error(atlas: list[str]) -> None:
    result = run("downsample", atlas[0], "--to", "10,20")
    assert result.exit_code == 2
    assert "'10,20' is not a number like 25, or three like 10,20,20" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("export", "itksnap", "{0}", "{1}", "{0}", "labels.txt"),
        ("export", "itksnap", "{0}", "{1}", "same.nii", "same.nii"),
        ("downsample", "{0}", "--to", "800", "-o", "{0}"),
        ("export", "structures", "{1}", "-o", "{1}"),
        ("export", "volume", "{0}", "-o", "{0}"),
        ("mask", "{0}", "{1}", "-s", "CP", "-o", "{0}"),
        ("mask", "{0}", "{1}", "-s", "CP,CP", "-o", "masks"),
        ("convert", "{0}", "{1}", "{0}", "--overwrite"),
        ("convert", "{0}", "{1}", "{1}"),
        ("convert", "{0}", "{1}", "t.nrrd", "--template", "t.nrrd"),
    ],
)
def test_nothing_is_written_over_what_is_read(
    atlas: list[str], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = [Path(path).read_bytes() for path in atlas]
    result = run(*(word.format(*atlas) for word in words))
    assert [Path(path).read_bytes() for path in atlas] == before
    if "CP,CP" in words:
        assert result.exit_code == 0
        return
    assert result.exit_code == 2
    assert "would be overwritten; give another name to write to" in result.stderr


def test_a_mask_may_be_nifti(atlas: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    assert run("mask", *atlas, "-s", "CP", "-o", path).exit_code == 0
    # A file of that format is an annotation too, where one is asked for.
    assert run("downsample", path, "--to", "400", "-o", tmp_path / "d.nii").exit_code == 0
    expected = refspace.open(atlas[0], structures=atlas[1]).make_structure_mask("CP")
    np.testing.assert_array_equal(refspace.read_nifti(path).values, expected.values)
    assert refspace.read_nifti(tmp_path / "d.nii").shape == (33, 20, 28)


def test_mask_of_another_format_is_refused(atlas: list[str], tmp_path: Path) -> None:
    result = run("mask", *atlas, "-s", "CP", "-o", tmp_path / "mask.gz")
    assert result.exit_code == 1
    assert "does not end in .nrrd" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("resolution", "said"), [("5", "too fine for the demo"), ("0", "is not")])
def test_demo_refuses_before_it_writes(tmp_path: Path, resolution: str, said: str) -> None:
    result = run("demo", tmp_path / "demo", "--resolution", resolution)
    assert result.exit_code == 1
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_masks_are_not_written_over_the_annotation(atlas: list[str], tmp_path: Path) -> None:
    annotation = tmp_path / "masks" / "structure_672.nrrd"
    annotation.parent.mkdir()
    shutil.copy(atlas[0], annotation)
    result = run("mask", annotation, atlas[1], "-s", "TH,CP", "-o", annotation.parent)
    assert result.exit_code == 2
    assert last_line(result) == (
        f"Error: {annotation} would be overwritten; give another name to write to"
    )
    assert annotation.read_bytes() == Path(atlas[0]).read_bytes()
    assert list(annotation.parent.iterdir()) == [annotation]


# ----- masks, cropped or only planned


def test_cropped_masks(
    atlas: list[str], store: Path, space: refspace.ReferenceSpace, tmp_path: Path
) -> None:
    for words in (atlas, [store]):
        result = run("mask", *words, "-s", "CP,TH", "--crop", "-o", tmp_path, "--overwrite")
        assert result.exit_code == 0, result.output
        mask = refspace.read_nrrd(tmp_path / "structure_672.nrrd")
        expected = space.make_structure_mask("CP", crop=True)
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(mask.ap, expected.ap)
        assert mask.size < space.annotation.size


def test_a_structure_without_voxels_leaves_no_mask(store: Path, tmp_path: Path) -> None:
    empty = next(i for i, n in refspace.open(store).total_voxel_map.items() if not n)
    result = run("mask", store, "-s", f"CP,{empty}", "--crop", "-o", tmp_path / "masks")
    assert result.exit_code == 1
    assert "no voxel" in last_line(result)
    assert not (tmp_path / "masks").exists()


def test_a_dry_run_writes_nothing(store: Path, tmp_path: Path) -> None:
    space = refspace.open(store)
    result = run("mask", store, "-s", "CP,TH", "--dry-run", "-o", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    paths = [tmp_path / f"masks/structure_{i}.nrrd" for i in (672, 549)]
    plans = [space.plan(name) for name in ("CP", "TH")]
    assert result.stdout.splitlines() == [f"{p}: {s}" for p, s in zip(paths, plans, strict=True)]
    assert "as stored" in result.stdout
    result = run("mask", store, "-s", "CP,TH", "--dry-run", "--crop", "-o", tmp_path / "one.nrrd")
    assert (
        result.stdout == f"{tmp_path / 'one.nrrd'}: {space.crop(['CP', 'TH']).plan(['CP', 'TH'])}\n"
    )
    assert list(tmp_path.iterdir()) == []


# ----- stores in the place of files


@pytest.mark.parametrize("words", [(), ("--resolution", "800")])
def test_commands_take_a_store(store: Path, words: tuple[str, ...], tmp_path: Path) -> None:
    space = refspace.open(store, resolution=float(words[1]) if words else None)
    result = run("counts", store, *words, "-s", "CP")
    assert int(result.stdout.split()[-2]) == space.total_voxel_map[672]
    assert run("mask", store, *words, "-s", "CP", "-o", tmp_path / "m.nrrd").exit_code == 0
    mask = refspace.read_nrrd(tmp_path / "m.nrrd")
    np.testing.assert_array_equal(mask, space.make_structure_mask("CP"))
    assert run("slice", store, *words, "--outline", "CP", "-o", tmp_path / "s.png").exit_code == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    labels = [tmp_path / "l.nrrd", tmp_path / "l.txt"]
    assert run("export", "itksnap", store, *labels, *words).exit_code == 0
    assert refspace.read_nrrd(labels[0]).shape == space.annotation.shape
    result = run("downsample", store, *words, "--to", "1600", "-o", tmp_path / "d.nrrd")
    assert result.exit_code == 0, result.output
    expected = space.downsample(1600).annotation
    np.testing.assert_array_equal(refspace.read_nrrd(tmp_path / "d.nrrd"), expected)


def test_structures_given_beside_a_store(store: Path, tmp_path: Path) -> None:
    node = {"id": 672, "acronym": "x", "name": "y", "rgb_triplet": [1, 2, 3]}
    tree = refspace.StructureTree([node | {"structure_id_path": [672]}])
    refspace.write_structures(tmp_path / "tree.json", tree)
    result = run("counts", store, tmp_path / "tree.json", "-s", "x")
    assert result.exit_code == 0, result.output
    assert "ids that the structures lack" in result.stderr
    labels = [tmp_path / "l.nrrd", tmp_path / "l.txt"]
    assert run("export", "itksnap", store, tmp_path / "tree.json", *labels).exit_code == 0
    assert labels[1].read_text().splitlines()[0].split()[0] == "672"


def test_a_store_at_a_url(space: refspace.ReferenceSpace) -> None:
    url = "memory://cli/atlas"  # which does not end in .zarr
    space.to_zarr(url, overwrite=True)
    result = run("counts", url, "-s", "CP")
    assert int(result.stdout.split()[-2]) == space.total_voxel_map[672]
    facts = json.loads(run("info", url, "--json").stdout)
    assert facts["stored_bytes"] > 1000
    zarr.create_array(f"{url}-bare", shape=(2, 2, 2), dtype="u4", chunks=(2, 2, 2))
    bare = run("info", f"{url}-bare", "--resolution", "25")
    assert bare.stdout.endswith("size not recorded\n")
    assert run("verify", url).stdout.endswith("every one of 1 chunks is proven to be as written\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("counts", "{0}"), 2, "{0} names no structures: give a structures file after it"),
        (("counts", "no.nrrd", "{1}"), 2, "no.nrrd does not exist; give a file of a volume"),
        (
            ("downsample", "no.nrrd", "--to", "9"),
            2,
            "no.nrrd does not exist; give a file of a volume",
        ),
        (
            ("convert", "no.nrrd", "{1}", "a.zarr"),
            2,
            "no.nrrd does not exist; give a file of a volume",
        ),
        (("counts", "."), 2, ". is a folder, and no zarr store; give a file of a volume"),
        (("counts", "{0}", "{1}", "{1}"), 2, "there is an argument too many: {1}"),
        (("export", "itksnap", "{2}", "a.nrrd"), 2, "Missing argument 'LABELS_VOLUME'"),
        (("counts", "no.zarr"), 1, "there is no zarr store at no.zarr"),
        (("counts", "memory://no/store"), 1, "there is no zarr store at memory://no/store"),
        (("counts", "nope://a/b"), 1, "nope://a/b: cannot be reached: Protocol not known: nope"),
        (("counts", "{2}", "--resolution", "3"), 1, "has no level of 3 µm; it has 400, 800 µm"),
        (("mask", "{2}", "-s", "CP", "-o", "{2}"), 2, "would be overwritten; give another name"),
        (("mask", "{2}", "-s", "CP", "-o", "{2}/m"), 2, "/m lies in what is read; give another"),
        (("downsample", "{2}", "--to", "9", "-o", "{2}/d.nrrd"), 2, "lies in what is read"),
        (("info", "no.zarr"), 1, "there is no zarr store at no.zarr"),
        (("verify", "{0}"), 2, "of which nothing says how it was written"),
        (("counts", "{0}", "VISp"), 2, "to ask for a structure, give -s VISp"),
        (("slice", "{0}", "VISp"), 2, "to ask for a structure, give -s VISp"),
        (("aggregate", "{0}", "VISp", "{0}"), 2, "to ask for a structure, give -s VISp"),
        (("mask", "{0}", "{1}", "-s", "CP", "-o", "x.zarr"), 1, "'refspace masks' writes a store"),
        (("tree", "{0}"), 2, "is a volume, which names no structures"),
        (("export", "structures", "{0}", "-o", "x.csv"), 2, "is a volume, which names no"),
        (("convert", "{0}", "x.zarr"), 2, "x.zarr is where the structures file belongs"),
        (("convert", "{0}", "{1}", "x.nrrd"), 2, "the name of a file; a store ends in .zarr"),
        (("validate", "{0}", "{1}", "-o", "x.csv"), 2, "give that of a folder, like x"),
        (("aggregate", "{0}", "{1}", "{0}", "--statistics", "median"), 1, "give --quantiles 0.5"),
        (("info", "ccf_2017"), 2, "did you mean 'allen:ccf_2017'?"),
        (("counts", "alen:ccf_2017"), 2, "there is no source alen; did you mean 'allen:ccf_2017'"),
        (("counts", "allen_mouse_25um"), 2, "did you mean 'brainglobe:allen_mouse_25um'?"),
        (("fetch", "allen"), 1, "name an atlas of it too, as 'refspace list allen' has them"),
        (("info", "no.nrrd"), 1, "does not exist"),
        (("info", "no.zarr", "--override-header"), 1, "--override-header is for headers of files"),
        (("verify", "no.zarr"), 1, "there is no zarr store at no.zarr"),
        (("convert", "{0}", "{1}", "a.zarr", "--chunks", "2,2"), 2, "is not a number of voxels"),
        (("convert", "{0}", "{1}", "a.zarr", "--chunks", "1.5"), 2, "is not a number of voxels"),
        (("convert", "{0}", "{1}", "a.zarr", "--chunks", "0"), 1, "give at least one voxel"),
        (("convert", "{0}", "{1}", "a.zarr", "--shards", "3"), 1, "are no multiples of chunks"),
        (("convert", "{0}", "{1}", "a.zarr", "--memory", "much"), 1, "a text like '500 MB'"),
        (("convert", "{0}", "{1}", "a.zarr", "--threads", "0"), 2, "0 is not in the range x>=1"),
        (("convert", "{0}", "{1}", "a.zarr", "--provenance", "a"), 2, "'a' is no KEY=VALUE"),
        (("convert", "{0}", "{1}", "a.zarr", "--provenance", "=a"), 2, "'=a' is no KEY=VALUE"),
        (("convert", "{0}", "{1}", "{2}"), 1, "exists; give another name, or replace it with"),
        (("convert", "{0}", "{1}", "no/a.zarr"), 1, "no does not exist; make it, then try again"),
        (("convert", "{0}", "no.json", "a.zarr"), 1, "does not exist"),
        (("counts", "{0}", "."), 1, ". is a folder; give the file of the structures"),
        (("convert", "{0}", "{1}", "a.zarr", "--template", "no.nrrd"), 1, "does not exist"),
    ],
)
def test_misuse_is_told_in_a_line(
    atlas: list[str],
    store: Path,
    words: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(word.format(*atlas, store) for word in words))
    assert result.exit_code == code, result.output
    assert said.format(*atlas, store) in last_line(result)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_formats_are_named(atlas: list[str], tmp_path: Path) -> None:
    (tmp_path / "attributes.json").write_text('{"n5": "4.0.0"}')
    for words in (("counts", tmp_path, atlas[1]), ("convert", tmp_path, atlas[1], "a.zarr")):
        result = run(*words)
        assert result.exit_code == 2
        assert "and no zarr store, but N5, which is not read: copy it to zarr," in result.output


# ----- convert


def test_convert(atlas: list[str], space: refspace.ReferenceSpace, tmp_path: Path) -> None:
    template = space.annotation.copy(data=space.annotation.data % 251).astype("u1")
    refspace.write_nrrd(tmp_path / "template.nrrd", template)
    url = tmp_path / "atlas.zarr"
    words = ["--chunks", "10,20,8", "--shards", "20,20,16", "--memory", "1 MB", "--threads", "1"]
    words += ["--template", str(tmp_path / "template.nrrd")]
    words += ["--provenance", "licence=CC0", "--provenance", "note=a=b"]
    result = run("convert", *atlas, url, *words)
    assert result.exit_code == 0, result.output
    stored = refspace.open(url)
    np.testing.assert_array_equal(stored.annotation, space.annotation)
    np.testing.assert_array_equal(stored.template, template)
    assert stored.provenance["licence"] == "CC0"
    assert stored.provenance["note"] == "a=b"
    facts = json.loads(run("info", url, "--json").stdout)
    assert facts["levels"][0]["chunks"] == [10, 20, 8]
    assert facts["levels"][0]["shards"] == [20, 20, 16]
    (line,) = result.stdout.splitlines()
    assert line.startswith(
        f"wrote {url}: 33 × 20 × 28 voxels, levels of 400, 800 µm, 488 structures, "
        f"{size_text(facts['stored_bytes'])}, digest {facts['digest']}, "
    )
    assert result.stderr.startswith("converting … ")
    again = run("convert", *atlas, url, *words)
    assert again.stdout.startswith(f"{url} was complete: 33 × 20 × 28 voxels, ")
    anew = run("convert", *atlas, url, "--overwrite")
    assert anew.stdout.startswith(f"wrote {url}: ")
    assert refspace.open(url).template is None


@pytest.mark.parametrize(
    "switches",
    [[], ["--threads", "1"], pytest.param(["--workers", "1"], marks=pytest.mark.cluster)],
)
def test_downsample_to_a_store(
    store: Path, atlas: list[str], tmp_path: Path, switches: list[str]
) -> None:
    url = tmp_path / "coarse.zarr"
    words = ["downsample", store, "--to", "800", "--method", "mode", "--out", url, *switches]
    assert run(*words).stdout == f"wrote {url}\n"
    assert run(*words).stdout == f"{url} was complete\n"
    stored, space = refspace.open(url), refspace.open(store).downsample(800, "mode")
    np.testing.assert_array_equal(stored.annotation, space.annotation)
    assert stored.structure_tree.nodes() == space.structure_tree.nodes()
    other = run(*words[:3], "1600", *words[4:])
    assert other.exit_code == 1
    assert "exists; give another name, or replace it with --overwrite" in last_line(other)
    assert run(*words[:3], "1600", *words[4:], "--overwrite").exit_code == 0
    assert refspace.open(url).resolution == (1600, 1600, 1600)
    of_file = run("downsample", *atlas, "--to", "800", "--out", tmp_path / "file.zarr")
    assert of_file.exit_code == 0, of_file.output
    bare = run("downsample", atlas[0], "--to", "800", "--out", tmp_path / "bare.zarr")
    assert "names no structures: give a structures file after it" in last_line(bare)


def test_storage_options_reach_what_is_read_and_written(atlas: list[str], s3: S3) -> None:
    """Of a server that lets nobody list without a key, and is at an address of its own."""
    options = [word for k, v in s3.writer.items() for word in ("--storage-option", f"{k}={v}")]
    Location("s3://atlases/cli.nrrd", s3.writer).write("a.nrrd", Path(atlas[0]).read_bytes())
    urls = [f"s3://atlases/cli.nrrd/{name}" for name in ("a.nrrd", "a.zarr", "coarse.zarr")]
    words = ["convert", urls[0], atlas[1], urls[1], *options]
    assert run(*words).stdout.startswith(f"wrote {urls[1]}: ")
    result = run("downsample", urls[1], "--to", "800", "--out", urls[2], *options)
    assert result.stdout == f"wrote {urls[2]}\n"
    for url in urls[1:]:
        assert run("verify", url, *options).exit_code == 0
    refused = run("verify", urls[1])
    assert refused.exit_code == 1


def test_what_the_library_logs_is_shown_beside_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("refspace")
    with showing_waits():
        log.warning("waiting for workers of %s: it has none", "tcp://host:8786")
        log.info("nobody asked for this")
    assert capsys.readouterr().err == "waiting for workers of tcp://host:8786: it has none\n"
    assert log.handlers == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2", "--threads", "2"], "give one of --scheduler, --workers and --threads"),
        (["--scheduler", "tcp://127.0.0.1:1"], "there is no scheduler at tcp://127.0.0.1:1: "),
        (["--scheduler", "nonsense"], "there is no scheduler at nonsense: "),
    ],
)
def test_switches_that_name_no_workers(store: Path, words: list[str], said: str) -> None:
    result = run("verify", store, *words)
    assert result.exit_code in (1, 2)
    assert said in last_line(result)


def test_convert_from_a_store(store: Path, atlas: list[str], tmp_path: Path) -> None:
    result = run("convert", store, atlas[1], tmp_path / "b.zarr", "--resolution", "800")
    assert result.exit_code == 0, result.output
    volume = refspace.open(tmp_path / "b.zarr").annotation
    np.testing.assert_array_equal(volume, refspace.open(store, resolution=800).annotation)


def start(*words: object) -> "subprocess.Popen[str]":
    # What runs in the background of a shell ignores interrupts, and so do its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from refspace.cli import main; main(prog_name='refspace')"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_an_interrupted_conversion_says_how_to_go_on(atlas: list[str], tmp_path: Path) -> None:
    url, partial = tmp_path / "atlas.zarr", tmp_path / ".atlas.zarr.partial"
    words = ["convert", *atlas, url, "--chunks", "1,2,28"]
    process = start(*words)
    while process.poll() is None and not list(partial.glob("s0/annotation/c/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == ""
    note = f"what is done lies in {partial}; continue it with the same command or call"
    assert errors.splitlines() == ["converting … stopped", f"Interrupted; {note}"]
    for command in ("info", "verify", "counts"):
        result = run(command, url)
        assert result.exit_code == 1
        assert f"an unfinished conversion lies in {partial}" in last_line(result)
        assert last_line(result).endswith("run it again with the same command or call")
    other = last_line(run(*words[:-1], "1,2,14"))
    assert "is another job: layout.chunks is [1, 2, 28] there, [1, 2, 14] here" in other
    assert run(*words).stdout.startswith(f"wrote {url}: ")
    assert run("verify", url).exit_code == 0


# ----- info


def test_info(store: Path) -> None:
    result = run("info", store)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    facts = json.loads(run("info", store, "--json").stdout)
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert lines == [
        f"{store}: store of refspace, format 5 (OME-Zarr 0.5)",
        "",
        "level resolution shape dtype chunks shards",
        "s0/annotation 400 µm 33 × 20 × 28 uint32 20 none",
        "s1/annotation 800 µm 16 × 10 × 14 uint32 20 none",
        "",
        "extent 13.2 × 8 × 11.2 mm",
        "orientation PIR: ap grows to posterior, dv grows to inferior, ml grows to right",
        "frame PIR: coordinates grow along ap to posterior, dv to inferior, ml to right",
        "origin 0, 0, 0 µm",
        "midline ml 5600 µm (stated by the file)",
        f"structures 488, {facts['structures_with_voxels']} of them with voxels",
        "label index in the store; proven by its digest",
        "template none",
        f"provenance, source {facts['provenance']['source']}",
        "provenance, licence none",
        f"provenance, converter refspace {refspace.__version__}",
        f"digest {facts['digest']}",
        f"stored {size_text(size)}",
    ]


def test_info_as_json(store: Path, space: refspace.ReferenceSpace) -> None:
    facts = json.loads(run("info", store, "--json").stdout)
    with_voxels = sum(1 for voxels in space.total_voxel_map.values() if voxels)
    assert facts.pop("digest") == zarr.open_group(store, mode="r").attrs["refspace"]["digest"]
    assert facts.pop("provenance")["licence"] == "none"
    assert facts.pop("stored_bytes") > 0
    assert [level.pop("resolution_um") for level in facts["levels"]] == [[400] * 3, [800] * 3]
    assert facts.pop("levels")[0] == {
        "path": "s0/annotation",
        "shape": [33, 20, 28],
        "dtype": "uint32",
        "chunks": [20, 20, 20],
        "shards": None,
    }
    assert facts == {
        "url": str(store),
        "kind": "refspace",
        "format": 5,
        "ome_zarr": "0.5",
        "extent_mm": [13.2, 8.0, 11.2],
        "origin_um": [0, 0, 0],
        "orientation": "PIR",
        "directions": {"ap": "posterior", "dv": "inferior", "ml": "right"},
        "frame": "PIR",
        "frame_directions": {"ap": "posterior", "dv": "inferior", "ml": "right"},
        "hemispheres_from": "midline",
        "midline_um": 5600,
        "midline_from": "stated by the file",
        "structures": 488,
        "structures_with_voxels": with_voxels,
        "unknown_ids": [],
        "label_index": {"place": "in the store", "proof": "proven by its digest"},
        "template": False,
    }


def test_info_reads_no_voxel(store: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(store, tmp_path / "atlas.zarr"))
    for path in bare.glob("s*/annotation/c"):
        shutil.rmtree(path)
    assert run("info", bare).exit_code == 0


def test_info_of_stores_of_other_programs(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(4, 3, 2), chunks=(2, 2, 2), dtype="u2")
    array[...] = 7
    result = run("info", tmp_path / "a.zarr")
    assert "is an array without geometry; give its resolution in µm" in last_line(result)
    result = run("info", tmp_path / "a.zarr", "--resolution", "25")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].endswith("a.zarr: array without metadata of OME-Zarr (zarr 3)")
    assert lines[3] == "(root) 25 µm 4 × 3 × 2 uint16 2 none"
    assert "structures none stated; commands need a STRUCTURES file" in lines
    assert "digest none" in lines
    scale = [{"type": "scale", "scale": [25.0] * 3}]
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    group.create_array("0", shape=(4, 3, 2), chunks=(2, 2, 2), dtype="u2")
    image = {
        "axes": [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "image-label": {}}
    assert "they run (z: nothing, y: nothing, x: nothing)" in last_line(
        run("info", tmp_path / "b.zarr")
    )
    result = run("info", tmp_path / "b.zarr", "--orientation", "RAS")
    assert result.stdout.splitlines()[0].endswith(
        "b.zarr: label image of OME-Zarr 0.5, not of refspace"
    )
    assert "ml grows to right, ap grows to anterior, dv grows to superior" in result.stdout


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *[(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (5_424_288, "5.42 MB")],
        *[(3 * 10**9, "3 GB"), (2 * 10**16, "2e+04 TB"), (None, "size not recorded")],
    ],
)
def test_sizes(size: int | None, text: str) -> None:
    assert size_text(size) == text


# ----- verify


def test_verify(store: Path, tmp_path: Path) -> None:
    result = run("verify", store, "--threads", "1")
    assert result.exit_code == 0
    assert result.stdout == f"{store}: every one of 5 chunks is proven to be as written\n"
    damaged = Path(shutil.copytree(store, tmp_path / "atlas.zarr"))
    (damaged / "s0/annotation/c/0/0/0").unlink()
    (damaged / "s1/annotation/c/0/0/0").write_bytes(b"")
    (damaged / "extra").touch()
    result = run("verify", damaged)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines == [
        "s1/annotation/c/0/0/0: is not what was written",
        "s0/annotation/c/0/0/0: is missing",
        "extra: belongs to nothing in the store; remove it",
        f"{damaged} has 3 faults",
    ]
    assert "Traceback" not in result.stderr
    (damaged / "zarr.json").write_text("{")
    result = run("verify", damaged)
    assert result.exit_code == 1
    assert result.stdout.startswith("zarr.json: is no JSON")


# ----- what is common to all commands


def failing(error: BaseException) -> Any:
    def command(*_: Any, **__: Any) -> None:
        error.add_note("it was noted that X")
        raise error

    return command


def test_notes_of_errors_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info.info, "callback", failing(StoreError("it failed")))
    result = run("info", "x.zarr")
    assert result.exit_code == 1
    assert result.stderr == "Error: it failed; it was noted that X\n"


def test_errors_name_options(monkeypatch: pytest.MonkeyPatch) -> None:
    error = StoreError("give resolution=, and orientation='PIR' (Python: overwrite=True)")
    monkeypatch.setattr(info.info, "callback", failing(error))
    said = last_line(run("info", "x.zarr"))
    assert said.startswith(
        "Error: give --resolution, and --orientation 'PIR' (Python: overwrite=True); it was noted"
    )


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info.info, "callback", failing(KeyboardInterrupt()))
    result = run("info", "x.zarr")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted; it was noted that X\n"


def test_warnings_are_one_line(store: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(store, tmp_path / "atlas.zarr"))
    (damaged / "label_index/s0/table/c/0/0").unlink()
    said = f"Warning: {damaged}: the label index of s0/annotation is not used: "
    process = start("counts", damaged, "-s", "CP")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Caudoputamen" in output
    warned, counted = errors.splitlines()
    assert warned.startswith(said)
    assert counted.startswith("counting voxels … ")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown = warnings.showwarning
        result = run("info", damaged)
        assert warnings.showwarning is shown
    assert result.stderr.startswith(said)
    assert ["structures", "488"] in [line.split() for line in result.stdout.splitlines()]


# ----- progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[float]:
    """Time, on what is a terminal as long as it is captured."""
    now = [0.0]
    monkeypatch.setattr("refspace.cli.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    return now


def drawn(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.replace("\r\033[K", "|")


def test_progress_of_blocks(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with BlockProgress("converting") as progress:
        clock[0] = 2
        progress(100, 400)  # of a run before: no speed yet
        assert "converting:  25%" in (text := drawn(capsys))
        assert text.endswith("| 100 of 400 blocks, 00:02 gone, ? to go")
        clock[0] = 60
        progress(120, 400)
        assert drawn(capsys).endswith("| 120 of 400 blocks, 01:00 gone, 14:00 to go")
        clock[0] = 60.05
        progress(121, 400)  # too soon to be drawn
        clock[0] = 7325
        progress(399, 400)
        assert drawn(capsys).endswith("| 399 of 400 blocks, 2:02:05 gone, 00:24 to go")
    assert drawn(capsys).endswith("|converting … 7325.0 s\n")
    assert progress.seconds == 7325


def test_progress_of_images(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with BlockProgress("aggregating", unit="images") as progress:
        progress(0, 3)
        clock[0] = 0.05
        progress(1, 3)  # what is done at once draws nothing
        assert drawn(capsys) == ""
        clock[0] = 1
        progress(2, 3)
        assert "| 2 of 3 images, 00:01 gone, 00:00 to go" in drawn(capsys)


def computed(clock: list[float], *, fails: bool = False) -> None:
    """Compute four tasks of dask, of a second each."""

    start = clock[0]

    def task(number: int) -> None:
        clock[0] += 1
        # The last to run, whichever that is: dask orders tasks by their names, which are random.
        if fails and clock[0] - start == 4:
            raise ValueError("of a task")

    dask.compute(*map(dask.delayed(task), range(4)), scheduler="synchronous")


def test_progress_of_tasks(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("counting"):
        for _ in range(2):  # computations
            computed(clock)
            text = drawn(capsys)
            assert "counting:  50%" in text
            assert "| 2 of 4 tasks, 00:02 gone, 00:02 to go" in text
            # Cleared when it ends.
            assert text.endswith("\r")
    assert drawn(capsys) == "|counting … 8.0 s\n"


def test_progress_of_tasks_that_fail(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="of a task"), Progress("counting"):
        computed(clock, fails=True)
    # The bar may not have been drawn yet, if the task fails at once.
    assert drawn(capsys).endswith("|counting … failed\n")


def test_progress_of_tasks_beside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("counting") as progress:
        computed([0.0])
    assert capsys.readouterr().err == f"counting … {progress.seconds:.1f} s\n"


@pytest.mark.parametrize(
    ("error", "said"), [(StoreError("x"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_progress_of_what_does_not_end(
    error: BaseException, said: str, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), BlockProgress("converting"):
        raise error
    assert drawn(capsys) == f"|converting … {said}\n"


def test_progress_beside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with BlockProgress("converting") as progress:
        progress(0, 4)
        progress(4, 4)
    assert capsys.readouterr().err == f"converting … {progress.seconds:.1f} s\n"
