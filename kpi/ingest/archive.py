"""Opens inputs under limits: plain files, folders, .gz, .zst and .zip, decompressed lazily, never to a named path.

Member names are shown, never used as paths. What is inside an archive is decided by its first bytes, not by its name.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from kpi.errors import IngestError

HEAD_BYTES = 64 * 1024
MIB = 1024 * 1024
SQLITE = b"SQLite format 3"
_RANDOM_ACCESS = (b"PAR1", SQLITE)
_SPLIT_HINT = "Split the export into smaller files and load them together."
_BROKEN = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, zstandard.ZstdError, NotImplementedError)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one load may cost. Sizes in bytes, times in seconds.

    memory_bytes bounds address space, of which Arrow's allocator reserves about 1 GiB that it never touches; resident
    memory therefore stays well below it.
    """

    input_bytes: int = 4096 * MIB  # all files of one load, as they lie on disk
    expanded_bytes: int = 8192 * MIB  # one input after decompression
    ratio: int = 250  # decompressed / compressed, judged after the first MiB
    members: int = 1_000
    json_bytes: int = 256 * MIB  # one JSON document that is not split into lines
    json_depth: int = 100
    line_bytes: int = 16 * MIB
    string_chars: int = 4_000_000
    columns: int = 2_000
    rows: int = 5_000_000
    batch_bytes: int = 256 * MIB  # one batch of rows in memory
    memory_bytes: int = 4096 * MIB
    cpu_seconds: int = 900
    wall_seconds: int = 1_200
    file_bytes: int = 4096 * MIB  # one staged file


@dataclass(frozen=True)
class Opened:
    """One logical input: a file, or a member of an archive.

    name: for display only. head: its first 64 KiB after decompression. path: set where the bytes are a plain file on
    disk; Parquet and SQLite inside an archive are spooled to one, for they need random access. size: bytes after
    decompression where known.
    """

    name: str
    head: bytes
    path: Path | None
    opener: Callable[[], BinaryIO] = field(repr=False, compare=False)
    size: int | None = None

    def stream(self) -> BinaryIO:
        """The decompressed bytes from the start; limits are enforced while reading (IngestError)."""
        return self.opener()


class _Bounded(io.RawIOBase):
    """A decompressing stream that stops at the limits; damage becomes a typed error."""

    def __init__(self, inner: BinaryIO, *, name: str, compressed: int, limits: Limits) -> None:
        self._inner = inner
        self._name = name
        self._compressed = max(compressed, 1)
        self._limits = limits
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            data = self._inner.read(len(buffer))
        except _BROKEN as error:
            raise IngestError(
                "ingest.bad_archive", f"{self._name} is damaged or uses a method that is not supported",
                hint="Export it again, or unpack it yourself and load the files.",
            ) from error  # fmt: skip
        self._count += len(data)
        if self._count > MIB and self._count > self._limits.ratio * self._compressed:
            raise IngestError(
                "ingest.bomb", f"{self._name} expands more than {self._limits.ratio}-fold",
                hint="If you trust the file, unpack it yourself and load what is inside.",
            )  # fmt: skip
        if self._count > self._limits.expanded_bytes:
            raise IngestError("ingest.too_large", f"{self._name} is too large after decompression", hint=_SPLIT_HINT)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


