"""Read files that nobody should write, for as long as one likes: what is not refused is kept.

``python scripts/fuzz.py --seconds 3600 --format nrrd`` mutates good files of a format (of all, one
after the other, if none is given) and has them read in a child process with limits of time and
memory. Each case that ends with an error that is not ours, or with the process, is kept in
``tests/corpus``, where a quick test replays it: mend the fault, and commit the case with it.

``--atheris`` lets coverage choose what is mutated further (``pip install atheris``; it runs until
it is stopped, in one process without limits, and wants one format).
"""

import argparse
import hashlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
sys.path.insert(0, str(ROOT / "tests"))

from helpers.fuzzing import FORMATS, Finding, fuzz, packed, unpacked  # noqa: E402
from helpers.fuzzing.cases import write_case  # noqa: E402
from helpers.fuzzing.runner import mutated  # noqa: E402


def main() -> int:
    """Fuzz some formats; the exit status is 1 if anything was found."""
    options = _arguments()
    if options.atheris:
        return _atheris(options.format[0])
    found = 0
    for name in options.format:
        share = options.seconds / len(options.format)
        kept: set[str] = set()
        for each in fuzz(name, seed=options.seed, seconds=share):
            if isinstance(each, Counter):
                print(f"{name}: {dict(each)}", flush=True)
                continue
            found += 1
            # The same fault is kept once: by its error and the line that raised it.
            if each.text not in kept:
                kept.add(each.text)
                print(f"{each}\n  kept as {keep(each, options.keep)}", flush=True)
    return 1 if found else 0


def keep(finding: Finding, folder: Path) -> Path:
    """Write the files of a finding where they are replayed."""
    data = packed(finding.case)
    path = folder / finding.format / f"{hashlib.sha256(data).hexdigest()[:12]}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="time in all (60)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="may be repeated")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of chance")
    parser.add_argument("--keep", type=Path, default=CORPUS, help="folder for what is found")
    parser.add_argument("--atheris", action="store_true", help="let coverage guide it")
    options = parser.parse_args()
    options.format = options.format or list(FORMATS)
    if options.atheris and len(options.format) != 1:
        parser.error("--atheris takes one --format")
    print(f"seed {options.seed}", flush=True)
    return options


def _atheris(name: str) -> int:
    """Mutate by coverage; atheris prints what it finds, and writes it beside."""
    try:
        import atheris  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        print("atheris is not installed: pip install atheris (Linux, CPython 3.11 to 3.13)")
        return 2
    form, seeds = FORMATS[name], FORMATS[name].seeds()
    with atheris.instrument_imports(include=["refspace"]):
        from refspace.errors import RefspaceError

        for case in seeds:
            with tempfile.TemporaryDirectory() as folder:
                write_case(case, Path(folder))
                _read(form.read, Path(folder), RefspaceError)

    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_case(_case(data) or seeds[0], Path(folder))
            _read(form.read, Path(folder), RefspaceError)

    def change(data: bytes, _most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        return packed(mutated(form, _case(data) or chance.choice(seeds), chance))

    atheris.Setup([sys.argv[0]], one, custom_mutator=change)
    atheris.Fuzz()
    return 0


def _case(data: bytes) -> dict[str, bytes] | None:
    """The files in what atheris hands out; None if they are none."""
    try:
        return unpacked(data)
    except Exception:  # whatever a broken archive raises
        return None


def _read(read: Callable[[Path], Any], folder: Path, refusal: type[Exception]) -> None:
    with suppress(refusal, FileNotFoundError):
        read(folder)


if __name__ == "__main__":
    sys.exit(main())
