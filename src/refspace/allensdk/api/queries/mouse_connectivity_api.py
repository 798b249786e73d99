"""``MouseConnectivityApi``: of AllenSDK's class of that name, what concerns reference spaces."""

from refspace.allensdk.api.queries.reference_space_api import ReferenceSpaceApi


class MouseConnectivityApi(ReferenceSpaceApi):
    """Downloads of the mouse CCF; experiments are left to AllenSDK.

    Parameters
    ----------
    base_uri
        URL of the API, as for `Api`.

    Examples
    --------
    >>> MouseConnectivityApi().get_experiments
    Traceback (most recent call last):
    ...
    refspace.errors.NotInRefspaceError: MouseConnectivityApi.get_experiments is not in refspace, ...
    """

    only_in_allensdk = (
        "PRODUCT_IDS DATA_MASK DENSITY ENERGY INJECTION_DENSITY INJECTION_ENERGY "
        "INJECTION_FRACTION INTENSITY PROJECTION_DENSITY PROJECTION_ENERGY "
        "build_reference_aligned_image_channel_volumes_url calculate_injection_centroid "
        "download_alignment3d download_data_mask download_deformation_field "
        "download_expression_grid_data download_gene_expression_grid_data "
        "download_injection_density download_injection_fraction download_projection_density "
        "download_projection_grid_data download_reference_aligned_image_channel_volumes "
        "experiment_correlation_search experiment_injection_coordinate_search "
        "experiment_source_search experiment_spatial_search get_experiment_detail "
        "get_experiments get_experiments_api get_manual_injection_summary "
        "get_projection_image_info get_reference_aligned_image_channel_volumes_url "
        "get_structure_unionizes"
    )
