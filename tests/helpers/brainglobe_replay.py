"""A bucket of BrainGlobe's, small: files in a folder, as the real one has them."""

import csv
import json
from pathlib import Path

import numpy as np
import zarr

import refspace

SIDES = {"z": "anterior-to-posterior", "y": "superior-to-inferior", "x": "right-to-left"}
NAME = "phantom_200um"


def sample():
    """Atlas that the replay is of."""
    return refspace.phantom(resolution=200)


def write_image(path, levels, resolution=200, sides=SIDES, chunks=32):
    """Image of the volumes, each half as fine as the one before; empty chunks are left out."""
    scales = [[resolution / 1000 * 2**n] * 3 for n in range(len(levels))]
    axes = [
        {"name": name, "type": "space", "unit": "millimeter"}
        | ({"orientation": {"type": "anatomical", "value": side}} if side else {})
        for name, side in sides.items()
    ]
    datasets = [
        {
            "path": f"s{n}",
            "coordinateTransformations": [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": [(scale[0] - scales[0][0]) / 2] * 3},
            ],
        }
        for n, scale in enumerate(scales)
    ]
    image = {"axes": axes, "datasets": datasets, "name": path.stem}
    group = zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    for n, voxels in enumerate(levels):
        array = group.create_array(
            f"s{n}", shape=voxels.shape, dtype=voxels.dtype, chunks=(chunks,) * 3, fill_value=0
        )
        array[...] = voxels


def write_terminology(path, tree):
    """Table of structures; the first column of the real ones is another number than the voxels'."""
    path.parent.mkdir(parents=True)
    columns = ("identifier", "parent_identifier", "annotation_value", "name", "abbreviation",
               "color_hex_triplet", "root_identifier_path")  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for node in tree.nodes():
            colour = "#{:02x}{:02x}{:02x}".format(*node["rgb_triplet"])
            above = node["structure_id_path"]
            parent = above[-2] if len(above) > 1 else ""
            writer.writerow(
                [node["id"], parent, node["id"], node["name"], node["acronym"], colour, above]
            )


def write_bucket(folder, *, sides=SIDES, symmetric=True, annotation=None, **fields):
    """Bucket with one atlas, in two versions of its manifest."""
    folder, space = Path(folder), sample()
    voxels = space.annotation.values if annotation is None else annotation
    parts = {
        "terminology": "/terminologies/phantom/1_0",
        "annotation_set": "/annotation-sets/phantom/1_0",
        "template": "/templates/phantom/1_0",
    }
    named = {key: {"name": "phantom", "version": "1.0", "location": place}
             for key, place in parts.items()}  # fmt: skip
    named["annotation_set"]["template"] = named["template"]
    manifest = {
        "name": "phantom",
        "citation": "Nobody 2026",
        "species": "Mus phantasma",
        "symmetric": symmetric,
        "orientation": "asr",
        "resolution": [200.0] * 3,
        "shape": list(voxels.shape),
        **named,
        **fields,
    }
    for version in ("1.0", "1.2"):
        place = folder / "atlases" / NAME / version.replace(".", "_")
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
    versions = f"[atlases]\n{NAME} = 1.2\nallen_mouse_25um = 1.2\nallen_mouse_10um = 1.2\n"
    (folder / "atlases/last_versions.conf").write_text(versions)
    write_terminology(folder / f"{parts['terminology'][1:]}/terminology.csv", space.structure_tree)
    images = folder / parts["annotation_set"][1:]
    levels = [voxels, voxels[::2, ::2, ::2]]
    write_image(images / "annotations_compressed.ome.zarr", levels, sides=sides)
    template = [(level % 251).astype("u2") for level in levels]
    write_image(folder / parts["template"][1:] / "template.ome.zarr", template, sides=sides)
    if not symmetric:
        sides_of = np.ones(voxels.shape, "u1")
        sides_of[..., : voxels.shape[2] // 3] = 2
        halves = [sides_of, sides_of[::2, ::2, ::2]]
        write_image(images / "hemispheres.ome.zarr", halves, sides=sides)
    return folder
