"""Opens inputs under limits: plain files, folders, compressed files, .zip; decompressed lazily, never to a named path.

Member names are shown, never used as paths. What is inside an archive is decided by its first bytes, not by its name.
"""

import contextlib
import functools
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from kpi.errors import IngestError
from kpi.ingest.files import workbook
from kpi.ingest.files.compression import BROKEN, decompressor, member
from kpi.ingest.files.source import HEAD_BYTES, SQLITE, Filter, Opened
from kpi.ingest.limits import MIB, Limits

_RANDOM_ACCESS = (b"PAR1", SQLITE)
_SPLIT_HINT = "Split the export into smaller files and load them together."
_OFFICE = {
    "xl/workbook.bin": "a binary Excel workbook (.xlsb)", "xl/workbook.xml": "a damaged Excel workbook",
    "word/document.xml": "a Word document", "ppt/presentation.xml": "a presentation",
    "content.xml": "an OpenDocument file"}  # fmt: skip
_SAMPLES = 50  # an evaluation log has a small member a sample


class _Bounded(Filter):
    """A decompressing stream that stops at the limits; damage becomes a typed error."""

    def __init__(self, inner: BinaryIO, *, name: str, compressed: int, limits: Limits) -> None:
        super().__init__(inner)
        self._name = name
        self._compressed = max(compressed, 1)
        self._limits = limits
        self._count = 0

    def given(self, most: int) -> bytes:
        with _told(self._name):
            data: bytes = self._inner.read(most)
        self._count += len(data)
        if self._count > MIB and self._count > self._limits.ratio * self._compressed:
            raise IngestError.told("ingest.bomb:ratio", name=self._name, ratio=self._limits.ratio)
        if self._count > self._limits.expanded_bytes:
            raise IngestError("ingest.too_large", f"{self._name} is too large after decompression", hint=_SPLIT_HINT)
        return data


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Damage of compressed data as a typed error."""
    try:
        yield
    except BROKEN as error:
        raise IngestError.told("ingest.bad_archive", name=name) from error


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


def _open(path: Path, limits: Limits) -> Iterator[Opened]:
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    name, size = display(path.name), path.stat().st_size
    if not head:
        raise IngestError("ingest.empty", f"{name} is empty", hint="Export it again; the file holds no bytes.")
    plain_file = Opened(name=name, head=head, path=path, opener=lambda: path.open("rb"), size=size)
    if head[:2] == b"PK":
        yield from _members(plain_file, path, limits)
    elif (plain := decompressor(head)) is not None:
        yield _compressed(name, lambda: plain(path.open("rb")), size, limits)
    else:
        yield plain_file


def _compressed(name: str, inner: Callable[[], BinaryIO], compressed: int, limits: Limits) -> Opened:
    def opener() -> BinaryIO:
        with _told(name):
            raw = _Bounded(inner(), name=name, compressed=compressed, limits=limits)
        return cast(BinaryIO, io.BufferedReader(raw, MIB))

    with opener() as stream:
        head = stream.read(HEAD_BYTES)
    if not head:
        raise IngestError("ingest.empty", f"{name} is empty after decompression")
    if head[:4] == b"PK\x03\x04" or decompressor(head) is not None:
        raise IngestError.told("ingest.nested_archive", name=name)
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


def _members(whole: Opened, path: Path, limits: Limits) -> Iterator[Opened]:
    name = whole.name
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if not i.is_dir()]
    except (*BROKEN, ValueError, UnicodeDecodeError) as error:
        raise IngestError("ingest.bad_archive", f"{name} is a damaged zip file", hint="Export it again.") from error
    if any(i.filename.startswith("xl/worksheets/") and i.filename.endswith(".xml") for i in infos):
        workbook.check(name, infos, limits)
        yield whole
        return
    if office := next((title for i in infos if (title := _OFFICE.get(i.filename))), None):
        raise IngestError.told("ingest.unsupported_format", name=name, office=office)
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
        opener = functools.partial(member, path, info)
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
        yield _compressed(name, functools.partial(member, path, info, archive), info.compress_size, limits)
