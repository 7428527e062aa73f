"""One opened input: its bytes as a stream, its encoding, its lines."""

import io
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from kpi.ingest.limits import MIB, Limits

HEAD_BYTES = 64 * 1024
SQLITE = b"SQLite format 3"
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Opened:
    """One logical input: a file, or a member of an archive.

    name: for display only. head: its first 64 KiB after decompression. path: set where the bytes are a plain file on
    disk; Parquet and SQLite inside an archive are spooled to one, for they need random access. size: bytes after
    decompression where known. rows: an Arrow table, of a frame in memory that stands for a file.
    """

    name: str
    head: bytes
    path: Path | None
    opener: Callable[[], BinaryIO] = field(repr=False, compare=False)
    size: int | None = None
    rows: Any = field(default=None, repr=False, compare=False)

    def stream(self) -> BinaryIO:
        """The decompressed bytes from the start; limits are enforced while reading (IngestError)."""
        return self.opener()


def lines(source: Opened, *, limits: Limits, indented: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """(1-based line number, line as UTF-8 bytes without its end), blank lines left out. indented: with what stands
    before its text.

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
            elif text := line.strip(b" \t\r\n"):
                yield number, line.rstrip(b" \t\r\n") if indented else text


def encoding(head: bytes) -> str:
    """`utf-8`, `utf-8-sig`, `utf-16-le` or `utf-16-be`, from the byte order mark or the pattern of NUL bytes."""
    if head.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if (0 in head or head[:2] in _MARKS) and mostly_text(head):
        return "utf-8"  # lines of UTF-8 around one of another encoding
    if head[:2] in _MARKS:
        return _MARKS[head[:2]]
    sample = head[:512]
    for name, at in (("utf-16-le", 1), ("utf-16-be", 0)):
        if len(sample) >= 4 and sample[at::2].count(0) > 0.4 * len(sample) and 0 not in sample[1 - at :: 2]:
            return name
    return "utf-8"


def utf8_stream(raw: BinaryIO, head: bytes) -> BinaryIO:
    """The stream from behind its byte order mark, UTF-16 transcoded to UTF-8."""
    name = encoding(head)
    if name == "utf-8":
        return raw
    if name == "utf-8-sig":
        raw.read(3)
        return raw
    if head[:2] in _MARKS:
        raw.read(2)
    return cast(BinaryIO, io.BufferedReader(_Transcoded(raw, name), MIB))


class Filter(io.RawIOBase):
    """A stream made of another one, which is closed with it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @abstractmethod
    def given(self, most: int) -> bytes:
        """What comes next, of at most so many bytes; nothing at the end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self.given(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Transcoded(Filter):
    """UTF-16 bytes read as UTF-8."""

    def __init__(self, inner: BinaryIO, name: str) -> None:
        super().__init__(io.TextIOWrapper(inner, encoding=name, errors="replace", newline=""))
        self._rest = b""

    def given(self, most: int) -> bytes:
        if not self._rest:
            self._rest = self._inner.read(64 * 1024).encode("utf-8", "replace")
        data, self._rest = self._rest[:most], self._rest[most:]
        return data


def mostly_text(head: bytes) -> bool:
    """Whether at least half of the lines are UTF-8 without control characters. Of UTF-16 text hardly any line is."""
    found = [line for line in head.splitlines() if line.strip()]
    if len(head) >= HEAD_BYTES and len(found) > 1:
        found.pop()  # may be cut inside a character
    good = sum(not _CONTROL.search(line) and line.decode("utf-8", "ignore").encode() == line for line in found)
    return 0 < len(found) <= 2 * good