def display(name: str) -> str:
    """A file name made safe to show: no folders, no control characters, at most 120 characters."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return "".join(c if c.isprintable() else "\ufffd" for c in last)[:120] or "input"


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files as given; a folder stands for the files in it, at any depth, sorted, without hidden ones.

    Raises IngestError `ingest.not_found` for a path that does not exist and for a folder without files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not inside:
                raise IngestError("ingest.not_found", f"{display(str(path))} is an empty folder")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise IngestError("ingest.not_found", f"{display(str(path))} does not exist", hint="Check the path.")
    return files


def open_inputs(paths: Sequence[Path], *, limits: Limits) -> Iterator[Opened]:
    """Every logical input of the given files, archives opened one level deep.

    Raises IngestError when a file is empty, too large, damaged, or holds an archive inside an archive.
    """
    files = expand(paths)
    if sum(f.stat().st_size for f in files) > limits.input_bytes:
        raise IngestError("ingest.too_large", "The files are too large for one load", hint=_SPLIT_HINT)
    for path in files:
        for source in _open(path, limits):
            if source.head.startswith(SQLITE):
                from kpi.ingest.databases import files as databases  # needs this module itself

                yield from databases.inputs(source, limits)
            else:
                yield source


def _open(path: Path, limits: Limits) -> Iterator[Opened]:
    with path.open("rb") as stream:
        magic = stream.read(4)
    name, size = display(path.name), path.stat().st_size
    if not magic:
        raise IngestError("ingest.empty", f"{name} is empty", hint="Export it again; the file holds no bytes.")
    if magic[:2] == b"PK":
        yield from _members(path, limits)
    elif magic[:2] == b"\x1f\x8b" or magic == b"\x28\xb5\x2f\xfd":
        kind = _gunzip if magic[:2] == b"\x1f\x8b" else _unzstd
        yield _compressed(name, lambda: kind(path), size, limits)
    else:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        yield Opened(name=name, head=head, path=path, opener=lambda: path.open("rb"), size=size)


def _gunzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb"))


def _unzstd(path: Path) -> BinaryIO:
    decompressor = zstandard.ZstdDecompressor(max_window_size=128 * MIB)
    return cast(BinaryIO, decompressor.stream_reader(path.open("rb"), read_across_frames=True, closefd=True))


def _compressed(name: str, inner: Callable[[], BinaryIO], compressed: int, limits: Limits) -> Opened:
    def opener() -> BinaryIO:
        raw = _Bounded(inner(), name=name, compressed=compressed, limits=limits)
        return cast(BinaryIO, io.BufferedReader(raw, MIB))

    with opener() as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise IngestError("ingest.empty", f"{name} is empty after decompression")
    if head[:4] in (b"PK\x03\x04", b"\x28\xb5\x2f\xfd") or head[:2] == b"\x1f\x8b":
        raise IngestError(
            "ingest.nested_archive", f"{name} holds an archive inside an archive",
            hint="Unpack the outer one and load what is inside.",
        )  # fmt: skip
    path = _spool(opener) if head.startswith(_RANDOM_ACCESS) else None
    return Opened(name=name, head=head, path=path, opener=opener)


def _spool(opener: Callable[[], BinaryIO]) -> Path:
    """A nameless-to-the-sender temporary copy; lies in the child's own temporary folder, which its parent removes."""
    handle, temporary = tempfile.mkstemp(prefix="kpi-spool-")
    try:
        with os.fdopen(handle, "wb") as target, opener() as stream:
            while block := stream.read(MIB):
                target.write(block)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return Path(temporary)


def _members(path: Path, limits: Limits) -> Iterator[Opened]:
    name = display(path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if not i.is_dir()]
    except (*_BROKEN, ValueError, UnicodeDecodeError) as error:
        raise IngestError("ingest.bad_archive", f"{name} is a damaged zip file", hint="Export it again.") from error
    if samples := _of_eval_log(infos):
        yield from _one_name(name, path, samples, limits)
        return
    if len(infos) > limits.members:
        raise IngestError("ingest.too_many_members", f"{name} holds more than {limits.members} files", hint=_SPLIT_HINT)
    if not infos:
        raise IngestError("ingest.empty", f"{name} holds no files")
    for info in infos:
        if info.flag_bits & 0x1:
            raise IngestError("ingest.bad_archive", f"{name} is encrypted", hint="Unpack it and load what is inside.")
        opener = functools.partial(_member, path, info)
        yield _compressed(f"{name}: {display(info.filename)}", opener, info.compress_size, limits)


