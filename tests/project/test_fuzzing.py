"""Files that nobody should write are read right or refused; so is all that was found by hand."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from helpers.fuzzing import FORMATS, Reader, child, fuzz, mutators, packed, replay, runner, unpacked

CORPUS = Path(__file__).parents[1] / "corpus"
# Of each format; more by hand, with scripts/fuzz.py.
CASES = 20


@pytest.mark.promise(
    "a file of any format is mutated",
    "a right answer or an error of ours, within limits of time and memory",
)
@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_some_cases_of_every_format(name: str) -> None:
    *findings, counts = fuzz(name, seed=15, count=CASES)
    assert [*map(str, findings)] == []
    assert isinstance(counts, Counter)
    assert counts.total() == CASES


def kept() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(CORPUS.glob("*/*.zip")):
        found.setdefault(path.parent.name, []).append(path)
    return found


@pytest.mark.promise("a file of any format is mutated")
@pytest.mark.parametrize("name", kept())
def test_what_was_found_once_is_refused_now(name: str) -> None:
    cases = [unpacked(path.read_bytes()) for path in kept()[name]]
    assert [*map(str, replay(name, cases))] == []


def test_what_was_found_is_small_and_of_a_format() -> None:
    files = [path for paths in kept().values() for path in paths]
    assert kept().keys() <= FORMATS.keys()
    assert all(path.stat().st_size < 100_000 for path in files)
    assert sum(path.stat().st_size for path in files) < 2_000_000


# ----- the harness itself


def test_cases_are_kept_in_one_file() -> None:
    case = {"x.zarr/zarr.json": b"{}", "a": bytes(1000)}
    assert unpacked(packed(case)) == case
    assert packed(case) == packed(dict(reversed(case.items())))


@pytest.mark.parametrize("name", ["nrrd", "tiff", "structures", "points", "mesh"])
def test_seeds_are_good_and_their_mutants_are_others(name: str) -> None:
    cases = FORMATS[name].seeds()
    assert replay(name, list(cases)) == []
    drawn = [runner.mutated(FORMATS[name], case, Random(n)) for n in range(20) for case in cases]
    again = [runner.mutated(FORMATS[name], case, Random(n)) for n in range(20) for case in cases]
    assert drawn == again
    assert sum(case not in cases for case in drawn) > 0.8 * len(drawn)


@pytest.mark.parametrize(
    "mutate", [mutators.mutate_bytes, mutators.mutate_text, mutators.mutate_json]
)
@pytest.mark.parametrize("data", [b"", b"x", b'{"a": [1, 2.5, "b"], "c": {}}', b"[]", b"1,2\n3,4"])
def test_mutators_take_everything(mutate: mutators.Mutator, data: bytes) -> None:
    drawn = {mutate(data, Random(seed)) for seed in range(300)}
    assert len(drawn) > 30 if data else len(drawn) > 3


def test_bombs_are_small() -> None:
    import zlib

    frame = mutators.zstd_bomb(b"", Random(0))
    assert len(frame) < 2**17
    stream = mutators.gzip_bomb(b"", Random(0))
    assert len(stream) < 2**22
    first = zlib.decompressobj(31)
    assert len(first.decompress(stream)) == 2**24


def test_outcomes() -> None:
    from refspace.errors import FormatError

    def refuse(folder: Path) -> None:
        raise FormatError("no such thing\ud800")

    def fail(folder: Path) -> None:
        {}["a"]

    assert child.outcome(lambda folder: 1, Path())["kind"] == "answer"
    assert child.outcome(refuse, Path()) == {
        "kind": "refused",
        "text": r"FormatError: 'no such thing\\ud800'",
    }
    found = child.outcome(fail, Path())
    assert found["kind"] == "foreign"
    assert found["text"].startswith("KeyError: \"'a'\" (")
    assert f"{Path(__file__).name}:" in found["text"]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("answer", "answer", ""),
        ("take_memory", "foreign", "MemoryError"),
        ("die", "death", "ended with -6"),
        ("leave", "foreign", "SystemExit"),
    ],
)
def test_what_becomes_of_a_case(name: str, kind: str, text: str) -> None:
    with Reader(f"helpers.fuzzing.probes:{name}") as reader:
        found = reader.read({"a": b"x"})
    assert found["kind"] == kind
    assert text in found["text"]


def test_a_reader_that_died_is_started_again() -> None:
    with Reader("helpers.fuzzing.probes:fall") as reader:
        kinds = [reader.read({"a": data})["kind"] for data in (b"x", b"die", b"x")]
    assert kinds == ["answer", "death", "answer"]


def test_a_reader_that_does_not_start() -> None:
    with (
        Reader("helpers.fuzzing.probes:nothing") as reader,
        pytest.raises(RuntimeError, match="AttributeError"),
    ):
        reader.read({})
