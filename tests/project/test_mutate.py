"""Mutation testing changes what it says, one place at a time, and tells survivors from others."""

import ast
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "mutate.py"

SOURCE = '''
from typing import TypeVar, TYPE_CHECKING

T = TypeVar("T", int, float)
if TYPE_CHECKING:
    LIMIT = 7


@decorated(frozen=True)
def spread(values: list[1], *, ddof: int = 1) -> list[2]:
    """Text of 3."""
    if ddof < 0 or not values:
        raise ValueError(f"{ddof - 4} is wrong")
    pairs = zip(values, values, strict=True)
    total = sum((a - b for a, b in pairs), start=-5)
    total += max(values, ddof)
    return total
'''


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return import_module("mutate")


def changes(mutate: ModuleType, source: str) -> set[tuple[str, str, str]]:
    """Kind of each mutant, its lines before, and after."""
    found = list(mutate.mutants(Path("some.py"), textwrap.dedent(source).encode()))
    assert len({mutant.mutated() for mutant in found}) == len(found)
    for mutant in found:
        ast.parse(mutant.mutated())
    lines = [(mutant.kind, mutant.diff().splitlines()) for mutant in found]
    return {(kind, *(line.strip(" +-") for line in diff)) for kind, diff in lines}


def test_what_is_changed(mutate: ModuleType) -> None:
    found = changes(mutate, SOURCE)
    test, total = "if ddof < 0 or not values:", "total = sum((a - b for a, b in pairs), start=-5)"
    zipped, add = "pairs = zip(values, values, strict=True)", "total += max(values, ddof)"
    header = "def spread(values: list[1], *, ddof: int = 1) -> list[2]:"
    assert found == {
        ("constant", header, "def spread(values: list[1], *, ddof: int = (2)) -> list[2]:"),
        ("constant", header, "def spread(values: list[1], *, ddof: int = (0)) -> list[2]:"),
        ("condition", test, "if (not (ddof < 0 or not values)):"),
        ("operator", test, "if (ddof < 0 and (not values)):"),
        ("comparison", test, "if (ddof <= 0) or not values:"),
        ("comparison", test, "if (ddof >= 0) or not values:"),
        ("constant", test, "if ddof < (1) or not values:"),
        ("constant", test, "if ddof < (-1) or not values:"),
        ("sign or not", test, "if ddof < 0 or (values):"),
        ("argument", zipped, "pairs = (zip(values, strict=True))"),
        ("argument", total, "total = (sum((a - b for a, b in pairs)))"),
        ("operator", total, "total = sum(((a + b) for a, b in pairs), start=-5)"),
        ("sign or not", total, "total = sum((a - b for a, b in pairs), start=(5))"),
        ("constant", total, "total = sum((a - b for a, b in pairs), start=-(6))"),
        ("constant", total, "total = sum((a - b for a, b in pairs), start=-(4))"),
        ("operator", add, "total -= max(values, ddof)"),
        ("argument", add, "total += (max(values))"),
        ("result", "return total", "return None"),
    }


def test_letters_of_several_bytes_shift_nothing(mutate: ModuleType) -> None:
    assert changes(mutate, "µ = 'µm²'; a = b == c\n") == {
        ("comparison", "µ = 'µm²'; a = b == c", "µ = 'µm²'; a = (b != c)")
    }


def test_samples_have_some_of_every_file(mutate: ModuleType) -> None:
    found = [
        mutant
        for name, lines in (("long.py", 90), ("short.py", 9), ("none.py", 0))
        for mutant in mutate.mutants(Path(name), b"a = b == c\n" * lines)
    ]
    drawn = mutate.sample(found, 20, 0)
    assert drawn == mutate.sample(found, 20, 0) != mutate.sample(found, 20, 1)
    names = [mutant.path.name for mutant in drawn]
    assert (names.count("long.py"), names.count("short.py")) == (19, 2)


def test_every_room_has_tests(mutate: ModuleType) -> None:
    for room in mutate.ROOMS:
        files = mutate.room_sources(room)
        assert files
        for path in files:
            for tests in mutate.stages(room, path):
                assert tests
                assert all((ROOT / test).exists() for test in tests)
    assert set(mutate.VERBS) == {p.stem for p in mutate.room_sources("ops")} - {"__init__"}


@pytest.mark.slow
def test_a_mutant_is_killed_and_another_survives(mutate: ModuleType) -> None:
    """In a process of its own: children of this one have imported the modules already."""
    path = Path("grid.py")
    source = (ROOT / "src" / "refspace" / path).read_bytes()
    lines = {"return (1) if flip else 1": "killed", "(np.abs(off) < SAME": "SURVIVED"}
    for line, told in lines.items():
        (mutant,) = (m for m in mutate.mutants(path, source) if line in m.diff())
        run = subprocess.run(
            [sys.executable, SCRIPT, "--room", "grid", "--sample", "1000", "--only", mutant.name],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{told} {mutant.name}" in run.stdout
        assert (line in run.stdout) is (told == "SURVIVED")
    assert (ROOT / "src" / "refspace" / path).read_bytes() == source
