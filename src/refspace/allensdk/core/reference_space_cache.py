"""``ReferenceSpaceCache``: files of one reference space, where AllenSDK puts them."""

from collections.abc import Iterable
from pathlib import Path
from typing import SupportsInt

from refspace.allensdk.api.queries.ontologies_api import OntologiesApi
from refspace.allensdk.api.queries.reference_space_api import ReferenceSpaceApi
from refspace.allensdk.config.manifest import Manifest, read_manifest, write_manifest
from refspace.allensdk.missing import AllenSDKClass
from refspace.allensdk.volumes import Volume, read_volume
from refspace.errors import FormatError, SettingError, SourceError
from refspace.files import make_folder
from refspace.formats.meshes import Mesh
from refspace.formats.meshes.obj import read_obj
from refspace.formats.structure_output import write_structures
from refspace.formats.structures import read_structures
from refspace.reference_space import ReferenceSpace
from refspace.sources.allen import check_graph, check_resolution, check_version
from refspace.structure_tree import StructureTree
from refspace.types import PathLike


class ReferenceSpaceCache(AllenSDKClass):
    """Files of one reference space of the mouse CCF, each downloaded at its first use.

    They are named and placed as AllenSDK does it, so a folder that it has filled is used as it is.
    Volumes are NumPy arrays in memory; `refspace.fetch` and `refspace.ReferenceSpaceCache` are
    lazy, and take less memory.

    Parameters
    ----------
    resolution
        µm per voxel: 10, 25, 50 or 100.
    reference_space_key
        Version: ``"annotation/ccf_2017"``, or ``ccf_2016``, ``ccf_2015``.
    manifest
        Path of the manifest, which says where the files are; it is written if it does not exist.
        Without it, each method needs the name of its file.
    cache
        True: AllenSDK's volumes cannot be had without files either.
    version
        Version of a manifest that is written.
    base_uri
        URL of the API, as for `Api`.

    Raises
    ------
    SourceError, GridError
        If there is no such version, or no such resolution.
    FormatError
        If the manifest is none, or of a version that is not known.

    Examples
    --------
    >>> import tempfile
    >>> manifest = tempfile.mkdtemp() + "/manifest.json"
    >>> cache = ReferenceSpaceCache(25, "annotation/ccf_2017", manifest=manifest)
    >>> path = cache.get_cache_path(None, cache.ANNOTATION_KEY, "annotation/ccf_2017", 25)
    >>> Path(path).relative_to(Path(manifest).parent).as_posix()
    'annotation/ccf_2017/annotation_25.nrrd'
    """

    REFERENCE_SPACE_VERSION_KEY = "REFERENCE_SPACE_VERSION"
    ANNOTATION_KEY = "ANNOTATION"
    TEMPLATE_KEY = "TEMPLATE"
    STRUCTURES_KEY = "STRUCTURES"
    STRUCTURE_TREE_KEY = "STRUCTURE_TREE"
    STRUCTURE_MASK_KEY = "STRUCTURE_MASK"
    STRUCTURE_MESH_KEY = "STRUCTURE_MESH"
    MANIFEST_VERSION = 1.2

    only_in_allensdk = (
        "add_manifest_paths build_manifest load_manifest manifest_dataframe load_csv load_json "
        "cacher cache_csv cache_csv_dataframe cache_csv_json cache_json cache_json_dataframe "
        "csv_writer json_remove_keys json_rename_columns nocache_dataframe nocache_json "
        "pathfinder remove_keys rename_columns wrap"
    )

    api: ReferenceSpaceApi

    def __init__(
        self,
        resolution: int,
        reference_space_key: str,
        *,
        manifest: PathLike | None = None,
        cache: bool = True,
        version: float | None = None,
        base_uri: str | None = None,
    ) -> None:
        if not cache:
            raise SettingError(
                "cache is False, but volumes are read from files; leave it out, and name a folder "
                "that you remove by manifest="
            )
        self.resolution = check_resolution(resolution)
        check_version(reference_space_key)
        self.reference_space_key = reference_space_key
        self.cache = cache
        self.api = ReferenceSpaceApi(base_uri)
        self.manifest: Manifest | None = None
        if manifest is not None:
            self.manifest_path = str(manifest)
            if not Path(manifest).exists():
                stated = self.MANIFEST_VERSION if version is None else version
                write_manifest(manifest, self._entries(), stated)
            self.manifest = read_manifest(manifest)

    @classmethod
    def _entries(cls) -> list[dict[str, str]]:
        """Entries of a new manifest."""
        folder = cls.REFERENCE_SPACE_VERSION_KEY
        mask = "structure_masks/resolution_%d/structure_%d.nrrd"
        return [
            {"key": "BASEDIR", "type": "dir", "spec": "."},
            entry(cls.STRUCTURE_TREE_KEY, "structures.json"),
            entry(folder, "%s", kind="dir"),
            entry(cls.ANNOTATION_KEY, "annotation_%d.nrrd", folder),
            entry(cls.TEMPLATE_KEY, "average_template_%d.nrrd"),
            entry(cls.STRUCTURE_MASK_KEY, mask, folder),
            entry(cls.STRUCTURE_MESH_KEY, "structure_meshes/structure_%d.obj", folder),
        ]

    def get_cache_path(
        self, file_name: PathLike | None, manifest_key: str, *args: object
    ) -> PathLike:
        """Path of a file: the one that is given, or else that of the manifest.

        Parameters
        ----------
        file_name
            Path that counts, if it is given.
        manifest_key
            Key in the manifest.
        *args
            What stands for the placeholders of the path.

        Raises
        ------
        SettingError
            If there is neither.
        """
        if file_name is not None:
            return file_name
        if self.manifest is None:
            raise SettingError(
                f"{type(self).__name__} has no manifest, so the file has no place; give file_name, "
                "or make it with manifest='FOLDER/manifest.json'"
            )
        return self.manifest.get_path(manifest_key, *args)

    def get_structure_tree(
        self, file_name: PathLike | None = None, structure_graph_id: int = 1
    ) -> StructureTree:
        """The structures of a graph, with their sets.

        Parameters
        ----------
        file_name
            File to read, or to write, ``structures.json`` if not given.
        structure_graph_id
            Id of the graph.

        Raises
        ------
        SourceError
            If the file has the structures of another graph.
        RemoteError
            If the host cannot be reached, or sends something else.
        """
        graph = check_graph(structure_graph_id)
        path = self.get_cache_path(file_name, self.STRUCTURE_TREE_KEY)
        if not Path(path).exists():
            records = OntologiesApi(self.api.api_url).get_structures_with_sets(graph)
            make_folder(Path(path).parent)
            write_structures(path, StructureTree(StructureTree.clean_structures(records)))
        tree = read_structures(path)
        found = {node["graph_id"] for node in tree.nodes() if "graph_id" in node}
        if found and graph not in found:
            raise SourceError(
                f"{path} has the structures of graph {', '.join(map(str, sorted(found)))}, and "
                f"{graph} is asked for: name another file by file_name"
            )
        return tree

    def get_annotation_volume(self, file_name: PathLike | None = None) -> Volume:
        """The annotation and its header.

        Parameters
        ----------
        file_name
            File to read, or to download to.

        Returns
        -------
        tuple
            Voxels, a NumPy array along ap, dv and ml; and the fields of the NRRD header.

        Raises
        ------
        RemoteError
            If the host cannot be reached, or sends something else.
        FormatError
            If the file is damaged.
        """
        key, resolution = self.reference_space_key, self.resolution
        path = self.get_cache_path(file_name, self.ANNOTATION_KEY, key, resolution)
        if Path(path).exists():
            return read_volume(path)
        return self.api.download_annotation_volume(key, resolution, path)

    def get_template_volume(self, file_name: PathLike | None = None) -> Volume:
        """The average template and its header.

        Parameters
        ----------
        file_name
            As for `get_annotation_volume`, which says what is returned and raised.
        """
        path = self.get_cache_path(file_name, self.TEMPLATE_KEY, self.resolution)
        if Path(path).exists():
            return read_volume(path)
        return self.api.download_template_volume(self.resolution, path)

    def get_reference_space(
        self,
        structure_file_name: PathLike | None = None,
        annotation_file_name: PathLike | None = None,
    ) -> ReferenceSpace:
        """The reference space, its annotation in memory.

        Parameters
        ----------
        structure_file_name, annotation_file_name
            Files to read, or to download to.
        """
        tree = self.get_structure_tree(structure_file_name)
        annotation, _ = self.get_annotation_volume(annotation_file_name)
        return ReferenceSpace(tree, annotation, [self.resolution] * 3)

    def get_structure_mask(
        self,
        structure_id: int,
        file_name: PathLike | None = None,
        annotation_file_name: PathLike | None = None,
    ) -> Volume:
        """The published mask of a structure, and its header.

        Parameters
        ----------
        structure_id
            Id of the structure.
        file_name
            As for `get_annotation_volume`, which says what is returned and raised.
        annotation_file_name
            Not used; AllenSDK takes it too.

        Raises
        ------
        FileNotFoundError
            If the archive has none.
        """
        number = self.validate_structure_id(structure_id)
        key, resolution = self.reference_space_key, self.resolution
        path = self.get_cache_path(file_name, self.STRUCTURE_MASK_KEY, key, resolution, number)
        if Path(path).exists():
            return read_volume(path)
        return self.api.download_structure_mask(number, key, resolution, path)

    def get_structure_mesh(self, structure_id: int, file_name: PathLike | None = None) -> Mesh:
        """The published surface of a structure.

        Parameters
        ----------
        structure_id
            Id of the structure.
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
            If the archive has none.
        """
        number = self.validate_structure_id(structure_id)
        key = self.reference_space_key
        path = self.get_cache_path(file_name, self.STRUCTURE_MESH_KEY, key, number)
        if Path(path).exists():
            return read_obj(path)
        return self.api.download_structure_mesh(number, key, path)

    @classmethod
    def validate_structure_id(cls, structure_id: SupportsInt | str) -> int:
        """An id as an integer.

        Parameters
        ----------
        structure_id
            Number, text of one, or array or Series of one number.

        Raises
        ------
        FormatError
            If it is no number; it is a `ValueError`.

        Examples
        --------
        >>> ReferenceSpaceCache.validate_structure_id("385")
        385
        """
        try:
            return int(structure_id.item() if hasattr(structure_id, "item") else structure_id)
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(
                f"structure_id is {str(structure_id)[:80]!r}, which is no number; "
                "structure_tree.get_id_acronym_map() has the ids of acronyms"
            ) from error

    @classmethod
    def validate_structure_ids(cls, structure_ids: Iterable[SupportsInt | str]) -> list[int]:
        """Ids as integers.

        Parameters
        ----------
        structure_ids
            As for `validate_structure_id`, several.

        Raises
        ------
        FormatError
            If one is no number; it is a `ValueError`.
        """
        return [cls.validate_structure_id(number) for number in structure_ids]


def entry(key: str, spec: str, parent: str = "BASEDIR", *, kind: str = "file") -> dict[str, str]:
    """Entry of a manifest.

    Parameters
    ----------
    key, spec, parent
        Its key, its path, and the key of the folder that it is in.
    kind
        ``"file"`` or ``"dir"``.
    """
    return {"key": key, "type": kind, "spec": spec, "parent_key": parent}
