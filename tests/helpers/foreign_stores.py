"""Label images as other programs write them."""

import itertools

import numpy as np
import zarr

import refspace
from refspace import StructureTree

SHAPE = (8, 6, 4)
NODES = [
    {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
    {"id": 8, "acronym": "grey", "name": "grey", "structure_id_path": [997, 8]},
]
TREE = StructureTree(NODES)
VOXELS = np.random.default_rng(0).choice(np.array([0, 8, 997], "u4"), SHAPE)
COARSE = np.ascontiguousarray(VOXELS[::2, ::2, ::2])
VERSIONS = ["0.4", "0.5"]
PIR = ["anterior-to-posterior", "superior-to-inferior", "left-to-right"]


def opened(url, **how):
    return refspace.open(url, structures=TREE, **({"orientation": "PIR"} | how))


def axes(unit="micrometer", names="zyx", orientation=None, extra=""):
    kinds = {"c": "channel", "t": "time"}
    space = [
        {"name": name, "type": "space"}
        | ({"unit": unit} if unit else {})
        | ({"orientation": {"type": "anatomical", "value": way}} if way else {})
        for name, way in zip(names, orientation or [None] * 3, strict=True)
    ]
    return [*({"name": name, "type": kinds[name]} for name in extra), *space]


def write(
    folder,
    version="0.5",
    levels=((VOXELS, 25.0), (COARSE, 50.0)),
    paths=("0", "1"),
    translated=True,
    chunks=4,
    separator="/",
    fill=0,
    omit=(),
    label=True,
    **axis,
):
    """Label image with levels of the given voxels and scales."""
    group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
    dims = axes(**axis)
    extra = len(dims) - 3
    datasets = []
    for path, (voxels, scale) in zip(paths, levels, strict=False):
        voxels = voxels.reshape((1,) * extra + voxels.shape)
        array = group.create_array(
            path,
            shape=voxels.shape,
            dtype=voxels.dtype,
            chunks=(1,) * extra + (chunks,) * 3,
            fill_value=fill,
            chunk_key_encoding={
                "name": "default" if version == "0.5" else "v2",
                "separator": separator,
            },
        )
        for box in itertools.product(*(range(0, n, chunks) for n in voxels.shape[extra:])):
            part = (slice(None),) * extra + tuple(slice(i, i + chunks) for i in box)
            if box not in omit:
                array[part] = voxels[part]
        steps = [{"type": "scale", "scale": [1.0] * extra + [scale] * 3}]
        if translated:
            steps += [{"type": "translation", "translation": [0.0] * extra + [scale / 2] * 3}]
        datasets.append({"path": path, "coordinateTransformations": steps})
    image = {"name": "x", "axes": dims, "datasets": datasets}
    content = {"image-label": {"version": version}} if label else {}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image], **content}
    else:
        group.attrs.update({"multiscales": [{**image, "version": version}], **content})
    return group


def nested(folder, version="0.5", names=("brain",)):
    """Image of intensities, with label images in it."""
    group = write(folder, version, [(VOXELS.astype("f4") / 3, 25)], label=False)
    labels = group.create_group("labels")
    content = {"labels": list(names)}
    labels.attrs.update({"ome": {"version": "0.5", **content}} if version == "0.5" else content)
    for name in names:
        write(folder / "labels" / name, version)
