"""Pages that show results: what stands between marks is written from the JSON in ``results``.

``python -m benchmarks.pages`` writes it anew.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import report
from benchmarks.results import Summary
from benchmarks.server import REPOSITORY

RESULTS = Path(__file__).with_name("results")
PAGES = tuple(REPOSITORY / name for name in ("README.md", "docs/speed.md", "benchmarks/README.md"))
_MARKED = re.compile(r"(<!-- benchmark: ([a-z-]+) -->\n).*?(\n<!-- /benchmark -->)", re.DOTALL)
_OF_JOBS: Mapping[str, Callable[[], str]] = {
    "jobs": report.jobs_table,
    "remarks": report.remarks_list,
}
_OF_RESULTS: Mapping[str, Callable[[Summary], str]] = {
    "machine": report.machine_line,
    "short": report.readme_table,
    "tables": report.all_tables,
    "before-and-after": report.before_and_after,
}
_NOTHING = "No such figures are published: `python -m benchmarks` measures them."


def rendered(text: str) -> str:
    """A page with everything between marks as the published results have it."""

    def content(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        if name in _OF_JOBS:
            return f"{begin}\n{_OF_JOBS[name]()}\n{end}"
        shown = _OF_RESULTS[name](results) if results else ""
        return f"{begin}\n{shown or _NOTHING}\n{end}"

    results = published()
    return _MARKED.sub(content, text)


def published() -> Summary | None:
    """Results that the pages show: of the real annotation; None before the first were published."""
    path = RESULTS / "mouse.json"
    if not path.exists():
        return None
    found: Summary = json.loads(path.read_text(encoding="utf-8"))
    return found


def update() -> None:
    """Write what the results say into the pages."""
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    update()
