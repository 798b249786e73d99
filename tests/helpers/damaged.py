"""Subjects of damages: a store, a table or an interrupted job of each kind."""

import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import xarray as xr

import refspace
from helpers.damage import Subject, Verb, content_of
from helpers.every_op import CHUNKS, GRID, HEMISPHERES, TREE, VOXELS
from helpers.every_verb import VERBS
from refspace import ReferenceSpace
from refspace.labels import labelled
from refspace.store import Report

# Halved once: the levels are 7 × 6 × 5 and 3 × 3 × 2 voxels.
COARSE = (20, 40, 60)


class Opened(NamedTuple):
    """A store that is open at both its levels."""

    fine: ReferenceSpace
    coarse: ReferenceSpace


def voxels(seed: int) -> np.ndarray:
    """The voxels of `every_op`, or others like them."""
    if seed == 0:
        return VOXELS
    return np.random.default_rng(seed).choice(np.array([0, 2, 3, 70000], "u4"), GRID.shape)


def space(seed: int, *, sides: bool = False, template: bool = False) -> ReferenceSpace:
    """A space on one grid, of one tree; the voxels differ by the seed."""
    flags = np.roll(HEMISPHERES, seed, axis=2)
    values = np.random.default_rng(seed + 50).integers(0, 999, GRID.shape, "u2")
    return ReferenceSpace(
        TREE,
        labelled(da.from_array(voxels(seed), chunks=CHUNKS), GRID),
        hemispheres=labelled(da.from_array(flags, chunks=4), GRID) if sides else None,
        template=labelled(values, GRID, "template") if template else None,
    )


def image(seed: int) -> xr.DataArray:
    """An image on the grid of the spaces."""
    return labelled(np.random.default_rng(seed + 90).random(GRID.shape), GRID, "image")


# ----- atlases


def atlas_verbs() -> dict[str, Callable[[Opened], Any]]:
    """Every verb of the finest level, and what is made of the coarser one."""
    # One that writes another store says nothing that others do not, and takes longest.
    names = [name for name in VERBS if name != "to_zarr"]
    of_coarse = ["annotation", "maps", "make_structure_mask", "aggregate, coarse"]
    coarse = {
        "annotation": VERBS["annotation"],
        "maps": VERBS["maps"],
        "make_structure_mask": VERBS["make_structure_mask"],
        "aggregate, coarse": lambda s: s.aggregate(np.ones(s.grid.shape)),
    }
    return (
        {name: lambda opened, run=VERBS[name]: run(opened.fine) for name in names}
        | {f"coarse {name}": lambda o, run=coarse[name]: run(o.coarse) for name in of_coarse}
        | {
            "template": lambda opened: opened.fine.template,
            "structures": lambda opened: opened.fine.structure_tree.nodes(),
            "datatree, every level": lambda opened: [
                level.to_dataset() for level in opened.fine.to_datatree().subtree
            ],
        }
    )


ATLASES: Mapping[str, Mapping[str, Any]] = {
    "plain": {"chunks": 4},
    "sharded": {"chunks": 2, "shards": 4},
    "with sides": {"chunks": 4, "sides": True, "template": True},
    "sharded, with sides": {"chunks": 2, "shards": 4, "sides": True, "template": True},
}
"""How each kind of atlas is written."""


def atlas(folder: str, kind: str, **options: Any) -> Subject:
    """Store of an atlas, and another of the same kind."""
    how = dict(ATLASES[kind])
    made = {name: how.pop(name) for name in ("sides", "template") if name in how}
    urls = [f"{folder}/{kind.replace(', ', ' ').replace(' ', '-')}-{n}.zarr" for n in range(2)]
    for number, url in enumerate(urls):
        space(number, **made).to_zarr(url, **how, storage_options=options or None)
    own, *others = (content_of(url, **options) for url in urls)

    def opened() -> Opened:
        fine = refspace.open(urls[0], storage_options=options or None)
        return Opened(fine, refspace.open(urls[0], resolution=COARSE, storage_options=options))

    verify = partial(refspace.verify_store, urls[0], storage_options=options, threads=1)
    return Subject(urls[0], own, others, opened, atlas_verbs(), verify, options)


# ----- masks

MASK_VERBS: Mapping[str, Callable[[xr.DataArray], Any]] = {
    "masks": lambda masks: masks,
    "names": lambda masks: [masks.acronym, masks["name"], masks.structure],
    "coordinates": lambda masks: [masks.ap, masks.dv, masks.ml, masks.hemisphere],
    "mask": lambda masks: masks.sel(structure=3),
    "slice": lambda masks: masks.isel(ap=2),
    "sums": lambda masks: masks.sum(("ap", "dv", "ml")),
    "table": lambda masks: masks.isel(dv=0, ml=0).to_pandas(),
}


