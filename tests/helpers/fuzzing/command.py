"""The command that `scripts/fuzz.py` runs: options, what is kept, and atheris."""

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

import click

from helpers.fuzzing import FORMATS, Finding, fuzz, packed, unpacked
from helpers.fuzzing.cases import write_case
from helpers.fuzzing.runner import mutated

CORPUS = Path(__file__).resolve().parents[2] / "corpus"


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
                click.echo(f"{name}: {dict(each)}")
                continue
            found += 1
            # The same fault is kept once: by its error and the line that raised it.
            if each.text not in kept:
                kept.add(each.text)
                click.echo(f"{each}\n  kept as {keep(each, options.keep)}")
    return 1 if found else 0


def keep(finding: Finding, folder: Path) -> Path:
    """Write the files of a finding where they are replayed."""
    data = packed(finding.case)
    path = folder / finding.format / f"{hashlib.sha256(data).hexdigest()[:12]}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Read files that nobody should write, and keep what is not refused."
    )
    parser.add_argument("--seconds", type=float, default=60, help="time in all (60)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="may be repeated")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of chance")
    parser.add_argument("--keep", type=Path, default=CORPUS, help="folder for what is found")
    parser.add_argument("--atheris", action="store_true", help="let coverage guide it")
    options = parser.parse_args()
    options.format = options.format or list(FORMATS)
    if options.atheris and len(options.format) != 1:
        parser.error("--atheris takes one --format")
    click.echo(f"seed {options.seed}")
    return options


def _atheris(name: str) -> int:
    """Mutate by coverage; atheris prints what it finds, and writes it beside."""
    try:
        import atheris
    except ImportError:
        click.echo("atheris is not installed: pip install atheris (Linux, CPython 3.11 to 3.13)")
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
