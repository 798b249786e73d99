"""The side of napari: open stores and layers of refspace, and compare what is shown.

    python scripts/napari_side.py [FOLDER]

It runs where napari and refspace are installed, and prints a line for each question. Pictures of
the windows are written into FOLDER, where one is named.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
import xarray as xr
from napari.layers import Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

import refspace

_DIMS = ("ap", "dv", "ml")
_POINTS, _PLANES = 1000, 10
# Of what is the same code in napari, each of so many of them is asked for.
_FEWER = 4
_VIEW = np.array([1.0, 0, 0])
# Pictures that are taken at most until two are the same.
_TRIES = 20
INTENDED = (
    "a coarser level is shown up to half a voxel of it off, as napari shows any pyramid: it puts "
    "centres of first voxels onto each other, and rounds planes now once, now twice; the finest is "
    "exact"
)
Answers = Iterator[tuple[str, bool]]


@dataclass(frozen=True)
class Case:
    """A space in a store, and how it is turned before it is written."""

    name: str
    orientation: str
    frame: str
    resolution: tuple[float, float, float] = (200.0, 200.0, 200.0)

    def write(self, folder: Path) -> refspace.ReferenceSpace:
        """Space with a template whose values follow from the labels, opened from its store."""
        brain = refspace.phantom(resolution=self.resolution)
        template = _brightness(brain.annotation).rename("template")
        space = refspace.ReferenceSpace(brain.structure_tree, brain.annotation, template=template)
        path = folder / f"{self.name}.zarr"
        space.reorient(self.orientation).in_frame(self.frame).to_zarr(path, chunks=24)
        return refspace.open(path)


CASES = (
    Case("allen", "PIR", "PIR"),
    Case("nifti", "RAS", "RAS"),
    Case("left", "LSA", "LAS", (300.0, 200.0, 250.0)),
)


def _brightness(labels: xr.DataArray) -> xr.DataArray:
    # Any function of a label that is no constant.
    return ((labels % 251) * (labels > 0)).astype("u2")


def random_points(space: refspace.ReferenceSpace) -> NDArray[np.float64]:
    """Positions along ap, dv and ml, none at a border of voxels, plane by plane."""
    random = np.random.default_rng(17)
    points = []
    for dim in _DIMS:
        # Of a few planes: napari draws each of them anew.
        count, each = (_PLANES, _POINTS // _PLANES) if dim == "ap" else (_POINTS, 1)
        step = space.resolution[space.grid.axis(dim)]
        centres = random.choice(np.sort(space.annotation[dim].values), count)
        points.append(np.repeat(centres + random.uniform(-0.45, 0.45, count) * step, each))
    return np.stack(points, axis=1)


def values_at(image: xr.DataArray, points: NDArray[np.float64]) -> list[int]:
    """Values of the nearest voxels."""
    indices = {
        dim: image.get_index(dim).get_indexer(along, method="nearest")
        for dim, along in zip(_DIMS, points.T, strict=True)
    }
    return [int(value) for value in image.values[tuple(indices[str(dim)] for dim in image.dims)]]


def structures_at(space: refspace.ReferenceSpace, points: NDArray[np.float64]) -> list[int]:
    """Ids of structures at positions along ap, dv and ml; 0 where there is none, or -1 outside."""
    cells = xr.DataArray(points, {"axis": [*_DIMS]}, ("cell", "axis"))
    found: list[int] = space.structure_at(cells).values.tolist()
    return found


def status_at(viewer: Any, layer: Layer, point: NDArray[np.float64]) -> str:
    """What napari shows of a layer while the cursor is at a position."""
    if viewer.dims.point[0] != point[0]:
        viewer.dims.set_point(0, point[0])
        QApplication.processEvents()
        # What it shows may still be of the plane before.
        layer.refresh()
    status = layer.get_status(point, view_direction=_VIEW, dims_displayed=[1, 2], world=True)
    return str(status["value"])


def hover(viewer: Any, space: refspace.ReferenceSpace) -> Answers:
    """Names and values under the cursor, at each level, the finest at all points."""
    labels, template = viewer.layers["annotation"], viewer.layers["template"]
    points = random_points(space)
    names = space.structure_tree.get_name_map()
    for number, level in enumerate(space.levels):
        for layer in (labels, template):
            layer.locked_data_level = number
        asked = (
            points if number == 0 else points[::_FEWER][is_clear(space, level, points[::_FEWER])]
        )
        drawn = asked if number == 0 else as_drawn(space, level, asked)
        # A coarse level may end before the finest.
        ids = np.array(structures_at(level, drawn))
        asked, drawn, ids = asked[ids >= 0], drawn[ids >= 0], ids[ids >= 0]
        shown = [status_at(viewer, labels, point) for point in asked]
        expected = [f"name: {names[i]}" if i else "name: outside" for i in ids.tolist()]
        right = [f"{e}," in f"{s}," for e, s in zip(expected, shown, strict=True)]
        inside = np.count_nonzero(ids)
        yield f"level {number}: names at {len(ids)} points, {inside} in structures", all(right)
        assert level.template is not None
        step = _FEWER if number == 0 else 1
        seen = [status_at(viewer, template, point).rpartition(" ")[2] for point in asked[::step]]
        wanted = values_at(level.template, drawn[::step])
        yield f"level {number}: values of the template", [*map(str, wanted)] == seen
    for layer in (labels, template):
        layer.locked_data_level = None


def is_clear(
    space: refspace.ReferenceSpace, level: refspace.ReferenceSpace, points: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which positions are in one plane of a coarser level, however they are rounded.

    napari takes the plane now by rounding once, now to the finest plane first.
    """
    axis = space.grid.axis("ap")
    step = space.resolution[axis]
    exact = (points[:, 0] - space.annotation.ap.values.min()) / step
    factor = level.resolution[axis] / step
    return np.asarray(np.round(exact / factor) == np.round(np.round(exact) / factor))