def masks(folder: str, **options: Any) -> Subject:
    """Store of masks, and another."""
    urls = [f"{folder}/masks-{n}.zarr" for n in range(2)]
    for number, url in enumerate(urls):
        refspace.write_masks(
            space(number), url, [1, 2, 3, 70000], storage_options=options or None, threads=1
        )
    own, *others = (content_of(url, **options) for url in urls)
    opened = partial(refspace.open_masks, urls[0], storage_options=options)
    verify = partial(refspace.verify_store, urls[0], storage_options=options)
    return Subject(urls[0], own, others, opened, MASK_VERBS, verify, options)


# ----- tables and interrupted jobs, whose verb is to run the job again


def stop_after(parts: int) -> Callable[[int, int], None]:
    """Progress of a job that is stopped once so many parts are done."""

    def progress(done: int, _total: int) -> None:
        if done >= parts:
            raise KeyboardInterrupt

    return progress


def _job(
    folder: Path,
    other: Path,
    run: Callable[..., Any],
    read: Callable[[Path], Any],
    parts: int | None,
    verify: Callable[[Path], Report] | None = None,
) -> Subject:
    """A job in a folder, whole or stopped, whose verb is to run it again.

    Parameters
    ----------
    folder
        Where it writes.
    other
        Where the same was done with other values.
    run
        Does the job in a folder, with the options of a job.
    read
        Reads what it wrote.
    parts
        Number of parts after which it was stopped; None if it is whole.
    verify
        Lists the faults of what is in a folder; None where nothing does.
    """
    for place in (folder, other):
        place.mkdir(parents=True)
        with suppress(KeyboardInterrupt):
            run(place, **({} if parts is None else {"progress": stop_after(parts)}))

    def again(place: Path) -> Any:
        run(place)
        return read(place)

    # Nothing reads what a lock holds.
    own, others = (
        {key: data for key, data in content_of(str(place)).items() if not key.endswith("lock")}
        for place in (folder, other)
    )
    verbs = {"run again": again}
    proof = verify and partial(verify, folder)
    return Subject(
        str(folder), own, [others], lambda: folder, verbs, proof, is_changed_by_verbs=True
    )


def conversion(folder: Path, parts: int | None) -> Subject:
    """A conversion of an NRRD file, and what it wrote."""
    sources = [folder / f"annotation-{n}.nrrd" for n in range(2)]
    for number, source in enumerate(sources):
        refspace.write_nrrd(source, space(number).annotation)
    runs = {str(folder / f"job-{n}"): source for n, source in enumerate(sources)}

    def run(place: Path, **how: Any) -> None:
        url = place / "atlas.zarr"
        refspace.convert(runs[str(place)], TREE, url, chunks=2, threads=1, **how)

    places = [Path(place) for place in runs]
    return _job(*places, run, lambda place: content_of(str(place)), parts)


def mask_job(folder: Path, parts: int | None, name: str = "masks.zarr") -> Subject:
    """Masks of all structures, and what was written."""
    for number in range(2):
        space(number).to_zarr(folder / f"atlas-{number}.zarr", chunks=2)

    def run(place: Path, **how: Any) -> None:
        atlas_url = folder / f"atlas-{place.name[-1]}.zarr"
        refspace.write_masks(atlas_url, place / name, [1, 2, 3, 70000], threads=1, **how)

    def read(place: Path) -> Any:
        return content_of(str(place))

    return _job(folder / "job-0", folder / "job-1", run, read, parts)


def table(folder: Path, name: str, parts: int | None) -> Subject:
    """A table of images, and what was written."""
    for number in range(2):
        space(number).to_zarr(folder / f"atlas-{number}.zarr", chunks=4)
    images = [folder / f"image-{n}.nrrd" for n in range(4)]
    for number, path in enumerate(images):
        refspace.write_nrrd(path, image(number))

    def run(place: Path, **how: Any) -> None:
        atlas_url = folder / f"atlas-{place.name[-1]}.zarr"
        refspace.aggregate_images(atlas_url, images, place / name, threads=1, **how)

    def verify(place: Path) -> Report:
        report = refspace.verify(place / name)
        # Of files beside a table, or within, the names are told without the folder.
        folders = [f"{path.relative_to(place)}/" for path in place.iterdir() if path.is_dir()]
        faults = [
            replace(fault, key=f"{of}{fault.key}") for fault in report.faults for of in folders
        ]
        return replace(report, faults=(*report.faults, *faults))

    def read(place: Path) -> Any:
        return content_of(str(place))

    proof = verify if parts is None else None
    return _job(folder / "job-0", folder / "job-1", run, read, parts, proof)


