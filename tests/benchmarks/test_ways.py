"""Every way to do a job does it, on a small volume, and all that are here give the same answer."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from benchmarks import data, making, timing
from benchmarks.comparison import dissenters
from benchmarks.jobs import HTTP, JOBS, MEDIA, Job, Way
from benchmarks.measurement import Inputs
from benchmarks.server import served

RESOLUTION, POINTS = 200, 1000
# Rivals of environments of their own; they take part where they are here.
LIBRARIES = {
    "allensdk": "allensdk",
    "brainglobe": "brainglobe-atlasapi",
    "fastremap": "fastremap",
    "tinybrain": "tinybrain",
}
# It takes other voxels, and counts as wrong.
OTHER_ANSWERS = {"scipy.ndimage.zoom"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = data.Files(tmp_path_factory.mktemp("benchmarks"), RESOLUTION, None).folder
    files.mkdir()
    for name in ("annotation.nrrd", data.present().store, *list(making.MAKERS)[1:]):
        making.main(name, str(files), str(RESOLUTION))
    return files


@pytest.fixture(scope="module")
def addresses(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as servers:
        urls = {medium: servers.enter_context(served(folder, 0)) for medium in HTTP}
        yield dict.fromkeys(MEDIA, str(folder)) | urls


def rows() -> Iterator[object]:
    for job in JOBS:
        for medium in job.ways[0].media:
            workers = any("workers" in way.given for way in job.ways)
            marks = [pytest.mark.slow, *([pytest.mark.cluster] if workers else [])]
            yield pytest.param(job, medium, id=f"{job.name}, {medium}", marks=marks)


@pytest.mark.parametrize(("job", "medium"), list(rows()))
def test_all_give_the_same_answer(
    job: Job, medium: str, folder: Path, addresses: dict[str, str]
) -> None:
    told = {}
    for way in job.at(RESOLUTION, medium):
        if way.module in LIBRARIES and not is_here(LIBRARIES[way.module]):
            continue
        figures = done(job, way, medium, folder, addresses[medium])
        assert len(figures["seconds"]) in (1, 2)  # once, where it takes long
        assert ("requests" in figures) == (medium in HTTP)
        if "answer" in figures and way.name not in OTHER_ANSWERS:
            told[way.name] = figures["answer"]
    assert dissenters(told) == []


def is_here(distribution: str) -> bool:
    """Whether a package is installed."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def done(job: Job, way: Way, medium: str, folder: Path, address: str) -> dict:
    """Figures of a way, which is measured in this process."""
    given = {**job.given, **way.given}
    given["count"] = min(given.get("count", 0), POINTS)
    inputs = Inputs(
        str(folder),
        RESOLUTION,
        "http" if medium in HTTP else medium,
        address,
        data.present().store,
        given,
        seconds=0,
    )
    module, name = way.function.split(".")
    with warnings.catch_warnings(action="ignore"):
        timed = getattr(import_module(f"benchmarks.rivals.{module}"), name)(inputs)
        return timing.measured(timed, inputs)
