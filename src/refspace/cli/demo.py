"""The main job on the built-in sample atlas."""

import functools
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from refspace.axes import PLANES
from refspace.cli.outputs import is_overwriting, refuse_existing
from refspace.cli.progress import BlockProgress, Progress
from refspace.cli.tables import chosen_rows, counts_table, format_table
from refspace.cli.terminal import echo
from refspace.conversion import convert
from refspace.errors import GridError
from refspace.files import make_folder
from refspace.formats.nrrd import write_nrrd
from refspace.formats.structure_output import write_structures
from refspace.formats.tables import write_table
from refspace.grid import parse_spacing
from refspace.plotting.canvas import paper_figure
from refspace.plotting.files import save_figure
from refspace.reference_space import ReferenceSpace
from refspace.samples import phantom
from refspace.samples.measurements import cells, expression
from refspace.samples.ontology import MAJOR_DIVISIONS_SET
from refspace.verbs.tables import long_table, statistics_table

_AREAS = ("VISp", "AUDd", "MOp")
_FINEST = 10
# Beside the store, which takes care of itself.
_FILES = (
    *("annotation.nrrd", "structures.json", "coarse.nrrd", "itksnap.nrrd", "itksnap_labels.txt"),
    *("expression.nrrd", "cells.csv", "expression.csv", "density.csv"),
    *(f"mask_{area}.nrrd" for area in _AREAS),
    *(f"slice_{plane}.png" for plane in PLANES.values()),
)
# Cuts through the first of them, the primary visual area.
_SLICES = {"ap": 8000.0, "dv": 1500.0, "ml": 3800.0}


def run_demo(folder: Path, resolution: float | Sequence[float]) -> None:
    """Make the sample atlas, ask it what people ask an atlas, and write the answers.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    resolution
        µm per voxel of the sample, one number or three.

    Raises
    ------
    GridError
        If the resolution is below 10 µm or no resolution.
    """
    if min(parse_spacing(resolution)) < _FINEST:
        raise GridError(
            f"resolution {resolution} is too fine for the demo, which loads the volume; give "
            f"{_FINEST} or more. refspace.phantom goes further, lazily"
        )
    refuse_existing(folder / name for name in _FILES)
    sample = phantom(resolution)
    make_folder(folder)
    atlas = folder / "annotation.nrrd", folder / "structures.json", folder / "atlas.zarr"
    space = _make_atlas(*atlas, sample)
    _print_counts(space)
    written = [*atlas, *_write_masks(space, folder), *_write_slices(space, folder)]
    written += [*_write_coarse(space, folder), *_write_statistics(space, folder)]
    echo(f"\nwrote into {folder}:")
    for path in written:
        echo(f"  {path.name:22} {_size(path) / 1000:7.0f} kB")
    echo(_next_steps(atlas[-1]))


def _make_atlas(
    annotation: Path, structures: Path, store: Path, sample: ReferenceSpace
) -> ReferenceSpace:
    """Write the sample to files, and convert those as a user would convert an atlas."""
    with Progress("computing the sample brain"):
        write_nrrd(annotation, sample.annotation)
    write_structures(structures, sample.structure_tree)
    with BlockProgress("converting it to a store") as progress:
        overwrite = is_overwriting()
        return convert(annotation, structures, store, overwrite=overwrite, progress=progress)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _write_masks(space: ReferenceSpace, folder: Path) -> Iterator[Path]:
    for area in _AREAS:
        path = folder / f"mask_{area}.nrrd"
        with Progress(f"masking {area}"):
            write_nrrd(path, space.make_structure_mask(area))
        yield path


def _write_slices(space: ReferenceSpace, folder: Path) -> Iterator[Path]:
    for dim, position in _SLICES.items():
        path = folder / f"slice_{PLANES[dim]}.png"
        with Progress(f"drawing a {PLANES[dim]} slice, {_AREAS[0]} outlined"):
            save_figure(path, paper_figure(None, functools.partial(_draw, space, dim, position)))
        yield path


def _draw(space: ReferenceSpace, dim: str, position: float, figure: Any) -> None:
    space.plot.slice(dim, position, outline=_AREAS[0], ax=figure)


def _write_coarse(space: ReferenceSpace, folder: Path) -> list[Path]:
    """Downsample, and export the result for ITK-SNAP, whose volumes are best small."""
    paths = [folder / name for name in ("coarse.nrrd", "itksnap.nrrd", "itksnap_labels.txt")]
    coarse = space.downsample([2 * r for r in space.resolution], method="mode")
    with Progress("downsampling, and exporting for ITK-SNAP"):
        write_nrrd(paths[0], coarse.annotation)
        coarse.write_itksnap_labels(paths[1], paths[2], itksnap_header=True)
    return paths


def _write_statistics(space: ReferenceSpace, folder: Path) -> list[Path]:
    """Make an image and points up, and say what they are in each structure."""
    paths = [folder / n for n in ("expression.nrrd", "cells.csv", "expression.csv", "density.csv")]
    image, points = expression(space.grid), cells(space.grid)
    write_nrrd(paths[0], image)
    with Progress("statistics of an image in every structure"):
        statistics = space.aggregate(image).compute()
    with Progress("counting cells in every structure"):
        counts = space.count_points(points, by_hemisphere=True)[["points", "density"]].compute()
    tables = (
        statistics_table(statistics, [*map(str, statistics.data_vars)]),
        long_table(counts, {"points": "points", "density": "density_per_mm3"}),
    )
    for path, table in zip(paths[1:], (points, *(t.reset_index() for t in tables)), strict=True):
        write_table(path, [table])
    return paths


def _print_counts(space: ReferenceSpace) -> None:
    echo(repr(space), err=True)
    with Progress("counting the voxels of every structure, from the label index"):
        counts = space.voxel_counts()
    divisions = space.structure_tree.get_structures_by_set_id(MAJOR_DIVISIONS_SET)
    ids = [node["id"] for node in divisions]
    echo(format_table(chosen_rows(counts_table(counts), ids)))


def _next_steps(store: Path) -> str:
    atlas = shlex.quote(str(store))
    picture = shlex.quote(str(store.with_name("motor.png")))
    image = shlex.quote(str(store.with_name("expression.nrrd")))
    points = shlex.quote(str(store.with_name("cells.csv")))
    masks = shlex.quote(str(store.with_name("masks")))
    refspace = _this_command()
    viewer = f"  {refspace} view {atlas} {image}\n" if find_spec("neuroglancer") else ""
    return (
        f"\nLook at the slices, then try:\n{viewer}"
        f"  {refspace} counts {atlas} -s Isocortex,CP,TH\n"
        f"  {refspace} slice {atlas} --axis horizontal --outline MOp -o {picture}\n"
        f"  {refspace} mask {atlas} -s VISp,MOp -o {masks}\n"
        f"  {refspace} aggregate {atlas} {image} -s Isocortex,VISp,TH\n"
        f"  {refspace} points {atlas} {points} --depth 7\n"
        f"  {refspace} info {atlas}\n"
        "The same commands take your own annotation and structures, in files of many formats, of\n"
        f"which '{refspace} convert' makes a store like this one."
    )


def _this_command() -> str:
    """How the command line is called: as it was, where the environment is not active."""
    if shutil.which("refspace"):
        return "refspace"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m refspace"
    return shlex.quote(sys.argv[0])
