"""Damages to files, and whether what is asked for then is right or refused.

A `Subject` is a store, a table or a job that was interrupted; its verbs are what people ask of it.
A damaged one may answer right, or raise an error of ours; it may not answer wrong, nor raise
anything else. `verify` has to name what was damaged.
"""

import random
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fsspec
from dask.base import tokenize

from helpers.every_verb import computed
from refspace.errors import RefspaceError
from refspace.store import Report

Content = Mapping[str, bytes]
"""Content of each file of a store, by its path there."""

Changes = Mapping[str, bytes | None]
"""New content of files; None of one that is gone."""

Verb = Callable[[Any], Any]

# What everything else in a store is proven by.
ROOT = "zarr.json"
# As large as what follows a file by mistake may be.
_MORE = 64


@dataclass(frozen=True)
class Subject:
    """What is damaged, and what is asked of it.

    Parameters
    ----------
    url
        Path or URL of the folder of its files.
    content
        Its files, as they were written.
    others
        The files of others of its kind: of the same structures and grid, with other values.
    open
        Opens it.
    verbs
        What is asked of what was opened, by name.
    verify
        Lists its faults; None where nothing does.
    options
        What fsspec needs to reach it.
    is_changed_by_verbs
        Whether verbs write, in a folder of this machine: all of it is put back after each.
    near
        What else is asked where a file is damaged, by its key.
    """

    url: str
    content: Content
    others: Sequence[Content]
    open: Callable[[], Any]
    verbs: Mapping[str, Verb]
    verify: Callable[[], Report] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_changed_by_verbs: bool = False
    near: Callable[[str], Mapping[str, Verb]] = lambda key: {}

    def put(self, changes: Changes) -> None:
        """Write files, and remove those without content."""
        fs, root = fsspec.core.url_to_fs(self.url, **self.options)
        for key, data in changes.items():
            path = f"{root}/{key}"
            if data is not None:
                fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                fs.pipe_file(path, data)
            elif fs.exists(path):
                fs.rm_file(path)
        fs.invalidate_cache()

    def restore(self, changes: Changes) -> None:
        """Put back what was written."""
        if not self.is_changed_by_verbs:
            self.put({key: self.content.get(key) for key in changes})
            return
        # Folders too: an empty one in the way of a store is not what was there.
        shutil.rmtree(self.url)
        self.put(self.content)


def content_of(url: str, **options: Any) -> dict[str, bytes]:
    """Content of all files below a path or URL."""
    fs, root = fsspec.core.url_to_fs(url, **options)
    fs.invalidate_cache()
    # Folders between have no content; object stores list some of them.
    found = fs.find(root) if fs.exists(root) else []
    return {path.removeprefix(root).strip("/"): fs.cat_file(path) for path in found}


# ----- damages


@dataclass(frozen=True)
class Damage:
    """A change of one file or two, or of all.

    Parameters
    ----------
    kind
        What happened.
    key
        File to which it happened.
    changes
        New content of files.
    """

    kind: str
    key: str
    changes: Changes = field(repr=False)

    def __str__(self) -> str:
        others = [key for key in self.changes if key != self.key]
        beside = f" and {others[0]}" if len(others) == 1 else ""
        return f"{self.kind} {self.key}{beside}"


def _flip(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]


def _zero(data: bytes, chance: random.Random) -> bytes:
    start, stop = sorted((chance.randrange(len(data)), chance.randrange(len(data) + 1)))
    return data[:start] + bytes(stop - start) + data[stop:]


def _grow(data: bytes, chance: random.Random) -> bytes:
    more = chance.randint(1, _MORE)
    return data + chance.choice((bytes(more), data[-more:], chance.randbytes(more)))


CONTENTS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flip,
    "cut": lambda data, chance: data[: chance.randrange(len(data))],
    "zero": _zero,
    "empty": lambda data, chance: b"",
    "grow": _grow,
}
"""Damages that change the content of a file, by name."""

KINDS = [*CONTENTS, "delete", "exchange", "replace", "stale", "other"]
"""All damages: those of contents, and those that take files from elsewhere."""


