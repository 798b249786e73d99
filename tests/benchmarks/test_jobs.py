"""The table of jobs names functions and ways that are there."""

import ast
from pathlib import Path

import pytest

import benchmarks.rivals
from benchmarks import work
from benchmarks.environments import REQUIREMENTS
from benchmarks.jobs import BRIEF, JOBS, MEDIA, REFSPACE, Job
from benchmarks.making import MAKERS

RIVALS = Path(benchmarks.rivals.__file__).parent
each_job = pytest.mark.parametrize("job", JOBS, ids=[job.name for job in JOBS])


def test_names_are_unique() -> None:
    names = [job.name for job in JOBS]
    assert len(set(names)) == len(names)
    assert set(BRIEF) <= set(names)


@each_job
def test_refspace_is_the_first_and_no_name_is_there_twice(job: Job) -> None:
    names = [way.name for way in job.ways]
    assert names[0] == REFSPACE
    assert len(set(names)) == len(names)


@each_job
def test_functions_are_there(job: Job) -> None:
    for way in job.ways:
        # Not imported: the library may not be installed.
        tree = ast.parse((RIVALS / f"{way.module}.py").read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert way.function.split(".")[1] in found
    assert not job.work or callable(getattr(work, job.work))


@each_job
def test_what_is_wanted_is_beside_something(job: Job) -> None:
    names = {way.name for way in job.ways}
    for wanted in job.wanted:
        assert wanted.figure in ("seconds", "first", "processor", "peak", "beyond")
        assert wanted.beside in names | {"", "limit"}
        assert wanted.beside != "limit" or job.work


@each_job
def test_refspace_does_what_others_do_somewhere(job: Job) -> None:
    for way in job.ways:
        assert set(way.media) <= set(MEDIA)
        assert set(way.media) & set(job.ways[0].media)
        assert all(name in MAKERS for medium in way.media for name in way.files(medium))


def test_versions_of_rivals_are_pinned() -> None:
    assert all("==" in each for listed in REQUIREMENTS.values() for each in listed)
