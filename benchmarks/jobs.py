"""What is measured: jobs, and for each the ways to do it side by side.

This table is all that the driving process knows of them: it imports nothing but the standard
library. The functions are those of `benchmarks.rivals`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MEMORY, FILE, DISK = "memory", "file", "disk"
HTTP = {"http, 0 ms": 0.0, "http, 50 ms": 50.0}
"""Media over HTTP, and the milliseconds after which each answer begins."""
MEDIA = (MEMORY, FILE, DISK, *HTTP)
REMOTE = tuple(HTTP)
STORES = (DISK, *HTTP)
REFSPACE = "refspace"
DIVISIONS = ("Isocortex", "OLF", "HPF", "CTXsp", "STR", "PAL", "TH", "HY", "MB", "P", "MY", "CB")
STATISTICS = ("count", "sum", "mean", "std", "var", "min", "max")
_SAMPLE = 12  # masks that slow rivals make of many


@dataclass(frozen=True)
class Way:
    """One way to do a job.

    Parameters
    ----------
    name
        Who does it, as tables have it.
    function
        Function of `benchmarks.rivals`.
    media
        Where the voxels are.
    finest
        The finest resolution at which it is measured.
    slow
        Resolution from which on it is measured once, and not at all in a quick run; 0: never.
    needs
        Files that it needs, besides those that its media need.
    given
        What it is given beyond what the job gives.
    factor
        How much more work the job is than what is measured.
    remark
        What a reader must know of it.
    """

    name: str
    function: str
    media: tuple[str, ...] = (MEMORY,)
    finest: float = 25
    slow: float = 0
    needs: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    factor: float = 1
    remark: str = ""

    @property
    def module(self) -> str:
        """Module of the function."""
        return self.function.split(".")[0]

    def files(self, medium: str) -> tuple[str, ...]:
        """Files that it needs, but for stores."""
        source = {MEMORY: "annotation.npy", FILE: "annotation.nrrd"}.get(medium)
        return (*([source] if source else []), *self.needs)


@dataclass(frozen=True)
class Wanted:
    """What a figure must be, of the real annotation.

    Parameters
    ----------
    figure
        ``"seconds"``, ``"first"``, ``"processor"``, ``"peak"`` or ``"beyond"``, the peak beyond
        the output (MB).
    at_most
        The bound: a number, or so many times what `beside` takes.
    beside
        Name of a way, or ``"limit"``; the bound is a number without it.
    resolutions
        Where it is wanted.
    media
        The same.
    """

    figure: str
    at_most: float
    beside: str = ""
    resolutions: tuple[float, ...] = (10,)
    media: tuple[str, ...] = MEDIA


@dataclass(frozen=True)
class Job:
    """What is done, and the ways to do it.

    Parameters
    ----------
    name
        What it is called, also for ``--only``.
    about
        What is timed, and what it gives.
    group
        Heading that it is listed under.
    ways
        Ways to do it; the first is refspace's.
    given
        What all ways are given.
    work
        Function of `benchmarks.work` that says what must be decoded and written; none where the
        limit of the machine is not known.
    wanted
        What is wanted of refspace's figures.
    """

    name: str
    about: str
    group: str
    ways: tuple[Way, ...]
    given: Mapping[str, Any] = field(default_factory=dict)
    work: str = ""
    wanted: tuple[Wanted, ...] = ()

    def at(self, resolution: float, medium: str) -> list[Way]:
        """Ways that are measured at a resolution, with voxels at a medium."""
        return [way for way in self.ways if medium in way.media and way.finest <= resolution]


BOUNDED = Wanted("beyond", 500, media=(DISK,))
TWICE_THE_LIMIT = Wanted("seconds", 2, "limit", media=(DISK,))


# ----- files and stores


def _files() -> Iterator[Job]:
    yield Job(
        "load",
        "the voxels of a NRRD file as an array in memory, and the tree of structures",
        "Files and stores",
        (
            Way(REFSPACE, "ours.load", (FILE,), 10, slow=10),
            Way("AllenSDK", "allensdk.load", (FILE,), slow=25),
        ),
    )
    yield Job(
        "file to mask",
        "mask of Isocortex from a NRRD file, reading and building the space included",
        "Files and stores",
        (
            Way(REFSPACE, "ours.file_to_mask", (FILE,)),
            Way("AllenSDK", "allensdk.file_to_mask", (FILE,), slow=25),
        ),
        {"structures": ["Isocortex"]},
        wanted=(Wanted("peak", 1, "AllenSDK", (25,)),),
    )
    yield Job(
        "convert",
        "a NRRD file into a store with its pyramid and its index, 1 GiB being allowed for voxels",
        "Files and stores",
        (
            Way(REFSPACE, "ours.convert_file", (FILE,), 10, slow=10),
            Way("gunzip alone", "processes.gunzip", (FILE,), 10, needs=("annotation.nrrd.gz",),
                remark="inflates the voxels of the file, and does nothing with them"),
            Way("Python's zlib alone", "processes.zlib_inflate", (FILE,), 10, 10,
                ("annotation.nrrd.gz",)),
            Way("AllenSDK, to counts", "allensdk.file_to_counts", (FILE,), 10, 10,
                remark="reads the file and counts; 17 GB at 10 µm"),
        ),
        wanted=(Wanted("seconds", 2.5, "gunzip alone"), Wanted("peak", 1000)),
    )  # fmt: skip
    for ending in (".nii.gz", ".mha", ".tif", ".npy"):
        needs = ("annotation.npy",) if ending == ".npy" else ("annotation.tif",)
        yield Job(
            f"convert {ending}",
            f"the same from a file of the format {ending}",
            "Files and stores",
            (Way(REFSPACE, "ours.convert_file", (FILE,), slow=25, needs=needs),),
            {"ending": ending},
            wanted=(Wanted("peak", 1000, "", (25, 10)),),
        )
    yield Job(
        "open",
        "a store opened, as a space with its tree of structures; others open the array alone",
        "Files and stores",
        (
            Way(REFSPACE, "ours.open_store", STORES, 10),
            Way("xarray", "xarray.open_store", STORES),
            Way("tensorstore", "tensorstore.open_store", STORES),
            Way("BrainGlobe's reader", "brainglobe.open_atlas", (DISK,), needs=("brainglobe",)),
        ),
        work="opening",
        wanted=(
            Wanted("seconds", 0.025, "", (25, 10), (DISK,)),
            Wanted("first", 0.06, "", (25, 10), (DISK,)),
        ),
    )
    yield Job(
        "every voxel",
        "all voxels of a store as an array in memory",
        "Files and stores",
        (
            Way(REFSPACE, "ours.every_voxel", (DISK,), 10),
            Way("refspace, unproven", "ours.every_voxel_unproven", (DISK,),
                remark="what is read is not held against the records of the store"),
            Way("xarray", "xarray.every_voxel", (DISK,), 10),
            Way("tensorstore", "tensorstore.every_voxel", (DISK,), 10),
            Way("BrainGlobe's reader", "brainglobe.every_voxel", (DISK,), needs=("brainglobe",)),
        ),
        work="every_voxel",
        wanted=(Wanted("processor", 1.05, "refspace, unproven", (25,)), BOUNDED),
    )  # fmt: skip
    yield Job(
        "first number of the command line",
        "refspace counts STORE -s VISp, a process from its start to its end",
        "Files and stores",
        (
            Way(REFSPACE, "processes.first_count", (DISK,), 10),
            Way("imports alone", "processes.imports", (DISK,), 10,
                remark="python -c 'import xarray, dask.array, zarr'"),
            Way("Python alone", "processes.bare_python", (DISK,), 10),
        ),
        wanted=(Wanted("seconds", 1.25, "imports alone", (100, 25, 10)),),
    )  # fmt: skip
    yield Job(
        "help of the command line",
        "refspace --help, a process from its start to its end",
        "Files and stores",
        (Way(REFSPACE, "processes.first_help", (DISK,), 100),),
    )


# ----- counts and masks


def _counts() -> Iterator[Job]:
    yield Job(
        "counts",
        "voxels of every structure, direct and with descendants; others: of each label",
        "Counts and places",
        (
            Way(REFSPACE, "ours.counts", (MEMORY, *STORES), 10),
            Way("refspace's kernel, one core", "kernels.counts"),
            Way("AllenSDK", "allensdk.counts"),
            Way("numpy.unique", "numpy.counts", finest=10, slow=10),
            Way("fastremap.unique", "fastremap.counts", finest=10, slow=10),
            Way("dask.array.unique", "xarray.counts", (DISK,), slow=25),
            Way("tensorstore, numpy.unique", "tensorstore.counts", (DISK, "http, 0 ms"), slow=25),
        ),
        work="index",
        wanted=(Wanted("seconds", 0.1, "AllenSDK", (25,), (MEMORY,)),),
    )
    yield Job(
        "boxes and centroids",
        "those of every structure that has voxels; scipy: of each label",
        "Counts and places",
        (
            Way(REFSPACE, "ours.boxes", (MEMORY, DISK), slow=0),
            Way("scipy.ndimage", "ndimage.boxes", slow=25),
        ),
    )
    yield Job(
        "structure at a point",
        "the label of the voxel in the middle",
        "Counts and places",
        (Way(REFSPACE, "ours.voxel", (DISK, "http, 50 ms"), 10),),
    )


def _one_mask(structure: str, crop: bool) -> Job:
    name = f"mask of {structure}, cropped" if crop else f"mask of {structure}"
    few = structure in ("AUDd", "VISp")
    remote = STORES if crop else (DISK, "http, 50 ms") if structure == "Isocortex" else (DISK,)
    usual = 10 if structure == "AUDd" else 25
    ways = [
        Way(REFSPACE, "ours.mask", (MEMORY, *remote), 10),
        Way("BrainGlobe's image, indexed", "ours.mask_of_indexed", remote, needs=("indexed.zarr",),
            remark="by refspace, an image of others of which it made an index before"),
        Way("BrainGlobe's image, no index", "ours.mask_of_foreign", (DISK,),
            needs=("foreign.zarr",)),
        Way("AllenSDK", "allensdk.mask", slow=0 if few else 25),
        Way("numpy.isin", "numpy.mask", finest=usual, slow=10 if few else 25),
        Way("xarray.isin", "xarray.mask", (DISK, *(["http, 50 ms"] if crop else [])),
            usual, 10 if few else 25),
        Way("tensorstore, numpy.isin", "tensorstore.mask",
            (DISK, *(["http, 50 ms"] if crop else [])), slow=0 if few else 25),
    ]  # fmt: skip
    if not crop:
        ways += [
            Way("fastremap.mask_except", "fastremap.mask"),
            Way("masks made before", "masks_4d.mask", (DISK,), needs=("masks_4d.zarr",),
                remark="a channel of an image that holds a mask of each structure"),
        ]  # fmt: skip
    if structure == "Isocortex":
        ways.append(Way("refspace's kernel, one core", "kernels.mask"))
        ways.append(Way("refspace, unproven", "ours.mask_unproven", (DISK,)))
    wanted = {
        "mask of AUDd, cropped": (
            Wanted("seconds", 0.1, media=(DISK,)),
            Wanted("first", 0.06, "", (25, 10), (DISK,)),
        ),
        "mask of Isocortex": (
            TWICE_THE_LIMIT,
            Wanted("seconds", 0.05, "AllenSDK", (25,), (MEMORY,)),
            Wanted("processor", 1.05, "refspace, unproven", (25,), (DISK,)),
        ),
        "mask of root": (TWICE_THE_LIMIT,),
    }
    return Job(
        name,
        f"mask of {structure}"
        + (" in its bounding box" if crop else "")
        + " as an array in memory",
        "Masks",
        tuple(way for way in ways if way.media),
        {"structures": [structure], "crop": crop},
        "cropped_mask" if crop else "mask",
        (*wanted.get(name, ()), BOUNDED),
    )


def _masks() -> Iterator[Job]:
    yield _one_mask("AUDd", True)
    for structure in ("AUDd", "VISp", "Isocortex", "root"):
        yield _one_mask(structure, False)
    yield Job(
        "masks of 12 divisions, cropped",
        "one after the other, each as an array in memory",
        "Masks",
        (Way(REFSPACE, "ours.divisions", (DISK,), 10, slow=10),),
        {"structures": list(DIVISIONS)},
        wanted=(BOUNDED,),
    )
    for count, text in ((1, "1 structure"), (10, "10 structures"), (100, "100 structures"),
                        (300, "300 structures"), (0, "all structures")):  # fmt: skip
        ways = [Way(REFSPACE, "ours.masks_to_store", (DISK,), 10 if count in (1, 300) else 25, 10)]
        if count in (0, 300):
            one, two = ({"workers": n} for n in (1, 2))
            ways += [
                Way("refspace, 1 process", "ours.masks_to_store", (DISK,), slow=25, given=one),
                Way("refspace, 2 processes", "ours.masks_to_store", (DISK,), slow=25, given=two),
            ]
        if count == 300:
            ways += [
                Way("AllenSDK", "allensdk.some_masks", slow=25, factor=count / _SAMPLE,
                    media=(DISK,), needs=("annotation.npy",), given={"measured": _SAMPLE},
                    remark="12 of the masks, voxels in memory, nothing written"),
                Way("numpy.isin", "numpy.some_masks", slow=25, factor=count / _SAMPLE,
                    media=(DISK,), needs=("annotation.npy",), given={"measured": _SAMPLE},
                    remark="12 of the masks, voxels in memory, nothing written"),
            ]  # fmt: skip
        yield Job(
            f"masks of {text} to a store",
            f"{text} with voxels, from all over the tree, in one pass into a store of masks",
            "Masks",
            tuple(ways),
            {"count": count},
            wanted=(
                Wanted("peak", 1000, "", (25, 10)),
                *([Wanted("seconds", 0.1, "AllenSDK", (25,))] if count == 300 else []),
            ),
        )
    yield Job(
        "masks of all structures to files",
        "839 of the mouse CCF, a compressed NRRD file each",
        "Masks",
        (
            Way(REFSPACE, "ours.masks_to_files", (DISK,), slow=25),
            Way("refspace, 2 processes", "ours.masks_to_files", (DISK,), slow=25,
                given={"workers": 2}),
        ),
        {"count": 0},
        wanted=(Wanted("peak", 1000, "", (25, 10)),),
    )  # fmt: skip


# ----- slices and other grids


def _grids() -> Iterator[Job]:
    for axis, name in enumerate(("coronal", "horizontal", "sagittal")):
        media = (MEMORY, *STORES) if axis == 0 else (MEMORY, DISK)
        yield Job(
            f"{name} slice",
            "a slice in the structures' colours; xarray, tensorstore: its labels",
            "Slices and other grids",
            (
                Way(REFSPACE, "ours.slice_image", media, 10),
                Way("AllenSDK", "allensdk.slice_image"),
                Way("numpy", "numpy.slice_image"),
                Way("xarray", "xarray.slice_image", media[1:], 10),
                Way("tensorstore", "tensorstore.slice_image", media[1:], 10),
            ),
            {"axis": axis},
            "slice_image",
            (BOUNDED,),
        )
    yield Job(
        "3 × coarser, as AllenSDK",
        "the annotation 3 times as coarse, by the voxels that AllenSDK takes",
        "Slices and other grids",
        (
            Way(REFSPACE, "ours.downsample", (MEMORY,)),
            Way("AllenSDK", "allensdk.downsample"),
            Way("scipy.ndimage.zoom", "ndimage.nearest", remark="takes other voxels"),
        ),
        {"ratio": 3, "method": "allensdk"},
    )
    for ratio in (2, 5):
        yield Job(
            f"{ratio} × coarser, mode",
            f"the annotation {ratio} times as coarse, by the most frequent label, in memory",
            "Slices and other grids",
            (
                Way(REFSPACE, "ours.downsample", (MEMORY, DISK), 10, 10, ("annotation.npy",)),
                Way("tinybrain", "tinybrain.mode"),
                Way("tensorstore", "tensorstore.mode", (DISK,), slow=25,
                    needs=("annotation.npy",)),
            ),
            {"ratio": ratio, "method": "mode"},
            "coarser",
            (TWICE_THE_LIMIT, BOUNDED),
        )  # fmt: skip
    yield Job(
        "2.5 × coarser, mode",
        "the same at a ratio that is not whole",
        "Slices and other grids",
        (Way(REFSPACE, "ours.downsample", (MEMORY, DISK), 10, 10),),
        {"ratio": 2.5, "method": "mode"},
        "coarser",
        (TWICE_THE_LIMIT, BOUNDED),
    )
    coarser: tuple[tuple[float, str], ...] = ((2.5, "nearest"), (5, "mode"))
    for times, method in coarser:
        yield Job(
            f"{times:g} × coarser, {method}, to NRRD",
            f"the annotation {times:g} times as coarse, as a compressed file",
            "Slices and other grids",
            (Way(REFSPACE, "ours.downsample_to_file", (DISK,), 10, 10),),
            {"ratio": times, "method": method},
            wanted=(BOUNDED,),
        )


# ----- values


def _values() -> Iterator[Job]:
    yield Job(
        "relabel",
        "the annotation with the ids of all structures numbered from 1",
        "Values and points",
        (
            Way(REFSPACE, "ours.relabel", (MEMORY, DISK), 10, 10),
            Way("refspace's kernel, one core", "kernels.relabel"),
            Way("numpy.searchsorted", "numpy.relabel"),
            Way("numpy, a loop over ids", "numpy.relabel_loop", slow=25),
            Way("fastremap.remap", "fastremap.relabel"),
        ),
        work="relabel",
        wanted=(TWICE_THE_LIMIT, BOUNDED),
    )
    images = ("image.npy",)
    yield Job(
        "mean of an image",
        "mean of an image in memory in all structures with descendants; others: in each label",
        "Values and points",
        (
            Way(REFSPACE, "ours.aggregate", (MEMORY, DISK), needs=images),
            Way("scipy.ndimage.mean", "ndimage.mean", slow=25, needs=images),
            Way("scipy.ndimage.mean, dense", "ndimage.mean_of_dense", slow=25, needs=images,
                remark="ids are turned into 0, 1, 2, … first"),
            Way("scipy labeled_comprehension", "ndimage.labeled_comprehension", slow=25,
                needs=images),
            Way("xarray groupby, flox", "xarray.flox_mean", slow=25, needs=images),
            Way("nilearn NiftiLabelsMasker", "nilearn.mean", slow=25, needs=images,
                remark="ids are 0, 1, 2, … before the clock starts"),
        ),
        {"statistics": ["mean"]},
        "image",
        (Wanted("seconds", 0.2, "nilearn NiftiLabelsMasker", (25,), (MEMORY,)),),
    )  # fmt: skip
    yield Job(
        "seven statistics of an image",
        ", ".join(STATISTICS),
        "Values and points",
        (Way(REFSPACE, "ours.aggregate", (DISK,), needs=images),),
        {"statistics": list(STATISTICS)},
        "image",
    )
    yield Job(
        "seven statistics and medians",
        "of an image in memory",
        "Values and points",
        (Way(REFSPACE, "ours.aggregate", (DISK,), needs=images),),
        {"statistics": list(STATISTICS), "quantiles": 0.5},
    )
    yield Job(
        "seven statistics, image in zarr",
        "the image, uncompressed, is on the disk and never in memory as a whole",
        "Values and points",
        (Way(REFSPACE, "ours.aggregate", (DISK,), 10, 10, ("image.zarr",)),),
        {"statistics": list(STATISTICS), "lazy": True},
        "image",
        (TWICE_THE_LIMIT, Wanted("peak", 1500)),
    )
    points = {"count": 10_000_000}
    yield Job(
        "ten million points",
        "the structure of each of ten million random points",
        "Values and points",
        (
            Way(REFSPACE, "ours.structure_at", (DISK,), slow=25),
            Way("numpy indexing", "numpy.structure_at", (DISK,), needs=("annotation.npy",),
                remark="the volume is in memory"),
            Way("one look-up each", "numpy.structure_at_each", (DISK,), factor=100,
                needs=("annotation.npy",), remark="1/100 of the points"),
        ),
        points,
        wanted=(Wanted("seconds", 5, "", (25,)),),
    )  # fmt: skip
    yield Job(
        "ten million points counted",
        "points and densities of every structure with its descendants",
        "Values and points",
        (Way(REFSPACE, "ours.count_points", (DISK,), slow=25),),
        points,
    )
    yield Job(
        "ITK-SNAP export",
        "structures renumbered to uint16, written as compressed NRRD and label file",
        "Values and points",
        (
            Way(REFSPACE, "ours.itksnap", (MEMORY, DISK), 10, 10),
            Way("AllenSDK", "allensdk.itksnap", slow=25),
        ),
        wanted=(Wanted("seconds", 1 / 40, "AllenSDK", (25,), (MEMORY,)), BOUNDED),
    )


JOBS: tuple[Job, ...] = (*_files(), *_counts(), *_masks(), *_grids(), *_values())
BRIEF = (
    "load",
    "convert",
    "open",
    "first number of the command line",
    "counts",
    "mask of AUDd, cropped",
    "mask of Isocortex",
    "mask of root",
    "coronal slice",
    "2 × coarser, mode",
    "relabel",
    "seven statistics, image in zarr",
    "mean of an image",
    "ten million points",
    "ITK-SNAP export",
)
"""Jobs of a quick run, and of resolutions that are measured beside finer ones."""
