"""Compare refspace with BrainGlobe's own reader, on atlases that its own code packages.

    python scripts/compare_brainglobe.py [--env FOLDER | --brainglobe-python PATH]

brainglobe-atlasapi is installed in an environment of its own, made once. Its code packages the
samples of ``tests/helpers/brainglobe_packaging.py`` and reads them; refspace reads the same folder.
What the tests write in its place is compared with it file by file. One line per question is
printed; the exit status is 1 when any answer differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from helpers import brainglobe_packaging as packaging
from numpy.typing import NDArray

import refspace

VERSION = "3.0.2"
_REPOSITORY = Path(__file__).resolve().parents[1]
_ASK_VERSION = "from importlib.metadata import version as v; v('cloud-volume')\n" + (
    "print(v('brainglobe-atlasapi'))"
)
INTENDED = (
    "hemispheres of a symmetric atlas whose width is odd: the plane in the middle is left, as the "
    "reader's documentation has it; its rounding puts it right where the width is 4n + 3",
)


def brainglobe_python(arguments: argparse.Namespace) -> Path:
    """Return a Python that has BrainGlobe's packaging code; install it where there is none."""
    given: Path | None = arguments.brainglobe_python
    if given is not None:
        return given
    python = Path(arguments.env, "Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = python.absolute()
    answer = ""
    if python.exists():
        asked = [str(python), "-c", _ASK_VERSION]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if answer != VERSION:
        print(f"installing brainglobe-atlasapi {VERSION} in {arguments.env}, once; takes minutes")
        subprocess.run([sys.executable, "-m", "venv", arguments.env], check=True)
        package = f"brainglobe-atlasapi[atlasgen]=={VERSION}"
        subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
    return python


def write_samples(folder: Path, samples: list[packaging.Sample]) -> None:
    """Write the samples as the other side reads them, with positions to ask for."""
    described = []
    for sample in samples:
        stacks = {"annotation": sample.annotation, "template": sample.template,
                  "hemispheres": sample.hemispheres}  # fmt: skip
        volumes = {f"{k} {n}": v for k, stack in stacks.items() for n, v in enumerate(stack)}
        volumes |= {f"reference {name}": v for name, v in sample.references.items()}
        np.savez(folder / f"{sample.name}.npz", **volumes)  # type: ignore[arg-type]
        described.append(
            {
                "name": sample.name,
                "minors": sample.minors,
                "resolutions": sample.resolutions,
                "structures": sample.structures,
                "species": sample.species,
                "references": list(sample.references),
                "volumes": f"{sample.name}.npz",
                "points": {
                    name: points_in(volume.shape, resolution).tolist()
                    for name, resolution, volume in atlases_of(sample)
                },
            }
        )
    (folder / "samples.json").write_text(json.dumps(described))


def atlases_of(sample: packaging.Sample) -> Iterator[tuple[str, tuple[float, ...], NDArray[Any]]]:
    """Name, resolution and annotation of each atlas of a sample."""
    for resolution, volume in zip(sample.resolutions, sample.annotation, strict=True):
        yield f"{sample.name}_{resolution[0]}um", resolution, volume


def points_in(shape: tuple[int, ...], resolution: tuple[float, ...]) -> NDArray[np.float64]:
    """Positions in µm within a volume, none at a border of voxels."""
    random = np.random.default_rng(len(shape))
    inside = random.integers(0, shape, (200, 3)) + random.uniform(0.1, 0.9, (200, 3))
    return inside * resolution


def compared(base: Path, name: str, said: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Questions on an atlas, and whether the answers are the same."""
    space = refspace.open(f"brainglobe:{name}", base=str(base))
    tree, grid = space.structure_tree, space.grid
    points = points_in(grid.shape, grid.spacing)
    nodes = tree.nodes()
    yield "newest version", space.provenance["version"] == said["version"]
    yield "ids and order of structures", tree.node_ids() == said["ids"].tolist()
    yield "acronyms", [n["acronym"] for n in nodes] == said["acronyms"].tolist()
    yield "names", [n["name"] for n in nodes] == said["names"].tolist()
    yield "colours", [list(n["rgb_triplet"]) for n in nodes] == said["colours"].tolist()
    yield "paths", [n["structure_id_path"] for n in nodes] == json.loads(str(said["paths"]))
    opposite = str(said["orientation"]).translate(str.maketrans("asrpil", "PILASR"))
    yield "orientation", grid.orientation == opposite
    yield "resolution", list(grid.spacing) == said["resolution"].tolist()
    yield "annotation", _same(space.annotation.values, said["annotation"])
    assert space.template is not None
    yield "template", _same(space.template.values, said["template"])
    sides, theirs = space.hemispheres.values, said["hemispheres"]
    middle = sides.shape[2] // 2 if sides.shape[2] % 2 else None
    if middle is not None and name.startswith("phantom_mouse"):
        sides, theirs = (np.delete(each, middle, axis=2) for each in (sides, theirs))
    yield "hemispheres", _same(sides, theirs)
    codes = space.structure_at(points)
    yield "structures at positions", np.array_equal(np.asarray(codes), said["at_points"])


def _same(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


# ----- what the tests write in its place


def differing_files(theirs: Path, ours: Path) -> list[str]:
    """Files that differ between the folder that BrainGlobe's code writes and the tests' own."""
    listed = [{p for p in _files(each) if not set(packaging.LEFT_OUT) & set(p.parts)}
              for each in (theirs, ours)]  # fmt: skip
    names = {str(path) for path in listed[0] ^ listed[1]}
    names |= {str(p) for p in listed[0] & listed[1] if not _same_file(theirs / p, ours / p)}
    return sorted(names)


def _files(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _same_file(theirs: Path, ours: Path) -> bool:
    if theirs.suffix == ".json":
        return bool(json.loads(theirs.read_text()) == json.loads(ours.read_text()))
    if "c" in theirs.parts:
        # Compressed as the version of a library has it; of arrays so small it is all there is.
        level = [next(p for p in each.parents if p.name == "c").parent for each in (theirs, ours)]
        first, second = (np.asarray(zarr.open_array(each, mode="r")[...]) for each in level)
        return _same(first, second)
    return theirs.read_bytes() == ours.read_bytes()


def main() -> int:
    """Package, read and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", type=Path, default=_REPOSITORY / ".brainglobe-env")
    parser.add_argument("--brainglobe-python", type=Path)
    python = brainglobe_python(parser.parse_args())
    samples = [packaging.mouse(), packaging.rat()]
    failures = 0
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs"), Path(place, "ours")
        theirs.mkdir()
        write_samples(theirs, samples)
        side = Path(__file__).with_name("brainglobe_side.py")
        # Its settings and downloads are kept below the home folder: not in that of who runs this.
        environment = {**os.environ, "HOME": place}
        subprocess.run(
            [python, side, theirs], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        said = dict(np.load(theirs / "answers.npz"))
        for sample in samples:
            packaging.write_packaging(ours, sample)
        results = [
            (f"{name}: {question}", is_same)
            for sample in samples
            for name, *_ in atlases_of(sample)
            for question, is_same in compared(theirs, name, _answers(said, name))
        ]
        others = differing_files(theirs / packaging.ROOT, ours / packaging.ROOT)
        results.append((f"files that the tests write {' '.join(others)}".strip(), not others))
    for question, is_same in results:
        print(f"{'same' if is_same else 'DIFFERENT':9}  {question}")
        failures += not is_same
    for text in INTENDED:
        print(f"intended: {text}")
    return int(failures > 0)


def _answers(said: dict[str, Any], name: str) -> dict[str, Any]:
    start = f"{name} "
    return {key.removeprefix(start): said[key] for key in said if key.startswith(start)}


if __name__ == "__main__":
    sys.exit(main())
