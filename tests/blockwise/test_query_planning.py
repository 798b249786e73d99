"""With dask's array expressions, everything gives what it gives without them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import every_op, every_verb

import refspace.ops
from refspace import ReferenceSpace

TESTS = Path(__file__).parent.parent


def run(code, tmp_path):
    """Run a program in a process in which arrays are expressions; warnings are errors."""
    path = os.pathsep.join([str(TESTS), *map(str, Path(refspace.__path__[0]).parents[:1])])
    return subprocess.run(
        [sys.executable, "-W", "error", *code],
        env={**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True", "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def results_with_expressions(module, folder):
    """What a module of the helpers computes in a process in which arrays are expressions."""
    child = run(["-m", module, "results.pickle"], folder)
    assert child.returncode == 0, child.stderr
    enabled, results = pickle.loads((folder / "results.pickle").read_bytes())
    assert enabled
    return results


@pytest.fixture(scope="module")
def with_expressions(tmp_path_factory):
    """Results of a process in which arrays are expressions."""
    return results_with_expressions("helpers.every_op", tmp_path_factory.mktemp("expressions"))


@pytest.mark.slow
def test_results_are_the_same(with_expressions):
    results = every_op.results()
    assert list(results) == list(with_expressions)
    for name, result in results.items():
        np.testing.assert_equal(with_expressions[name], result, err_msg=name)


def test_every_module_of_ops_takes_part():
    modules = {path.stem for path in Path(refspace.ops.__path__[0]).glob("[!_]*.py")}
    used = {
        value.__module__.rpartition(".")[2]
        for value in vars(every_op).values()
        if getattr(value, "__module__", "").startswith("refspace.ops.")
    }
    # `point_voxels` is used by `point_labels`; `placement` computes with grids alone.
    assert modules - used <= {"placement", "point_voxels", "sides"}


# ----- verbs

# What fails with expressions and not without them: nothing. What would have to be listed here is
# the verb, and why it cannot be mended inside `blockwise` or `store`.
FAILING = {}


@pytest.fixture(scope="module")
def verbs_with_expressions(tmp_path_factory):
    """What every verb gives in a process in which arrays are expressions."""
    return results_with_expressions("helpers.every_verb", tmp_path_factory.mktemp("verbs"))


@pytest.mark.slow
def test_verbs_give_the_same(verbs_with_expressions):
    results = every_verb.results()
    assert list(results) == list(verbs_with_expressions)
    for name, result in results.items():
        if name not in FAILING:
            np.testing.assert_equal(verbs_with_expressions[name], result, err_msg=name)
    # Without expressions, verbs refuse only what is of another shape or place than a part of it.
    refused = [name for name, r in results.items() if isinstance(r, every_verb.Refused)]
    assert refused
    assert all(name.endswith(" (turned)") for name in refused)


def test_every_verb_takes_part():
    public = {n for n in vars(ReferenceSpace) if not n.startswith("_")}
    verbs = {n for n in public if not isinstance(vars(ReferenceSpace)[n], property)}
    used = {name.partition(",")[0] for name in every_verb.VERBS}
    assert verbs - used == {*every_verb.COVERED}
    assert {"downsample", "to_zarr", "aggregate"} < used


SIDES = """
import dask
import dask.array as da
import numpy as np
from helpers.every_verb import HEMISPHERES, GRID, TREE, VOXELS
from helpers.volumes import CountingSource, raising

from refspace import ReferenceSpace
from refspace.labels import labelled

CHUNKS = ((4, 3), (2, 4), (2, 1, 2))
source = CountingSource(VOXELS)
with dask.config.set(scheduler=raising):
    space = ReferenceSpace(TREE, labelled(source.dask(CHUNKS), GRID), midline=60)
    left = space.hemisphere("left")
    mask = left.make_structure_mask([2])
    table = left.region_properties([2, 3])
    sides = space.hemispheres
assert not source.reads
np.testing.assert_array_equal(mask.compute(), (VOXELS == 2) & (np.arange(5) < 2))
assert set(source.chunk_reads(CHUNKS).values()) == {1}
assert {block[2] for block in source.chunk_reads(CHUNKS)} == {0}
del source.reads[:]
assert table.compute().voxels.values.tolist() == [
    (VOXELS[..., :2] == i).sum() for i in (2, 3)
]
assert {block[2] for block in source.chunk_reads(CHUNKS)} == {0}
assert set(source.chunk_reads(CHUNKS).values()) == {1}
del source.reads[:]
assert (sides.compute().values == np.array([1, 1, 2, 2, 2])).all()
assert not source.reads
"""


def test_a_hemisphere_reads_its_blocks_alone(tmp_path):
    child = run(["-c", SIDES], tmp_path)
    assert child.returncode == 0, child.stderr


def test_the_same_hemisphere_without_expressions():
    exec(SIDES, {})


# ----- graphs

CHAIN = """
import dask
import dask.array as da
import numpy as np
from helpers.volumes import CountingSource

from refspace.blockwise.graphs import array_from_tasks, name_from_inputs
from refspace.blockwise.reduction import array_from_value, reduce_blocks


def negated(data):
    name = name_from_inputs("negated", data.name)
    tasks = {(name, i): (np.negative, (data.name, i)) for i in range(data.numblocks[0])}
    return array_from_tasks(name, tasks, [data], data.chunks, data.dtype)


source = CountingSource(np.arange(8))
data, reads = source.dask(2), source.reads
array = negated(negated(data.rechunk(4)) + 1)
assert array.name == negated(negated(data.rechunk(4)) + 1).name
total = reduce_blocks("sum", np.sum, {(i,): [(array.name, i)] for i in range(2)}, [array], sum)
table = array_from_value(total, np.atleast_1d, (1,), "i8")
assert not reads

assert array.compute().tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]
assert len(reads) == 4
del reads[:]
assert array[:2].compute().tolist() == [-1, 0]
assert len(reads) == 2
del reads[:]
one, other = dask.compute(array, array[::-1])
assert one.tolist() == other[::-1].tolist()
assert len(reads) == 4
assert total.compute() == 20
assert (table * 2).compute().tolist() == [40]
assert array.persist().rechunk(3).compute().tolist() == one.tolist()
"""


def test_nothing_is_read_early_or_twice(tmp_path):
    child = run(["-c", CHAIN], tmp_path)
    assert child.returncode == 0, child.stderr


def test_the_same_chain_without_expressions():
    exec(CHAIN, {})
