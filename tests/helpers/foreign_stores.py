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


# ----- replays of programs that are not installed here


def _store(group, path, voxels, dims=None):
    v3 = group.metadata.zarr_format == 3
    names = {"dimension_names": dims} if v3 and dims else {}
    group.create_array(path, data=voxels, chunks=(1,) * (voxels.ndim - 3) + (4,) * 3, **names)


def spatialdata(folder, images=(), labels=(), container="0.2"):
    """Store as SpatialData 0.7.3 writes it: container 0.2 in zarr v3, or 0.1 in zarr v2.

    Images and labels are triples of a name, levels of voxels, and transformations as
    `spatialdata_systems` gives them.
    """
    v3 = container == "0.2"
    root = zarr.open_group(folder, mode="w", zarr_format=3 if v3 else 2)
    attrs = {"version": container, "spatialdata_software_version": "0.7.3"}
    root.attrs["spatialdata_attrs"] = attrs
    groups = {kind: root.create_group(kind) for kind in ("images", "labels")}
    for name, levels, systems in images:
        group = groups["images"].create_group(name)
        _spatialdata_image(group, f"/images/{name}", levels, systems, is_label=False)
    for name, levels, systems in labels:
        group = groups["labels"].create_group(name)
        _spatialdata_image(group, name, levels, systems, is_label=True)
    names = {"labels": [name for name, _, _ in labels]}
    groups["labels"].attrs.update({"ome": names} if v3 else names)


def _spatialdata_image(group, name, levels, systems, *, is_label):
    v3 = group.metadata.zarr_format == 3
    dims = "czyx"[-levels[0].ndim :]
    kinds = {"c": "channel"}
    datasets = []
    for n, voxels in enumerate(levels):
        _store(group, f"s{n}", voxels, [*dims])
        ratios = [float(a / b) for a, b in zip(levels[0].shape, voxels.shape, strict=True)]
        steps = [{"type": "scale", "scale": ratios}]
        datasets.append({"path": f"s{n}", "coordinateTransformations": steps})
    image = {
        "datasets": datasets,
        "name": name,
        "axes": [{"name": dim, "type": kinds.get(dim, "space")} for dim in dims],
        "coordinateTransformations": systems,
    }
    # Of pyramids it does not say that they are labels.
    says_so = is_label and len(levels) == 1
    rest = {"image-label": {"version": "0.5" if v3 else "0.4"}} if says_so else {}
    if dims[0] == "c":
        rest["omero"] = {"channels": [{"label": n} for n in range(levels[0].shape[0])]}
    version = "0.5-dev-spatialdata" if v3 else "0.4-dev-spatialdata"
    if v3:
        group.attrs["ome"] = {"version": version, "multiscales": [image], **rest}
    else:
        group.attrs.update({"multiscales": [{**image, "version": version}], **rest})
    group.attrs["spatialdata_attrs"] = {"version": "0.3" if v3 else "0.2"}


def spatialdata_system(name, dims="zyx"):
    """Coordinate system, as SpatialData states both ends of every transformation."""
    axes = [
        {"name": dim, "type": "channel"} if dim == "c" else {"name": dim, "type": "space"}
        for dim in dims
    ]
    for axis in axes:
        if axis["type"] == "space":
            axis["unit"] = "unit"
    return {"name": name, "axes": axes}


def spatialdata_step(kind, values=None, system="global", dims="zyx", output=None):
    """Transformation as SpatialData writes it, to a system over the same axes or others."""
    ends = {
        "input": spatialdata_system(dims, dims),
        "output": spatialdata_system(system, output or dims),
    }
    if kind == "identity":
        return {"type": kind, **ends}
    if kind == "sequence":
        return {"type": kind, "transformations": values, **ends}
    return {"type": kind, kind: values, **ends}


def bioformats2raw(folder, count, version="0.4", *, series=False, wells=()):
    """Fileset in the layout 3 of bioformats2raw: images 0, 1, … beside the metadata of OME-XML."""
    v3 = version == "0.5"
    root = zarr.open_group(folder, mode="w", zarr_format=3 if v3 else 2)
    layout = {"bioformats2raw.layout": 3}
    root.attrs.update({"ome": {"version": "0.5", **layout}} if v3 else layout)
    ome = root.create_group("OME")
    (folder / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    if series:
        paths = {"series": [str(n) for n in range(count)]}
        ome.attrs.update({"ome": {"version": "0.5", **paths}} if v3 else paths)
    for n in range(count):
        write(folder / str(n), version, extra="tc", label=False)


def before_lengths(folder, version, voxels):
    """Image of version 0.1, 0.2 or 0.3 of OME-Zarr: no lengths, and axes by name or by custom."""
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    voxels = voxels if version == "0.3" else voxels[None, None]
    separator = "." if version == "0.1" else "/"
    encoding = {"name": "v2", "separator": separator}
    chunks = (1,) * (voxels.ndim - 3) + (4,) * 3
    for path, step in (("0", 1), ("1", 2)):
        data = np.ascontiguousarray(voxels[..., ::step, ::step, ::step])
        group.create_array(path, data=data, chunks=chunks, chunk_key_encoding=encoding)
    image = {"version": version, "name": "x", "datasets": [{"path": "0"}, {"path": "1"}]}
    group.attrs["multiscales"] = [image | ({"axes": [*"zyx"]} if version == "0.3" else {})]
