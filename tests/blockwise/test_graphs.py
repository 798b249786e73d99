"""The two functions that all hand-made graphs are built by, and who may build any."""

import ast
import pickle
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from dask.delayed import Delayed
from helpers.strategies import few
from helpers.volumes import CountingSource, chunked, chunkings, volumes
from hypothesis import given
from hypothesis import strategies as st

import refspace
from refspace.blockwise.graphs import (
    array_from_tasks,
    name_from_inputs,
    shared_value,
    value_from_tasks,
)


def negated(data):
    name = name_from_inputs("negated", data.name)
    tasks = {
        (name, *block_id): (np.negative, (data.name, *block_id))
        for block_id in np.ndindex(data.numblocks)
    }
    return array_from_tasks(name, tasks, [data], data.chunks, data.dtype)


@given(volumes(), st.data())
@few
def test_arrays_over_chunks(voxels, data):
    lazy = chunked(voxels, data.draw(chunkings(voxels.shape)))
    result = negated(lazy)
    assert (result.chunks, result.dtype) == (lazy.chunks, lazy.dtype)
    np.testing.assert_array_equal(result, np.negative(voxels))


def test_arrays_are_named_and_pickled():
    data = da.from_array(np.arange(6), chunks=2)
    result = negated(data)
    assert result.name == negated(da.from_array(np.arange(6), chunks=2)).name
    assert result.name != negated(da.from_array(np.arange(6), chunks=3)).name
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)), -np.arange(6))


def test_only_what_is_wanted_is_read():
    source = CountingSource(np.arange(6))
    data = source.dask(2)
    result = negated(negated(data))
    assert source.reads == []
    assert result[2:4].compute().tolist() == [2, 3]
    assert source.chunk_reads(data.chunks) == {(1,): 1}


def test_values_depend_on_arrays_and_values():
    data = da.from_array(np.arange(6), chunks=2)
    shared = shared_value("factor", 3)
    tasks = {"scaled": (np.multiply, (data.name, 1), shared.key)}
    value = value_from_tasks("scaled", tasks, [data, shared])
    assert isinstance(value, Delayed)
    assert pickle.loads(pickle.dumps(value)).compute().tolist() == [6, 9]


@pytest.mark.parametrize("value", [None, 5, "text", np.arange(3), {"a": 1}])
def test_shared_values_are_themselves(value):
    np.testing.assert_equal(shared_value("value", value).compute(), value)
    assert shared_value("value", value).key == shared_value("value", value).key


def test_names_are_of_all_inputs():
    assert name_from_inputs("a", 1, np.arange(3)) == name_from_inputs("a", 1, np.arange(3))
    assert name_from_inputs("a", 1, np.arange(3)) != name_from_inputs("a", 1, np.arange(4))
    assert name_from_inputs("a", np.sum) != name_from_inputs("a", np.prod)


# ----- who builds graphs

SOURCE = Path(refspace.__path__[0])
BUILDERS = {"blockwise", "store"}
# Modules of dask for graphs, and for arrays that are expressions.
MODULES = ("dask.highlevelgraph", "dask._", "dask.array._array_expr", "dask.graph_manipulation")


def hand_made(tree):
    """Lines of a module that build a graph by hand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `Delayed` is what lazy values are annotated with.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if any(name.startswith(MODULES) for name in names) or "dask.delayed.delayed" in names:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Import):
            if any(alias.name.startswith(MODULES) for alias in node.names):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            makes_graph = {"Delayed", "HighLevelGraph", "delayed"} & {*function.split(".")}
            if makes_graph or function in {"dask.array.Array", "da.Array", "Array"}:
                yield node.lineno, ast.unparse(node)


def modules():
    return [
        path
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0] not in BUILDERS
        # Becomes `blockwise.hemisphere`.
        and path != SOURCE / "ops" / "sides.py"
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_other_module_builds_graphs(path):
    assert list(hand_made(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "from dask.highlevelgraph import HighLevelGraph",
        "from dask import highlevelgraph, _task_spec",
        "import dask.highlevelgraph",
        "from dask._task_spec import Task",
        "from dask.array._array_expr._io import FromGraph",
        "from dask.delayed import Delayed, delayed",
        "HighLevelGraph.from_collections(name, tasks, dependencies=[data])",
        "dask.highlevelgraph.HighLevelGraph({}, {})",
        "dask.array.Array(graph, name, chunks, dtype='u1')",
        "da.Array(tasks, name, chunks, meta=meta)",
        "Delayed(name, {name: 5})",
        "dask.delayed(len)(data)",
    ],
)
def test_hand_made_graphs_are_found(line):
    assert list(hand_made(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "from dask.delayed import Delayed",
        "import dask.array",
        "def f(data: dask.array.Array) -> Delayed: return data.map_blocks(g)",
        "isinstance(data, dask.array.Array)",
    ],
)
def test_other_lines_are_none(line):
    assert not list(hand_made(ast.parse(line)))
