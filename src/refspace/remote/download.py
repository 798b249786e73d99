"""Files from the web: whole and right, or not there at all.

Beside a file ``a.nrrd`` lie, while it comes, ``.a.nrrd.part`` with what has come of it,
``.a.nrrd.part.json`` with what that is, and ``.a.nrrd.lock``; and afterwards ``.a.nrrd.json``, the
record of what it is and where it is from. A file without a record is not trusted.
"""

import glob
import hashlib
import http.client
import json
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from refspace.errors import RemoteError
from refspace.files import atomic_write, exclusive_lock
from refspace.remote import answers, retry
from refspace.remote.partial import Partial
from refspace.version import __version__

_LOG = logging.getLogger("refspace")
# Small: on a slow line, progress shows every second, and little is lost when it breaks.
_PIECE_BYTES = 2**16
# Seconds in which a server must send something.
_TIMEOUT = 60.0
# What a URL may be spelled with: neither blanks nor signs beyond ASCII.
_SIGNS = re.compile(r"[!-~]+")
_PAGE_ENDINGS = (".html", ".htm")
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_MISSING = (404, 410)
_DENIED = (401, 403, 407)

Progress = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes that are there, and those in all (0 if not known)."""


@dataclass(frozen=True)
class Record:
    """What a downloaded file is.

    Parameters
    ----------
    url
        Where it came from.
    sha256
        Digest of its content, hexadecimal.
    bytes
        Its size.
    etag
        What the server told its version by: ETag, or the time of the last change.
    time
        When it came, in ISO 8601.
    """

    url: str
    sha256: str
    bytes: int
    etag: str | None
    time: str


def download(
    url: str,
    target: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    nbytes: int | None = None,
    progress: Progress | None = None,
    check: Callable[[Path], object] | None = None,
    remedies: Sequence[str] = (),
    refresh: bool = False,
) -> Record:
    """Bring a file here, once.

    The file appears under its name when it is complete and right. What has come is kept through
    interruptions of any kind, and only the rest is asked for afterwards. Of several processes that
    want it at once, one downloads, and the others wait.

    Parameters
    ----------
    url
        HTTP or HTTPS URL. Proxies and certificates are those of the environment (``https_proxy``,
        ``SSL_CERT_FILE``).
    target
        Where to put it; missing folders are made.
    sha256
        Digest that it must have. Then a file that somebody has put there by hand is taken too.
    nbytes
        Size that it must have.
    progress
        Called with the file's name, the bytes that are there, and those in all, 0 if not known.
    check
        Called with the path of the complete file before it appears under its name; when it raises,
        the file is not kept.
    remedies
        What can be done when the host cannot be reached, for the error.
    refresh
        Whether a file that is there is downloaded again. One of a known digest never is.

    Returns
    -------
    Record
        Of the file, which was downloaded now or before.

    Raises
    ------
    FileNotFoundError
        If the server has no such file.
    RemoteError
        If it cannot be reached, or sends something else.

    Examples
    --------
    A file that is there, and is what it should be, needs no network:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note.txt")
    >>> _ = path.write_bytes(b"whole")
    >>> digest = hashlib.sha256(b"whole").hexdigest()
    >>> download("https://host.invalid/note.txt", path, sha256=digest).bytes
    5
    """
    _check_url(url)
    job = _Download(url, Path(target), sha256, nbytes, progress, check, remedies)
    fresh = refresh and sha256 is None
    if not fresh and (record := job.cached()):
        return record
    job.target.parent.mkdir(parents=True, exist_ok=True)
    lock = job.target.with_name(f".{job.target.name}.lock")
    with exclusive_lock(lock, waiting_for=f"downloading {job.target}"):
        # Another process may have brought it meanwhile.
        record = None if fresh else job.cached() or job.adopted()
        return record or job.run()


def record_of(path: str | os.PathLike[str]) -> Record | None:
    """Record of a downloaded file; None if there is no file that it fits.

    Parameters
    ----------
    path
        Of the file.

    Examples
    --------
    >>> record_of("no/such/file") is None
    True
    """
    path = Path(path)
    try:
        record = Record(**json.loads(_record_path(path).read_bytes()))
        return record if path.stat().st_size == record.bytes else None
    except (OSError, ValueError, TypeError):
        return None


def _record_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        right = parts.scheme in answers.SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if right and parts.username is not None:
        raise RemoteError(
            f"the URL of {parts.hostname} holds a user's name or password, which the records of "
            "downloads would keep; give one without"
        )
    if not right or not _SIGNS.fullmatch(url):
        raise RemoteError(f"{url!r} is no URL of a file; give one that begins http:// or https://")


@dataclass
class _Download:
    """One file that is wanted."""

    url: str
    target: Path
    sha256: str | None
    nbytes: int | None
    progress: Progress | None
    check: Callable[[Path], object] | None
    remedies: Sequence[str]
    # Whether the server is asked for the rest of a file: not once it has sent another part.
    ranges: bool = True

    def __post_init__(self) -> None:
        self.opener = answers.web_opener()
        self.sha256 = self.sha256 and self.sha256.lower()

    # ----- what is there

    def cached(self) -> Record | None:
        """Record of the file, if it is there and is what is wanted."""
        record = record_of(self.target)
        if record is None or self.nbytes not in (None, record.bytes):
            return None
        same = record.sha256 == self.sha256 if self.sha256 else record.url == self.url
        return record if same else None

    def adopted(self) -> Record | None:
        """Record of a file that somebody has put there, if its digest is known and right."""
        if self.sha256 is None or not self.target.is_file():
            return None
        with self.target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                return None
        return self._write_record(self.sha256, self.target.stat().st_size, None)

    def _write_record(self, sha256: str, size: int, etag: str | None) -> Record:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(self.url, sha256, size, etag, now)
        with atomic_write(_record_path(self.target)) as temporary:
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
        return record

    # ----- what comes

    def run(self) -> Record:
        """Bring the file, and its record."""
        for remains in self.target.parent.glob(f"..{glob.escape(self.target.name)}.*.partial.json"):
            # Of a process that was killed when it wrote a record.
            remains.unlink(missing_ok=True)
        with closing(Partial(self.target, self.url, proven=self.sha256 is not None)) as part:
            self._bring(part)
            if part.pieced and self._fault(part):
                # One of several answers may have been of another file. A single one is what there
                # is: it would come again.
                _LOG.info("%s, put together, is not what it should be; again from 0", self.url)
                self.ranges = False
                part.clear()
                self._bring(part)
            if fault := self._fault(part):
                part.clear()
                raise RemoteError(fault)
            return self._publish(part)

    def _fault(self, part: Partial) -> str | None:
        """What is wrong with the complete file."""
        if self.nbytes not in (None, part.size):
            return self._wrong_size(part.size)
        if self.sha256 in (None, part.sha256):
            return None
        return (
            f"{self.url}: the file that came has another content: sha256 {self.sha256} expected, "
            f"{part.sha256} got. It was changed on the server, or on the way by a proxy or a "
            "damaged connection; it was not kept. Try again, or from another network; if it stays "
            f"so, put the right file at {self.target}"
        )

    def _wrong_size(self, size: int) -> str:
        return f"{self.url}: has {size} bytes, not {self.nbytes}; it is another file, and not kept"

    def _publish(self, part: Partial) -> Record:
        """Let the file appear, with its record.

        Wherever this stops, a next run finds a complete part, or a file that its record fits.
        """
        part.sync()
        if self.check is not None:
            try:
                self.check(part.path)
            except Exception:
                part.clear()
                raise
        if self.target.exists():
            self.target.unlink()
            _sync_folder(self.target.parent)
        record = self._write_record(part.sha256, part.size, part.version)
        part.publish()
        _sync_folder(self.target.parent)
        return record

    def _bring(self, part: Partial) -> None:
        """Ask for what is missing until all is there.

        Failures count from the last one that brought more than ever: a bad line brings a large file
        in the end.
        """
        failures, furthest = 0, part.size
        while not part.is_complete:
            try:
                self._ask(part)
            except RemoteError:
                raise
            except KeyboardInterrupt as stop:
                if part.size:
                    stop.add_note(
                        f"what came of {self.target.name} is kept; asked again, it goes on"
                    )
                raise
            except Exception as error:
                failures = 1 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if not retry.is_transient(error) or failures >= retry.POLICY.attempts:
                    self._fail(error, failures)
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                retry.POLICY.wait(failures, error)

    def _ask(self, part: Partial) -> None:
        """Ask for the rest of the file, and take what comes."""
        if not (self.ranges and part.can_grow):
            part.clear()
        headers = {"Accept-Encoding": "identity", "User-Agent": f"refspace/{__version__}"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            headers |= {"If-Range": part.version} if part.version else {}
        request = urllib.request.Request(self.url, headers=headers)
        try:
            answer = self.opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not part.size:
                raise
            error.close()
            _LOG.info("%s is shorter than what came of it before; again from 0", self.url)
            part.clear()
            self._ask(part)
            return
        with answer:
            self._begin(part, answer)
            self._take(part, answer)

    def _begin(self, part: Partial, answer: Any) -> None:
        """Make ready for an answer: it goes on where the part ends, or begins again."""
        if answer.status == 206:
            start, length = answers.content_range(answer.headers)
            version = answers.version(answer.headers)
            changed = part.version and version and part.version != version
            if start != part.size or (part.size and (changed or part.length not in (None, length))):
                self.ranges = False
                raise ConnectionError("the server sends another part of the file than was asked")
            part.pieced = part.pieced or part.size > 0
        elif answer.status == 200:
            if part.size:
                _LOG.info("%s comes from its beginning: changed, or without ranges", self.url)
            part.clear()
            length = answers.content_length(answer.headers)
        else:
            raise RemoteError(f"{self.url}: the server answers with HTTP status {answer.status}")
        if None not in (length, self.nbytes) and length != self.nbytes:
            part.clear()
            raise RemoteError(self._wrong_size(length or 0))
        self._refuse_encoded(answer)
        if not part.size:
            part.begin(length, answers.version(answer.headers))

    def _refuse_encoded(self, answer: Any) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        # Servers say of archives, too, that they are compressed; these are meant to be.
        if encoding != "identity" and self.target.suffix.lower() != ".gz":
            raise RemoteError(
                f"{self.url}: the server, or a proxy on the way, sends it encoded as {encoding}, "
                "though it was asked not to; try from another network"
            )

    def _take(self, part: Partial, answer: Any) -> None:
        """Add what comes to the part, until it ends."""
        while piece := answers.read_piece(answer, _PIECE_BYTES):
            if not part.size and self.target.suffix.lower() not in _PAGE_ENDINGS:
                answers.refuse_page(self.url, answer, piece)
            part.append(piece)
            if self.progress is not None:
                self.progress(self.target.name, part.size, part.length or 0)
        if part.length is None and not answer.chunked and not (self.sha256 or self.nbytes):
            part.clear()
            raise RemoteError(
                f"{self.url}: the server does not say how long the file is, so that nobody can "
                "tell whether all has come; try from another network, or another host"
            )
        if part.size < (length := part.length or self.nbytes or 0):
            raise ConnectionError(f"the connection ended after {part.size} of {length} bytes")
        part.finish()

    # ----- what fails

    def _fail(self, error: Exception, failures: int) -> NoReturn:
        """Raise what tells the user what to do."""
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            self._fail_with_status(error, failures)
        if isinstance(error, _NETWORK):
            cause: object = error
            what = "breaks off"
            if isinstance(error, urllib.error.URLError):
                cause, what = error.reason, "cannot be reached"
            raise RemoteError(
                f"{urlsplit(self.url).netloc} {what}: {answers.words(cause)}{_times(failures)}. "
                f"To have {self.url}: {self._remedies(cause)}"
            ) from error
        error.add_note(f"this was on the way from {self.url} to {self.target}")
        raise error

    def _fail_with_status(self, error: urllib.error.HTTPError, failures: int) -> NoReturn:
        words = f"HTTP status {error.code} {error.reason}".rstrip()
        if error.code in _MISSING:
            raise FileNotFoundError(
                f"{self.url}: there is no such file on the server ({words})"
            ) from error
        if error.code in _DENIED:
            raise RemoteError(f"{self.url}: access is denied ({words})") from error
        if 300 <= error.code < 400:
            raise RemoteError(
                f"{self.url}: the server redirects to where no file can come from ({words})"
            ) from error
        raise RemoteError(
            f"{self.url}: the server answers with {words}{_times(failures)}; try again later"
        ) from error

    def _remedies(self, cause: object) -> str:
        remedies = ["connect to the internet, and try again", *self.remedies]
        if self.sha256:
            remedies.insert(1, f"put the file with sha256 {self.sha256} at {self.target}")
        if "CERTIFICATE" in str(cause):
            remedies.insert(0, "name the certificates of your network by SSL_CERT_FILE")
        return "; or ".join(remedies)


def _times(failures: int) -> str:
    return f", {failures} times" if failures > 1 else ""


def _sync_folder(folder: Path) -> None:
    """Bring renames in a folder to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
