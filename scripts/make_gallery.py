"""Run the code of the gallery, and write the pictures beside it.

    python scripts/make_gallery.py [FOLDER]

Each block of Python in ``docs/gallery.md`` runs, one after the other in one namespace. What it
draws becomes the picture that the page shows after it. Pictures go where the page looks for them,
or below FOLDER.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gallery.md"
_BLOCK = re.compile(
    r"^```python\n(.*?)^```\n+(?:!\[[^\]]*\]\(([^)]+)\))?", re.DOTALL | re.MULTILINE
)
_DPI = 130


def blocks(page: str) -> Iterator[tuple[str, str | None, int]]:
    """Code of each block, the picture after it, and the line where it begins."""
    for match in _BLOCK.finditer(page):
        yield match[1], match[2], page.count("\n", 0, match.start(1)) + 1


def run(page: Path, folder: Path) -> list[Path]:
    """Run the blocks of a page; the pictures that were written."""
    mpl.use("Agg")
    mpl.rcdefaults()
    written: list[Path] = []
    namespace: dict[str, Any] = {"__name__": "gallery"}
    for code, picture, line in blocks(page.read_text(encoding="utf-8")):
        plt.close("all")
        # Lines of errors are those of the page.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
        if bool(plt.get_fignums()) is not bool(picture):
            raise SystemExit(f"{page}, line {line}: a picture is drawn, or shown, but not both")
        if picture:
            path = folder / picture
            path.parent.mkdir(parents=True, exist_ok=True)
            plt.gcf().savefig(path, dpi=_DPI, metadata={"Software": None})
            written.append(path)
    plt.close("all")
    return written


if __name__ == "__main__":
    for path in run(PAGE, Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE.parent):
        print(path)