def role(key: str) -> str:
    """What a file is for, whichever chunk or level it is of."""
    return re.sub(r"\d+", "#", key)


def damages(subject: Subject, count: int, seed: int) -> Iterator[Damage]:
    """Draw damages, so that each kind of file meets each kind of damage as often as others.

    A damage that changes no byte is none, and is not drawn.
    """
    chance = random.Random(seed)
    roles: dict[str, list[str]] = {}
    for key in sorted(subject.content):
        roles.setdefault(role(key), []).append(key)
    pairs = [(kind, of) for of in roles for kind in KINDS if kind != "other"]
    if subject.others:
        # One of all files: its key says nothing.
        pairs += [("other", next(iter(roles)))] * 3
    while count > 0:
        chance.shuffle(pairs)
        for kind, of in pairs:
            damage = make_damage(subject, kind, chance.choice(roles[of]), chance)
            if damage is not None:
                yield damage
                count -= 1
            if count == 0:
                return


def make_damage(subject: Subject, kind: str, key: str, chance: random.Random) -> Damage | None:
    """Make a damage to a file; None if it would change nothing."""
    own = subject.content
    if kind in CONTENTS:
        # What is empty is damaged by growing alone.
        drawn = CONTENTS[kind](own[key], chance) if own[key] else b"\0"
        changes: dict[str, bytes | None] = {key: drawn}
    elif kind == "delete":
        changes = {key: None}
    elif kind == "other":
        other = chance.choice(subject.others) if subject.others else own
        changes = {k: other.get(k) for k in [*own, *(other.keys() - own.keys())]}
    else:
        changes = _exchanged(subject, kind, key, chance)
    changes = {k: data for k, data in changes.items() if data != own.get(k)}
    return Damage(kind, key, changes) if changes else None


def _exchanged(
    subject: Subject, kind: str, key: str, chance: random.Random
) -> dict[str, bytes | None]:
    """Contents of files, taken from elsewhere."""
    own = subject.content
    alike = [k for k in own if k != key and k.rpartition("/")[2] == key.rpartition("/")[2]]
    same = [k for k in own if k != key and role(k) == role(key)]
    partner = chance.choice(same or alike or [*own])
    if kind == "exchange":
        return {key: own[partner], partner: own[key]}
    if kind == "replace":
        sources = [own[k] for k in [partner, *alike[:1]]]
        sources += [other[k] for other in subject.others for k in [partner] if k in other]
        return {key: chance.choice(sources)}
    return {
        key: chance.choice([other.get(key, own[key]) for other in subject.others] or [own[key]])
    }


# ----- what becomes of it


@dataclass
class Outcome:
    """What became of damaged subjects."""

    damages: int = 0
    told: Counter[str] = field(default_factory=Counter)
    """Numbers of answers that were right, and of those refused."""
    wrong: list[str] = field(default_factory=list)
    """Wrong answers without a word, each with its damage and verb."""
    foreign: list[str] = field(default_factory=list)
    """Errors that are not ours."""
    unnamed: list[str] = field(default_factory=list)
    """Damages that `verify` does not name."""

    def add(self, other: "Outcome") -> None:
        """Add what became of others."""
        self.damages += other.damages
        self.told += other.told
        self.wrong += other.wrong
        self.foreign += other.foreign
        self.unnamed += other.unnamed

    def __str__(self) -> str:
        listed = [f"{len(v)} {k}" for k, v in vars(self).items() if isinstance(v, list)]
        lines = [line for each in (self.wrong, self.foreign, self.unnamed) for line in each]
        return "\n".join(
            [f"{self.damages} damages: {dict(self.told)}, {', '.join(listed)}", *lines]
        )


# What may be unknown, of which nothing is said that is wrong: voxels are read instead.
_KNOWLEDGE = {"block labels"}
_NOTHING = tokenize(computed(None))


def asked(verb: Verb, opened: Any) -> str:
    """What a verb answers, as text that is equal for equal answers."""
    with warnings.catch_warnings():
        # What is told is no answer: that has to be right all the same.
        warnings.simplefilter("ignore")
        return tokenize(computed(verb(opened)))


