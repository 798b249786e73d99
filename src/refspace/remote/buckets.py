"""Public cloud buckets in which atlases are published; reading them needs no account."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

# Region of each bucket, by protocol. Requests to S3 go to the region of the bucket; Google Cloud
# Storage has one address for all.
PUBLIC: dict[str, dict[str, str | None]] = {
    "s3": {
        "brainglobe": "us-west-2",
        "allen-brain-cell-atlas": "us-west-2",
        "allen-atlas-assets": "us-west-2",
    },
    "gs": {"neuroglancer-public-data": None},
}
# A caller who gives one of these means an account or a host of their own: nothing is added then.
_ACCOUNT_OPTIONS = {
    "s3": {"anon", "key", "secret", "token", "profile", "session", "endpoint_url", "client_kwargs"},
    "gs": {"token", "session_kwargs", "endpoint_url"},
}
_ANONYMOUS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gs": {"token": "anon"}}


def add_anonymous_access(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options for a URL, which ask for anonymous access where the bucket is public.

    Examples
    --------
    >>> add_anonymous_access("s3://brainglobe/atlas", {})
    {'anon': True}
    >>> add_anonymous_access("s3://my-lab/atlas.zarr", {})
    {}
    """
    protocol, bucket = url_protocol(url), urlsplit(url).netloc
    is_public = bucket in PUBLIC.get(protocol, {})
    if not is_public or _ACCOUNT_OPTIONS[protocol] & storage_options.keys():
        return dict(storage_options)
    return {**_ANONYMOUS[protocol], **storage_options}


def without_accounts(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options without those of accounts of buckets, where a URL is of a web server.

    A job may read from one and write to the other; an account means nothing to a web server.

    Examples
    --------
    >>> without_accounts("https://host/a.zarr", {"anon": True, "headers": {"X-Lab": "1"}})
    {'headers': {'X-Lab': '1'}}
    """
    if url_protocol(url) not in ("http", "https"):
        return dict(storage_options)
    of_accounts = {*_ACCOUNT_OPTIONS["s3"], *_ACCOUNT_OPTIONS["gs"]} - {"client_kwargs"}
    return {name: value for name, value in storage_options.items() if name not in of_accounts}


def bucket_region(url: str) -> str | None:
    """Region of a public bucket; None for any other URL."""
    return PUBLIC.get(url_protocol(url), {}).get(urlsplit(url).netloc)


def url_protocol(url: str) -> str:
    """Protocol of a URL, by its usual name: ``s3a`` is ``s3``, ``gcs`` is ``gs``."""
    protocol = url.partition("://")[0]
    return {"s3a": "s3", "gcs": "gs"}.get(protocol, protocol)
