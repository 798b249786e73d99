"""Mutation testing: change one expression of a room at a time, and see whether its tests notice.

    python scripts/mutate.py --room kernels [--sample 80] [--seed 0] [--only TEXT] [--list]

The sources and tests are copied into a temporary folder. There each mutant in turn replaces one
file, and the tests of the room run until the first that fails: the mutant is killed. The others
survive and are printed with their change; what they mean is written in ``docs/mutation.md``.

Mutants are drawn at random, from each module of the room in proportion to what there is to change.
Not mutated: annotations, decorators, texts (messages too), and ``strict=`` of `zip`, which asserts.
"""

import argparse
import ast
import copy
import difflib
import gc
import importlib
import inspect
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeAlias

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = Path("src", "refspace")
_Node: TypeAlias = ast.expr | ast.stmt
# Of functions, by their names and first lines.
Codes: TypeAlias = dict[tuple[str, int], CodeType]
_COPIED = ("src", "tests", "conftest.py", "pyproject.toml")

# What runs for each room: first its own tests, with the doctests of the module that is mutated, as
# these kill most mutants, and soon; then others that use the room.
ROOMS = {
    "grid": ("labels", "verbs/test_crop.py"),
    "kernels": ("labels", "verbs/test_aggregate.py", "verbs/test_shapes.py"),
    "label_index": ("labels", "blockwise"),
    "structure_tree": ("verbs/test_regions.py",),
    "ops": (),
}
# And those of the verbs that a module of the room is behind.
VERBS = {
    "aggregate": ("aggregate", "image_coverage"),
    "align": ("image_place", "aggregate"),
    "boundaries": ("regions",),
    "code_texts": ("points",),
    "compare": ("compare",),
    "components": ("validate",),
    "contacts": ("shapes",),
    "coverage": ("image_coverage", "image_place"),
    "distance": ("shapes",),
    "oblique": ("image_place",),
    "paint": ("regions",),
    "placement": ("image_place",),
    "point_counts": ("points",),
    "point_labels": ("points", "outside"),
    "point_voxels": ("points",),
    "positions": ("points", "outside", "crop"),
    "relabel": ("masks", "regions"),
    "surface": ("meshes",),
    "totals": ("shapes", "hemispheres"),
}
# Imported once, in the process from which those of the mutants are forked.
_LIBRARIES = (
    *("pytest", "hypothesis.extra.numpy", "pandas", "xarray", "dask.array", "distributed"),
    *("zarr", "networkx", "matplotlib", "scipy.sparse.csgraph", "scipy.ndimage"),
)
# Of plugins among these, which it can rewrite no more, pytest warns.
_OPTIONS = (
    "-q",
    "-x",
    "-s",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)

_CPU_SECONDS, _WALL_SECONDS, _MEMORY = 180, 1200, 6 * 2**30

_OTHER_OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
}


# ----- mutants


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Parameters
    ----------
    path
        The file, from the folder of the package.
    line
        Line of the change.
    kind
        What is changed.
    source
        The whole file before.
    start, stop
        Where the change is, in bytes.
    text
        What stands there instead.
    """

    path: Path
    line: int
    kind: str
    source: bytes
    start: int
    stop: int
    text: str

    @property
    def name(self) -> str:
        """Name that tells it from others of the file."""
        return f"{self.path}:{self.line} {self.kind}"

    def mutated(self) -> bytes:
        """The whole file after."""
        return self.source[: self.start] + self.text.encode() + self.source[self.stop :]

    def diff(self) -> str:
        """Lines before and after."""
        before, after = (text.decode().splitlines() for text in (self.source, self.mutated()))
        lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))
        return "\n".join(f"    {line}" for line in lines[3:])


def mutants(path: Path, source: bytes) -> Iterator[Mutant]:
    """All mutants of a file."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _mutable(ast.parse(source)):
        for kind, place, other in _changes(node):
            start = starts[place.lineno - 1] + place.col_offset
            stop = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            text = ast.unparse(ast.fix_missing_locations(other))
            text = f"({text})" if isinstance(place, ast.expr) else text
            yield Mutant(path, place.lineno, kind, source, start, stop, text)


def _mutable(node: ast.AST) -> Iterator[_Node]:
    """Nodes that may be changed: neither types, nor decorators, nor texts."""
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            skipped = isinstance(child, ast.JoinedStr) or _asserts_or_declares(child)
            if isinstance(child, ast.AST) and not skipped:
                yield from _mutable(child)


