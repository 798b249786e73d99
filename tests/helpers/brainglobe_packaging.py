"""Folders as BrainGlobe's own packaging code writes them; a script compares the two."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

Volume = NDArray[Any]
Resolution = tuple[float, float, float]
ROOT = "brainglobe-atlasapi"
MAJOR = 3
# Parts of the real packaging that no reader of voxels needs: meshes, and a mask of each structure.
LEFT_OUT = ("annotations.precomputed", "annotations.ome.zarr")
_SIDES = {"z": "anterior-to-posterior", "y": "superior-to-inferior", "x": "right-to-left"}
_AXES = [
    {
        "name": name,
        "type": "space",
        "unit": "millimeter",
        "orientation": {"type": "anatomical", "value": side},
    }
    for name, side in _SIDES.items()
]


@dataclass(frozen=True)
class Sample:
    """An atlas to package: what the packaging code takes, with volumes in its own order, asr."""

    name: str
    minors: tuple[int, ...]
    resolutions: tuple[Resolution, ...]
    annotation: tuple[Volume, ...]
    template: tuple[Volume, ...]
    structures: tuple[dict[str, Any], ...]
    species: str
    hemispheres: tuple[Volume, ...] = ()
    references: dict[str, Volume] = field(default_factory=dict)


def structures() -> tuple[dict[str, Any], ...]:
    """Structures with ids beyond 16 and 31 bits, and a name with a comma and one with letters."""
    paths = {997: [997], 8: [997, 8], 3_200_000_000: [997, 8, 3_200_000_000], 7000: [997, 7000],
             12: [997, 7000, 12]}  # fmt: skip
    names = {12: "área, dorsal", 8: "grey matter"}
    return tuple(
        {
            "acronym": "root" if i == 997 else f"A{i}",
            "id": i,
            "name": names.get(i, f"area {i}"),
            "structure_id_path": path,
            "rgb_triplet": [i % 256, i // 7 % 256, 3],
        }
        for i, path in paths.items()
    )


def annotation(shape: tuple[int, int, int] = (40, 24, 31)) -> Volume:
    """Labels of all structures but the root, the same at no two sides."""
    voxels = np.zeros(shape, np.uint32)
    voxels[3:35, 2:20, 3:29] = 8
    voxels[5:19, 4:18, 5:12] = 3_200_000_000
    voxels[19:34, 3:16, 13:28] = 12
    voxels[9:11, 6:8, 14:20] = 7000
    return voxels


def mouse() -> Sample:
    """Symmetric atlas in two versions, of which names sort the other way; voxels are no cubes."""
    voxels = annotation()
    image = np.random.default_rng(0).integers(1, 60_000, voxels.shape).astype(np.uint16)
    half = (slice(None, None, 2),) * 3
    return Sample(
        "phantom_mouse",
        (9, 10),
        ((100, 50, 50), (200, 100, 100)),
        (voxels, voxels[half]),
        (image, image[half]),
        structures(),
        "Mus phantasma (Phantom mouse)",
    )


def rat() -> Sample:
    """Atlas with hemispheres of its own, and a second template."""
    voxels = annotation((40, 26, 36))
    sides = np.full(voxels.shape, 2, np.uint8)
    sides[:, :, 20:] = 1
    sides[:, :9, 17:] = 1
    image = np.random.default_rng(1).integers(1, 60_000, voxels.shape).astype(np.uint16)
    return Sample(
        "phantom_rat",
        (0,),
        ((25.0, 25.0, 25.0),),
        (voxels,),
        (image,),
        structures(),
        "Rattus phantasma",
        (sides,),
        {"nissl": image // 2},
    )


def write_packaging(folder: str | Path, sample: Sample) -> Path:
    """Write an atlas; give the folder that has ``atlases``."""
    base = Path(folder) / ROOT
    for minor in sample.minors:
        _write_version(base, sample, f"{MAJOR}.{minor}")
    return base


def _write_version(base: Path, sample: Sample, version: str) -> None:
    parts = {
        part: _component(sample, root, part, version)
        for part, root in {
            "template": "templates",
            "terminology": "terminologies",
            "annotation": "annotation-sets",
            "space": "coordinate-spaces",
        }.items()
    }
    parts["annotation"] |= {"template": parts["template"], "terminology": parts["terminology"]}
    parts["space"] |= {"template": dict(parts["template"])}
    folders = {part: base / fields["location"][1:] for part, fields in parts.items()}
    references = [
        _component(sample, "templates", f"{name}-template", version) for name in sample.references
    ]
    for fields, image in zip(references, sample.references.values(), strict=True):
        place = base / fields["location"][1:] / "template.ome.zarr"
        write_image(place, (image,), sample.resolutions)
    write_image(folders["template"] / "template.ome.zarr", sample.template, sample.resolutions)
    images = {
        "annotations_compressed": sample.annotation,
        "hemispheres": sample.hemispheres or tuple(map(_sides, sample.annotation)),
    }
    for name, volumes in images.items():
        place = folders["annotation"] / f"{name}.ome.zarr"
        write_image(place, volumes, sample.resolutions)
    _write_terminology(folders["terminology"], sample.structures)
    _write_json(folders["space"] / "manifest.json", parts["space"])
    for resolution, volume in zip(sample.resolutions, sample.annotation, strict=True):
        location = f"/atlases/{sample.name}_{resolution[0]}um/{version.replace('.', '_')}"
        manifest = {
            "name": sample.name,
            "location": location,
            "citation": "unpublished",
            "atlas_link": "http://example.org",
            "species": sample.species,
            "symmetric": not sample.hemispheres,
            "resolution": [float(length) for length in resolution],
            "orientation": "asr",
            "version": version,
            "shape": list(volume.shape),
            "additional_references": references,
            "atlas_packager": None,
            "coordinate_space": parts["space"],
            "terminology": parts["terminology"],
            "annotation_set": parts["annotation"],
            "template": parts["template"],
        }
        _write_json(base / location[1:] / "manifest.json", manifest)


def _component(sample: Sample, root: str, part: str, version: str) -> dict[str, Any]:
    name = f"{sample.name}-{part}"
    return {
        "name": name,
        "version": version,
        "location": f"/{root}/{name}/{version.replace('.', '_')}",
    }


def _sides(volume: Volume) -> Volume:
    sides = np.full(volume.shape, 2, np.uint8)
    sides[:, :, round(volume.shape[2] / 2) :] = 1
    return sides


def write_image(path: Path, volumes: Sequence[Volume], resolutions: Sequence[Resolution]) -> None:
    """Write an image with its levels, as all images of an atlas are."""
    scales = [[length / 1000 for length in resolution] for resolution in resolutions]
    datasets = [
        {
            "path": f"s{n}",
            "coordinateTransformations": [
                {"type": "scale", "scale": scale},
                {
                    "type": "translation",
                    "translation": [
                        round((a - b) / 2, 9) for a, b in zip(scale, scales[0], strict=True)
                    ],
                },
            ],
        }
        for n, scale in enumerate(scales)
    ]
    image = {"datasets": datasets, "name": "/", "axes": _AXES}
    group = zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    for n, volume in enumerate(volumes):
        array = group.create_array(
            f"s{n}",
            shape=volume.shape,
            dtype=volume.dtype,
            chunks=(128,) * 3,
            fill_value=0,
            compressors=ZstdCodec(level=0, checksum=False),
            dimension_names=list("zyx"),
        )
        array[...] = volume


def _write_terminology(folder: Path, structures: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    columns = ("identifier", "parent_identifier", "annotation_value", "name", "abbreviation",
               "color_hex_triplet", "root_identifier_path")  # fmt: skip
    with (folder / "terminology.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for each in structures:
            path = each["structure_id_path"]
            colour = "#{:02X}{:02X}{:02X}".format(*each["rgb_triplet"])
            parent = path[-2] if len(path) > 1 else ""
            writer.writerow(
                [each["id"], parent, each["id"], each["name"], each["acronym"], colour, path]
            )


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields, indent=4))


# ----- what BrainGlobe's reader, and its older packaging, leave on a machine


def without_voxels(image: str | Path) -> None:
    """Leave what its reader downloads before anyone asks for voxels: the metadata."""
    for path in sorted(Path(image).glob("s*/c/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for path in Path(image).glob("s*/c"):
        path.rmdir()


def write_classic(
    folder: str | Path, name: str = "phantom_mouse_50um", version: str = "1.2", **fields: Any
) -> Path:
    """Write the files of an atlas of versions 1 and 2; of volumes, no more than their names."""
    place = Path(folder) / f"{name}_v{version}"
    (place / "meshes").mkdir(parents=True)
    for file in ("annotation.tiff", "reference.tiff", "hemispheres.tiff"):
        (place / file).write_bytes(b"II*\0\x08\0\0\0")
    (place / "structures.json").write_text(json.dumps(structures()))
    metadata = {"name": "phantom_mouse", "citation": "unpublished", "species": "Mus phantasma",
                "symmetric": True, "resolution": [50, 50, 50], "orientation": "asr",
                "version": version, "shape": [4, 4, 4]}  # fmt: skip
    (place / "metadata.json").write_text(json.dumps(metadata | fields))
    return place
