"""``Api``: a file or an answer of the Allen Institute's hosts."""

import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from refspace.allensdk.missing import AllenSDKClass
from refspace.formats.nrrd import NRRD
from refspace.remote.download import download
from refspace.sources.allen import (
    ARCHIVE,
    ARCHIVE_VARIABLE,
    HOST,
    HOST_VARIABLE,
    known_digest,
    read_answer,
)
from refspace.sources.source import base_url
from refspace.types import PathLike

# Signs that stand for themselves in a query, as the API's documentation writes it.
_PLAIN_SIGNS = ":/?&=,$._-~%"


class Api(AllenSDKClass):
    """The hosts of the Allen Institute.

    Parameters
    ----------
    base_uri
        URL of the API; by default that of ``REFSPACE_ALLEN_HOST``, or the Allen Institute's. The
        archive is that of ``REFSPACE_ALLEN_ARCHIVE``, or the Allen Institute's.

    Raises
    ------
    SourceError
        If a URL holds what may be a secret.
    """

    only_in_allensdk = (
        "cleanup_truncated_file construct_well_known_file_download_url default_api_url do_query "
        "do_rma_query download_url load_api_schema read_data retrieve_parsed_json_over_http "
        "retrieve_xml_over_http set_api_urls set_default_working_directory "
        "well_known_file_endpoint grid_data_endpoint svg_endpoint structure_graph_endpoint "
        "informatics_archive_endpoint image_download_endpoint default_working_directory"
    )

    def __init__(self, base_uri: str | None = None) -> None:
        self.api_url = base_url(base_uri, HOST_VARIABLE, HOST)
        self.rma_endpoint = f"{self.api_url}/api/v2/data"
        self.archive_url = base_url(None, ARCHIVE_VARIABLE, ARCHIVE)

    def json_msg_query(self, url: str) -> list[dict[str, Any]]:
        """Rows of the API's answer to a query.

        Parameters
        ----------
        url
            URL of the query, percent-encoded or not.

        Raises
        ------
        RemoteError
            If the host cannot be reached, reports a failure, or sends less than all rows.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "answer.json")
            remedies = [f"name another host by base_uri= or {HOST_VARIABLE}"]
            download(quote(url, safe=_PLAIN_SIGNS), path, remedies=remedies)
            return read_answer(path, url, is_whole="num_rows$eq'all'" in url)

    def retrieve_file_over_http(self, url: str, file_path: PathLike) -> None:
        """Download a file. One that is there is replaced, when the new one is complete.

        Parameters
        ----------
        url
            URL of the file.
        file_path
            Path to download to; missing folders are made. A name that ends in ``.nrrd`` demands a
            volume.

        Raises
        ------
        FileNotFoundError
            If the server has no such file.
        RemoteError
            If the host cannot be reached, or sends something else.
        """
        target = Path(file_path)
        download(
            url,
            target,
            sha256=known_digest(url),
            check=NRRD.read_header if target.suffix == ".nrrd" else None,
            remedies=[f"name another host by {ARCHIVE_VARIABLE}"],
            refresh=True,
        )