JOBS: Mapping[str, Callable[[Path], Subject]] = {
    "conversion, stopped": partial(conversion, parts=9),
    "masks, stopped": partial(mask_job, parts=3),
    "files of masks": partial(mask_job, name="masks", parts=None),
    "table.parquet": partial(table, name="t.parquet", parts=None),
    "table.csv": partial(table, name="t.csv", parts=None),
    "table.parquet, stopped": partial(table, name="t.parquet", parts=2),
    "table.csv, stopped": partial(table, name="t.csv", parts=2),
}
"""Jobs that are run again, stopped or whole."""


# ----- the real annotation


def _level_of(key: str) -> int | None:
    """Level whose chunk a file is, of an atlas."""
    match = re.match(r"s(\d+)/annotation/c/", key)
    return int(match[1]) if match else None


def _chunk(key: str, sizes: Sequence[int]) -> tuple[slice, ...]:
    """Voxels of the chunk that a file holds, along the axes of space."""
    index = [int(part) for part in key.rpartition("/c/")[2].split("/")][-3:]
    return tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, sizes, strict=True))


def checksum(array: xr.DataArray) -> int:
    """A number that tells arrays of the same shape apart."""
    return zlib.crc32(np.ascontiguousarray(array.values).data)


def ccf(store: Path, folder: Path) -> Subject:
    """Store of the real annotation, and one of it with left and right exchanged."""
    url = str(folder / "ccf.zarr")
    shutil.copytree(store, url)
    space = refspace.open(url)
    turned = labelled(space.annotation.values[:, :, ::-1], space.grid)
    ReferenceSpace(space.structure_tree, turned).to_zarr(folder / "other.zarr")
    sizes = space.annotation.data.chunksize
    spacings = [25 * 2**level for level in range(len(list(Path(url).glob("s[0-9]"))))]
    points = np.random.default_rng(0).random((500, 3)) * np.array(space.grid.extent)

    def near(key: str) -> Mapping[str, Verb]:
        if (level := _level_of(key)) is None:
            return {}
        part = _chunk(key, sizes)
        return {
            f"voxels of {key}": lambda spaces: checksum(spaces[level].annotation[part]),
            f"masks of {key}": lambda spaces: checksum(
                spaces[level].make_structure_mask("Isocortex")[part]
            ),
        }

    verbs: dict[str, Verb] = {
        "counts": lambda spaces: spaces[0].voxel_counts(),
        "structures": lambda spaces: spaces[0].structure_tree.nodes(),
        "places": lambda spaces: [spaces[0].centroid("VISp"), spaces[0].bounds("TH").positions],
        "mask": lambda spaces: checksum(spaces[0].make_structure_mask("VISp", crop=True)),
        "slice": lambda spaces: checksum(spaces[0].annotation.isel(ap=200)),
        "points": lambda spaces: spaces[0].structure_at(points),
        "aggregate": lambda spaces: spaces[2].aggregate(np.ones(spaces[2].grid.shape), "leaves"),
    }
    return Subject(
        url,
        content_of(url),
        [content_of(str(folder / "other.zarr"))],
        lambda: [refspace.open(url, resolution=spacing) for spacing in spacings],
        verbs,
        partial(refspace.verify_store, url),
        near=near,
    )


def ccf_masks(store: Path, folder: Path) -> Subject:
    """Masks of the divisions of the real annotation, and those of its left side."""
    urls = [str(folder / f"masks-{n}.zarr") for n in range(2)]
    space = refspace.open(store)
    for url, each in zip(urls, (space, space.hemisphere("left")), strict=True):
        refspace.write_masks(each, url, space.structure_tree.regions(depth=4))
    sizes = refspace.open_masks(urls[0]).data.chunksize[1:]

    def near(key: str) -> Mapping[str, Verb]:
        if not key.startswith("s0/mask/c/"):
            return {}
        part = (slice(None), *_chunk(key, sizes))
        return {f"voxels of {key}": lambda masks: checksum(masks[part])}

    verbs: dict[str, Verb] = {
        "names": MASK_VERBS["names"],
        "coordinates": MASK_VERBS["coordinates"],
        "mask": lambda masks: checksum(masks.sel(structure=int(masks.structure[3]))),
        "slice": lambda masks: checksum(masks.isel(ap=200)),
    }
    return Subject(
        urls[0],
        content_of(urls[0]),
        [content_of(urls[1])],
        partial(refspace.open_masks, urls[0]),
        verbs,
        partial(refspace.verify_store, urls[0]),
        near=near,
    )
