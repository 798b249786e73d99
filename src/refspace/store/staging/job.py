"""Journal of a store in the making: its job, its records, and the owner of its lock."""

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

RUNS = f"{JOURNAL}/runs"
"""Folder that holds what is there as long as the tasks of a run may write."""

LOCK_OWNER = f"{JOURNAL}/holder.json"
"""Key of the object that names the writer, where there are no lock files."""

EXPORT = "refspace_export"
"""Attribute of a plain store for other programs that says which job has written it."""

RECORD = ".record"
"""Ending of a record in the journal."""

# Of a value in a message, in characters.
_LONGEST_VALUE = 60


def canonical(job: Mapping[str, Any]) -> bytes:
    """JSON that is the same, to the byte, for equal jobs."""
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
    """Digest of the job that wrote a store, by its root metadata; None if it is not complete."""
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        document = json.loads(root or b"")
        # In zarr v2 attributes are a file of their own.
        attributes = document.get("attributes", document)
        metadata = attributes["refspace" if "refspace" in attributes else EXPORT]
        return str(metadata.get("job")) if metadata["complete"] is True else None
    return None


def differences(other: bytes | None, job: bytes) -> str:
    """Values in which another job, recorded there, differs from this one."""
    try:
        there, here = (dict(_flat(json.loads(text).items())) for text in (other or b"", job))
    except (ValueError, AttributeError, RecursionError):
        return "what its job was cannot be read"
    keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    values = [(key, *(_short(each.get(key, "missing")) for each in (there, here))) for key in keys]
    return ", ".join(f"{key} is {that} there, {this} here" for key, that, this in values)


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Values of nested mappings by their dotted names."""
    for key, value in items:
        if isinstance(value, dict):
            yield from _flat((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, json.dumps(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def checksummed(job: str, name: str, payload: bytes) -> bytes:
    """Record with a checksum in front, of its job's digest, its name and its payload."""
    return hashlib.sha256(f"{job}\n{name}\n".encode() + payload).digest() + payload


def verified_payload(job: str, name: str, record: bytes) -> bytes | None:
    """Payload of a record whose checksum matches its job and its name; None of any other."""
    payload = record[hashlib.sha256().digest_size :]
    return payload if checksummed(job, name, payload) == record else None


def lock_owner() -> bytes:
    """JSON that names this process as the owner of a lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    return json.dumps({**owner, "token": secrets.token_hex(8)}).encode()


def in_use(target: str, owner: bytes | None) -> str:
    """Message for a second writer, which names the owner of the lock."""
    try:
        process = json.loads(owner or b"")
        name = f"process {process['pid']} on {process['host']}, since {process['since']}"
    except (ValueError, TypeError, KeyError):
        name = "another process"
    return f"{target} is being written by {name}; wait until that has ended, or end it"


def is_dead(owner: bytes | None) -> bool:
    """Whether the owner of a lock was a process of this machine that has ended."""
    try:
        process = json.loads(owner or b"")
        # Signal 0 only asks whether the process exists; on Windows it would end it.
        if process["host"] == socket.gethostname() and os.name != "nt":
            os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return False
    return False
