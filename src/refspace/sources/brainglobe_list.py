"""The list of what a folder or bucket of BrainGlobe has."""

import re
from collections.abc import Iterator

from refspace.errors import RefspaceError
from refspace.sources.brainglobe_bucket import (
    VERSION,
    Bucket,
    atlas_names,
    find_bucket,
    is_atlas_name,
    listed_versions,
    nothing_listed,
    stated_versions,
)
from refspace.sources.source import AtlasEntry, Request
from refspace.store.location import map_concurrently

# Names of atlases end so; the length is that of voxels along the first axis.
_LENGTH = re.compile(r"_(\d{1,9}(?:\.\d{1,9})?)(nm|um|mm)$")
_MICROMETRES = {"nm": 1e-3, "um": 1.0, "mm": 1e3}
# Longest text of a manifest that a list of atlases shows.
_LONGEST = 200


def list_brainglobe(request: Request) -> Iterator[AtlasEntry]:
    """List the atlases of a bucket or folder, of each the newest version first.

    The list of a bucket is read, and nothing else: of each atlas it has the newest version, and
    its name states the length of voxels along the first axis. A folder of this machine, and a
    bucket without a list, have all versions; the manifests in a folder state all that is known.

    Parameters
    ----------
    request
        Option ``base``, as for `brainglobe`.

    Raises
    ------
    RemoteError
        If the bucket cannot be reached.
    SourceError
        If there are no atlases, or nothing says which.
    FormatError
        If its list of versions is none.
    """
    request.check_options(["base"])
    bucket = find_bucket(request.options.get("base"), request.access)
    versions = _all_versions(bucket)
    if not versions:
        raise nothing_listed(bucket)
    for name in sorted(versions):
        for version in versions[name]:
            yield _entry(bucket, name, version)


def _all_versions(bucket: Bucket) -> dict[str, list[str]]:
    """Versions of all atlases, as far as they are stated or can be listed."""
    if (stated := stated_versions(bucket)) is not None:
        fit = {n: v for n, v in stated.items() if is_atlas_name(n) and VERSION.fullmatch(v)}
        return {name: [version.replace("_", ".")] for name, version in fit.items()}
    names = atlas_names(bucket) or []
    found = map_concurrently(lambda name: listed_versions(bucket, name), names)
    return {name: versions for name, versions in zip(names, found, strict=True) if versions}


def _entry(bucket: Bucket, name: str, version: str) -> AtlasEntry:
    """What is known of an atlas: by its manifest, where it is on this machine, or by its name."""
    asked = f"{name}@{version}"
    if bucket.folder is not None:
        # Late: what a bucket lists needs no array library, manifests and volumes do.
        from refspace.sources.brainglobe import path_here, read_manifest

        try:
            manifest = read_manifest(bucket, name, version)
        except RefspaceError:
            # It says so where it is opened, and hides no other.
            return AtlasEntry(name, version, _length_in(name), asked=asked)
        species = manifest.fields.get("species")
        return AtlasEntry(
            name,
            version,
            manifest.resolution,
            species[:_LONGEST] if isinstance(species, str) else None,
            asked=asked,
            path=path_here(bucket, manifest),
        )
    return AtlasEntry(name, version, _length_in(name), asked=asked)


def _length_in(name: str) -> float | None:
    """Length of voxels in µm that the name of an atlas ends in."""
    match = _LENGTH.search(name)
    return float(match[1]) * _MICROMETRES[match[2]] if match else None
