"""What is damaged answers right, or says so: every kind of store, job and damage.

`helpers.damage` draws damages and asks; `helpers.damaged` makes what is damaged. The quick test
takes a sample of each, the slow ones thousands in all where the run is thorough, and else a share.
"""

from functools import partial
from pathlib import Path

import pytest
from helpers import damage, damaged
from helpers.damage import KINDS, Damage, Subject, content_of, damages, role, try_damages
from helpers.profiles import share

from refspace.errors import StoreError
from refspace.store import Fault, Report

pytestmark = pytest.mark.usefixtures("no_sync", "no_threads")

# Damages of each subject in a thorough run of the slow tests: more than 2000 in all.
COUNTS = {
    **dict.fromkeys(damaged.ATLASES, 80),
    "masks": 1000,
    **dict.fromkeys(damaged.JOBS, 60),
    "atlas on S3": 40,
    "masks on S3": 210,
    "CCF": 120,
    "masks of the CCF": 120,
}


def made(kind: str, folder: Path) -> Subject:
    """What is damaged, by its kind."""
    if kind in damaged.ATLASES:
        return damaged.atlas(str(folder), kind)
    return damaged.masks(str(folder)) if kind == "masks" else damaged.JOBS[kind](folder)


def check(outcome: damage.Outcome, count: int) -> None:
    assert [*outcome.wrong, *outcome.foreign, *outcome.unnamed] == [], str(outcome)
    assert outcome.damages == count
    # Few damages may all be of what is not asked for.
    assert outcome.told["refused"] > 0 or count < 50


HERE = [*damaged.ATLASES, "masks", *damaged.JOBS]
# Of the quick test: atlases of the others take longest, and have no file of another kind.
SAMPLED = ["plain", "sharded, with sides", "masks", *damaged.JOBS]


@pytest.mark.promise(
    "files of a store are exchanged, replaced, stale, cut, zeroed, grown or lost",
    "the right answer or an error of ours, from every verb; verify names them",
)
@pytest.mark.promise("a bit is flipped in any file of a store")
@pytest.mark.parametrize("kind", SAMPLED)
def test_a_sample(kind: str, tmp_path: Path) -> None:
    check(try_damages(made(kind, tmp_path), 6, seed=len(kind), verbs=1), 6)


@pytest.mark.promise("what a stopped conversion recorded is damaged or lost")
@pytest.mark.promise("files of a store are exchanged, replaced, stale, cut, zeroed, grown or lost")
@pytest.mark.promise("a bit is flipped in any file of a store")
@pytest.mark.slow
@pytest.mark.parametrize("kind", HERE)
def test_many(kind: str, tmp_path: Path) -> None:
    subject = made(kind, tmp_path)
    verbs = min(6, len(subject.verbs))
    count = share(COUNTS[kind])
    check(try_damages(subject, count, seed=15, verbs=verbs), count)


@pytest.mark.promise("files of a store are exchanged, replaced, stale, cut, zeroed, grown or lost")
@pytest.mark.parametrize("kind", ["atlas", "masks"])
def test_on_s3(kind, s3) -> None:
    url, options = f"s3://atlases/damaged-{kind}", s3.writer
    make = damaged.masks if kind == "masks" else partial(damaged.atlas, kind="with sides")
    count = share(COUNTS[f"{kind} on S3"])
    check(try_damages(make(url, **options), count, seed=3, verbs=2, named=4), count)


# ----- the real annotation


@pytest.mark.promise("files of a store are exchanged, replaced, stale, cut, zeroed, grown or lost")
def test_the_real_annotation(ccf_store, tmp_path) -> None:
    subject, count = damaged.ccf(ccf_store, tmp_path), share(COUNTS["CCF"])
    check(try_damages(subject, count, seed=25, verbs=1, named=20), count)


@pytest.mark.promise("files of a store are exchanged, replaced, stale, cut, zeroed, grown or lost")
def test_masks_of_the_real_annotation(ccf_store, tmp_path) -> None:
    subject, count = damaged.ccf_masks(ccf_store, tmp_path), share(COUNTS["masks of the CCF"])
    check(try_damages(subject, count, seed=25, verbs=1, named=20), count)


# ----- the harness itself


