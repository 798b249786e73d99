"""Stores of every kind with metadata, or chunks, that somebody changed to do harm.

Run as a program, it opens and reads some of them, and prints what ends in anything else than values
or an error of refspace that names the store::

    python tests/helpers/hostile_zarr.py SEED COUNT
"""

import copy
import json
import random
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec
from zarr.codecs import numcodecs as in_v3

import refspace
from refspace.errors import RefspaceError
from refspace.store.images import open_image

MEMORY_BYTES = 6 * 2**30
TREE = refspace.StructureTree([{"id": 997, "acronym": "root", "structure_id_path": [997]}])
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 3.5, 1e308),
    *(float("inf"), float("nan"), "", "x", "..", "\ud800", "\x1b[31m", "|O", "pickle", "<u4"),
    *([], [1], [[]], {}, {"a": 1}, [None] * 5, "9" * 5000, {"name": "x"}, {"id": "pickle"}),
    *([{"id": "pickle"}], {"name": "bytes", "configuration": []}, [1] * 70, "a" * 10**5),
]
"""Values that no field expects."""

Use = Callable[[Path], object]


def opened_label(store: Path) -> object:
    how: Any = {"structures": TREE, "resolution": 25, "orientation": "PIR"}
    return refspace.open(store, **how).annotation.values


def opened_own(store: Path) -> object:
    space = refspace.open(store)
    return space.total_voxel_map, space.annotation[:4].values, space.template


def opened_masks(store: Path) -> object:
    return refspace.open_masks(str(store))[:1].values


def opened_image(store: Path) -> object:
    return open_image(str(store), resolution=25, orientation="PIR").values


def verified(store: Path) -> object:
    return refspace.verify_store(store, resolution=25, orientation="PIR")


def write_all(folder: Path) -> list[tuple[Path, list[Use]]]:
    """Stores of every kind, and what is done with each."""
    return [
        *_write_labels(folder),
        *_write_images(folder),
        *_write_arrays(folder),
        *_write_own(folder),
    ]


def _write_labels(folder: Path) -> Iterator[tuple[Path, list[Use]]]:
    # Here, as pytest is imported by what the module needs.
    from helpers.foreign_stores import write

    for version in ("0.4", "0.5"):
        write(folder / version, version)
        yield folder / version, [opened_label, opened_image, verified]


def _write_images(folder: Path) -> Iterator[tuple[Path, list[Use]]]:
    centres = {dim: np.arange(4) * 10 + 5.0 for dim in ("ap", "dv", "ml")}
    values = np.random.default_rng(0).random((2, 4, 4, 4))
    image = xr.DataArray(values, {"channel": ["r", "g"], **centres}, name="energy")
    for zarr_format in (2, 3):
        store = folder / f"image{zarr_format}"
        image.to_dataset().to_zarr(store, zarr_format=zarr_format, consolidated=zarr_format == 3)
        yield store, [opened_image]


def _write_arrays(folder: Path) -> Iterator[tuple[Path, list[Use]]]:
    kinds: list[dict[str, Any]] = [
        {
            "zarr_format": 2,
            "filters": [numcodecs.Delta("u4"), numcodecs.Shuffle(4)],
            "compressors": numcodecs.Blosc(),
        },
        {
            "shards": (8, 8, 8),
            "compressors": [BloscCodec(), Crc32cCodec()],
            "filters": [TransposeCodec(order=(2, 0, 1))],
        },
        {
            "compressors": [in_v3.LZ4()],
            "filters": [in_v3.FixedScaleOffset(offset=0, scale=1, astype="u1", dtype="u4")],
        },
        {"compressors": [GzipCodec(), in_v3.LZMA(), in_v3.BZ2(), in_v3.Zlib(), in_v3.Zstd()]},
    ]
    for number, kind in enumerate(kinds):
        store = folder / f"array{number}"
        array = zarr.create_array(
            store, shape=(8, 8, 8), dtype="u4", **({"chunks": (4, 4, 4)} | kind)
        )
        array[...] = np.random.default_rng(0).integers(0, 5, (8, 8, 8))
        yield store, [opened_image, opened_label, verified]


def _write_own(folder: Path) -> Iterator[tuple[Path, list[Use]]]:
    space = refspace.phantom(resolution=800)
    space.to_zarr(folder / "own")
    yield folder / "own", [opened_own, verified]
    refspace.write_masks(space, folder / "masks.zarr", ["VISp", "TH"])
    yield folder / "masks.zarr", [opened_masks, verified]


# ----- changes


def changed_store(store: Path, target: Path, chance: random.Random) -> str:
    """Copy a store, with one of its files changed, whose name is returned."""
    shutil.copytree(store, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    documents = [path for path in files if path.name.startswith((".z", "zarr.json"))]
    if chance.random() < 0.7:
        file = chance.choice(documents)
        document = changed_document(json.loads(file.read_text()), chance)
        # As Python writes it: with NaN, and numbers of any length in their digits.
        sys.set_int_max_str_digits(0)
        file.write_text(json.dumps(document))
        sys.set_int_max_str_digits(4300)
    else:
        file = chance.choice([path for path in files if path not in documents])
        file.write_bytes(changed_bytes(file.read_bytes(), chance))
    return str(file.relative_to(target))


def changed_document(document: Any, chance: random.Random) -> Any:
    """JSON value some of whose parts are removed, exchanged, repeated or replaced by junk."""
    document = copy.deepcopy(document)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = list(_places(document))
        place = chance.choice(places)
        if not place:
            return copy.deepcopy(chance.choice(JUNK))
        parent, key = _at(document, place[:-1]), place[-1]
        match chance.randrange(6):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case 2:
                parent[key] = copy.deepcopy(_at(document, chance.choice(places)))
            case _:
                parent[key] = copy.deepcopy(chance.choice(JUNK))
    return document


def _places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Keys on the way to every part of a JSON value."""
    yield before
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, part in items:
        yield from _places(part, (*before, key))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes some of which are replaced, most often in a header; or cut, or more of them."""
    changed = bytearray(data or b"\0")
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.randrange(min(len(changed), chance.choice([16, 24, 10**9])))
        match chance.randrange(6):
            case 0:
                del changed[chance.randrange(len(changed)) :]
                changed += b"\0"
            case 1:
                changed += bytes(chance.randrange(40))
            case 2:
                changed[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"])
            case _:
                changed[at] = chance.choice([0, 255, chance.randrange(256)])
    return bytes(changed)


# ----- what comes of it


def findings(folder: Path, seed: int, count: int) -> Iterator[str]:
    """What went wrong with some changed stores; nothing, if all is well."""
    chance = random.Random(seed)
    stores = write_all(folder)
    for number in range(count):
        store, uses = chance.choice(stores)
        target = folder / f"changed{number}"
        name = changed_store(store, target, chance)
        for use in uses:
            if (finding := _finding(use, target)) is not None:
                yield f"{seed}, {number}: {store.name}/{name}, {use.__name__}: {finding}"
        shutil.rmtree(target)


def _finding(use: Use, store: Path) -> str | None:
    try:
        use(store)
    except RefspaceError as error:
        return None if str(store) in str(error) else f"no name in {error!r}"
    except Exception as error:
        return repr(error)[:500]
    return None


def main(seed: int, count: int) -> None:
    """Print what went wrong with some changed stores, within a bounded memory."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        for finding in findings(Path(folder), seed, count):
            print(finding)  # noqa: T201  # what the one who runs it reads


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(int(sys.argv[1]), int(sys.argv[2]))
