"""Downloads of files from web servers: resumed, verified, and atomic.

While ``a.nrrd`` is downloaded, its first bytes are in ``.a.nrrd.part``, their origin and number in
``.a.nrrd.part.json``, and ``.a.nrrd.lock`` keeps other processes waiting. Afterwards
``.a.nrrd.json`` records origin, size and digest of the file. A file without a record is not
trusted, nor is one that differs from its record: before it is used again, it is read and proven.
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
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from refspace.errors import RemoteError, safe_cause
from refspace.files import atomic_write, exclusive_lock, explained, make_folder
from refspace.remote import http_responses, retry
from refspace.remote.intake import Intake
from refspace.remote.partial import PartialDownload
from refspace.safe_text import shown, url_identity, without_secrets
from refspace.types import PathLike
from refspace.version import __version__

_LOG = logging.getLogger("refspace")
# Small, so that on a slow line progress shows every second, and a break loses little.
_PIECE_BYTES = 2**16
# Seconds of silence after which a server counts as out of reach.
_TIMEOUT = 60.0
# Characters of a URL: printable ASCII, without blanks.
_URL_CHARACTERS = re.compile(r"[!-~]+")
_PAGE_ENDINGS = (".html", ".htm")
_NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_MISSING = (404, 410)
_DENIED = (401, 403, 407)

Progress = Callable[[str, int, int], None]
"""Called with the name of a file, its bytes so far, and its bytes in all (0 if not known)."""


@dataclass(frozen=True)
class Record:
    """Origin, size and digest of a downloaded file.

    Parameters
    ----------
    url
        URL that it was downloaded from, without secrets.
    sha256
        Digest of its content, hexadecimal.
    bytes
        Its size.
    etag
        Its version on the server: the ETag, or the time of the last change.
    time
        Time of the download, in ISO 8601.
    """

    url: str
    sha256: str
    bytes: int
    etag: str | None
    time: str


def download(
    url: str,
    target: PathLike,
    *,
    sha256: str | None = None,
    nbytes: int | None = None,
    progress: Progress | None = None,
    check: Callable[[Path], object] | None = None,
    remedies: Sequence[str] = (),
    refresh: bool = False,
) -> Record:
    """Download a file, unless it was downloaded before.

    The file appears under its name when it is complete and correct. After an interruption of any
    kind, only the rest is requested. Of several processes that want the file at once, one downloads
    it, and the others wait.

    Parameters
    ----------
    url
        HTTP or HTTPS URL. Proxies and certificates are those of the environment (``https_proxy``,
        ``SSL_CERT_FILE``).
    target
        Path to download to; missing folders are made.
    sha256
        Digest that the file must have. With it, a file that was copied to the path by hand is
        accepted too.
    nbytes
        Size that the file must have.
    progress
        Called with the file's name, its bytes so far, and its bytes in all, 0 if not known.
    check
        Called with the path of the complete file before it appears under its name; when it raises,
        the file is not kept.
    remedies
        Advice for the error that a host out of reach raises.
    refresh
        Whether an existing file is downloaded again. One of a known digest never is.

    Returns
    -------
    Record
        Record of the file, whether it was downloaded now or before.

    Raises
    ------
    FileNotFoundError
        If the server has no such file.
    RemoteError
        If the host cannot be reached, or sends something else.

    Examples
    --------
    A file that exists, with the right digest, needs no network:

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
    make_folder(job.target.parent)
    _refuse_linked_records(job.target)
    lock = job.target.with_name(f".{job.target.name}.lock")
    waiting_for = f"downloading {job.target}"
    with exclusive_lock(lock, waiting_for=waiting_for), explained(job.target):
        # Another process may have downloaded it while this one waited.
        record = None if fresh else job.cached() or job.adopted()
        return record or job.run()


