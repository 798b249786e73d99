"""Commands as a user types them: their output, files, errors and exit status."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import refspace
from refspace.cli import main


@pytest.fixture(scope="module")
def space() -> refspace.ReferenceSpace:
    return refspace.phantom(400)


@pytest.fixture(scope="module")
def atlas(space: refspace.ReferenceSpace, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("atlas")
    refspace.write_nrrd(folder / "annotation.nrrd", space.annotation)
    refspace.write_structures(folder / "structures.json", space.structure_tree)
    return [str(folder / "annotation.nrrd"), str(folder / "structures.json")]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_help_needs_no_array_library() -> None:
    code = (
        "import sys; from refspace.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'xarray', 'dask', 'pandas', 'networkx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("counts", "demo", "downsample", "export", "mask", "slice"):
        assert command in done.stdout


def test_demo(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = run("demo", folder, "--resolution", 200)
    assert result.exit_code == 0, result.output
    assert "Isocortex" in result.stdout
    assert "wrote 11 files" in result.stdout
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


@pytest.mark.parametrize("method", ["nearest", "mode", "allensdk"])
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
    assert run("export", "itksnap", *atlas, volume, labels, "--header").exit_code == 0
    assert labels.read_text().endswith(plain)
    assert labels.read_text().startswith("# ITK-SNAP")
    numbers = {int(line.split()[0]) for line in plain.splitlines()}
    assert set(np.unique(refspace.read_nrrd(volume))) <= numbers | {0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("counts", "{0}", "{1}", "-s", "VISpp"), "did you mean VISp"),
        (("counts", "{0}", "{0}"), "give a JSON or CSV file"),
        (("counts", "{0}", "{1}", "--resolution", "25"), "contradicts the header"),
        (("counts", "{0}", "nothing.json"), "No such file"),
        (("slice", "{0}", "{1}", "--position", "-30"), "is outside the volume; ap runs from 0"),
        (("slice", "{0}", "{1}", "-o", "slice.nonsense"), "cannot end in 'nonsense'; choose"),
        (("downsample", "{0}", "--to", "1e9"), "leaves no voxel"),
        (("downsample", "{0}", "--to", "25", "-o", "x.nii"), "does not end in .nrrd"),
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
        ("export", "itksnap", "{0}", "{1}", "same", "same"),
        ("downsample", "{0}", "--to", "800", "-o", "{0}"),
        ("counts", "{0}", "{1}", "-o", "{1}"),
        ("mask", "{0}", "{1}", "-s", "CP", "-o", "{0}"),
        ("mask", "{0}", "{1}", "-s", "CP,CP", "-o", "masks"),
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


def test_mask_of_another_format_is_refused(atlas: list[str], tmp_path: Path) -> None:
    result = run("mask", *atlas, "-s", "CP", "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 1
    assert "does not end in .nrrd" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("resolution", "said"), [("5", "too fine for the demo"), ("0", "is not")])
def test_demo_refuses_before_it_writes(tmp_path: Path, resolution: str, said: str) -> None:
    result = run("demo", tmp_path / "demo", "--resolution", resolution)
    assert result.exit_code == 1
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
