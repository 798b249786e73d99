"""Benchmarks run, on a volume too small to say anything of speed, and check their results."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import refspace

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# One chunk, or eight.
RESOLUTION, CHUNKS = 200, 48


@pytest.mark.slow
def test_kernels() -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_kernels.py"]
    command += ["--resolution", "400", "--repeat", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for task in ("counts, np.unique", "mask of Isocortex, np.isin", "renumbering, loop"):
        assert task in done.stdout


@pytest.mark.slow
def test_remote_on_the_phantom() -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_remote.py"]
    command += ["--milliseconds", "1", "--engine", "fsspec"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("opening", "counts of all structures", "mask of AUDd, cropped", "mask of AUDd, x"):
        assert f"\n{name}" in done.stdout


@pytest.mark.slow
def test_analysis_on_the_phantom() -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_analysis.py", "--quick"]
    command += ["--resolution", "400", "--only", "mean", "seven", "ndimage.mean", "nilearn"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("mean of all", "seven statistics", "scipy.ndimage.mean", "nilearn"):
        assert f"\n{name}" in done.stdout


@pytest.mark.slow
@pytest.mark.cluster
def test_batch_on_the_phantom(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_batch.py", "--resolution", "400"]
    command += ["--work", tmp_path, "--only", "1", "10", "one worker", "two workers"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("1 structure", "10 structures", "… of 8 × the voxels, 1 worker", "…, 2 workers"):
        assert f"\n{name} " in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"atlas_1.zarr", "atlas_8.zarr"}


@pytest.mark.slow
def test_formats_on_the_phantom(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_formats.py"]
    command += ["--resolution", "400", "--work", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for ending in (".nrrd", ".nii.gz", ".mha", ".tif", ".npy"):
        assert f"\n{ending} " in done.stdout
    assert list(tmp_path.iterdir()) == []


# ----- scale


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("scale")


def test_scale_at_a_small_size(scale: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    scale.main(["--side", "4"])
    printed = capsys.readouterr().out
    assert "\n| chunks of 128³ | 693 | 589,680 | 420,325,000 |" in printed
    assert "\n| … memory, of the label index | 195 KiB | 162 MiB | 113 GiB |" in printed
    with pytest.raises(SystemExit):
        scale.main(["--side", "3"])


@pytest.mark.slow
def test_an_index_of_a_million_chunks(scale: ModuleType) -> None:
    # Counts and masks are compared with what was written while they are measured.
    measured = scale.measure(100)
    assert (measured.chunks, measured.rows) == (10**6, 10**6 + 8)
    # As of a small volume: blocks elsewhere are no part of its graph.
    assert measured.cropped_tasks == scale.measure(5).cropped_tasks


# ----- stores


@pytest.fixture
def bench_store(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("bench_store")


@pytest.fixture
def measure_store(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("measure_store")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("bench") / "phantom.zarr")
    refspace.phantom(resolution=RESOLUTION).to_zarr(url, chunks=CHUNKS)
    return url


@pytest.mark.slow
def test_store_on_the_phantom(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", BENCHMARKS / "bench_store.py", "--quick"]
    command += ["--resolution", str(RESOLUTION), "--work", tmp_path, "--only", "convert", "mode"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "conversion: " in done.stdout
    assert "5 × coarser, mode, to NRRD" in done.stdout
    assert "mask of AUDd" not in done.stdout
    assert refspace.open(tmp_path / f"annotation_{RESOLUTION}.zarr").resolution[0] == RESOLUTION


def test_every_query_has_a_row(bench_store: ModuleType, measure_store: ModuleType) -> None:
    assert [query.name for query in bench_store.QUERIES] == ["open", *measure_store.QUERIES]


VOXELS = 66 * 40 * 57
# Bytes of the output in memory, and blocks read, of eight; None where it is not checked.
EXPECTED = {
    "open": (0, 0),
    "counts": (0, 0),
    "places": (0, 0),
    "cropped mask": (None, 2),
    "mask": (VOXELS, 2),
    "root mask": (VOXELS, 4),
    "many masks": (None, None),
    "slice image": (40 * 57 * 3, 2),
    "nearest": (0, 4),
    "mode": (0, None),
    "ITK-SNAP": (0, 4),
    "voxel": (4, 1),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_query_is_measured(name: str, store: str, measure_store: ModuleType) -> None:
    figures = measure_store.query(name, store, "0")
    output, blocks = EXPECTED[name]
    assert 0 < figures["best"] == figures["first"]
    assert figures["output"] == pytest.approx(figures["output"] if output is None else output / 1e6)
    assert blocks is None or figures["blocks"] == blocks
    assert figures["read"] > 0


def test_reads_are_counted_no_longer_than_needed(store: str, measure_store: ModuleType) -> None:
    read = measure_store.StoredArray.block
    measure_store.query("voxel", store, "0")
    assert measure_store.StoredArray.block is read


FIGURES = {"seconds": 50, "first": 0.2, "best": 0.05, "megabytes": 1000, "output": 400}
ALLENSDK = {"load": 60, "counts": 40, "mask": 5}


@pytest.mark.parametrize(
    ("slower", "failing"),
    [
        ({}, []),
        ({"best": 0.2}, ["mask of AUDd, cropped "]),
        ({"seconds": 61}, ["conversion: "]),
        ({"megabytes": 1600}, ["conversion: "]),  # beside the output, 1200 are
    ],
)
def test_what_is_wanted(
    slower: dict,
    failing: list,
    bench_store: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    figures = {**FIGURES, "blocks": 3, "read": 0.5, **slower}
    monkeypatch.setattr(bench_store, "measured", lambda *_, **__: figures)
    monkeypatch.setattr(bench_store, "allensdk", lambda *_: {**ALLENSDK, "megabytes": 12000})
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path)]
    if failing:
        with pytest.raises(SystemExit, match="FAIL"):
            bench_store.main(arguments)
    else:
        bench_store.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "FAIL" in line] == [
        line for line in lines if any(line.startswith(label) for label in failing)
    ]


def test_allensdk_is_left_out_where_memory_is_short(
    bench_store: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        bench_store, "measured", lambda *_, **__: {**FIGURES, "blocks": 0, "read": 0}
    )
    monkeypatch.setattr(bench_store, "available_gigabytes", lambda: 4.2)
    bench_store.main(["--data", str(tmp_path), "--work", str(tmp_path), "--only", "counts"])
    assert "it needs 18 GB of memory, 4 GB are available" in capsys.readouterr().out
