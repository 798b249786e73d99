"""The commands that write files for other programs, and what any command refuses to write."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import Result
from helpers import commands

import refspace

TABLES = "does not end in .csv, .tsv or .parquet"
VOLUMES = "does not end in .nrrd, .nii, .nii.gz, .mha, .mhd, .tif or .tiff"


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def folder(space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Atlas as files and as a store; not to be changed."""
    made = tmp_path_factory.mktemp("atlas")
    refspace.write_nrrd(made / "annotation.nrrd", space.annotation)
    refspace.write_structures(made / "structures.json", space.structure_tree)
    space.to_zarr(made / "atlas.zarr", chunks=20)
    return made


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: object, code: int = 0) -> Result:
    result = commands.run(*words)
    assert result.exit_code == code, result.output
    return result


# ----- structures


@pytest.mark.parametrize("source", ["structures.json", "atlas.zarr"])
@pytest.mark.parametrize("ending", ["json", "csv", "tsv", "parquet"])
def test_structures(folder: Path, space: refspace.ReferenceSpace, source: str, ending: str) -> None:
    path = f"structures.{ending}"
    result = run("export", "structures", folder / source, "-o", path)
    assert result.stdout == f"wrote {path}: 488 structures\n"
    refspace.write_structures(f"expected.{ending}", space.structure_tree)
    if ending == "json":
        assert json.loads(Path(path).read_text()) == space.structure_tree.nodes()
    else:
        assert Path(path).read_bytes() == Path(f"expected.{ending}").read_bytes()


def test_structures_within_their_parents(folder: Path, space: refspace.ReferenceSpace) -> None:
    run("export", "structures", folder / "atlas.zarr", "-o", "graph.json", "--nested")
    (root,) = json.loads(Path("graph.json").read_text())
    children = space.structure_tree.child_ids([997])[0]
    assert [child["id"] for child in root["children"]] == children
    said = run("export", "structures", folder / "atlas.zarr", "-o", "a.csv", "--nested", code=1)
    assert "a.csv is none; leave it out" in said.stderr


def test_structures_with_other_columns(folder: Path) -> None:
    Path("odd.csv").write_text("number,called,up\n1,whole,\n2,half,1\n")
    words = ["--columns", "id=number,name=called,parent=up", "-o", "even.tsv", "--overwrite"]
    run("export", "structures", "odd.csv", *words)
    tree = refspace.read_structures("even.tsv")
    assert tree.parent_ids([1, 2]) == [None, 1]
    said = run("export", "structures", folder / "atlas.zarr", *words, code=2).stderr
    assert "--columns is of a structures file" in said


def test_structures_of_what_has_none(folder: Path, space: refspace.ReferenceSpace) -> None:
    space.to_ome_zarr("plain.zarr")
    said = run("export", "structures", "plain.zarr", "-o", "a.json", code=1).stderr
    assert "structures" in said
    said = run("export", "structures", "missing.json", "-o", "a.json", code=1).stderr
    assert "missing.json" in said
    assert not Path("a.json").exists()


# ----- volumes


def test_a_volume(folder: Path, space: refspace.ReferenceSpace) -> None:
    for name in ("a.nrrd", "a.nii", "a.nii.gz"):
        result = run("export", "volume", folder / "annotation.nrrd", "-o", name)
        assert result.stdout == f"wrote {name}\n"
    voxels = np.asarray(nibabel.load("a.nii.gz").dataobj)
    np.testing.assert_array_equal(voxels, space.annotation.values)


@pytest.mark.parametrize("words", [["atlas.zarr"], ["annotation.nrrd", "structures.json"]])
def test_a_volume_with_the_table_of_its_labels(folder: Path, words: list[str]) -> None:
    given = [folder / word for word in words]
    result = run("export", "volume", *given, "-o", "atlas_dseg.nii.gz", "--label-table")
    assert result.stdout == "wrote atlas_dseg.nii.gz and atlas_dseg.tsv\n"
    head, *rows = Path("atlas_dseg.tsv").read_text().splitlines()
    assert head.split("\t") == ["index", "name", "abbreviation", "color", "parent"]
    assert len(rows) == 488
    said = run(
        "export", "volume", folder / "annotation.nrrd", "-o", "a.nii", "--label-table", code=2
    )
    assert "names no structures" in said.stderr
    given = [folder / "annotation.nrrd", folder / "structures.json"]
    said = run("export", "volume", *given, "-o", "a.nii", code=2)
    assert "STRUCTURES are for --label-table" in said.stderr


# ----- OME-Zarr


