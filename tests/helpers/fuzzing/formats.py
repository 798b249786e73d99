"""Every format that refspace reads: good cases, how they may change, and how they are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

from helpers.fuzzing import seeds
from helpers.fuzzing.cases import Case
from helpers.fuzzing.mutators import (
    Mutator,
    gzip_bomb,
    mutate_bytes,
    mutate_json,
    mutate_text,
    within_gzip,
    zstd_bomb,
)


def unchanged(case: Case, _chance: Random) -> Case:
    """The case as it is."""
    return case


@dataclass(frozen=True)
class Format:
    """A format, and what one may do to it.

    Parameters
    ----------
    seeds
        Makes good cases.
    rules
        How files are changed, by patterns of their names; the first that fits holds.
    read
        Reads a case from a folder, whole.
    finish
        Changes a mutated case so that it passes for one: seals it again.
    """

    seeds: Callable[[], Sequence[Case]]
    rules: Mapping[str, Sequence[Mutator]]
    read: Callable[[Path], Any]
    finish: Callable[[Case, Random], Case] = unchanged

    def mutators(self, name: str) -> Sequence[Mutator]:
        """How a file may be changed; nothing if it may not."""
        return next((those for rule, those in self.rules.items() if fnmatch(name, rule)), ())


# ----- volumes


def read_volume(folder: Path) -> Any:
    """Read a volume of labels, as an image, and part by part."""
    from helpers.fuzzing.reading import each
    from refspace.formats.volumes import read_image_file, read_volume, stated_spacing

    (path,) = [path for path in folder.iterdir() if path.suffix not in (".raw", ".zraw", ".img")]
    each(
        lambda: stated_spacing(path),
        lambda: read_volume(path).compute(),
        lambda: read_volume(path, resolution=25, orientation="PIR", override=True).compute(),
        lambda: read_image_file(path).compute(),
    )


def nrrd_header(data: bytes, chance: Random) -> bytes:
    """Change the header of an NRRD file alone."""
    header, blank, voxels = data.partition(b"\n\n")
    return mutate_text(header, chance) + blank + voxels


def nrrd_voxels(data: bytes, chance: Random) -> bytes:
    """Change the compressed voxels of an NRRD file alone."""
    header, blank, voxels = data.partition(b"\n\n")
    change = chance.choice((mutate_bytes, gzip_bomb) if chance.random() < 0.1 else (mutate_bytes,))
    if b"gzip" in header and voxels[:2] == b"\x1f\x8b" and chance.random() < 0.5:
        change = within_gzip(mutate_bytes)
    return header + blank + change(voxels, chance)


def nifti_header(data: bytes, chance: Random) -> bytes:
    """Change the header and the extensions of a NIfTI file, which is compressed or not."""
    if data[:2] == b"\x1f\x8b":
        return within_gzip(nifti_header)(data, chance)
    end = chance.choice((348, 352, 600))
    return mutate_bytes(data[:end], chance)[: len(data)] + data[end:]


def mgh_header(data: bytes, chance: Random) -> bytes:
    """Change the header of a MGH file, which is compressed or not."""
    if data[:2] == b"\x1f\x8b":
        return within_gzip(mgh_header)(data, chance)
    return mutate_bytes(data[:90], chance)[: len(data)] + data[90:]


def metaimage_header(data: bytes, chance: Random) -> bytes:
    """Change the lines of a MetaImage header alone."""
    lines, key, rest = data.partition(b"ElementDataFile")
    name, end, voxels = rest.partition(b"\n")
    return mutate_text(lines + key + name, chance) + end + voxels


def npy_header(data: bytes, chance: Random) -> bytes:
    """Change the header of a .npy file alone, as text or as bytes."""
    change = chance.choice((mutate_text, mutate_text, mutate_bytes))
    return data[:10] + change(data[10:128], chance)[:118].ljust(118) + data[128:]


def tiff_directory(data: bytes, chance: Random) -> bytes:
    """Change numbers of a directory of a TIFF file: a tag, a type, a count or an offset."""
    place = data.find((256).to_bytes(2, "big" if data[:2] == b"MM" else "little"), 8)
    end = min(len(data), place + 12 * 16)
    if place < 0 or end - place < 8:
        return mutate_bytes(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randrange(place, end - 4)
        number = chance.choice((0, 1, 8, 2**16 - 1, 2**31, 2**32 - 1, len(data), 7))
        data = data[:start] + number.to_bytes(4, "little") + data[start + 4 :]
    return data


def tiff_text(data: bytes, chance: Random) -> bytes:
    """Change the text of the first page of a TIFF file alone, and not its length."""
    starts = [data.find(word) for word in (b"ImageJ=", b"<?xml", b'{"')]
    start = max(starts)
    end = data.find(b"\0", start)
    if start < 0 or end < 0:
        return mutate_bytes(data, chance)
    changed = mutate_text(data[start:end], chance)[: end - start]
    return data[:start] + changed.ljust(end - start) + data[end:]


# ----- tables and documents


def read_structures(folder: Path) -> Any:
    """Read a tree, and ask it some things."""
    import refspace
    from refspace.formats.tables import column_names

    (path,) = folder.iterdir()
    tree = refspace.read_structures(path)
    assert tree.nodes() is not None
    refspace.read_structures(path).regions("leaves")
    column_names(path) if path.suffix == ".csv" else None


def read_mesh(folder: Path) -> Any:
    """Read a mesh."""
    from refspace.formats.meshes import read_mesh, read_neuroglancer_mesh

    if (folder / "7:0").exists():
        read_neuroglancer_mesh(folder, 7)
        return
    (path,) = folder.iterdir()
    mesh = read_mesh(path)
    assert mesh.face_vertices.max(initial=-1) < len(mesh.vertices)


def read_points(folder: Path) -> Any:
    """Read a table of points as the command ``points`` does, on a small atlas."""
    from helpers.fuzzing.reading import each
    from refspace.formats.tables import column_names, read_parts, read_table

    (path,) = folder.iterdir()
    each(
        lambda: column_names(path),
        lambda: read_table(path, ["ap", "dv", "ml"], "name"),
        lambda: list(read_parts(path, as_text=True)),
        lambda: list(read_parts(path, as_text=False)),
    )


TABLE = [mutate_text, mutate_text, mutate_bytes]


# ----- stores


def read_store(folder: Path) -> Any:
    """Open an atlas, of this program or another, and ask it some things."""
    import refspace
    from helpers.fuzzing.reading import each

    how: dict[str, Any] = {"structures": seeds.TREE, "orientation": "PIR"}
    url = folder / "x.zarr"
    own = {} if (url / "label_index").exists() else how
    geometry = {name: value for name, value in own.items() if name != "structures"}
    each(
        lambda: refspace.open(url, **own).annotation.compute(),
        lambda: refspace.open(url, **own).voxel_counts().compute(),
        lambda: refspace.open(url, **own).make_structure_mask(8).compute(),
        lambda: refspace.open(url, **own).hemisphere("left").annotation.compute(),
        lambda: refspace.open(url, **own).template,
        lambda: refspace.verify_store(url, threads=1, **geometry),
    )


def read_masks(folder: Path) -> Any:
    """Open masks, and compute them."""
    import refspace
    from helpers.fuzzing.reading import each

    each(
        lambda: refspace.open_masks(folder / "x.zarr").compute(),
        lambda: refspace.open_masks(folder / "x.zarr").sel(structure=8).compute(),
        lambda: refspace.verify_store(folder / "x.zarr", threads=1),
    )


def read_zarr_image(folder: Path) -> Any:
    """Open an image in zarr as the command ``aggregate`` does."""
    from helpers.fuzzing.reading import each
    from refspace.batch import ImageOptions
    from refspace.batch.images import image_identity, open_any_image

    url, options = str(folder / "x.zarr"), ImageOptions()

    each(
        lambda: open_any_image(url, seeds.GRID, options).compute(),
        lambda: image_identity(url, seeds.GRID, options),
    )


def read_label_index(folder: Path) -> Any:
    """Use an index that is beside an image, and hold what it says against the voxels."""
    import numpy as np

    from helpers.foreign_stores import opened

    space = opened(folder / "x.zarr")
    labels, counts = np.unique(space.annotation.values, return_counts=True)
    indexed = space.with_index(folder / seeds.INDEX)
    assert indexed.volume.label_counts == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    mask = indexed.make_structure_mask(8).values
    np.testing.assert_array_equal(mask, np.isin(space.annotation.values, [8]))


def index_header(data: bytes, chance: Random) -> bytes:
    """Change the header of a label index alone, as JSON."""
    count = int.from_bytes(data[40:48], "little")
    header = mutate_json(data[48 : 48 + count], chance)
    return data[:40] + len(header).to_bytes(8, "little") + header + data[48 + count :]


def index_tables(data: bytes, chance: Random) -> bytes:
    """Change what one of the tables of a label index holds; of one that was changed, anything."""
    try:
        return _with_changed_table(data, chance)
    except Exception:  # whatever an earlier change leads to
        return mutate_bytes(data, chance)


def _with_changed_table(data: bytes, chance: Random) -> bytes:
    import json

    from numcodecs import zstd

    count = int.from_bytes(data[40:48], "little")
    header = json.loads(data[48 : 48 + count])
    lengths = [(entry["stored"], n) for entry in header["arrays"] for n in range(3)]
    place, chosen = 48 + count, chance.randrange(len(lengths))
    frames = []
    for number, (stored, n) in enumerate(lengths):
        frame = data[place : place + stored[n]]
        place += stored[n]
        if number == chosen:
            frame = zstd.compress(mutate_bytes(zstd.decompress(frame), chance))
            stored[n] = len(frame)
        frames.append(frame)
    text = json.dumps(header).encode()
    return b"".join([data[:40], len(text).to_bytes(8, "little"), text, *frames])


STORE = {
    "*zarr.json": [mutate_json],
    "*.z*": [mutate_json],
    "*": [mutate_bytes, mutate_bytes, mutate_bytes, zstd_bomb, gzip_bomb],
}


# ----- jobs that were stopped


def read_conversion(folder: Path) -> Any:
    """Go on with a conversion."""
    seeds.convert(folder)


def read_aggregation(folder: Path) -> Any:
    """Go on with a table of images."""
    seeds.aggregate(folder, seeds.JOB_TABLE)


def read_text_aggregation(folder: Path) -> Any:
    """Go on with a table of text."""
    seeds.aggregate(folder, seeds.JOB_TEXT)


JOB = {
    "*.nrrd": [],
    "atlas.zarr/*": [],
    "*.json": [mutate_json, mutate_text],
    "*": [mutate_bytes, mutate_text],
}


FORMATS: Mapping[str, Format] = {
    "nrrd": Format(
        seeds.nrrd, {"*.raw": [mutate_bytes], "*": [nrrd_header] * 4 + [nrrd_voxels]}, read_volume
    ),
    "nifti": Format(
        seeds.nifti, {"*": [nifti_header] * 3 + [mutate_bytes, gzip_bomb]}, read_volume
    ),
    "mgh": Format(seeds.mgh, {"*": [mgh_header] * 3 + [mutate_bytes, gzip_bomb]}, read_volume),
    "metaimage": Format(
        seeds.metaimage,
        {"*raw": [mutate_bytes], "*": [metaimage_header] * 4 + [mutate_bytes]},
        read_volume,
    ),
    "npy": Format(seeds.npy, {"*": [npy_header] * 4 + [mutate_bytes]}, read_volume),
    "tiff": Format(
        seeds.tiff, {"*": [tiff_directory, tiff_directory, tiff_text, mutate_bytes]}, read_volume
    ),
    "structures": Format(
        seeds.structures,
        {"*.json": [mutate_json], "*.parquet": [mutate_bytes], "*": TABLE},
        read_structures,
    ),
    "mesh": Format(seeds.mesh, {"*": TABLE}, read_mesh),
    "points": Format(seeds.points, {"*.parquet": [mutate_bytes], "*": TABLE}, read_points),
    "foreign": Format(seeds.foreign, STORE, read_store),
    "label index": Format(
        seeds.label_index,
        {"*.label_index": [index_header, index_tables, index_tables, mutate_bytes]},
        read_label_index,
        seeds.resealed,
    ),
    "atlas": Format(seeds.atlas, STORE, read_store, seeds.signed),
    "masks": Format(seeds.masks, STORE, read_masks, seeds.signed),
    "image": Format(seeds.images, STORE, read_zarr_image),
    "conversion": Format(seeds.conversion, JOB, read_conversion),
    "aggregation": Format(seeds.aggregation, JOB, read_aggregation),
    "text aggregation": Format(seeds.text_aggregation, JOB, read_text_aggregation),
    "allen": Format(
        seeds.allen,
        {"*.json*": [mutate_json], "*.obj": TABLE, "*.nrrd": [nrrd_header, nrrd_voxels]},
        seeds.read_allen,
    ),
    "brainglobe": Format(
        seeds.brainglobe,
        {"*.json": [mutate_json], "*.csv": TABLE, "*.conf": TABLE, "*": [mutate_bytes, zstd_bomb]},
        seeds.read_brainglobe,
    ),
    "abc": Format(
        seeds.abc, {"*.csv": TABLE, "*.nii.gz": [nifti_header, mutate_bytes]}, seeds.read_abc
    ),
}
"""Formats by name."""
