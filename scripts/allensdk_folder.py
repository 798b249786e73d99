"""What a cache of the mouse connectivity atlas answers, of AllenSDK or of refspace.

    python allensdk_folder.py PACKAGE FOLDER [HOST]

PACKAGE is ``allensdk`` or ``refspace.allensdk``; both have the same names, so this is written once.
With HOST, the folder is filled from there; without, it holds everything already. The answers are
printed as JSON: ids and names are compared as they are, arrays by their digests.
"""

import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

RESOLUTION = 100
STRUCTURE = 385


def digest(array: Any) -> list[str]:
    """Return type, shape and digest of an array."""
    values = np.ascontiguousarray(array)
    return [str(values.dtype), str(values.shape), hashlib.sha256(values.tobytes()).hexdigest()]


def opened(package: str, folder: Path, host: str | None) -> Any:
    """Return the cache of a folder, which asks a host in place of the Allen Institute's."""
    module = import_module(f"{package}.core.mouse_connectivity_cache")
    manifest = str(folder / "manifest.json")
    cache = module.MouseConnectivityCache(RESOLUTION, manifest_file=manifest, base_uri=host)
    if host is not None and package == "allensdk":
        cache.api.informatics_archive_endpoint = f"{host}/informatics-archive"
    return cache


def answers(cache: Any) -> dict[str, Any]:
    """Return what the cache answers, of everything that concerns reference spaces."""
    volumes = {
        "annotation": cache.get_annotation_volume(),
        "template": cache.get_template_volume(),
        "mask": cache.get_structure_mask(STRUCTURE),
    }
    nodes = cache.get_structure_tree().nodes()
    space = cache.get_reference_space()
    return {
        # AllenSDK leaves sets in the order of a Python `set`.
        "structures": [
            sorted((node | {"structure_set_ids": sorted(node["structure_set_ids"])}).items())
            for node in nodes
        ],
        **{name: digest(voxels) for name, (voxels, _) in volumes.items()},
        **{f"header of the {name}": described(header) for name, (_, header) in volumes.items()},
        "mesh": [digest(part) for part in cache.get_structure_mesh(STRUCTURE)],
        "summary structures": sorted(cache.default_structure_ids),
        "counts": list(space.total_voxel_map.items()),
        "resolution": [float(length) for length in space.resolution],
    }


def described(header: Any) -> list[list[str]]:
    """Return the fields of a header as texts."""
    return [[name, str(value)] for name, value in header.items()]


def files(folder: Path) -> list[str]:
    """Return the files of a folder; refspace's records of downloads are hidden."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in paths if not path.name.startswith("."))


def main(package: str, place: str, host: str | None = None) -> None:
    """Print the answers, the files and the manifest."""
    folder = Path(place)
    found = answers(opened(package, folder, host))
    manifest = json.loads((folder / "manifest.json").read_text())
    print(json.dumps({**found, "files": files(folder), "manifest": manifest}, default=int))


if __name__ == "__main__":
    main(*sys.argv[1:])
