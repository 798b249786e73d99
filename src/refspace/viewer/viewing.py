"""Showing a space in the browser."""

import contextlib
import html
import threading
import webbrowser
from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from refspace.errors import AnnotationError
from refspace.safe_text import shown
from refspace.types import LengthUnit, PointsLike, StructuresLike
from refspace.verbs.space import Space
from refspace.verbs.values import ValuesOfStructures, structure_values
from refspace.viewer.client import client_files
from refspace.viewer.in_place import in_place_url
from refspace.viewer.points import read_points
from refspace.viewer.state import Scene, make_state
from refspace.viewer.volumes import ImagesLike, shown_images, shown_levels, template_image

if TYPE_CHECKING:
    from refspace.viewer.server import Server


class View:
    """A viewer that runs: its URL, and the means to end it.

    Parameters
    ----------
    server
        What serves it.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server

    @property
    def url(self) -> str:
        """URL of the page, on this machine alone; whoever knows it sees what is viewed."""
        return self._server.url

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong while it was looked at, as that a chunk is damaged."""
        return tuple(self._server.notes)

    @property
    def state(self) -> dict[str, Any]:
        """State of neuroglancer, as the page has it: position, layers, what is highlighted."""
        return self._server.state

    def wait(self) -> None:
        """Block until the program is interrupted."""
        threading.Event().wait()

    def close(self) -> None:
        """Stop serving; the page stays, and shows nothing new."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<View, closed, of {self.url}>" if self._server.is_closed else f"<View {self.url}>"

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        return f'<a href="{url}" target="_blank" rel="noreferrer">{url}</a>'


def view(
    space: Space,
    images: ImagesLike = (),
    *,
    values: ValuesOfStructures | None = None,
    variable: str | None = None,
    limits: tuple[float, float] | None = None,
    points: PointsLike | None = None,
    columns: Sequence[Hashable] | None = None,
    unit: LengthUnit = "um",
    structures: StructuresLike | None = None,
    opacity: float | None = None,
    browser: bool = True,
    port: int = 0,
    image_options: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> View:
    """Show the space in the browser: annotation, template, images, values and points.

    The annotation is in the colours of the ontology, beside a tree of structures that highlights
    whole subtrees; the panes are coronal, horizontal and sagittal, upright, with left at the left.
    Chunks are read as they are looked at, at the level that the window shows. A volume without
    levels is read into memory at once, up to 2 GiB. All is served from this process, to this
    machine alone, at a URL that nobody can guess; a public store on another machine whose server
    lets pages read it is read from there.

    Parameters
    ----------
    images
        Images that lie beneath: arrays, paths or URLs, or a mapping that names them.
    values
        Values of structures, as a colour map: a mapping or Series, a data frame of two hemispheres,
        or what `aggregate` returns. Structures without a value are hatched.
    variable
        Variable of a Dataset, or column of a DataFrame.
    limits
        Values of the ends of the colour map; the lowest and the highest value if not given.
    points
        Positions, as for `structure_at`; evenly sampled beyond a million.
    columns, unit
        As for `structure_at`.
    structures
        Structures whose subtrees are highlighted at first; all are shown if not given.
    opacity
        Of the annotation, from 0 to 1; 1 if not given, and 0.5 over images.
    browser
        Whether to open the browser.
    port
        Port of this machine; any that is free if 0.
    image_options
        Arguments of `refspace.read_image` for images by path or URL.
    storage_options
        What fsspec needs to reach the store of the space, which was opened with the same.

    Returns
    -------
    View
        The running viewer, at once. It ends with its `close`, or with the program.

    Raises
    ------
    MissingDependencyError
        If the package neuroglancer is not installed (``pip install neuroglancer``).
    GridError
        If an image lies elsewhere, or points are no positions.
    AnnotationError
        If values, limits or the opacity are none.
    StructureNotFoundError
        If there is no such structure.
    StoreError
        If the port is taken.

    Examples
    --------
    >>> import refspace
    >>> space = refspace.phantom(resolution=400)
    >>> with space.view(values={"Isocortex": 1.5, "TH": 2}, browser=False) as viewer:
    ...     viewer.url.startswith("http://127.0.0.1:")
    True
    """
    client_files()  # raises where it is not installed
    if opacity is not None and not 0 <= opacity <= 1:
        raise AnnotationError(f"opacity is {opacity}; give a number from 0 to 1")
    tree = space.structure_tree
    chosen = [] if structures is None else tree.resolve(structures)
    numbers = None if values is None else structure_values(tree, values, variable=variable)
    placed = None if points is None else read_points(points, space.grid, columns=columns, unit=unit)
    others = shown_images(space, images, image_options)
    levels = shown_levels(space)
    template = template_image(levels)
    beneath = [*([] if template is None else [template]), *others]
    remote = in_place_url(levels, storage_options)
    # Late: a server's library comes with the extra.
    from refspace.viewer.server import Server
    from refspace.viewer.serving import Serving, about_page

    server = Server(port=port, connect=() if remote is None else (remote.origin,))
    # What fails from here on leaves no server behind.
    with contextlib.ExitStack() as failed:
        failed.callback(server.close)
        serving = Serving(server)
        voxels = serving.annotation(levels) if remote is None else f"{remote.url}|zarr3:"
        painted = None if numbers is None else serving.values(levels, numbers, limits)
        scene = Scene(
            levels[0].grid,
            tree,
            [voxels, serving.segments(space), *serving.surfaces(levels)],
            images=[serving.image(number, image) for number, image in enumerate(beneath)],
            values=painted,
            points=None if placed is None else serving.points(placed),
            structures=[i for ids in tree.descendant_ids(chosen) for i in ids],
            opacity=opacity,
        )
        ends = None if painted is None else painted.limits
        notes = [] if placed is None else [placed.note]
        about = about_page(_title(space), levels[0], numbers, ends, chosen, notes)
        about["remote"] = None if remote is None else remote.url.rstrip("/")
        serving.page(levels, about)
        server.show(make_state(scene))
        failed.pop_all()
    result = View(server)
    if browser:
        webbrowser.open(result.url)
    return result


def _title(space: Space) -> str:
    """Name of what is viewed, and its resolution."""
    resolution = " × ".join(f"{r:g}" for r in dict.fromkeys(space.resolution))
    name = PurePath(urlsplit(space.url).path).stem if space.url else "annotation"
    return f"{shown(name)} · {resolution} µm"
