"""The state of the viewer as neuroglancer's JSON: a pure function of what is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from refspace.grid import Grid
from refspace.structure_tree import StructureTree
from refspace.viewer.colormap import image_shader, shader
from refspace.viewer.panes import panes
from refspace.viewer.segments import segment_colors
from refspace.viewer.volumes import grid_box

# Ids of voxels that no structure has, as pictures of slices show them.
_UNKNOWN_COLOR = "#ff00ff"
# With something beneath, the annotation lets it through.
_OVER_IMAGES = 0.5
_VALUES_OVER_IMAGES = 0.75
_POINT_COLOR = "#ffd000"
# Pixels that a voxel may be wide before a finer level is read. With 1, a first view of 10 µm voxels
# asks for twice as many chunks, and takes 6.9 s where it takes 3.7 s.
_LEVEL = {"crossSectionRenderScale": 1.5}
_MICROMETRE = [1e-6, "m"]

Source: TypeAlias = str | Mapping[str, object]
"""Where a layer is, as neuroglancer has it: a URL, or that with how it lies in space."""


@dataclass(frozen=True)
class ImageLayer:
    """An image of the state.

    Parameters
    ----------
    name
        Name of the layer.
    source
        Where it is, as neuroglancer has it.
    contrast
        Values that are black and white.
    """

    name: str
    source: Source
    contrast: tuple[float, float]


@dataclass(frozen=True)
class ValuesLayer:
    """Values of structures of the state.

    Parameters
    ----------
    source
        Where their image is.
    limits
        Values of the ends of the colour map.
    """

    source: Source
    limits: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """What the viewer shows.

    Parameters
    ----------
    grid
        The grid of the annotation.
    tree
        The structures.
    annotation
        Sources of the annotation: voxels, properties of segments, meshes.
    images
        Images, the lowest first.
    values
        Values of structures, over the images.
    points
        Source of the points.
    structures
        Ids of the structures that are highlighted at first; all are shown if empty.
    opacity
        Of the annotation, from 0 to 1.
    """

    grid: Grid
    tree: StructureTree
    annotation: Sequence[Source]
    images: Sequence[ImageLayer] = ()
    values: ValuesLayer | None = None
    points: Source | None = None
    structures: Sequence[int] = ()
    opacity: float | None = None


def make_state(scene: Scene) -> dict[str, Any]:
    """State of neuroglancer: layers, axes, position and panes.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=400)
    >>> state = make_state(Scene(space.grid, space.structure_tree, ["zarr3://…"]))
    >>> state["position"], [layer["name"] for layer in state["layers"]]
    ([5800.0, 4200.0, 6600.0], ['annotation'])
    """
    upright = panes(scene.grid)
    middle, extent = grid_box(scene.grid, upright.dims)
    return {
        "dimensions": dict.fromkeys(upright.dims, _MICROMETRE),
        "position": middle,
        "crossSectionOrientation": list(upright.quaternion),
        "projectionOrientation": list(upright.quaternion),
        # The page fits it to the window.
        "crossSectionScale": max(extent) / 400,
        "projectionScale": max(extent) * 1.5,
        # Points within a voxel of the plane.
        "crossSectionDepth": max(scene.grid.spacing),
        "layers": _layers(scene),
        "layout": "4panel-alt",
        "showSlices": True,
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        "crossSectionBackgroundColor": "#000000",
        "projectionBackgroundColor": "#000000",
        "systemMemoryLimit": 2**31,
        "gpuMemoryLimit": 10**9,
    }


def mesh_source(url: str, grid: Grid) -> dict[str, Any]:
    """Source of meshes whose x, y and z are those of a frame, in nm."""
    dims = {dim: [1e-9, "m"] for dim in grid.frame_dims}
    return {"url": url, "transform": {"outputDimensions": dims}}


def _layers(scene: Scene) -> list[dict[str, Any]]:
    layers = [_image(layer) for layer in scene.images]
    if scene.values is not None:
        layers.append(_values(scene.values, _VALUES_OVER_IMAGES if scene.images else 1.0))
    # Above the values: a structure that is chosen is to be seen.
    layers.append(_annotation(scene))
    if scene.points is not None:
        layers.append(_points(scene.points))
    return layers


def _values(layer: ValuesLayer, opacity: float) -> dict[str, Any]:
    return {
        "type": "image",
        "name": "values",
        "source": layer.source,
        "shader": shader(*layer.limits),
        "shaderControls": {"opacity": opacity},
        **_LEVEL,
        "blend": "default",
        "opacity": 1,
    }


def _image(layer: ImageLayer) -> dict[str, Any]:
    return {
        "type": "image",
        "name": layer.name,
        "source": layer.source,
        "shader": image_shader(*layer.contrast),
        **_LEVEL,
        "blend": "additive",
        "opacity": 1,
    }


def _annotation(scene: Scene) -> dict[str, Any]:
    colors: Mapping[str, str] = segment_colors(scene.tree)
    return {
        "type": "segmentation",
        "name": "annotation",
        "source": list(scene.annotation),
        "segments": [str(i) for i in scene.structures],
        "segmentColors": dict(colors),
        "segmentDefaultColor": _UNKNOWN_COLOR,
        "selectedAlpha": _opacity(scene),
        "notSelectedAlpha": 0,
        "saturation": 1,
        "hideSegmentZero": True,
        # A colour under the mouse would be no colour of the ontology.
        "hoverHighlight": False,
        "ignoreNullVisibleSet": True,
        **_LEVEL,
    }


def _opacity(scene: Scene) -> float:
    """Opacity of the annotation: as asked, or so that what lies beneath is seen."""
    if scene.opacity is not None:
        return scene.opacity
    if scene.values is not None and not scene.structures:
        return 0.0
    return _OVER_IMAGES if scene.images or scene.values is not None else 1.0


def _points(source: Source) -> dict[str, Any]:
    return {
        "type": "annotation",
        "name": "points",
        "source": source,
        "annotationColor": _POINT_COLOR,
        "shader": "void main() {\n  setColor(defaultColor());\n  setPointMarkerSize(6.0);\n"
        "  setPointMarkerBorderWidth(1.0);\n}\n",
    }