def test_there_are_enough() -> None:
    assert sum(COUNTS.values()) >= 2000
    assert sum(count for kind, count in COUNTS.items() if "S3" in kind) >= 250


def subject_of(folder, content, others=(), **how) -> Subject:
    """A folder of files, of which the sizes are asked."""
    own = Subject(str(folder), content, others, lambda: folder, **({"verbs": {}} | how))
    own.put(content)
    return own


CONTENT = {"a/c/0": b"zero", "a/c/1": b"one", "a.json": b"{}", "b.json": b""}
OTHER = {"a/c/0": b"null", "a.json": b"[]", "more": b"x"}


def test_every_kind_of_damage_meets_every_kind_of_file(tmp_path) -> None:
    subject = subject_of(tmp_path / "x", CONTENT, [OTHER])
    drawn = list(damages(subject, 250, seed=1))
    assert len(drawn) == 250
    assert {each.kind for each in drawn} == {*KINDS}
    met = {(each.kind, role(each.key)) for each in drawn}
    assert {(kind, "a/c/#") for kind in KINDS if kind != "other"} <= met
    for each in drawn:
        assert each.changes
        assert all(CONTENT.get(key) != data for key, data in each.changes.items())
        subject.put(each.changes)
        assert content_of(subject.url) != CONTENT
        subject.restore(each.changes)
        assert content_of(subject.url) == CONTENT


def test_damages_are_the_same_every_time(tmp_path) -> None:
    subject = subject_of(tmp_path / "x", CONTENT, [OTHER])
    assert list(damages(subject, 30, seed=2)) == list(damages(subject, 30, seed=2))
    text = str(Damage("exchange", "a", {"a": b"1", "b": b"2"}))
    assert text == "exchange a and b"


def read(folder: Path) -> bytes:
    return (folder / "a.json").read_bytes()


def test_what_is_wrong_foreign_or_unnamed_is_found(tmp_path) -> None:
    def sealed(folder):
        if read(folder) != b"{}":
            raise StoreError("damaged")
        return b"{}"

    verbs = {"read": read, "sealed": sealed}
    blind = partial(Report, str(tmp_path), 0, (), proven=True)
    subject = subject_of(tmp_path / "x", CONTENT, [OTHER], verbs=verbs, verify=blind)
    outcome = try_damages(subject, 60, seed=3)
    assert {
        line.rpartition(": ")[0].rpartition(": ")[2].split(",")[0] for line in outcome.wrong
    } == {"read"}
    assert any("FileNotFoundError" in line for line in outcome.foreign)
    assert len(outcome.unnamed) > 50
    assert outcome.told["refused"] > 5
    assert str(outcome).startswith("60 damages: ")
    both = damage.Outcome()
    both.add(outcome)
    both.add(outcome)
    assert (both.damages, len(both.wrong)) == (120, 2 * len(outcome.wrong))
    # A report that names everything is believed.
    faults = tuple(Fault(key, "is damaged") for key in ("a", "a.json", "b.json"))
    seeing = partial(Report, str(tmp_path), 0, faults, proven=True)
    subject = subject_of(tmp_path / "x", CONTENT, [], verbs={"sealed": sealed}, verify=seeing)
    outcome = try_damages(subject, 60, seed=3, verbs=1)
    assert [*outcome.wrong, *outcome.unnamed] == []


def test_what_verify_raises_is_told(tmp_path) -> None:
    def ours():
        raise StoreError("no store")

    def other():
        raise ValueError("no JSON")

    for verify, kind in ((ours, "unnamed"), (other, "foreign")):
        subject = subject_of(tmp_path / "x", CONTENT, verify=verify)
        outcome = try_damages(subject, 5, seed=4)
        assert len(getattr(outcome, kind)) == 5


def test_a_job_is_put_back_as_a_whole(tmp_path) -> None:
    def job(folder):
        (folder / "left" / "behind").mkdir(parents=True)
        return read(folder)

    subject = subject_of(tmp_path / "x", CONTENT, verbs={"job": job}, is_changed_by_verbs=True)
    outcome = try_damages(subject, 20, seed=5)
    assert content_of(subject.url) == CONTENT
    assert not (tmp_path / "x" / "left").exists()
    assert outcome.damages == 20
