"""Public buckets in which atlases are published: they are read without an account."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

# Buckets by protocol, and the region that each is in, where requests must name one.
PUBLIC: dict[str, dict[str, str | None]] = {
    "s3": {
        "brainglobe": "us-west-2",
        "allen-brain-cell-atlas": "us-west-2",
        "allen-atlas-assets": "us-west-2",
    },
    "gs": {"neuroglancer-public-data": None},
}
# Whoever gives one of these speaks for himself: another host, or an account.
_OWN_WORDS = {
    "s3": {"anon", "key", "secret", "token", "profile", "session", "endpoint_url", "client_kwargs"},
    "gs": {"token", "session_kwargs", "endpoint_url"},
}
_ANONYMOUS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gs": {"token": "anon"}}


def with_public(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options for a URL: those given, and no account where the bucket needs none.

    Examples
    --------
    >>> with_public("s3://brainglobe/atlas", {})
    {'anon': True}
    >>> with_public("s3://my-lab/atlas.zarr", {})
    {}
    """
    protocol, bucket = protocol_of(url), urlsplit(url).netloc
    known = bucket in PUBLIC.get(protocol, {})
    if not known or _OWN_WORDS[protocol] & storage_options.keys():
        return dict(storage_options)
    return {**_ANONYMOUS[protocol], **storage_options}


def region_of(url: str) -> str | None:
    """Region of a public bucket."""
    return PUBLIC.get(protocol_of(url), {}).get(urlsplit(url).netloc)


def protocol_of(url: str) -> str:
    """Protocol of a URL, by its usual name: ``s3a`` is ``s3``, ``gcs`` is ``gs``."""
    protocol = url.partition("://")[0]
    return {"s3a": "s3", "gcs": "gs"}.get(protocol, protocol)
