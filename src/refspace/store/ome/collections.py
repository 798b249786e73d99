"""Groups that hold images: plates, wells, and filesets of bioformats2raw, as attributes say.

Source: https://ngff.openmicroscopy.org/0.5/, "plate", "well" and "bioformats2raw.layout".
"""

from collections.abc import Mapping
from typing import Any

from refspace.store.ome.values import json_array, json_object, ome_metadata, path_within

_LAYOUT = "bioformats2raw.layout"


def well_paths(attributes: Mapping[str, Any]) -> list[str]:
    """Paths of the wells of a plate; none if the group is no plate.

    Raises
    ------
    FormatError
        If the list is damaged, or a path leads out of the group.

    Examples
    --------
    >>> well_paths({"ome": {"version": "0.5", "plate": {"wells": [{"path": "A/1"}]}}})
    ['A/1']
    """
    return _paths(attributes, "plate", "wells")


def field_paths(attributes: Mapping[str, Any]) -> list[str]:
    """Paths of the images of a well; none if the group is no well.

    Raises
    ------
    FormatError
        As for `well_paths`.

    Examples
    --------
    >>> field_paths({"well": {"images": [{"path": "0"}], "version": "0.4"}})
    ['0']
    """
    return _paths(attributes, "well", "images")


def _paths(attributes: Mapping[str, Any], key: str, entries: str) -> list[str]:
    content = ome_metadata(attributes)
    if key not in content:
        return []
    inner = json_array(json_object(content[key], key).get(entries), f"{key}.{entries}")
    return [
        path_within(json_object(entry, where).get("path"), f"{where}.path")
        for i, entry in enumerate(inner)
        for where in [f"{key}.{entries}[{i}]"]
    ]


def is_fileset(attributes: Mapping[str, Any]) -> bool:
    """Whether a group is what bioformats2raw makes of a file: its images are below, by number.

    Examples
    --------
    >>> is_fileset({"bioformats2raw.layout": 3}), is_fileset({"multiscales": []})
    (True, False)
    """
    return _LAYOUT in ome_metadata(attributes)


def series_paths(attributes: Mapping[str, Any]) -> list[str]:
    """Paths of the images of a fileset, as the attributes of its group ``OME`` list them.

    Raises
    ------
    FormatError
        As for `well_paths`.

    Examples
    --------
    >>> series_paths({"ome": {"version": "0.5", "series": ["0", "1"]}})
    ['0', '1']
    """
    series = json_array(ome_metadata(attributes).get("series", []), "series")
    return [path_within(path, f"series[{i}]") for i, path in enumerate(series)]