def try_damages(
    subject: Subject, count: int, *, seed: int, verbs: int | None = None, named: int = 1
) -> Outcome:
    """Damage a subject many times, and ask verbs of it each time.

    Parameters
    ----------
    subject
        What is damaged; it is whole when this ends.
    count
        Number of damages.
    seed
        What chance begins with.
    verbs
        Number of verbs that are drawn for each damage; all of them if not given.
    named
        Of how many damages one is shown to `verify`, which may take long.
    """
    outcome, chance = Outcome(), random.Random(seed)
    answers: dict[str, str] = {}
    for number, damage in enumerate(damages(subject, count, seed)):
        names = list(subject.verbs) if verbs is None else chance.sample(list(subject.verbs), verbs)
        chosen = {name: subject.verbs[name] for name in names} | dict(subject.near(damage.key))
        for name in chosen.keys() - answers.keys():
            answers[name] = asked(chosen[name], subject.open())
            if subject.is_changed_by_verbs:
                subject.restore({})
        # What replaces everything concerns whom it was open for; for others both are tried.
        before = damage.kind == "other" or chance.random() < 0.5
        try:
            found = _ask_damaged(subject, damage, chosen, outcome, before=before)
            _judge(found, answers, outcome)
            if subject.is_changed_by_verbs and subject.verify:
                # The verbs may have mended it.
                subject.restore(damage.changes)
                subject.put(damage.changes)
            if subject.verify and damage.kind != "other" and number % named == 0:
                _check_named(subject, damage, outcome)
        finally:
            subject.restore(damage.changes)
        outcome.damages += 1
    return outcome


def _ask_damaged(
    subject: Subject, damage: Damage, verbs: Mapping[str, Verb], outcome: Outcome, *, before: bool
) -> dict[str, tuple[str, tuple[str] | None]]:
    """What verbs say of a damaged subject, which was opened before or after, by name."""
    opened = (subject.open(),) if before else None
    subject.put(damage.changes)
    found: dict[str, tuple[str, tuple[str] | None]] = {}
    if not before:
        opened = _attempt(subject.open, outcome, f"{damage}: open")
    for name, verb in verbs.items():
        what = f"{damage}: {name}{', open before' if before else ''}"
        answer = opened and _attempt(partial(asked, verb, *opened), outcome, what)
        found[name] = what, answer
        if subject.is_changed_by_verbs and len(verbs) > 1:
            subject.restore(damage.changes)
            subject.put(damage.changes)
    return found


def _judge(
    found: Mapping[str, tuple[str, tuple[str] | None]], answers: Mapping[str, str], outcome: Outcome
) -> None:
    """Note which answers are right, refused and wrong."""
    for name, (what, answer) in found.items():
        if answer is None:
            outcome.told["refused"] += 1
        elif answer == (answers[name],) or (name in _KNOWLEDGE and answer == (_NOTHING,)):
            outcome.told["right"] += 1
        else:
            outcome.wrong.append(f"{what}: a wrong answer")


def _attempt(run: Callable[[], Any], outcome: Outcome, what: str) -> tuple[Any] | None:
    """What a call gives, or None where it raises; one that is not ours is noted."""
    try:
        return (run(),)
    except RefspaceError:
        return None
    except Exception as error:
        outcome.foreign.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
        return None


def _check_named(subject: Subject, damage: Damage, outcome: Outcome) -> None:
    assert subject.verify is not None
    try:
        report = subject.verify()
    except RefspaceError as error:
        if not all(key in str(error) for key in damage.changes):
            outcome.unnamed.append(f"{damage}: verify raises {type(error).__name__}: {error}")
        return
    except Exception as error:
        outcome.foreign.append(f"{damage}: verify: {type(error).__name__}: {str(error)[:200]}")
        return
    # A fault is of a file, or of the array that several files make up.
    named = {fault.key for fault in report.faults}
    # By another root, all else is what is wrong.
    for key in [ROOT] if ROOT in damage.changes else damage.changes:
        if not (named and key == ROOT) and not any(
            key == name or key.startswith(f"{name}/") for name in named
        ):
            outcome.unnamed.append(f"{damage}: verify names {sorted(named)[:3]}, not {key}")
