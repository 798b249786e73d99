"""``ReferenceSpaceCache`` with AllenSDK's interface: files of the mouse CCF, downloaded once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from refspace.formats.meshes import Mesh, read_obj
from refspace.formats.nrrd import parse_header, read_nrrd
from refspace.formats.source_file import opened_source
from refspace.formats.structures import read_structures
from refspace.reference_space import ReferenceSpace
from refspace.remote.download import Progress
from refspace.sources.allen import (
    AllenFiles,
    check_graph,
    check_resolution,
    check_template,
    check_version,
)
from refspace.sources.cache import Cache
from refspace.sources.ccf import ORIENTATION
from refspace.sources.opening import fetch
from refspace.structure_tree import StructureTree
from refspace.structure_tree.records import structure_id as checked_id
from refspace.types import PathLike

Volume: TypeAlias = tuple[xr.DataArray, Mapping[str, Any]]


class ReferenceSpaceCache:
    """Annotation, template, structures, masks and meshes of one reference space of the mouse CCF.

    Each is downloaded at its first use and cached, apart from those of other versions, resolutions,
    graphs and hosts. The methods have the names and arguments of AllenSDK. A ``file_name`` is the
    path of a file that is read if it exists, and downloaded to if it does not.

    Parameters
    ----------
    resolution
        µm per voxel: 10, 25, 50 or 100.
    reference_space_key
        Version: ``"annotation/ccf_2017"``, or ``ccf_2016``, ``ccf_2015``.
    manifest
        Path of a manifest, as AllenSDK has it: its folder is the folder of the cache. No manifest
        is read or written.
    cache
        Cache for downloads, if there is no manifest.
    structure_graph_id
        Id of the structure graph.
    host, archive
        URLs of the API and of the archive's folder of the CCF, where they are not the Allen
        Institute's; also named by ``REFSPACE_ALLEN_HOST`` and ``REFSPACE_ALLEN_ARCHIVE``.
    progress
        Called with the name of a file, the amount done, and the amount in all.

    Raises
    ------
    GridError
        If there is no such resolution.
    SourceError
        If there is no such version.

    Examples
    --------
    The constructor downloads nothing:

    >>> ReferenceSpaceCache(25, "annotation/ccf_2017", manifest="atlases/manifest.json")
    <ReferenceSpaceCache of ccf_2017 at 25 µm, in atlases>
    """

    def __init__(
        self,
        resolution: int,
        reference_space_key: str = "annotation/ccf_2017",
        *,
        manifest: PathLike | None = None,
        cache: Cache | PathLike | None = None,
        structure_graph_id: int = 1,
        host: str | None = None,
        archive: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.resolution = check_resolution(resolution)
        self.version = check_version(reference_space_key)
        self.structure_graph_id = check_graph(structure_graph_id)
        root = cache if manifest is None else Path(manifest).parent
        self.cache = root if isinstance(root, Cache) else Cache(root)
        self._files = AllenFiles(self.cache, host, archive, progress)

    def __repr__(self) -> str:
        what = f"{self.version} at {self.resolution} µm, in {self.cache.root}"
        return f"<ReferenceSpaceCache of {what}>"

    def get_structure_tree(
        self, file_name: PathLike | None = None, structure_graph_id: int | None = None
    ) -> StructureTree:
        """The structures of a graph, with their structure sets.

        Parameters
        ----------
        file_name
            File to read, or to download to.
        structure_graph_id
            Id of the graph; by default that of the cache.
        """
        graph = self.structure_graph_id if structure_graph_id is None else structure_graph_id
        return read_structures(self._files.structures(check_graph(graph), _path(file_name)))

    def get_annotation_volume(self, file_name: PathLike | None = None) -> Volume:
        """The annotation, lazy (ap × dv × ml, with voxel centres in µm), and its file's header.

        Parameters
        ----------
        file_name
            File to read, or to download to.
        """
        path = self._files.annotation(self.version, self.resolution, _path(file_name))
        return self._volume(path, "annotation")

    def get_template_volume(
        self, file_name: PathLike | None = None, *, template: str = "average_template"
    ) -> Volume:
        """The template, lazy (ap × dv × ml, with voxel centres in µm), and its file's header.

        Parameters
        ----------
        file_name
            File to read, or to download to.
        template
            ``"average_template"`` or ``"ara_nissl"``.
        """
        kind = check_template(template) or template
        path = self._files.template(kind, self.resolution, _path(file_name))
        return self._volume(path, "template")

    def get_reference_space(
        self,
        structure_file_name: PathLike | None = None,
        annotation_file_name: PathLike | None = None,
    ) -> ReferenceSpace:
        """The reference space.

        Without arguments it is a store, made of the cached files at the first call: its counts read
        no voxel, its masks only chunks that may hold the structure. With arguments it is read from
        the files themselves.

        Parameters
        ----------
        structure_file_name, annotation_file_name
            Files to read, or to download to.
        """
        if structure_file_name is None and annotation_file_name is None:
            return fetch(
                f"allen:{self.version}",
                resolution=self.resolution,
                cache=self.cache,
                progress=self._files.progress,
                graph_id=None if self.structure_graph_id == 1 else self.structure_graph_id,
                host=self._files.host,
                archive=self._files.archive,
            )
        annotation, _ = self.get_annotation_volume(annotation_file_name)
        return ReferenceSpace(self.get_structure_tree(structure_file_name), annotation)

    def get_structure_mask(
        self,
        structure_id: int | str,
        file_name: PathLike | None = None,
        annotation_file_name: PathLike | None = None,
    ) -> Volume:
        """The published mask of a structure, bool and lazy, and its file's header.

        Parameters
        ----------
        structure_id
            Id, acronym or name.
        file_name
            File to read, or to download to.
        annotation_file_name
            Not used: the mask is the published one. AllenSDK takes it too.

        Raises
        ------
        FileNotFoundError
            If the archive has no such file.
        """
        i = self._resolve(structure_id)
        path = self._files.structure_mask(self.version, self.resolution, i, _path(file_name))
        volume, header = self._volume(path, "mask")
        return volume.copy(data=volume.data != 0), header

    def get_structure_mesh(
        self, structure_id: int | str, file_name: PathLike | None = None
    ) -> Mesh:
        """The published surface of a structure: vertices, their normals, triangles of both.

        Parameters
        ----------
        structure_id
            Id, acronym or name.
        file_name
            File to read, or to download to.

        Returns
        -------
        Mesh
            Tuple of vertices (µm), vertex normals, and for each triangle the indices of its
            vertices and of their normals, from 0.

        Raises
        ------
        FileNotFoundError
            If the archive has no such file.
        """
        i = self._resolve(structure_id)
        return read_obj(self._files.structure_mesh(self.version, i, _path(file_name)))

    def _resolve(self, structure: int | str) -> int:
        """Id of a structure; only names need the tree, which may have to be downloaded."""
        if isinstance(structure, str):
            (resolved,) = self.get_structure_tree().resolve(structure)
            return resolved
        return checked_id(structure)

    def _volume(self, path: Path, name: str) -> Volume:
        volume = read_nrrd(path, resolution=self.resolution, orientation=ORIENTATION)
        return volume.rename(name), _header(path)


def _path(file_name: PathLike | None) -> Path | None:
    return None if file_name is None else Path(file_name)


def _header(path: Path) -> dict[str, Any]:
    """Fields of the header of a file, by the names of the format."""
    with opened_source(path) as (source, file):
        header = parse_header(source, file)
    spacing = header.stated.spacing
    fields: dict[str, Any] = {
        "type": header.image.voxels.dtype.name,
        "dimension": len(header.shape),
        "sizes": np.array(header.shape),
        "encoding": header.encoding,
        "spacings": None if spacing is None else np.array(spacing),
        "space": header.space,
    }
    return {name: value for name, value in fields.items() if value is not None}
