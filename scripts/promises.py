"""The table of faults, promises and tests in docs/trust.md, made from the tests themselves.

A test that holds a promise says so::

    @pytest.mark.promise("two chunks are exchanged", "an error that names one, never a number")
    def test_a_chunk_of_another_place(): ...

Of several tests of one fault, one states the promise and the others the fault alone. ``--write``
puts the table into the page, ``--check`` fails where it is another.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs", "trust.md")
MARK = "pytest.mark.promise"
_TABLE = re.compile(r"(?<=<!-- promises -->\n).*?(?=<!-- /promises -->)", re.DOTALL)


class TagError(Exception):
    """A mark that does not say what it should."""


@dataclass
class Promise:
    """What is promised of a fault.

    Parameters
    ----------
    fault
        What goes wrong.
    promise
        What is promised then; empty until a test states it.
    tests
        Path and name of each test that holds it.
    """

    fault: str
    promise: str = ""
    tests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def room(self) -> str:
        """Folder of the first test."""
        return Path(self.tests[0][0]).parts[1]


def marks(path: Path, root: Path) -> Iterator[tuple[str, list[str]]]:
    """Name of each marked test of a module, and what its mark says."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == MARK:
                yield node.name, _texts(mark, f"{path.relative_to(root)}::{node.name}")


def _texts(mark: ast.Call, test: str) -> list[str]:
    texts = [arg.value for arg in mark.args if isinstance(arg, ast.Constant)]
    stated = [text.strip() for text in texts if isinstance(text, str)]
    if mark.keywords or len(stated) != len(mark.args) or not 1 <= len(stated) <= 2:
        raise TagError(f"{test}: {MARK} takes a fault, and once the promise, both as plain text")
    if not all(stated) or any("|" in text or "\n" in text for text in stated):
        raise TagError(f"{test}: a fault and a promise are one line each, without |")
    return stated


def promises(root: Path) -> list[Promise]:
    """Promises that the tests hold, by room and fault.

    Raises
    ------
    TagError
        If a mark says something else, two tests promise different things of a fault, or none does.
    """
    found: dict[str, Promise] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, (fault, *promise) in marks(path, root):
            entry = found.setdefault(fault, Promise(fault))
            if promise and entry.promise not in ("", promise[0]):
                raise TagError(
                    f"{name}: of {fault!r} is promised {promise[0]!r} here, {entry.promise!r} "
                    "elsewhere; state it once"
                )
            entry.promise = promise[0] if promise else entry.promise
            entry.tests.append((path.relative_to(root).as_posix(), name))
    if silent := [fault for fault, entry in found.items() if not entry.promise]:
        raise TagError(f"no test states what is promised of {', '.join(map(repr, silent))}")
    return sorted(found.values(), key=lambda entry: (entry.room, entry.fault))


def table(found: list[Promise]) -> str:
    """The promises as a table in Markdown."""
    rows = [
        f"| {entry.fault} | {entry.promise} | {', '.join(map(_link, entry.tests))} |"
        for entry in found
    ]
    return "\n".join(["", "| fault | promise | tests |", "|---|---|---|", *rows, "", ""])


def _link(test: tuple[str, str]) -> str:
    path, name = test
    return f"[`{name}`](../{path})"


def main() -> int:
    """Print, write or check the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the project")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="put it into the page")
    action.add_argument("--check", action="store_true", help="fail if the page has another")
    options = parser.parse_args()
    page = options.root / PAGE
    try:
        made = table(promises(options.root))
    except TagError as error:
        print(error, file=sys.stderr)
        return 1
    if not (options.write or options.check):
        print(made)
        return 0
    before = page.read_text(encoding="utf-8")
    after = _TABLE.sub(lambda _: made, before)
    if options.write:
        page.write_text(after, encoding="utf-8")
    elif after != before:
        print(f"{PAGE} is not what the tests say; run: python scripts/promises.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