def _of_eval_log(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The header and samples of an Inspect AI log, which its journal, summaries and reductions repeat; else nothing."""
    names = {i.filename: i for i in infos}
    head = names.get("header.json") or names.get("_journal/start.json")  # a run that was killed has only the latter
    samples = [i for i in infos if i.filename.startswith("samples/") and i.filename.endswith(".json")]
    return [head, *samples] if head is not None and (samples or "_journal/start.json" in names) else []


def _one_name(name: str, path: Path, infos: list[zipfile.ZipInfo], limits: Limits) -> Iterator[Opened]:
    """Members that make one log, all under its name; the archive is opened once, for there may be ten thousands."""
    if len(infos) > _SAMPLES * limits.members:
        raise IngestError("ingest.too_many_members", f"{name} holds too many samples", hint=_SPLIT_HINT)
    archive = zipfile.ZipFile(path)
    for info in infos:
        opener = functools.partial(cast(Callable[..., BinaryIO], archive.open), info)
        yield _compressed(name, opener, info.compress_size, limits)


_SAMPLES = 50  # an evaluation log has a small member a sample


def _member(path: Path, info: zipfile.ZipInfo) -> BinaryIO:
    archive = zipfile.ZipFile(path)
    try:
        stream = archive.open(info)
    except BaseException:
        archive.close()
        raise
    archive.close()  # the open member keeps the file until it is closed itself
    return cast(BinaryIO, stream)


def lines(source: Opened, *, limits: Limits) -> Iterator[tuple[int, bytes | None]]:
    """(1-based line number, line as UTF-8 bytes without its end), blank lines left out.

    A line over the cap is skipped and comes back as None. A byte order mark is removed; UTF-16 is transcoded.
    """
    with source.stream() as raw:
        stream = utf8_stream(raw, source.head)
        number = 0
        while line := stream.readline(limits.line_bytes + 1):
            number += 1
            if len(line) > limits.line_bytes and not line.endswith(b"\n"):
                while (rest := stream.readline(MIB)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
            elif line := line.strip(b" \t\r\n"):
                yield number, line


def encoding(head: bytes) -> str:
    """`utf-8`, `utf-8-sig`, `utf-16-le` or `utf-16-be`, from the byte order mark or the pattern of NUL bytes."""
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if (0 in head or head[:2] in (b"\xff\xfe", b"\xfe\xff")) and mostly_text(head):
        return "utf-8"  # lines of UTF-8 around one of another encoding
    if head.startswith(b"\xff\xfe"):
        return "utf-16-le"
    if head.startswith(b"\xfe\xff"):
        return "utf-16-be"
    sample = head[:512]
    if len(sample) >= 4 and sample[1::2].count(0) > 0.4 * len(sample) and 0 not in sample[::2]:
        return "utf-16-le"
    if len(sample) >= 4 and sample[::2].count(0) > 0.4 * len(sample) and 0 not in sample[1::2]:
        return "utf-16-be"
    return "utf-8"


def mostly_text(head: bytes) -> bool:
    """Whether at least half of the lines are UTF-8 without control characters. Of UTF-16 text hardly any line is."""
    found = [line for line in head.splitlines() if line.strip()]
    if len(head) >= HEAD_BYTES and len(found) > 1:
        found.pop()  # may be cut inside a character
    good = sum(not _CONTROL.search(line) and _is_utf8(line) for line in found)
    return 0 < len(found) <= 2 * good


_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def utf8_stream(raw: BinaryIO, head: bytes) -> BinaryIO:
    """The stream from behind its byte order mark, UTF-16 transcoded to UTF-8."""
    name = encoding(head)
    if name == "utf-8":
        return raw
    if name == "utf-8-sig":
        raw.read(3)
        return raw
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raw.read(2)
    return cast(BinaryIO, io.BufferedReader(_Transcoded(raw, name), MIB))


class _Transcoded(io.RawIOBase):
    """UTF-16 bytes read as UTF-8."""

    def __init__(self, inner: BinaryIO, name: str) -> None:
        self._text = io.TextIOWrapper(inner, encoding=name, errors="replace", newline="")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = self._text.read(64 * 1024).encode("utf-8", "replace")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
