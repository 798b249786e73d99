"""Proves objects of a store of ours by their records, and finds those that are strays."""

from collections.abc import Callable, Collection, Iterator, Mapping

from refspace.errors import RefspaceError
from refspace.store.location import Location, map_concurrently
from refspace.store.object_records import ObjectRecord
from refspace.store.report import Fault, one_line

NOT_AS_WRITTEN = "is not what was written"

# Objects that are proven at the same time.
_GROUP_SIZE = 16


def object_faults(
    location: Location,
    records: Mapping[str, ObjectRecord],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Fault]:
    """What is wrong with objects, by their records; several are read at the same time.

    Parameters
    ----------
    location
        The store.
    records
        Record of each object, by its name.
    progress
        Called with the numbers of objects done and to be done.
    """
    items = list(records.items())
    for first in range(0, len(items), _GROUP_SIZE):
        group = items[first : first + _GROUP_SIZE]
        for faults in map_concurrently(lambda item: list(_faults(location, *item)), group):
            yield from faults
        if progress is not None:
            progress(first + len(group), len(items))


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
