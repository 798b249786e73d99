"""How a space shows itself: in one line, and as HTML in notebooks, with a tree and a thumbnail.

No voxel is read for either, but for the thumbnail: one plane of a coarse level, where that is at
hand. Names and provenance come from whoever made an atlas; all texts are escaped and bounded.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from refspace.errors import RefspaceError
from refspace.safe_text import shown
from refspace.structure_tree import StructureTree
from refspace.structure_tree.colors import node_color
from refspace.verbs.space import Space
from refspace.verbs.thumbnail import thumbnail

# Bytes of the tree; with a thumbnail and the rest less than 30 kB.
_TREE_BYTES = 14_000
# Levels of the tree that are drawn, of which the first are open.
_DRAWN, _OPEN = 4, 2
_LONGEST = 60
# What provenance calls an atlas.
_NAMES = ("fetched_as", "atlas", "name")
_STYLE = """<style>
.rs-space{display:block!important;font-size:.9em;line-height:1.5;
color:var(--xr-font-color0,var(--jp-content-font-color0,var(--pst-color-text-base,inherit)))}
.rs-space+pre{display:none}
.rs-head{border-bottom:1px solid var(--xr-border-color,var(--jp-border-color2,#8888));
margin-bottom:4px;padding-bottom:2px}
.rs-body{display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start}
.rs-space dl{display:grid;grid-template-columns:max-content auto;gap:0 1em;margin:0}
.rs-space dt,.rs-dim{font-weight:400;
color:var(--xr-font-color2,var(--jp-content-font-color2,var(--pst-color-text-muted,inherit)))}
.rs-space dd{margin:0;overflow-wrap:anywhere}
.rs-space img{width:180px;image-rendering:pixelated}
.rs-space figure{margin:0;text-align:center}
.rs-space ul{list-style:none;margin:0;padding-left:1.3em}
.rs-space b{font-weight:600}.rs-mm{margin-left:1em}.rs-space summary{cursor:pointer}
.rs-space i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;
border:1px solid #8888;vertical-align:-.05em}
</style>"""


def repr_text(space: Space) -> str:
    """The space in one line: which atlas it is, its size, and where it lies.

    Examples
    --------
    >>> import refspace
    >>> repr_text(refspace.phantom(resolution=200))
    '<ReferenceSpace of 488 structures, ap 66 × dv 40 × ml 57 voxels of 200 × 200 × 200 µm>'
    """
    name, side = atlas_name(space.provenance), space.volume.hemispheres.side
    parts = [
        f"{name or ''} of {len(space.structure_tree)} structures".strip(),
        f"{side} hemisphere" if side else "",
        f"{_voxels(space)} voxels of {_triple(space.resolution)} µm",
        f"in {_place(space)}" if space.url else "",
    ]
    return f"<ReferenceSpace {', '.join(filter(None, parts))}>"


def repr_html(space: Space) -> str:
    """The space as HTML: what it is, its upper structures with volumes, and a thumbnail.

    Volumes come from the label index, where there is one. Without a look at the voxels there are
    none: they are not counted.

    Examples
    --------
    >>> import refspace
    >>> drawn = repr_html(refspace.phantom(resolution=200))
    >>> "ap 66 × dv 40 × ml 57" in drawn, "Cerebral cortex" in drawn, len(drawn) < 30_000
    (True, True, True)
    """
    name = atlas_name(space.provenance)
    head = f"<b>ReferenceSpace</b> {html.escape(name or '')}"
    tree = space.structure_tree
    volumes = _volumes(space)
    counted = "" if volumes else " · not counted: the volume has no label index"
    return (
        f"{_STYLE}<div class='rs-space' style='display:none'><div class='rs-head'>{head}</div>"
        f"<div class='rs-body'><dl>{''.join(_facts(space))}</dl>{_figure(space)}</div>"
        f"<details open><summary>{len(tree)} structures<span class='rs-dim'>{counted}</span>"
        f"</summary>{_draw_tree(tree, volumes)}</details></div>"
        f"<pre>{html.escape(repr_text(space))}</pre>"
    )


def atlas_name(provenance: Mapping[str, Any]) -> str | None:
    """What provenance calls an atlas, with its version; None if it does not.

    Examples
    --------
    >>> atlas_name({"name": "waxholm", "version": "4.2"}), atlas_name({"source": "a.nrrd"})
    ('waxholm 4.2', None)
    """
    names = [provenance[key] for key in _NAMES if isinstance(provenance.get(key), str)]
    if not names:
        return None
    version = provenance.get("version")
    is_said = not isinstance(version, str | int | float) or str(version) in names[0]
    return _clipped(names[0] if is_said else f"{names[0]} {version}")


def _clipped(text: str, longest: int = _LONGEST) -> str:
    """Text in one line, without secrets and control characters; the middle of a long one is cut."""
    line = shown(" ".join(text.split()))
    half = longest // 2
    return line if len(line) <= longest else f"{line[:half]}…{line[-half:]}"


def _place(space: Space) -> str:
    """Where the space lies."""
    return _clipped(space.url or "memory", 200)


def _triple(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


def _voxels(space: Space) -> str:
    return " × ".join(f"{d} {n}" for d, n in zip(space.grid.dims, space.grid.shape, strict=True))


# ----- facts


def _facts(space: Space) -> Iterator[str]:
    for name, value in _described(space).items():
        yield f"<dt>{name}</dt><dd>{html.escape(value)}</dd>"


def _described(space: Space) -> dict[str, str]:
    """What there is to say of a space, by name; texts are safe, and not yet HTML."""
    grid, template = space.grid, space.template
    directions = ", ".join(grid.direction(dim) for dim in grid.dims)
    ranges = ", ".join(
        f"{dim} {low:g} to {high:g}" for dim in grid.dims for low, high in [grid.edges(dim)]
    )
    facts = {
        "in": _place(space),
        "voxels": f"{_voxels(space)}, {space.annotation.dtype}",
        "resolution": f"{_triple(grid.spacing)} µm, {_triple([n / 1000 for n in grid.extent])} mm",
        "orientation": f"{grid.orientation}: {directions}",
        "frame": f"{grid.frame}: {ranges} µm",
        "chunks": _chunks(space),
        "levels": _levels(space),
        "midline": _midline(space),
        "template": "" if template is None else f"{template.dtype}",
    }
    return {name: value for name, value in facts.items() if value}


def _chunks(space: Space) -> str:
    chunks = space.volume.chunks
    return f"{math.prod(map(len, chunks))} of {_triple([max(sizes) for sizes in chunks])} voxels"


def _levels(space: Space) -> str:
    with suppress(RefspaceError):
        return ", ".join(_shortest(level.resolution) for level in space.levels) + " µm"
    return ""


def _shortest(resolution: Sequence[float]) -> str:
    return f"{resolution[0]:g}" if len({*resolution}) == 1 else _triple(resolution)


def _midline(space: Space) -> str:
    hemispheres = space.volume.hemispheres
    side = f"; {hemispheres.side} hemisphere alone" if hemispheres.side else ""
    if hemispheres.volume is not None:
        return f"a volume says which hemisphere a voxel is in{side}"
    return f"{hemispheres.line}{side}"


def _figure(space: Space) -> str:
    """Thumbnail, where there is one."""
    with suppress(RefspaceError):
        picture = thumbnail(space)
        if picture is not None:
            at = f"ap {picture.position:g} µm, left at the left"
            return (
                f"<figure><img alt='coronal plane' src='{picture.url}'>"
                f"<figcaption class='rs-dim'>{at}</figcaption></figure>"
            )
    return ""


# ----- the tree


def _volumes(space: Space) -> dict[int, float]:
    """Volume in mm³ of each structure's subtree; empty without a label index."""
    with suppress(RefspaceError):
        if space.volume.index is not None:
            voxel = space.grid.voxel_volume
            return {i: count * voxel for i, count in space.total_voxel_map.items()}
    return {}


def _draw_tree(tree: StructureTree, volumes: Mapping[int, float]) -> str:
    """The upper structures, as many levels as fit."""
    ids = tree.node_ids()
    roots = [i for i, parent in zip(ids, tree.parent_ids(ids), strict=True) if parent is None]
    for depth in range(_DRAWN, 0, -1):
        drawn = _draw_level(tree, roots, volumes, depth, 0)
        if len(drawn) <= _TREE_BYTES:
            return drawn
    # Even of the roots there are too many.
    while len(drawn) > _TREE_BYTES and len(roots) > 1:
        roots = roots[: len(roots) // 2]
        drawn = _draw_level(tree, roots, volumes, 1, 0)
    return f"{drawn}<ul><li>… and {len(tree) - len(roots)} more</li></ul>"


def _draw_level(
    tree: StructureTree, ids: Sequence[int], volumes: Mapping[int, float], depth: int, at: int
) -> str:
    items = []
    for i, children in zip(ids, tree.child_ids(ids), strict=True):
        label = _label(tree, i, volumes)
        if not children:
            items.append(f"<li>{label}</li>")
        elif depth == 1:
            below = len(tree.descendant_ids([i])[0]) - 1
            items.append(f"<li>{label} <span class='rs-dim'>+{below}</span></li>")
        else:
            opened = " open" if at < _OPEN - 1 else ""
            inner = _draw_level(tree, children, volumes, depth - 1, at + 1)
            items.append(f"<li><details{opened}><summary>{label}</summary>{inner}</details></li>")
    return f"<ul>{''.join(items)}</ul>"


def _label(tree: StructureTree, structure: int, volumes: Mapping[int, float]) -> str:
    (node,) = tree.nodes([structure])
    texts = (("acronym", _LONGEST // 2), ("name", _LONGEST))
    known = [
        _clipped(str(node[key]), longest) for key, longest in texts if node.get(key) is not None
    ]
    # Each once: many structures are called by their acronym.
    first, *others = [*dict.fromkeys(known)] or [str(structure)]
    name = "".join(f" <span class='rs-dim'>{html.escape(other)}</span>" for other in others)
    volume = f"<span class='rs-mm'>{volumes[structure]:.3g} mm³</span>" if volumes else ""
    red, green, blue = node_color(node)
    swatch = f"<i style='background:#{red:02x}{green:02x}{blue:02x}'></i>"
    return f"{swatch}{html.escape(first)}{name}{volume}"
