"""Proves objects of a store of ours by the records in its root, and finds those that are strays."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from refspace.errors import RefspaceError
from refspace.store.location import Location, map_concurrently
from refspace.store.object_records import ObjectRecord
from refspace.store.report import Fault, one_line
from refspace.store.verify.levels import NOT_AS_WRITTEN

# Objects that are proven at the same time.
_GROUP_SIZE = 16


def object_faults(location: Location, objects: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with objects, by their records as the root metadata have them."""
    records = [(key, ObjectRecord.from_json(value)) for key, value in objects.items()]
    for first in range(0, len(records), _GROUP_SIZE):
        group = records[first : first + _GROUP_SIZE]
        for faults in map_concurrently(lambda item: list(_faults(location, *item)), group):
            yield from faults


def _faults(location: Location, key: str, record: ObjectRecord) -> Iterator[Fault]:
    try:
        data = location.read(key)
    except RefspaceError as error:
        yield Fault(key, one_line(error, location, key))
        return
    if not record.proves(data):
        yield Fault(key, "is missing" if data is None else NOT_AS_WRITTEN)


def stray_faults(location: Location, expected: Collection[str]) -> list[Fault]:
    """Files that belong to nothing in a store; only where listing it costs little."""
    if location.local_path is None:
        return []
    strays = sorted(location.keys().difference(expected))
    return [Fault(key, "belongs to nothing in the store; remove it") for key in strays]
