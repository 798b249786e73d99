"""``ReferenceSpaceApi``: volumes and meshes of the Allen Institute's archive."""

from pathlib import Path

from refspace.allensdk.api.queries.rma_api import RmaApi
from refspace.allensdk.volumes import Volume, read_volume
from refspace.files import make_folder
from refspace.formats.meshes import Mesh
from refspace.formats.meshes.obj import read_obj
from refspace.sources.allen import AllenFiles, check_resolution, check_version
from refspace.structure_tree.records import structure_id as checked_id
from refspace.types import PathLike

_FOLDERS = ("current-release", "mouse_ccf")


class ReferenceSpaceApi(RmaApi):
    """Downloads of the mouse CCF. Each call downloads; caches keep what they have.

    Parameters
    ----------
    base_uri
        URL of the API, as for `Api`.

    Examples
    --------
    >>> ReferenceSpaceApi.CCF_VERSION_DEFAULT
    'annotation/ccf_2017'
    """

    AVERAGE_TEMPLATE = "average_template"
    ARA_NISSL = "ara_nissl"
    MOUSE_2011 = "annotation/mouse_2011"
    DEVMOUSE_2012 = "annotation/devmouse_2012"
    CCF_2015 = "annotation/ccf_2015"
    CCF_2016 = "annotation/ccf_2016"
    CCF_2017 = "annotation/ccf_2017"
    CCF_VERSION_DEFAULT = CCF_2017
    VOXEL_RESOLUTION_10_MICRONS = 10
    VOXEL_RESOLUTION_25_MICRONS = 25
    VOXEL_RESOLUTION_50_MICRONS = 50
    VOXEL_RESOLUTION_100_MICRONS = 100

    only_in_allensdk = "download_mouse_atlas_volume"

    def download_annotation_volume(
        self, ccf_version: str | None, resolution: int, file_name: PathLike
    ) -> Volume:
        """Download an annotation, and return its voxels and its header.

        Parameters
        ----------
        ccf_version
            Version, like ``"annotation/ccf_2017"``, the default.
        resolution
            µm per voxel: 10, 25, 50 or 100.
        file_name
            Path to download to; missing folders are made.

        Returns
        -------
        tuple
            Voxels, a NumPy array along ap, dv and ml; and the fields of the NRRD header.

        Raises
        ------
        SourceError, GridError
            If there is no such version, or no such resolution.
        RemoteError
            If the host cannot be reached, or sends something else.
        """
        url = self._files.annotation_url(_version(ccf_version), check_resolution(resolution))
        self._download(url, file_name)
        return read_volume(file_name)

    def download_template_volume(self, resolution: int, file_name: PathLike) -> Volume:
        """Download the average template, and return its voxels and its header.

        Parameters
        ----------
        resolution, file_name
            As for `download_annotation_volume`, which says what is returned and raised.
        """
        url = self._files.template_url(self.AVERAGE_TEMPLATE, check_resolution(resolution))
        self._download(url, file_name)
        return read_volume(file_name)

    def download_structure_mask(
        self, structure_id: int, ccf_version: str | None, resolution: int, file_name: PathLike
    ) -> Volume:
        """Download the published mask of a structure, and return its voxels and its header.

        Parameters
        ----------
        structure_id
            Id of the structure.
        ccf_version, resolution, file_name
            As for `download_annotation_volume`, which says what is returned and raised.

        Raises
        ------
        FileNotFoundError
            If the archive has none.
        """
        version, number = _version(ccf_version), checked_id(structure_id)
        url = self._files.mask_url(version, check_resolution(resolution), number)
        self._download(url, file_name)
        return read_volume(file_name)

    def download_structure_mesh(
        self, structure_id: int, ccf_version: str | None, file_name: PathLike
    ) -> Mesh:
        """Download the published surface of a structure, and return it.

        Parameters
        ----------
        structure_id
            Id of the structure.
        ccf_version, file_name
            As for `download_annotation_volume`.

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
        url = self._files.mesh_url(_version(ccf_version), checked_id(structure_id))
        self._download(url, file_name)
        return read_obj(file_name)

    def build_volumetric_data_download_url(
        self,
        data_path: str,
        file_name: str,
        voxel_resolution: int | None = None,
        release: str | None = None,
        coordinate_framework: str | None = None,
    ) -> str:
        """URL of a file of the archive.

        Parameters
        ----------
        data_path
            Folder, like ``ReferenceSpaceApi.CCF_2017``.
        file_name
            Name of the file.
        voxel_resolution
            Not used; AllenSDK takes it too.
        release, coordinate_framework
            Folders above, if not ``current-release`` and ``mouse_ccf``.
        """
        base = self.archive_url
        if release is not None or coordinate_framework is not None:
            folders = [release or _FOLDERS[0], coordinate_framework or _FOLDERS[1]]
            base = "/".join([base.rsplit("/", 2)[0], *folders])
        return f"{base}/{data_path}/{file_name}"

    def download_volumetric_data(
        self,
        data_path: str,
        file_name: str,
        voxel_resolution: int | None = None,
        save_file_path: PathLike | None = None,
        release: str | None = None,
        coordinate_framework: str | None = None,
    ) -> None:
        """Download a file of the archive.

        Parameters
        ----------
        data_path, file_name, voxel_resolution, release, coordinate_framework
            As for `build_volumetric_data_download_url`.
        save_file_path
            Path to download to; the name of the file, in the working directory, if not given.

        Raises
        ------
        FileNotFoundError
            If the archive has no such file.
        RemoteError
            If the host cannot be reached, or sends something else.
        """
        url = self.build_volumetric_data_download_url(
            data_path, file_name, voxel_resolution, release, coordinate_framework
        )
        self.retrieve_file_over_http(url, file_name if save_file_path is None else save_file_path)

    def _download(self, url: str, file_name: PathLike) -> None:
        # By the public method, as in AllenSDK, where scripts put one of their own in its place.
        make_folder(Path(file_name).parent)
        self.retrieve_file_over_http(url, file_name)

    @property
    def _files(self) -> AllenFiles:
        return AllenFiles(host=self.api_url, archive=self.archive_url)


def _version(ccf_version: str | None) -> str:
    return check_version(
        ReferenceSpaceApi.CCF_VERSION_DEFAULT if ccf_version is None else ccf_version
    )
