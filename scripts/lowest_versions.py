"""Print the lowest versions that pyproject.toml allows of what refspace depends on itself.

    python scripts/lowest_versions.py [EXTRA ...]

One requirement a line, as pip reads them from a file: ``numpy>=2.2.6`` becomes ``numpy==2.2.6``.
What these packages depend on in turn stays free, so that pip takes the newest that goes with them.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9._-]+(?:\[[A-Za-z0-9,._-]+\])?)>=([0-9][0-9.]*)((?:,!=[0-9.]+)*)"
)


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """Yield the lowest version of each requirement: a lower bound, less some versions."""
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement.replace(" ", ""))
        if match is None:
            raise ValueError(
                f"{requirement!r} in {PYPROJECT} states no lower bound, like numpy>=2.2"
            )
        yield f"{match[1]}=={match[2]}"


def main(words: list[str]) -> None:
    """Print the requirements of the package and of some of its extras."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    chosen = list(project["dependencies"])
    for extra in parser.parse_args(words).extras:
        chosen += project["optional-dependencies"][extra]
    print(*lowest(chosen), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
