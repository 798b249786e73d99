"""What refspace does; of the version that is on the path.

Nothing is imported but what each job needs, and that off the clock: peaks of memory are of the job.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import refspace
from benchmarks import answers
from benchmarks.measurement import Answer, Inputs, Timed
from benchmarks.points import random_points
from benchmarks.votes import of_coarse
from refspace import ReferenceSpace

Space = Callable[[], ReferenceSpace]


def opener(inputs: Inputs) -> Space:
    """What makes a new space each time: around the array in memory, or of the store."""
    if inputs.medium != "memory":
        open_space = refspace.open
        return lambda: open_space(inputs.at(inputs.store))
    tree, space = refspace.StructureTree(inputs.nodes()), refspace.ReferenceSpace
    labels = np.load(inputs.path("annotation.npy"))
    return lambda: space(tree, labels, inputs.resolution)


def _of_file(inputs: Inputs) -> Space:
    open_space = refspace.open
    return lambda: open_space(
        inputs.path("annotation.nrrd"),
        structures=inputs.path("structures.json"),
        resolution=inputs.resolution,
    )


# ----- from files


def load(inputs: Inputs) -> Timed:
    """Voxels of the file in memory, and the structures."""
    opened = _of_file(inputs)
    return Timed(lambda _: opened().annotation.values, answers.of_array)


def file_to_mask(inputs: Inputs) -> Timed:
    """The first mask of a file."""
    opened, structures = _of_file(inputs), inputs.given["structures"]
    return Timed(lambda _: np.asarray(opened().make_structure_mask(structures)), answers.of_array)


def convert_file(inputs: Inputs) -> Timed:
    """The file as a store with all its levels and its index."""
    ending = inputs.given.get("ending", ".nrrd")
    unstated = {".tif", ".npy"}
    stated: dict[str, Any] = {"resolution": inputs.resolution}
    if ending in unstated:
        stated["orientation"] = "PIR"
    source = inputs.path(f"annotation{ending}")
    folder = tempfile.TemporaryDirectory(dir=inputs.folder)
    target = Path(folder.name, "atlas.zarr")

    convert = refspace.convert

    def call(_: object) -> None:
        structures = inputs.path("structures.json")
        convert(source, structures, target, memory="1 GiB", overwrite=True, **stated)

    def stored(_: object) -> Mapping[str, float]:
        return {"stored": _megabytes(target)}

    def answer(_: object) -> Answer:
        return answers.of_integers(refspace.open(target).total_voxel_map)

    def fresh() -> None:
        # A store that is there already, of this very file, is left as it is.
        shutil.rmtree(target, ignore_errors=True)

    return Timed(call, answer, fresh, stored, folder.cleanup)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def open_store(inputs: Inputs) -> Timed:
    """The space of a store."""
    opened = opener(inputs)
    return Timed(lambda _: opened())


def every_voxel(inputs: Inputs) -> Timed:
    """All voxels of the store in memory."""
    return Timed(lambda space: space.annotation.values, answers.of_array, opener(inputs))


# ----- counts and masks


def counts(inputs: Inputs) -> Timed:
    """Voxels of every structure, with its descendants."""
    return Timed(
        lambda space: (space.direct_voxel_map, space.total_voxel_map),
        lambda result: answers.of_integers(result[0]),
        opener(inputs),
    )


def boxes(inputs: Inputs) -> Timed:
    """Bounding box and centroid of every structure that has voxels."""

    def call(space: ReferenceSpace) -> None:
        for structure, voxels in space.total_voxel_map.items():
            if voxels:
                space.bounds(structure)
                space.centroid(structure)

    return Timed(call, fresh=opener(inputs))


def mask(inputs: Inputs) -> Timed:
    """Mask of structures, whole or in their box, as an array in memory."""
    return _masked(inputs, opener(inputs))


def _masked(inputs: Inputs, fresh: Space) -> Timed:
    structures, crop = inputs.given["structures"], inputs.given.get("crop", False)
    return Timed(
        lambda space: np.asarray(space.make_structure_mask(structures, crop=crop)),
        answers.of_array,
        fresh,
    )


def mask_of_foreign(inputs: Inputs) -> Timed:
    """The same from an OME-Zarr image of BrainGlobe's layout, which has no index."""
    return _masked(inputs, lambda: _foreign(inputs, "foreign.zarr"))