def read_record(path: PathLike) -> Record | None:
    """Read the record of a downloaded file; None without a record, or a file of its size.

    Parameters
    ----------
    path
        Path of the file.

    Examples
    --------
    >>> read_record("no/such/file") is None
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


def _refuse_linked_records(target: Path) -> None:
    """Refuse symbolic links where hidden files beside a download are written: nobody wants them."""
    for ending in (".json", ".part", ".part.json", ".lock"):
        if (path := target.with_name(f".{target.name}{ending}")).is_symlink():
            raise RemoteError(
                f"{path} is a symbolic link, through which nothing is written; remove it"
            )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in http_responses.SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        is_web = False
    if is_web and parts.username is not None:
        raise RemoteError(
            f"the URL of {parts.hostname} holds a user's name or password, which the records of "
            "downloads would keep; give one without"
        )
    if not is_web or not _URL_CHARACTERS.fullmatch(url):
        raise RemoteError(f"{url!r} is no URL of a file; give one that begins http:// or https://")


@dataclass
class _Download:
    """One file to be downloaded, and the conditions that it must meet."""

    url: str = field(repr=False)
    target: Path
    sha256: str | None
    nbytes: int | None
    progress: Progress | None
    check: Callable[[Path], object] | None
    remedies: Sequence[str]
    # Whether only the rest of a file is requested; False once the server has sent another part.
    ranges: bool = True

    def __post_init__(self) -> None:
        self.opener = http_responses.web_opener()
        self.sha256 = self.sha256 and self.sha256.lower()

    @property
    def name(self) -> str:
        """The URL, as messages have it."""
        return without_secrets(self.url)

    # ----- existing files

    def cached(self) -> Record | None:
        """Record of the file, if it was downloaded before and meets the conditions."""
        record = read_record(self.target)
        if record is None or self.nbytes not in (None, record.bytes):
            return None
        same = record.sha256 == self.sha256 if self.sha256 else record.url == url_identity(self.url)
        return record if same and self._is_unchanged(record) else None

    def _is_unchanged(self, record: Record) -> bool:
        """Whether the file is what was downloaded; it is read for that, as it soon is anyway."""
        with self.target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == record.sha256:
                return True
        _LOG.info("%s is not what was downloaded; it was changed, and comes again", self.target)
        self.remedies = [
            f"put {self.target} back as it was downloaded, with sha256 {record.sha256}",
            *self.remedies,
        ]
        return False

    def adopted(self) -> Record | None:
        """Record of a file that was put there by hand, if its digest is known and right."""
        if self.sha256 is None or not self.target.is_file():
            return None
        with self.target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                return None
        return self._write_record(self.sha256, self.target.stat().st_size, None)

    def _write_record(self, sha256: str, size: int, etag: str | None) -> Record:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = Record(url_identity(self.url), sha256, size, etag, now)
        with atomic_write(_record_path(self.target), through_links=False) as temporary:
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
        return record

    # ----- the download

    def run(self) -> Record:
        """Download the file and write its record."""
        for remains in self.target.parent.glob(f"..{glob.escape(self.target.name)}.*.partial.json"):
            # Left by a process that was killed while it wrote a record.
            remains.unlink(missing_ok=True)
        with closing(
            PartialDownload(self.target, self.url, has_digest=self.sha256 is not None)
        ) as part:
            self._fetch_rest(part)
            if part.pieced and self._fault(part):
                # One of several responses may have been of another version: once more, in a single
                # response. After a single one there is no point in that, the same would come again.
                _LOG.info("%s, put together, is not what it should be; again from 0", self.name)
                self.ranges = False
                part.clear()
                self._fetch_rest(part)
            if fault := self._fault(part):
                part.clear()
                raise RemoteError(fault)
            return self._publish(part)

    def _fault(self, part: PartialDownload) -> str | None:
        """Describe which condition the complete file violates; None if it meets all."""
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

    def _publish(self, part: PartialDownload) -> Record:
        """Rename the part to the final path, with its record.

        Wherever this is interrupted, a next run sees a complete part, or a file that matches its
        record: the old file goes first, then the record is written, then the part is renamed.
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

    def _fetch_rest(self, part: PartialDownload) -> None:
        """Request what is missing until the file is complete.

        The count of failures starts again whenever the part has grown, so that a large file arrives
        over a bad line in the end.
        """
        failures, furthest = 0, part.size
        while not part.is_complete:
            try:
                self._request_rest(part)
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

    def _request_rest(self, part: PartialDownload) -> None:
        """Request the rest of the file once, and append the body of the response."""
        if not (self.ranges and part.can_grow):
            part.clear()
        # Without compression: lengths and ranges count the bytes of the file itself.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"refspace/{__version__}"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            # If-Range: a file that has changed comes whole, with status 200 in place of 206.
            headers |= {"If-Range": part.version} if part.version else {}
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response = self.opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not part.size:
                raise
            error.close()
            _LOG.info("%s is shorter than what came of it before; again from 0", self.name)
            part.clear()
            self._request_rest(part)
            return
        with response:
            self._begin_response(part, response)
            self._append_body(part, response)

    def _begin_response(self, part: PartialDownload, response: HTTPResponse) -> None:
        """Prepare the part for a response: it goes on where the part ends, or begins again."""
        if response.status == 206:
            start, length = http_responses.content_range(response.headers)
            version = http_responses.file_version(response.headers)
            changed = part.version and version and part.version != version
            if start != part.size or (part.size and (changed or part.length not in (None, length))):
                self.ranges = False
                raise ConnectionError("the server sends another part of the file than was asked")
            part.pieced = part.pieced or part.size > 0
        elif response.status == 200:
            if part.size:
                _LOG.info("%s comes from its beginning: changed, or without ranges", self.name)
            part.clear()
            length = http_responses.content_length(response.headers)
        else:
            raise RemoteError(f"{self.url}: the server answers with HTTP status {response.status}")
        if None not in (length, self.nbytes) and length != self.nbytes:
            part.clear()
            raise RemoteError(self._wrong_size(length or 0))
        self._refuse_encoded(response)
        if not part.size:
            part.begin(length, http_responses.file_version(response.headers))

    def _refuse_encoded(self, response: HTTPResponse) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        # Some servers declare the compression of a .gz file as an encoding: the bytes are the
        # file's.
        if encoding != "identity" and self.target.suffix.lower() != ".gz":
            raise RemoteError(
                f"{self.url}: the server, or a proxy on the way, sends it encoded as {encoding}, "
                "though it was asked not to; try from another network"
            )

    def _append_body(self, part: PartialDownload, response: HTTPResponse) -> None:
        """Append the body of a response to the part."""
        length = part.length if part.length is not None else self.nbytes
        intake = Intake(self.url, self.target.parent, length, part.size)
        while piece := http_responses.read_piece(response, _PIECE_BYTES):
            if not part.size and self.target.suffix.lower() not in _PAGE_ENDINGS:
                http_responses.refuse_web_page(self.url, response, piece)
            self._take(intake, part, piece)
            if self.progress is not None:
                self.progress(self.target.name, part.size, part.length or 0)
        if part.length is None and not response.chunked and not (self.sha256 or self.nbytes):
            part.clear()
            raise RemoteError(
                f"{self.url}: the server does not say how long the file is, so that nobody can "
                "tell whether all has come; try from another network, or another host"
            )
        if part.size < (length or 0):
            raise ConnectionError(f"the connection ended after {part.size} of {length} bytes")
        part.finish()

    @staticmethod
    def _take(intake: Intake, part: PartialDownload, piece: bytes) -> None:
        """Append a piece, unless it is more than should come; then nothing is kept."""
        try:
            intake.add(len(piece))
        except RemoteError:
            part.clear()
            raise
        part.append(piece)

    # ----- errors

    def _fail(self, error: Exception, failures: int) -> NoReturn:
        """Raise the error, in words that say what to do."""
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            self._fail_with_status(error, failures)
        if isinstance(error, _NETWORK):
            cause: object = error
            what = "breaks off"
            if isinstance(error, urllib.error.URLError):
                cause, what = error.reason, "cannot be reached"
            raise RemoteError(
                f"{urlsplit(self.url).netloc} {what}: "
                f"{http_responses.describe(cause)}{_times(failures)}. "
                f"To have {self.url}: {self._remedies(cause)}"
            ) from error
        error.add_note(shown(f"this was on the way from {self.name} to {self.target}"))
        raise error

    def _fail_with_status(self, error: urllib.error.HTTPError, failures: int) -> NoReturn:
        status = f"HTTP status {error.code} {error.reason}".rstrip()
        if error.code in _MISSING:
            raise FileNotFoundError(
                shown(f"{self.name}: there is no such file on the server ({status})")
            ) from safe_cause(error)
        if error.code in _DENIED:
            raise RemoteError(f"{self.url}: access is denied ({status})") from safe_cause(error)
        if 300 <= error.code < 400:
            raise RemoteError(
                f"{self.url}: the server redirects to where no file can come from ({status})"
            ) from error
        raise RemoteError(
            f"{self.url}: the server answers with {status}{_times(failures)}; try again later"
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
    """Make renames in a folder survive a power cut, where the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
