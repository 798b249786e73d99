"""``MouseConnectivityCache``: of AllenSDK's class, what concerns reference spaces."""

import os

from refspace.allensdk.api.queries.mouse_connectivity_api import MouseConnectivityApi
from refspace.allensdk.core.reference_space_cache import ReferenceSpaceCache, entry
from refspace.types import PathLike

MANIFEST_VARIABLE = "MOUSE_CONNECTIVITY_MANIFEST"
_EXPERIMENT = "experiment_%d"


class MouseConnectivityCache(ReferenceSpaceCache):
    """Files of the reference space of the Allen Mouse Brain Connectivity Atlas.

    Experiments are left to AllenSDK, which may use the same folder.

    Parameters
    ----------
    resolution
        µm per voxel: 10, 25, 50 or 100; 25 if not given.
    cache
        As for `ReferenceSpaceCache`.
    manifest_file
        Path of the manifest, which says where the files are; it is written if it does not exist. By
        default the one that the environment variable ``MOUSE_CONNECTIVITY_MANIFEST`` names, or else
        ``mouse_connectivity/manifest.json``.
    ccf_version
        Version, like ``"annotation/ccf_2017"``, the default.
    base_uri, version
        As for `ReferenceSpaceCache`.

    Raises
    ------
    SourceError, GridError
        If there is no such version, or no such resolution.
    FormatError
        If the manifest is none, or of a version that is not known.

    Examples
    --------
    >>> import tempfile
    >>> cache = MouseConnectivityCache(manifest_file=tempfile.mkdtemp() + "/manifest.json")
    >>> cache.resolution, cache.reference_space_key
    (25, 'annotation/ccf_2017')
    >>> cache.get_projection_density(181599674)
    Traceback (most recent call last):
    ...
    refspace.errors.NotInRefspaceError: MouseConnectivityCache.get_projection_density is not in ...
    """

    PROJECTION_DENSITY_KEY = "PROJECTION_DENSITY"
    INJECTION_DENSITY_KEY = "INJECTION_DENSITY"
    INJECTION_FRACTION_KEY = "INJECTION_FRACTION"
    DATA_MASK_KEY = "DATA_MASK"
    STRUCTURE_UNIONIZES_KEY = "STRUCTURE_UNIONIZES"
    EXPERIMENTS_KEY = "EXPERIMENTS"
    DEFORMATION_FIELD_HEADER_KEY = "DEFORMATION_FIELD_HEADER"
    DEFORMATION_FIELD_VOXEL_KEY = "DEFORMATION_FIELD_VOXELS"
    ALIGNMENT3D_KEY = "ALIGNMENT3D"
    MANIFEST_VERSION = 1.3
    SUMMARY_STRUCTURE_SET_ID = 167587189
    DEFAULT_STRUCTURE_SET_IDS = (SUMMARY_STRUCTURE_SET_ID,)
    DFMFLD_RESOLUTIONS = (25,)

    only_in_allensdk = (
        "filter_experiments filter_structure_unionizes get_affine_parameters get_data_mask "
        "get_deformation_field get_experiment_structure_unionizes get_experiments "
        "get_injection_density get_injection_fraction get_projection_density "
        "get_projection_matrix get_structure_unionizes rank_structures"
    )

    def __init__(
        self,
        resolution: int | None = None,
        cache: bool = True,
        manifest_file: PathLike | None = None,
        ccf_version: str | None = None,
        base_uri: str | None = None,
        version: float | None = None,
    ) -> None:
        named = os.environ.get(MANIFEST_VARIABLE, "mouse_connectivity/manifest.json")
        super().__init__(
            MouseConnectivityApi.VOXEL_RESOLUTION_25_MICRONS if resolution is None else resolution,
            MouseConnectivityApi.CCF_VERSION_DEFAULT if ccf_version is None else ccf_version,
            manifest=named if manifest_file is None else manifest_file,
            cache=cache,
            version=version,
            base_uri=base_uri,
        )
        self.api = MouseConnectivityApi(base_uri)

    @classmethod
    def _entries(cls) -> list[dict[str, str]]:
        # Those of experiments too: AllenSDK needs them in a folder of both.
        return [
            *super()._entries(),
            entry(cls.EXPERIMENTS_KEY, "experiments.json"),
            entry(cls.STRUCTURE_UNIONIZES_KEY, f"{_EXPERIMENT}/structure_unionizes.csv"),
            entry(cls.INJECTION_DENSITY_KEY, f"{_EXPERIMENT}/injection_density_%d.nrrd"),
            entry(cls.INJECTION_FRACTION_KEY, f"{_EXPERIMENT}/injection_fraction_%d.nrrd"),
            entry(cls.DATA_MASK_KEY, f"{_EXPERIMENT}/data_mask_%d.nrrd"),
            entry(cls.PROJECTION_DENSITY_KEY, f"{_EXPERIMENT}/projection_density_%d.nrrd"),
            entry(cls.DEFORMATION_FIELD_HEADER_KEY, f"{_EXPERIMENT}/dfmfld.mhd"),
            entry(cls.DEFORMATION_FIELD_VOXEL_KEY, f"{_EXPERIMENT}/dfmfld.raw"),
            entry(cls.ALIGNMENT3D_KEY, f"{_EXPERIMENT}/alignment3d.json"),
        ]

    @property
    def default_structure_ids(self) -> list[int]:
        """Ids of the summary structures."""
        tree = self.get_structure_tree()
        structures = tree.get_structures_by_set_id(list(self.DEFAULT_STRUCTURE_SET_IDS))
        return [structure["id"] for structure in structures]