def _asserts_or_declares(node: object) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("TypeVar", "cast")
    if isinstance(node, ast.keyword):
        return node.arg == "strict"
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _changes(node: _Node) -> Iterator[tuple[str, _Node, ast.AST]]:
    """What may be changed, where, and what stands there instead."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in _OTHER_OPERATORS[type(operator)]:
                operators = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "comparison", node, _copy(node, ops=operators)
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        for other in _OTHER_OPERATORS.get(type(node.op), ()):
            yield "operator", node, _copy(node, op=other())
    elif isinstance(node, ast.UnaryOp):
        yield "sign or not", node, node.operand
    elif isinstance(node, ast.Constant):
        yield from (("constant", node, ast.Constant(each)) for each in _other_values(node.value))
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "condition", node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield "result", node, ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Call):
        yield from (("argument", node, other) for other in _with_fewer_arguments(node))


def _other_values(value: object) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    return [value + 1, value - 1] if isinstance(value, int | float) else []


def _with_fewer_arguments(call: ast.Call) -> Iterator[ast.Call]:
    """A call without each keyword, and one without the last of several positional arguments."""
    for place, keyword in enumerate(call.keywords):
        if keyword.arg not in (None, "strict"):
            yield _copy(call, keywords=call.keywords[:place] + call.keywords[place + 1 :])
    if len(call.args) > 1:
        yield _copy(call, args=call.args[:-1])


def _copy(node: Any, **fields: object) -> Any:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def sample(found: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Some mutants, drawn at random; from each file in proportion to those that it has."""
    draw = random.Random(seed)
    by_file: dict[Path, list[Mutant]] = {}
    for mutant in found:
        by_file.setdefault(mutant.path, []).append(mutant)
    chosen = []
    for mutants_of_file in by_file.values():
        share = min(len(mutants_of_file), -(-count * len(mutants_of_file) // len(found)))
        chosen += draw.sample(mutants_of_file, share)
    return chosen


# ----- tests


class Laboratory:
    """A copy of the sources and tests, in which mutants are tried.

    Most mutants change functions alone. For these, tests are collected once, and a child process
    for each mutant gets the functions' other code and runs them: nothing is imported again. What
    else there is, values of modules and defaults of arguments, is changed in the file.

    Parameters
    ----------
    folder
        An empty folder.
    room
        Whose tests are run.
    """

    def __init__(self, folder: Path, room: str) -> None:
        self.folder, self.room = folder, room
        for name in _COPIED:
            if (_ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(_ROOT / name, folder / name, ignore=ignored)
            else:
                shutil.copy(_ROOT / name, folder / name)
        self._writes = 0

    def try_all(self, chosen: Sequence[Mutant], tell: Callable[[Mutant, bool], None]) -> None:
        """Tell of each mutant whether it survives all tests."""
        swapped = []
        for mutant in chosen:
            if self._codes(mutant) is None:
                tell(mutant, self._survives_in_file(mutant))
            else:
                swapped.append(mutant)
        # Only now may this process import the package.
        self._collect(lambda items: self._try_swapped(swapped, items, tell))

    def check(self, files: Sequence[Path]) -> bool:
        """Whether all tests pass without a mutant."""
        tests = {name for path in files for stage in stages(self.room, path) for name in stage}
        return in_child(lambda: self._run(sorted(tests)), self.folder / "output")

    def _survives_in_file(self, mutant: Mutant) -> bool:
        path = self.folder / _PACKAGE / mutant.path
        self._write(path, mutant.mutated())
        try:
            return all(
                in_child(partial(self._run, stage), self.folder / "output")
                for stage in stages(self.room, mutant.path)
            )
        finally:
            self._write(path, mutant.source)

    def _write(self, path: Path, source: bytes) -> None:
        path.write_bytes(source)
        # Compiled modules are told from stale ones by the second, and by their size: each file that
        # is written here is of a second of its own.
        self._writes += 1
        os.utime(path, (self._writes * 10, self._writes * 10))

    def _run(self, tests: Sequence[str], *plugins: object) -> int:
        os.chdir(self.folder)
        source = str(self.folder / "src")
        os.environ["PYTHONPATH"] = source
        sys.path.insert(0, source)
        pytest = importlib.import_module("pytest")
        return int(pytest.main([*_OPTIONS, *tests], plugins=[*plugins]))

    def _collect(self, run: Callable[[list[Any]], None]) -> None:
        """Collect all tests of the room, and run something instead of them."""

        class Collected:
            def pytest_runtestloop(self, session: Any) -> bool:
                run(session.items)
                return True

        files = room_sources(self.room)
        found = (stages(self.room, path) for path in files)
        self._run(
            list({name: 0 for each in found for stage in each for name in stage}), Collected()
        )

    def _try_swapped(
        self, chosen: Sequence[Mutant], items: list[Any], tell: Callable[[Mutant, bool], None]
    ) -> None:
        for mutant in chosen:
            names = [name for stage in stages(self.room, mutant.path) for name in stage]
            ordered = [item for name in names for item in items if _is_of(item.nodeid, name)]
            run = partial(self._run_swapped, mutant, ordered)
            tell(mutant, in_child(run, self.folder / "output"))

    def _run_swapped(self, mutant: Mutant, items: Sequence[Any]) -> int:
        file, codes = str(self.folder / _PACKAGE / mutant.path), self._codes(mutant)
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == file:
                each.__code__ = (codes or {})[
                    each.__code__.co_qualname, each.__code__.co_firstlineno
                ]
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                return 1
        return 0

    def _codes(self, mutant: Mutant) -> Codes | None:
        """New code of each function, by name and line; None where more than functions differ."""
        file = str(self.folder / _PACKAGE / mutant.path)
        before, after = (
            compile(text, file, "exec", dont_inherit=True)
            for text in (mutant.source, mutant.mutated())
        )
        codes: Codes = {}
        return codes if _pair(before, after, codes) else None


def _pair(before: CodeType, after: CodeType, codes: Codes) -> bool:
    """Pair functions of a module or class body; False where the body itself differs."""
    inner = [[c for c in code.co_consts if isinstance(c, CodeType)] for code in (before, after)]
    values = [
        [c for c in code.co_consts if not isinstance(c, CodeType)] for code in (before, after)
    ]
    if (before.co_code, before.co_names, repr(values[0])) != (
        after.co_code,
        after.co_names,
        repr(values[1]),
    ):
        return False
    for one, other in zip(*inner, strict=True):
        if one.co_flags & inspect.CO_OPTIMIZED:
            codes[one.co_qualname, one.co_firstlineno] = other
        elif not _pair(one, other, codes):
            return False
    return True


def _is_of(nodeid: str, name: str) -> bool:
    return nodeid.startswith((f"{name}::", f"{name}/"))


def in_child(run: Callable[[], int], output: Path) -> bool:
    """Whether something ends with 0 in a process of its own, within limits of time and memory."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    # Whatever happens there, no child goes on as its parent does.
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        signal.alarm(_WALL_SECONDS)
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        status = run()
        sys.stdout.flush()
    finally:
        os._exit(status)


def room_sources(room: str) -> list[Path]:
    """Files of a room, from the folder of the package."""
    package = _ROOT / _PACKAGE
    single = package / f"{room}.py"
    files = [single] if single.exists() else sorted((package / room).glob("*.py"))
    return [file.relative_to(package) for file in files]


def stages(room: str, path: Path) -> list[list[str]]:
    """Tests for mutants of a file, those that are quick and near first."""
    verbs = VERBS.get(path.stem, ()) if room == "ops" else ()
    others = [f"tests/{name}" for name in ROOMS[room]]
    others += [f"tests/verbs/test_{name}.py" for name in verbs]
    # Without a path, pytest would run all that there are.
    return [stage for stage in ([str(_PACKAGE / path), f"tests/{room}"], others) if stage]


def main(arguments: list[str] | None = None) -> None:
    """Try mutants of one room, and print those that survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--room", choices=ROOMS, required=True)
    parser.add_argument("--sample", type=int, default=80, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="mutants alone whose names have this text")
    parser.add_argument("--unchecked", action="store_true", help="not without a mutant first")
    parser.add_argument("--list", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    files = room_sources(options.room)
    found = [m for path in files for m in mutants(path, (_ROOT / _PACKAGE / path).read_bytes())]
    chosen = [m for m in sample(found, options.sample, options.seed) if options.only in m.name]
    print(f"{len(chosen)} of {len(found)} mutants of {options.room}, seed {options.seed}")
    if options.list:
        print("\n".join(f"{mutant.name}\n{mutant.diff()}" for mutant in chosen))
        return
    for library in _LIBRARIES:
        importlib.import_module(library)
    counts: Counter[tuple[str, bool]] = Counter()

    def tell(mutant: Mutant, survives: bool) -> None:
        counts[mutant.kind, survives] += 1
        told = f"SURVIVED {mutant.name}\n{mutant.diff()}" if survives else f"killed {mutant.name}"
        os.write(output, f"{told}\n".encode())

    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(Path(folder), options.room)
        if not options.unchecked and not laboratory.check(files):
            sys.exit((laboratory.folder / "output").read_text() + "tests fail without a mutant")
        # pytest keeps to itself what is printed while it collects.
        output = os.dup(1)
        laboratory.try_all(chosen, tell)
    survived = sum(n for (_, survives), n in counts.items() if survives)
    print(f"{len(chosen) - survived} of {len(chosen)} killed: {1 - survived / len(chosen):.0%}")
    for kind in sorted({kind for kind, _ in counts}):
        print(f"    {kind}: {counts[kind, False]} killed, {counts[kind, True]} survived")


if __name__ == "__main__":
    main()