@pytest.mark.parametrize("words", [["atlas.zarr"], ["annotation.nrrd", "structures.json"]])
def test_a_plain_store(folder: Path, space: refspace.ReferenceSpace, words: list[str]) -> None:
    given = [folder / word for word in words]
    assert run("export", "ome-zarr", *given, "-o", "out.zarr").stdout == "wrote out.zarr\n"
    assert run("export", "ome-zarr", *given, "-o", "out.zarr").stdout == "out.zarr was complete\n"
    again = refspace.open("out.zarr/labels/annotation", structures=space.structure_tree)
    assert again.total_voxel_map == space.total_voxel_map
    assert again.grid.orientation == "SPL"
    lacking = run("counts", "out.zarr/labels/annotation", code=1).stderr
    assert "names no structures; give a structures file after it" in lacking
    more = ["--order", "PIR", "--version", "0.4", "--no-index", "--chunks", "10"]
    assert (
        "exists; give another name"
        in run("export", "ome-zarr", *given, "-o", "out.zarr", *more, code=1).stderr
    )
    run("export", "ome-zarr", *given, "-o", "out.zarr", *more, "--overwrite")
    attributes = json.loads(Path("out.zarr/labels/annotation/.zattrs").read_text())
    assert "index" not in attributes["image-label"]["properties"][0]
    np.testing.assert_array_equal(
        refspace.open("out.zarr", structures=space.structure_tree).annotation.values,
        space.annotation.values,
    )
    said = run("export", "ome-zarr", *given, "-o", "b.zarr", "--order", "abc", code=2).stderr
    assert "three letters" in said


# ----- what nothing is written as


@pytest.fixture
def _nothing_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_options: object) -> None:
        raise AssertionError("the work has begun")

    for name in ("refspace.reference_space.open", "refspace.sources.open"):
        monkeypatch.setattr(name, fails)
    for name in ("refspace.formats.volumes.read_volume", "refspace.store.open_atlas"):
        monkeypatch.setattr(name, fails)


REFUSED = {
    "slice {0} -o a.mov": "a.mov does not end in .eps, ",
    "counts {0} -o a.xlsx": f"a.xlsx {TABLES}",
    "counts {0} -o table": f"table {TABLES}",
    "counts {0} -o no/a.csv": "no does not exist; make it, then try again",
    "mask {0} -s CP -o a.mnc": f"a.mnc {VOLUMES}: give a name that",
    "mask {0} -s CP -o a.csv.gz": "give a name that does, or one without an ending for a folder",
    "masks {0} -o masks.nrrd": "masks.nrrd ends in .nrrd: 'refspace mask' writes one file",
    "masks {0} -o s3://bucket/masks.h5": "masks.h5 does not end in .zarr",
    "downsample {0} --to 800 -o a.mp4": "a.mp4 does not end in .nrrd, .nii, .nii.gz, .mha, ",
    "downsample {0} --to 800 -o coarse": "coarse does not end in .nrrd, .nii, .nii.gz, .mha, ",
    "export volume {0} -o a.xyz": f"a.xyz {VOLUMES}; volumes are written as what",
    "export itksnap {0} {1} a.xyz a.txt": f"a.xyz {VOLUMES}",
    "export ome-zarr {0} -o a.n5": "a.n5 does not end in .zarr; give a store a name that does",
    "export structures {0} -o a.xlsx": "a.xlsx does not end in .json, .csv, .tsv, .parquet, .txt",
    "points {0} cells.csv --each a.xls": f"a.xls {TABLES}",
    "points {0} cells.csv -o a.txt": f"a.txt {TABLES}",
    "compare {0} {0} --confusion a.npy": f"a.npy {TABLES}",
    "compare {0} {0} -o a.npy": f"a.npy {TABLES}",
    "aggregate {0} {0} -o t.xlsx": f"t.xlsx {TABLES}",
    "aggregate {0} {0} -o memory://t.xlsx": f"t.xlsx {TABLES}",
}


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.usefixtures("_nothing_opens")
def test_unknown_endings_are_refused_before_any_work(folder: Path, words: str) -> None:
    Path("cells.csv").write_text("ap,dv,ml\n")
    given = words.format(folder / "atlas.zarr", folder / "structures.json").split()
    assert REFUSED[words] in run(*given, code=1).stderr
    assert [path.name for path in Path().iterdir()] == ["cells.csv"]


def test_names_of_folders(folder: Path) -> None:
    for name in ("masks", "masks_v1.2", "masks.v2", "new/"):
        run("mask", folder / "atlas.zarr", "-s", "CP", "-o", name)
        assert [path.name for path in Path(name).iterdir()] == ["structure_672.nrrd"]
    Path("old.masks").mkdir()
    run("mask", folder / "atlas.zarr", "-s", "CP", "-o", "old.masks")
    assert Path("old.masks/structure_672.nrrd").is_file()


def test_what_stays_on_this_machine(folder: Path) -> None:
    for words in (
        ("counts", "-o", "s3://bucket/a.csv"),
        ("slice", "-o", "s3://bucket/a.png"),
        ("downsample", "--to", "800", "-o", "s3://bucket/a.nrrd"),
        ("export", "volume", "-o", "s3://bucket/a.nrrd"),
        ("validate", "-o", "s3://bucket/found"),
    ):
        count = 2 if words[0] == "export" else 1
        result = run(*words[:count], folder / "atlas.zarr", *words[count:], code=2)
        assert "is a URL; this is written to this machine: give a path" in result.stderr