def mask_of_indexed(inputs: Inputs) -> Timed:
    """The same once the image was indexed, which is not timed."""
    indexed = _foreign(inputs, "indexed.zarr").with_index()
    return _masked(inputs, lambda: indexed)


def _foreign(inputs: Inputs, name: str) -> ReferenceSpace:
    return refspace.open(inputs.at(name), structures=inputs.path("structures.json"))


def divisions(inputs: Inputs) -> Timed:
    """Masks of structures, each in its box, one after the other; the largest is the output."""

    def call(space: ReferenceSpace) -> Any:
        masks = (
            np.asarray(space.make_structure_mask(each, crop=True))
            for each in inputs.given["structures"]
        )
        return max(masks, key=lambda mask: mask.size)

    return Timed(call, fresh=opener(inputs))


def masks_to_store(inputs: Inputs) -> Timed:
    """Masks of many structures in one pass, into a store."""
    return _written_masks(inputs, "masks.zarr")


def masks_to_files(inputs: Inputs) -> Timed:
    """Masks of many structures in one pass, a NRRD file each."""
    return _written_masks(inputs, "masks")


def _written_masks(inputs: Inputs, name: str) -> Timed:
    fresh = opener(inputs)
    ids = spread([i for i, n in fresh().total_voxel_map.items() if n], inputs.given["count"])
    folder = tempfile.TemporaryDirectory(dir=inputs.folder)
    target = Path(folder.name, name)
    workers, write_masks = _Workers(inputs.given.get("workers", 0)), refspace.write_masks

    def call(space: ReferenceSpace) -> None:
        client = {"client": workers.client} if workers.client else {"threads": None}
        write_masks(space, target, ids, overwrite=True, **client)

    def empty() -> ReferenceSpace:
        shutil.rmtree(target, ignore_errors=True)
        return fresh()

    def figures(_: object) -> Mapping[str, float]:
        return {"written": _megabytes(target), "structures": len(ids), **workers.peak()}

    def close() -> None:
        workers.close()
        folder.cleanup()

    return Timed(call, fresh=empty, extra=figures, close=close)


