"""What a store in the making says of itself: its job, its records, and who writes it."""

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

JOURNAL = ".refspace"
"""Folder of a store in the making that holds its journal."""

JOB = f"{JOURNAL}/job.json"
"""Key of the canonical JSON of the job; the last of the journal to go."""

HOLDER = f"{JOURNAL}/holder.json"
"""Key of who writes, where there are no locks."""

RECORD = ".record"
"""Ending of a record in the journal."""

# Of a value in a message, in characters.
_LONGEST_VALUE = 60


def canonical(job: Mapping[str, Any]) -> bytes:
    """JSON that equal jobs have in common, to the byte."""
    return json.dumps(job, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def digest(job: bytes) -> str:
    """SHA-256 of canonical JSON, in hexadecimal digits."""
    return hashlib.sha256(job).hexdigest()


def job_digest(job: Mapping[str, Any]) -> str:
    """SHA-256 of a job's canonical JSON, in hexadecimal digits.

    Examples
    --------
    >>> job_digest({"chunks": (128, 64)}) == job_digest({"chunks": [128, 64]})
    True
    """
    return digest(canonical(job))


def finished_job(root: bytes | None) -> str | None:
    """Digest of the job that wrote a complete store, by its root metadata; None if it is none."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        facts = json.loads(root or b"")["attributes"]["refspace"]
        return str(facts.get("job")) if facts["complete"] is True else None
    return None


def differences(found: bytes | None, job: bytes) -> str:
    """Which values tell the job that was found from another."""
    try:
        there, here = (dict(_flat(json.loads(text).items())) for text in (found or b"", job))
    except (ValueError, AttributeError, RecursionError):
        return "what its job was cannot be read"
    keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    values = [(key, *(_short(each.get(key, "missing")) for each in (there, here))) for key in keys]
    return ", ".join(f"{key} is {found} there, {given} here" for key, found, given in values)


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Values of nested mappings by their dotted names."""
    for key, value in items:
        if isinstance(value, dict):
            yield from _flat((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def seal(name: str, payload: bytes) -> bytes:
    """Record that can be told from a damaged one, or from one of another name."""
    return hashlib.sha256(f"{name}\n".encode() + payload).digest() + payload


def unseal(name: str, record: bytes) -> bytes | None:
    """Payload of a record; None if the record is damaged, or none."""
    payload = record[hashlib.sha256().digest_size :]
    return payload if seal(name, payload) == record else None


def holder() -> bytes:
    """Who writes: this process, for others to read."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    return json.dumps({**who, "token": secrets.token_hex(8)}).encode()


def in_use(target: str, found: bytes | None) -> str:
    """What another writer is told."""
    try:
        who = json.loads(found or b"")
        name = f"process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, TypeError, KeyError):
        name = "another process"
    return f"{target} is being written by {name}; wait until that has ended, or end it"


def is_dead(found: bytes | None) -> bool:
    """Whether a holder was a process of this machine, and is no more."""
    try:
        who = json.loads(found or b"")
        # On Windows signal 0 is no question: it ends the process.
        if who["host"] == socket.gethostname() and os.name != "nt":
            os.kill(int(who["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return False
    return False
