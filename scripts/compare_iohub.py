"""Compare what refspace reads of iohub's stores with what iohub reads of them.

    python scripts/compare_iohub.py [--env FOLDER]

iohub is installed in an environment of its own, made once. It writes a field and a plate of labels,
and reads them; refspace opens the same, and what the tests write in their place. One line per
question is printed; the exit status is 1 when any answer differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from helpers.iohub_replay import iohub_plate
from numpy.typing import NDArray

import refspace
from refspace.errors import FormatError

VERSION = "0.2.3.post1"
_REPOSITORY = Path(__file__).resolve().parents[1]
_SHAPE, _SPACING = (8, 6, 4), (50.0, 25.0, 20.0)
_FIELDS = ("A/1/0", "A/1/1", "B/3/0")
_TREE = refspace.StructureTree([{"id": 997, "acronym": "root", "structure_id_path": [997]}])
# Writes with iohub, and prints what it reads of the place of each voxel.
_THEIR_SIDE = """
import sys, numpy as np
from iohub.ngff import TransformationMeta, open_ome_zarr
folder, spacing = sys.argv[1], [float(n) for n in sys.argv[2].split(",")]
voxels = np.load(f"{folder}/voxels.npy")[None, None]
steps = [TransformationMeta(type="scale", scale=[1.0, 1.0, *spacing])]
named = dict(mode="w-", channel_names=["labels"], version="0.4")
with open_ome_zarr(f"{folder}/field.zarr", layout="fov", **named) as field:
    field.create_image("0", voxels, transform=steps, chunks=(1, 1, 4, 4, 4))
with open_ome_zarr(f"{folder}/plate.zarr", layout="hcs", **named) as plate:
    for name in sys.argv[3].split(","):
        position = plate.create_position(*name.split("/"))
        position.create_image("0", voxels, transform=steps, chunks=(1, 1, 4, 4, 4))
with open_ome_zarr(f"{folder}/field.zarr", layout="fov", mode="r") as field:
    np.savez(f"{folder}/said.npz", voxels=field["0"][0, 0], scale=field.scale[2:])
"""


def iohub_python(env: Path) -> Path:
    """Return a Python that has iohub; install it where there is none."""
    python = Path(env, "Scripts/python.exe" if os.name == "nt" else "bin/python").absolute()
    asked = "from importlib.metadata import version; print(version('iohub'))"
    answer = ""
    if python.exists():
        done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
        answer = done.stdout.strip()
    if answer != VERSION:
        print(f"installing iohub {VERSION} in {env}, once; takes minutes", flush=True)
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"iohub=={VERSION}"], check=True)
    return python


def compared(folder: Path, voxels: NDArray[np.uint32]) -> Iterator[tuple[str, bool]]:
    """Questions on the stores in a folder, and whether the answers are the same."""
    said = np.load(folder / "said.npz")
    fields = [f"plate.zarr/{name}" for name in _FIELDS]
    for name in ("field.zarr", *fields):
        space = refspace.open(folder / name, structures=_TREE, orientation="PIR")
        yield f"{name}: ids", np.array_equal(space.annotation.values, said["voxels"])
        yield f"{name}: µm per voxel", list(space.grid.spacing) == said["scale"].tolist()
        image = refspace.read_image(str(folder / name), orientation="PIR")
        yield f"{name}: as an image", np.array_equal(np.squeeze(image.values), voxels)
    try:
        refspace.open(folder / "plate.zarr", structures=_TREE, orientation="PIR")
    except FormatError as error:
        yield "a plate names its images", all(name in str(error) for name in _FIELDS)


def main() -> int:
    """Write, read and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", type=Path, default=_REPOSITORY / ".iohub-env")
    python = iohub_python(parser.parse_args().env)
    voxels = np.random.default_rng(0).choice(np.array([0, 997, 614454277], "u4"), _SHAPE)
    with tempfile.TemporaryDirectory() as place:
        theirs, ours = Path(place, "theirs"), Path(place, "ours")
        for folder in (theirs, ours):
            folder.mkdir()
        np.save(theirs / "voxels.npy", voxels)
        words = [str(theirs), ",".join(map(str, _SPACING)), ",".join(_FIELDS)]
        subprocess.run([python, "-W", "ignore", "-c", _THEIR_SIDE, *words], check=True)
        iohub_plate(ours / "plate.zarr", _FIELDS, voxels, _SPACING)
        results = list(compared(theirs, voxels))
        written = [_contents(each / "plate.zarr") for each in (theirs, ours)]
        results.append(("files that the tests write", written[0] == written[1]))
    for question, is_same in results:
        print(f"{'same' if is_same else 'DIFFERENT':9}  {question}")
    return int(not all(is_same for _, is_same in results))


def _contents(folder: Path) -> dict[str, object]:
    """Attributes of each node, but those of display, and names of all other files."""
    contents: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.name == ".zattrs":
            attributes = json.loads(path.read_text())
            attributes.pop("omero", None)
            contents |= {name: attributes} if attributes else {}
        elif path.is_file():
            contents[name] = None
    return contents


if __name__ == "__main__":
    sys.exit(main())
