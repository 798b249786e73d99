"""The Allen Mouse Brain Common Coordinate Framework: annotation, template, ontology, masks, meshes.

Sources: http://help.brain-map.org/display/mousebrain/API lists the folders of the archive,
http://help.brain-map.org/display/api/RESTful+Model+Access+(RMA) describes queries of structures.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from refspace.errors import GridError, RemoteError, SourceError
from refspace.formats.nrrd import NRRD
from refspace.formats.structures import parse_structures, read_structures
from refspace.limits import check_limit
from refspace.remote.download import Progress, read_record
from refspace.sources.cache import Cache
from refspace.sources.ccf import CITATION, LICENCE, ORIENTATION, RESOLUTIONS, VERSIONS
from refspace.sources.source import AtlasParts, Request, base_url
from refspace.types import Resolution

HOST = "https://api.brain-map.org"
ARCHIVE = "https://download.alleninstitute.org/informatics-archive/current-release/mouse_ccf"
HOST_VARIABLE = "REFSPACE_ALLEN_HOST"
ARCHIVE_VARIABLE = "REFSPACE_ALLEN_ARCHIVE"
TEMPLATES = ("average_template", "ara_nissl")
# Digests of files in the Allen Institute's own archive. A mirror may have compressed them anew.
_SHA256 = {
    f"{ARCHIVE}/annotation/ccf_2017/annotation_25.nrrd": (
        "c620cbcc562183e4dcd40250d440130501781f74b41de35b1c1bdabace290c42"
    ),
    f"{ARCHIVE}/average_template/average_template_25.nrrd": (
        "e4a2b483e842b4c8c1b5452d940ea59e14bc1ebaa38fe6a9c3bacac6db2a8f4b"
    ),
}
# num_rows is stated because the API returns a first page of rows without it.
_QUERY = (
    "model::Structure,rma::criteria,[graph_id$in{graph}],rma::include,structure_sets,"
    "rma::options[num_rows$eq'all'][order$eqstructures.graph_order][count$eqfalse]"
)
_OPTIONS = ("template", "graph_id", "host", "archive")
_GRAPHS = "1 adult mouse, 17 developing mouse, 10 human, 16 developing human"


def allen(request: Request) -> AtlasParts:
    """Source ``allen``: the mouse CCF of 2015, 2016 or 2017, from the Allen Institute.

    Parameters
    ----------
    request
        Name ``ccf_2015``, ``ccf_2016`` or ``ccf_2017``; resolution 10, 25, 50 or 100 µm. Options:
        ``template`` (True for the average template, or ``"average_template"``, ``"ara_nissl"``),
        ``graph_id`` (1), ``host`` of the API and ``archive`` of the files (URLs; also named by the
        environment variables ``REFSPACE_ALLEN_HOST`` and ``REFSPACE_ALLEN_ARCHIVE``).

    Raises
    ------
    SourceError
        If there is no such version, template, graph or option.
    GridError
        If there is no such resolution.
    RemoteError
        If a host cannot be reached, or does not send what it should.
    """
    options = request.options
    request.check_options(_OPTIONS)
    files = AllenFiles(request.cache, options.get("host"), options.get("archive"), request.progress)
    version, resolution = check_version(request.name), check_resolution(request.resolution)
    graph = check_graph(options.get("graph_id", 1))
    kind = check_template(options.get("template"))
    # The small file first: faults of the network show within seconds.
    structures = files.structures(graph)
    annotation = files.annotation(version, resolution)
    template = files.template(kind, resolution) if kind else None
    provenance = {
        "source": files.annotation_url(version, resolution),
        "version": version,
        "sha256": _digest(annotation),
        "structures": files.structures_url(graph),
        "structures_sha256": _digest(structures),
        "graph_id": graph,
        "citation": CITATION,
        "licence": LICENCE,
    }
    if kind and template:
        provenance["template"] = files.template_url(kind, resolution)
        provenance["template_sha256"] = _digest(template)
    return AtlasParts(
        annotation,
        read_structures(structures),
        resolution=resolution,
        orientation=ORIENTATION,
        template=template,
        provenance=provenance,
    )


def _digest(path: Path) -> str | None:
    record = read_record(path)
    return None if record is None else record.sha256


# ----- names and resolutions


def check_version(name: str) -> str:
    """Version of the CCF, with or without the folder that AllenSDK's keys name.

    Raises
    ------
    SourceError
        If there is nothing of that name.

    Examples
    --------
    >>> check_version("annotation/ccf_2017")
    'ccf_2017'
    """
    version = name.removeprefix("annotation/")
    if version not in VERSIONS:
        raise SourceError(f"allen has no {name!r}; it has {', '.join(VERSIONS)}")
    return version


def check_resolution(resolution: Resolution | None) -> int:
    """Check a resolution to be one that files are published at.

    Raises
    ------
    GridError
        If there are no files of that resolution.
    """
    if resolution not in RESOLUTIONS:
        problem = "no resolution is given" if resolution is None else f"resolution is {resolution}"
        published = ", ".join(map(str, RESOLUTIONS))
        raise GridError(
            f"{problem}; the Allen CCF is published at {published} µm: give one of them"
        )
    return int(resolution)  # type: ignore[arg-type]  # it is among RESOLUTIONS


def check_template(kind: bool | str | None) -> str | None:
    """Name of a template; None without one.

    Raises
    ------
    SourceError
        If there is nothing of that name.
    """
    if kind is None or kind is False:
        return None
    name = TEMPLATES[0] if kind is True else kind
    if name not in TEMPLATES:
        raise SourceError(f"allen has no template {kind!r}; it has {', '.join(TEMPLATES)}")
    return name


def check_graph(graph_id: int | str) -> int:
    """Check the id of a structure graph to be an integer.

    Raises
    ------
    SourceError
        If it is not.
    """
    try:
        return int(graph_id)
    except (TypeError, ValueError) as error:
        raise SourceError(f"graph_id is {graph_id!r}; give a number: {_GRAPHS}") from error


@dataclass(frozen=True)
class AllenFiles:
    """Files of the API and of the archive, each downloaded at its first use.

    Parameters
    ----------
    cache
        Cache that they are downloaded to.
    host
        URL of the API; by default that of ``REFSPACE_ALLEN_HOST``, or the Allen Institute's.
    archive
        URL of the archive's folder of the CCF; by default that of ``REFSPACE_ALLEN_ARCHIVE``, or
        the Allen Institute's.
    progress
        Called with the name of a file, its bytes so far, and its bytes in all.
    """

    cache: Cache = field(default_factory=Cache)
    host: str | None = None
    archive: str | None = None
    progress: Progress | None = None

    # ----- URLs

    def structures_url(self, graph_id: int) -> str:
        """URL of the query for the structures of a graph, with the sets that they are in.

        Examples
        --------
        >>> AllenFiles().structures_url(1)[:60]
        'https://api.brain-map.org/api/v2/data/query.json?q=model::St'
        """
        # Brackets, quotes and blanks encoded, the rest as the API's documentation writes it.
        query = quote(_QUERY.format(graph=graph_id), safe=":,$.=_")
        return f"{base_url(self.host, HOST_VARIABLE, HOST)}/api/v2/data/query.json?q={query}"

    def annotation_url(self, version: str, resolution: int) -> str:
        """URL of an annotation."""
        return self._in_archive(f"annotation/{version}/annotation_{resolution}.nrrd")

    def template_url(self, kind: str, resolution: int) -> str:
        """URL of a template."""
        return self._in_archive(f"{kind}/{kind}_{resolution}.nrrd")

    def mask_url(self, version: str, resolution: int, structure_id: int) -> str:
        """URL of the published mask of a structure."""
        folder = f"annotation/{version}/structure_masks/structure_masks_{resolution}"
        return self._in_archive(f"{folder}/structure_{structure_id}.nrrd")

    def mesh_url(self, version: str, structure_id: int) -> str:
        """URL of the published mesh of a structure."""
        return self._in_archive(f"annotation/{version}/structure_meshes/{structure_id}.obj")

    def _in_archive(self, path: str) -> str:
        return f"{base_url(self.archive, ARCHIVE_VARIABLE, ARCHIVE)}/{path}"

    # ----- downloads

    def structures(self, graph_id: int, target: Path | None = None) -> Path:
        """Path of the structures of a graph, as the API returns them.

        Parameters
        ----------
        graph_id
            Id of the graph.
        target
            Path to download to, if not into the cache. A file that exists there is used as it is.

        Raises
        ------
        RemoteError
            If the API reports a failure, or sends less than all.
        FormatError, OntologyError
            If what it sends is no tree of structures.
        SourceError
            If the graph has no structures.
        """
        url = self.structures_url(graph_id)

        def check(path: Path) -> None:
            _check_response(path, url, graph_id)

        return self._download(url, target, HOST_VARIABLE, check=check)

    def annotation(self, version: str, resolution: int, target: Path | None = None) -> Path:
        """Path of an annotation."""
        return self._volume(self.annotation_url(version, resolution), target)

    def template(self, kind: str, resolution: int, target: Path | None = None) -> Path:
        """Path of a template."""
        return self._volume(self.template_url(kind, resolution), target)

    def structure_mask(
        self, version: str, resolution: int, structure_id: int, target: Path | None = None
    ) -> Path:
        """Path of the published mask of a structure."""
        url = self.mask_url(version, resolution, structure_id)
        return self._structure_file(self._volume, url, target)

    def structure_mesh(self, version: str, structure_id: int, target: Path | None = None) -> Path:
        """Path of the published mesh of a structure."""
        return self._structure_file(self._download, self.mesh_url(version, structure_id), target)

    def _volume(self, url: str, target: Path | None) -> Path:
        # Checked before it is cached: a wrong file would be used for ever.
        return self._download(url, target, check=NRRD.read_header)

    def _structure_file(
        self, download: Callable[[str, Path | None], Path], url: str, target: Path | None
    ) -> Path:
        try:
            return download(url, target)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; not every structure has a published one, nor every version: "
                "ReferenceSpace.make_structure_mask makes masks of all"
            ) from error

    def _download(
        self,
        url: str,
        target: Path | None,
        variable: str = ARCHIVE_VARIABLE,
        check: Callable[[Path], object] | None = None,
    ) -> Path:
        if target is not None and target.exists():
            return target
        option = "host" if variable == HOST_VARIABLE else "archive"
        return self.cache.file(
            url,
            target=target,
            sha256=known_digest(url),
            progress=self.progress,
            check=check,
            remedies=[f"name another host by {option}= or {variable}"],
        )


def known_digest(url: str) -> str | None:
    """Digest of a file of the Allen Institute's archive, by whichever protocol it comes.

    Examples
    --------
    >>> known_digest(f"{ARCHIVE}/annotation/ccf_2017/annotation_25.nrrd")[:8]
    'c620cbcc'
    """
    return _SHA256.get(re.sub("^http:", "https:", url))


def read_answer(path: Path, url: str, *, is_whole: bool = True) -> list[Any]:
    """Rows of an answer of the API, which may report a failure or be incomplete.

    Parameters
    ----------
    path
        File with the answer.
    url
        URL of the query, for messages.
    is_whole
        Whether all rows were asked for.

    Raises
    ------
    RemoteError
        If it is no answer of the API, or of a query that failed, or too large.
    """
    size = path.stat().st_size
    check_limit("ontology_bytes", size, f"{url}: the answer has {size} bytes", RemoteError)
    try:
        response = json.loads(path.read_bytes())
        message = response["msg"]
        succeeded = response["success"]
        total = response.get("total_rows")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise RemoteError(
            f"{url}: the server sends no answer of the Allen API, which is JSON with success and "
            "msg; is the host right?"
        ) from error
    if succeeded is not True or not isinstance(message, list):
        raise RemoteError(f"{url}: the server reports a failure: {message}")
    if is_whole and isinstance(total, int) and total not in (0, len(message)):
        raise RemoteError(
            f"{url}: the server sends {len(message)} of {total} structures; try again later"
        )
    return message


def no_structures(graph_id: int | str) -> SourceError:
    """Error of a graph that has no structures."""
    return SourceError(f"graph {graph_id} has no structures; graphs are {_GRAPHS}")


def _check_response(path: Path, url: str, graph_id: int) -> None:
    """Refuse a response of the API that reports a failure, is incomplete, or no tree."""
    if not read_answer(path, url):
        raise no_structures(graph_id)
    parse_structures(path.read_bytes(), url)
