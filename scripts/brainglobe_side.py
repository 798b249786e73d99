"""The side of BrainGlobe: package atlases by its own code, and read them by its own reader.

    python scripts/brainglobe_side.py FOLDER

FOLDER holds ``samples.json`` and the volumes that it names. The atlases are written into it, and
``answers.npz``, what the reader says of each. It runs where brainglobe-atlasapi is, without
refspace.
"""

import json
import sys
from pathlib import Path
from typing import Any

import meshio
import numpy as np
from brainglobe_atlasapi import BrainGlobeAtlas
from brainglobe_atlasapi.atlas_generation.wrapup import wrapup_atlas_from_data
from numpy.typing import NDArray


def package(folder: Path, sample: dict[str, Any], mesh: Path) -> None:
    """Write all versions of an atlas."""
    volumes = np.load(folder / sample["volumes"])

    def stack(name: str) -> list[NDArray[Any]] | None:
        names = sorted(each for each in volumes.files if each.startswith(f"{name} "))
        return [volumes[each] for each in names] or None

    for minor in sample["minors"]:
        wrapup_atlas_from_data(
            atlas_name=sample["name"],
            atlas_minor_version=minor,
            citation="unpublished",
            atlas_link="http://example.org",
            species=sample["species"],
            resolution=[tuple(each) for each in sample["resolutions"]],
            orientation="asr",
            root_id=sample["structures"][0]["id"],
            reference_stack=stack("template"),
            annotation_stack=stack("annotation"),
            structures_list=[dict(each) for each in sample["structures"]],
            meshes_dict={each["id"]: mesh for each in sample["structures"]},
            working_dir=folder,
            hemispheres_stack=stack("hemispheres"),
            additional_references={
                name: [volumes[f"reference {name}"]] for name in sample["references"]
            },
        )


def answers(folder: Path, name: str, points: NDArray[np.float64]) -> dict[str, Any]:
    """What the reader says of an atlas.

    Parameters
    ----------
    folder
        Folder that the atlas was packaged in.
    name
        Name of the atlas.
    points
        Positions in µm.
    """
    atlas = BrainGlobeAtlas(name, brainglobe_dir=folder, check_latest=False)
    structures = atlas.structures_list
    return {
        "version": atlas.metadata["version"],
        "orientation": atlas.orientation,
        "annotation": atlas.annotation,
        "template": atlas.template,
        "hemispheres": atlas.hemispheres,
        "resolution": np.array(atlas.resolution),
        "ids": np.array([each["id"] for each in structures]),
        "acronyms": np.array([each["acronym"] for each in structures]),
        "names": np.array([each["name"] for each in structures]),
        "colours": np.array([each["rgb_triplet"] for each in structures]),
        "paths": json.dumps([list(map(int, each["structure_id_path"])) for each in structures]),
        "at_points": np.array([atlas.structure_from_coords(p, microns=True) for p in points]),
    }


def main() -> None:
    """Package the samples, and write what the reader says of them."""
    folder = Path(sys.argv[1])
    mesh = folder / "mesh.obj"
    corners = np.array([[0, 0, 0], [99, 0, 0], [0, 99, 0], [0, 0, 99.0]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    meshio.write(mesh, meshio.Mesh(corners, [("triangle", faces)]))
    samples = json.loads((folder / "samples.json").read_text())
    said: dict[str, Any] = {}
    for sample in samples:
        package(folder, sample, mesh)
        for name, points in sample["points"].items():
            found = answers(folder, name, np.array(points))
            said |= {f"{name} {question}": answer for question, answer in found.items()}
    np.savez(folder / "answers.npz", **said)


if __name__ == "__main__":
    main()