def as_drawn(
    space: refspace.ReferenceSpace, level: refspace.ReferenceSpace, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions of what napari shows of a coarser level at some positions.

    It puts the centre of the first voxel of each level onto that of the finest.
    """
    moved = []
    for dim, along in zip(_DIMS, points.T, strict=True):
        fine, coarse = (np.sort(each.annotation[dim].values) for each in (space, level))
        factor = level.resolution[level.grid.axis(dim)] / space.resolution[space.grid.axis(dim)]
        step = space.resolution[space.grid.axis(dim)]
        index = np.round((along - fine[0]) / step / factor)
        # Levels are filled up with 0 where their lengths are no multiples.
        moved.append(coarse[0] + index * factor * step)
    return np.stack(moved, axis=1)


def colours(viewer: Any, space: refspace.ReferenceSpace) -> Answers:
    """Colours of the layer, by name of the structure."""
    layer = viewer.layers["annotation"]
    table = layer.features.dropna(subset=["id"])
    own = space.structure_tree.get_colormap()
    right = [
        np.array_equal(np.rint(layer.get_color(index) * 255), [*own[i], 255])
        for index, i in zip(table["index"], table["id"], strict=True)
    ]
    yield f"colours of {len(right)} structures", all(right) and len(right) == len(own)


def canvas(viewer: Any) -> NDArray[np.uint8]:
    """Picture of the canvas, once all is drawn."""
    picture = np.empty(0, np.uint8)
    for _ in range(_TRIES):
        QApplication.processEvents()
        before, picture = picture, np.asarray(viewer.screenshot(canvas_only=True, flash=False))
        if np.array_equal(before, picture):
            break
    return picture


def pixels(viewer: Any, space: refspace.ReferenceSpace) -> Answers:
    """Colours of the middles of voxels on the canvas, beside a slice, upright, left at the left."""
    labels = viewer.layers["annotation"]
    labels.opacity, viewer.layers["template"].visible = 1.0, False
    labels.locked_data_level = 0
    viewer.reset_view()
    grid = space.grid
    position = float(np.sort(space.annotation.ap.values)[grid.shape[grid.axis("ap")] // 2])
    viewer.dims.set_point(0, position)
    picture = canvas(viewer)[..., :3]
    upright = space.reorient("PIR")
    expected = upright.get_slice_image("ap", position).values
    # Upright: rows run inferior and columns to the right, whatever the frame.
    at = []
    for n, (dim, center) in enumerate(zip(("dv", "ml"), viewer.camera.center[1:], strict=True)):
        sign = 1 if grid.frame_direction(dim) in ("inferior", "right") else -1
        along = sign * (upright.annotation[dim].values - center) * viewer.camera.zoom
        at.append(np.floor(along + picture.shape[n] / 2).astype(int))
    shown = picture[np.ix_(*at)]
    yield "colours on the canvas, upright", bool(np.array_equal(shown, expected))
    labels.locked_data_level = None


def scale_bar(viewer: Any) -> Answers:
    """Length of the bar on the canvas, of 2 mm, and its unit."""
    yield "units", {str(unit) for unit in viewer.layers.units} == {"micrometer"}
    bar = viewer.canvas.overlays.scale_bar
    for layer in viewer.layers:
        layer.visible = False
    empty = canvas(viewer)
    bar.visible, bar.length, bar.ticks = True, 2000, False
    # A new length is drawn when the zoom changes.
    viewer.camera.zoom *= 1.02
    drawn = np.abs(canvas(viewer).astype(int) - empty).sum(axis=2) > 0
    # The longest row is the bar itself, the rest its text.
    longest = int(drawn.sum(axis=1).max())
    yield f"2000 µm are {longest} pixels", abs(longest - 2000 * viewer.camera.zoom) <= 3
    bar.visible = False
    for layer in viewer.layers:
        layer.visible = True


def others(viewer: Any, space: refspace.ReferenceSpace) -> Answers:
    """An image on another grid, and points, at their places."""
    coarse = space.downsample(400).reorient("LSP")
    image = _brightness(coarse.annotation)
    points = random_points(space)[::_FEWER]
    cells = xr.DataArray(points, {"axis": [*_DIMS]}, ("cell", "axis"))
    for layer in space.to_napari(images={"image": image}, points=cells):
        viewer.add_layer(Layer.create(*layer))
    layer = viewer.layers["image"]
    shown = [status_at(viewer, layer, p).rpartition(" ")[2] for p in points]
    # The coarser one ends before the other.
    pairs = zip(shown, values_at(image, points), strict=True)
    found = [text == str(value) for text, value in pairs if text]
    yield "values of an image on another grid", all(found) and len(found) > len(points) * 0.9
    data = viewer.layers["points"].data
    yield "points", np.array_equal(data, points)


def compared(viewer: Any, folder: Path, case: Case, keep: Callable[[str, Any], None]) -> Answers:
    """Questions on one case, and whether the answers are as they should be."""
    space = case.write(folder)
    opened = viewer.open(folder / f"{case.name}.zarr", plugin="refspace")
    yield "opened by the plug-in", [layer.name for layer in opened] == ["template", "annotation"]
    viewer.reset_view()
    keep(case.name, viewer)
    yield "labels of all axes", viewer.dims.axis_labels == _DIMS
    for questions in (hover, colours):
        yield from questions(viewer, space)
    yield from pixels(viewer, space)
    yield from scale_bar(viewer)
    viewer.layers.clear()
    yield from others(viewer, space)
    keep(f"{case.name}_others", viewer)
    viewer.layers.clear()


def plug_in(viewer: Any, folder: Path) -> Answers:
    """What the plug-in offers beside the reader, and what it leaves to others."""
    (layer,) = viewer.open_sample("refspace", "demo")
    yield "the sample brain", layer.features.shape[0] == 490
    viewer.layers.clear()
    refspace.phantom(resolution=400).to_ome_zarr(folder / "plain.zarr")
    try:
        viewer.open(folder / "plain.zarr", plugin="refspace")
    except ValueError as error:
        yield "a plain image is left to others", "refused the file" in str(error)


def _keep(pictures: Path | None, name: str, viewer: Any) -> None:
    if pictures is not None:
        QApplication.processEvents()
        viewer.screenshot(str(pictures / f"{name}.png"), canvas_only=False, flash=False)


def main() -> int:
    """Show all cases."""
    pictures = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    failures = 0
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1300, 900)
    keep = partial(_keep, pictures)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place)
        asked = [(case.name, compared(viewer, folder, case, keep)) for case in CASES]
        for name, answers in (*asked, ("plug-in", plug_in(viewer, folder))):
            for question, is_right in answers:
                print(f"{'same' if is_right else 'DIFFERENT':9}  {name}: {question}", flush=True)
                failures += not is_right
    print(f"intended: {INTENDED}")
    viewer.close()
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