def spread(ids: list[int], count: int) -> list[int]:
    """Some of the structures, from all over the tree; all if 0 or too many are asked for."""
    if not 0 < count < len(ids):
        return ids
    return [ids[position * len(ids) // count] for position in range(count)]


class _Workers:
    """Worker processes that have imported what they need; none for threads."""

    def __init__(self, count: int) -> None:
        self.client: Any = None
        self._cluster = ExitStack()
        if count:
            from refspace.pools import local_cluster

            self.client = self._cluster.enter_context(local_cluster(count))
            self.client.wait_for_workers(count)
            self.client.run(_imported)

    def peak(self) -> Mapping[str, float]:
        """Peak memory of the largest worker; none of threads."""
        if self.client is None:
            return {}
        from benchmarks.timing import peak_megabytes

        return {"worker": max(self.client.run(peak_megabytes).values())}

    def close(self) -> None:
        """End them."""
        self._cluster.close()


def _imported() -> None:
    import refspace.batch  # noqa: F401


# ----- slices, and other grids


def slice_image(inputs: Inputs) -> Timed:
    """Coloured slice across an axis."""
    axis = inputs.given["axis"]

    def call(space: ReferenceSpace) -> Any:
        # A quarter into the voxel: the same one to those who round.
        index = space.annotation.shape[axis] * 4 // 9
        return np.asarray(space.get_slice_image(axis, (index + 0.25) * inputs.resolution))

    return Timed(call, answers.of_array, opener(inputs))


def downsample(inputs: Inputs) -> Timed:
    """The annotation coarser, as an array in memory."""
    target, method = inputs.resolution * inputs.given["ratio"], inputs.given["method"]

    def call(space: ReferenceSpace) -> Any:
        return space.downsample(target, method).annotation.values

    def answer(coarse: Any) -> Answer:
        has_votes = method == "mode" and float(inputs.given["ratio"]).is_integer()
        return of_coarse(coarse, inputs) if has_votes else answers.of_array(coarse)

    return Timed(call, answer, opener(inputs))


def downsample_to_file(inputs: Inputs) -> Timed:
    """The annotation coarser, as a NRRD file."""
    target, method = inputs.resolution * inputs.given["ratio"], inputs.given["method"]
    folder = tempfile.TemporaryDirectory()
    path, write_nrrd = Path(folder.name, "annotation.nrrd"), refspace.write_nrrd

    def call(space: ReferenceSpace) -> None:
        write_nrrd(path, space.downsample(target, method).annotation)

    def figures(_: object) -> Mapping[str, float]:
        return {"written": path.stat().st_size / 1e6}

    return Timed(call, fresh=opener(inputs), extra=figures, close=folder.cleanup)


# ----- values of voxels, and of points


def relabel(inputs: Inputs) -> Timed:
    """The annotation with ids numbered from 1, as an array in memory."""
    numbers = {each["id"]: each["graph_order"] + 1 for each in inputs.nodes()}
    return Timed(
        lambda space: space.relabel(numbers).values,
        answers.of_array,
        opener(inputs),
    )


def aggregate(inputs: Inputs) -> Timed:
    """Statistics of an image in every structure, with its descendants."""
    import dask.array

    fresh = opener(inputs)
    paths = (each["structure_id_path"] for each in inputs.nodes())
    parents = {path[-2] for path in paths if len(path) > 1}
    image = (
        dask.array.from_zarr(str(inputs.path("image.zarr")))
        if inputs.given.get("lazy")
        else np.load(inputs.path("image.npy"))
    )
    options = {key: inputs.given[key] for key in ("statistics", "quantiles") if key in inputs.given}

    def answer(table: Any) -> Answer:
        # Others know no descendants: structures that have none are compared.
        leaves = table.sel(structure=[i for i in table.structure.values if i not in parents])
        leaves = leaves["mean"].dropna("structure")
        return answers.of_numbers(leaves.structure.values, leaves.values)

    return Timed(
        lambda space: space.aggregate(image, **options).compute(scheduler="threads"), answer, fresh
    )


def structure_at(inputs: Inputs) -> Timed:
    """Structures of many points."""
    fresh = opener(inputs)
    points = random_points(fresh().grid.extent, inputs.given["count"])
    return Timed(lambda space: space.structure_at(points).values, answers.of_array, fresh)


def count_points(inputs: Inputs) -> Timed:
    """Points of every structure with its descendants, and their densities."""
    fresh = opener(inputs)
    points = random_points(fresh().grid.extent, inputs.given["count"])
    return Timed(lambda space: space.count_points(points).compute(), fresh=fresh)


def voxel(inputs: Inputs) -> Timed:
    """Structure at one point, in the middle."""

    def call(space: ReferenceSpace) -> Any:
        labels = space.annotation
        return np.asarray(labels.sel({dim: labels[dim][n // 2] for dim, n in labels.sizes.items()}))

    return Timed(call, fresh=opener(inputs))


# ----- for other programs


def itksnap(inputs: Inputs) -> Timed:
    """Renumbered volume and label descriptions of ITK-SNAP, as files."""
    folder = tempfile.TemporaryDirectory()
    files = Path(folder.name, "labels.nrrd"), Path(folder.name, "labels.txt")

    def answer(_: object) -> Answer:
        import nrrd

        return answers.of_array(nrrd.read(str(files[0]), index_order="C")[0])

    def figures(_: object) -> Mapping[str, float]:
        return {"written": _megabytes(files[0].parent)}

    return Timed(
        lambda space: space.write_itksnap_labels(*map(str, files)),
        answer,
        opener(inputs),
        figures,
        folder.cleanup,
    )


# ----- without the proof of what is read


def _unproven(timed: Timed) -> Timed:
    from refspace.store.stored_array import StoredArray

    @contextmanager
    def unproven() -> Iterator[None]:
        with mock.patch.object(StoredArray, "_proven", lambda self, block_id, data: data):
            yield

    def call(given: Any) -> Any:
        with unproven():
            return timed.call(given)

    return Timed(call, timed.answer, timed.fresh)


def every_voxel_unproven(inputs: Inputs) -> Timed:
    """All voxels, not held against the records of the store."""
    return _unproven(every_voxel(inputs))


def mask_unproven(inputs: Inputs) -> Timed:
    """A mask, whose blocks are not held against the records of the store."""
    return _unproven(mask(inputs))
