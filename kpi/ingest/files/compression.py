"""Compressed bytes as streams of plain ones: files by their first bytes, members of zip archives by their method.

The standard library opens members that are stored or deflated. Those in bzip2 and LZMA are opened here, because only so
their memory has a bound; zstd (93, and 20 of early writers), deflate64 (9) and xz (95) because the library of Python
3.11 has none of them. Sizes and checksums of members are checked. Bounds on what comes out are the caller's.
"""

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from kpi.errors import IngestError
from kpi.ingest.files.source import Filter
from kpi.ingest.limits import MIB

BROKEN = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, zstandard.ZstdError, NotImplementedError)
_MEMORY = 256 * MIB  # what a dictionary of LZMA may take; its writers' highest setting takes 65 MiB
_WINDOW = 128 * MIB
_CHUNK = 16 * 1024
_SMALL_CHUNK = 2 * 1024  # where all comes out that a chunk expands to: 32,000-fold for zstd, 1,032-fold for deflate64
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_UNREAD_METHODS = {1: "Shrink", 6: "Implode", 10: "PKWARE DCL", 96: "JPEG", 97: "WavPack", 98: "PPMd"}
_AES = 99
_OF_THE_LIBRARY = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class _Decoded(Filter):
    """What decoders make of a stream, one after the other where several streams lie behind each other."""

    def __init__(self, inner: BinaryIO, start: Callable[[], Any], *, several: bool = True, chunk: int = _CHUNK) -> None:
        super().__init__(inner)
        self._start, self._several, self._chunk = start, several, chunk
        self._decoder = start()
        self._left = b""

    def given(self, most: int) -> bytes:
        while True:
            if self._decoder.eof and not self._next():
                return b""
            fed = b""
            if self._decoder.needs_input:
                fed = self._left or self._inner.read(self._chunk)
                self._left = b""
                if not fed:
                    raise EOFError("the compressed data is cut off")
            try:
                data: bytes = self._decoder.decompress(fed, most)
            except (OSError, ValueError, lzma.LZMAError, zstandard.ZstdError) as error:
                raise zipfile.BadZipFile(str(error)) from error
            if data:
                return data

    def _next(self) -> bool:
        """Whether another stream follows; zeros between streams are padding."""
        rest = (self._left or self._decoder.unused_data).lstrip(b"\0")
        while self._several and not rest and (more := self._inner.read(self._chunk)):
            rest = more.lstrip(b"\0")
        if not self._several or not rest:
            return False
        self._left, self._decoder = rest, self._start()
        return True


class _Held:
    """A decoder that gives all at once, behind the interface of the library's own: what is not asked for yet waits."""

    def __init__(self, decoder: Any, name: str) -> None:
        self._decoder, self._decode = decoder, getattr(decoder, name)
        self._waiting = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof) and not self._waiting

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return bytes(getattr(self._decoder, "unused_data", b""))

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._waiting = memoryview(self._decode(data))
        given = self._waiting[:max_length] if max_length >= 0 else self._waiting
        self._waiting = self._waiting[len(given) :]
        return bytes(given)


def _deflate64_decoder() -> _Held:
    import inflate64

    return _Held(inflate64.Inflater(), "inflate")


def _zstd_decoder() -> _Held:
    return _Held(zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(), "decompress")


class _Slice(Filter):
    """A stretch of a file."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        super().__init__(path.open("rb"))
        self._left = length
        self._inner.seek(offset)

    def given(self, most: int) -> bytes:
        data: bytes = self._inner.read(min(most, self._left))
        self._left -= len(data)
        return data


class _Checked(Filter):
    """A member's bytes; at their end, size and checksum must be those that its archive states."""

    def __init__(self, inner: BinaryIO, info: zipfile.ZipInfo) -> None:
        super().__init__(inner)
        self._info = info
        self._size = self._sum = 0

    def given(self, most: int) -> bytes:
        data: bytes = self._inner.read(most)
        self._size += len(data)
        self._sum = zlib.crc32(data, self._sum)
        at_end = self._size >= self._info.file_size or not data
        if at_end and (self._size, self._sum) != (self._info.file_size, self._info.CRC):
            raise zipfile.BadZipFile("size or checksum of a member is not what the archive states")
        return data


# --- files -----------------------------------------------------------------------------------------------------------


def _gunzip(inner: BinaryIO) -> BinaryIO:
    found = gzip.GzipFile(fileobj=inner)
    found.myfileobj = cast(Any, inner)  # so that it is closed with it
    return cast(BinaryIO, found)


def _unzstd(inner: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Decoded(inner, _zstd_decoder, chunk=_SMALL_CHUNK))


def _unxz(inner: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Decoded(inner, lambda: lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_MEMORY)))


def _is_lzma(head: bytes) -> bool:
    """The header of a bare .lzma file: properties, a dictionary of whole 64 KiB, a size that is unknown or small."""
    return head[:3] == b"\x5d\x00\x00" and len(head) >= 13 and (head[5:13] == b"\xff" * 8 or head[10:13] == bytes(3))


_FILES: tuple[tuple[bytes, Callable[[BinaryIO], BinaryIO]], ...] = (
    (b"\x1f\x8b", _gunzip), (b"\x28\xb5\x2f\xfd", _unzstd), (b"\xfd7zXZ\x00", _unxz),
    (b"BZh", lambda inner: cast(BinaryIO, _Decoded(inner, bz2.BZ2Decompressor))))  # fmt: skip


def decompressor(head: bytes) -> Callable[[BinaryIO], BinaryIO] | None:
    """What makes plain bytes of a file that begins so; None for a file that is not compressed."""
    found = next((make for magic, make in _FILES if head.startswith(magic)), None)
    if head[:3] == b"BZh" and head[4:10] != b"1AY&SY":  # a text may begin with the letters
        found = None
    if head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:  # a frame of zstd to be skipped, before the others
        found = _unzstd
    return found or (_unxz if _is_lzma(head) else None)


# --- members of zip archives -----------------------------------------------------------------------------------------


def _lzma_member(inner: BinaryIO, info: zipfile.ZipInfo) -> BinaryIO:
    """Data in the manner of zip (two bytes of version, two of length, properties) as a bare .lzma file."""
    _, length = struct.unpack("<2sH", _exactly(inner, 4))
    properties = _exactly(inner, length)
    if length != 5:
        raise zipfile.BadZipFile("properties of LZMA have another length")
    size = 2**64 - 1 if info.flag_bits & 0x2 else info.file_size  # the flag: an end is marked
    header = properties + struct.pack("<Q", size)
    decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY)
    try:
        decoder.decompress(header, 0)
    except lzma.LZMAError as error:
        raise zipfile.BadZipFile(str(error)) from error
    return cast(BinaryIO, _Decoded(inner, lambda: decoder, several=False))


def _exactly(inner: BinaryIO, count: int) -> bytes:
    data = inner.read(count)
    if len(data) < count:
        raise EOFError("the compressed data is cut off")
    return data


_METHODS: dict[int, Callable[[BinaryIO, zipfile.ZipInfo], BinaryIO]] = {
    9: lambda inner, _: cast(BinaryIO, _Decoded(inner, _deflate64_decoder, several=False, chunk=_SMALL_CHUNK)),
    12: lambda inner, _: cast(BinaryIO, _Decoded(inner, bz2.BZ2Decompressor, several=False)),
    14: _lzma_member,
    20: lambda inner, _: _unzstd(inner),
    93: lambda inner, _: _unzstd(inner),
    95: lambda inner, _: _unxz(inner),
}


def member(path: Path, info: zipfile.ZipInfo, archive: zipfile.ZipFile | None = None) -> BinaryIO:
    """The plain bytes of a member. archive: where it is open already.

    Raises IngestError `ingest.bad_archive` for a method that nothing here reads, and what is in BROKEN for damage.
    """
    if info.compress_type in _OF_THE_LIBRARY:
        return _by_library(path, info, archive)
    make = _METHODS.get(info.compress_type)
    if make is None:
        named = _UNREAD_METHODS.get(info.compress_type, "unknown here")
        how = f"compressed with method {info.compress_type} ({named})"
        how = "encrypted with AES" if info.compress_type == _AES else how
        raise IngestError.told("ingest.bad_archive:method", name=path.name[:120], how=how)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(_exactly(file, _LOCAL_HEADER.size))
    if magic != b"PK\x03\x04":
        raise zipfile.BadZipFile("a member does not begin where the archive says")
    offset = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    inner = io.BufferedReader(cast(Any, _Slice(path, offset, info.compress_size)), _CHUNK)
    try:
        return cast(BinaryIO, _Checked(make(cast(BinaryIO, inner), info), info))
    except BaseException:
        inner.close()
        raise


def _by_library(path: Path, info: zipfile.ZipInfo, archive: zipfile.ZipFile | None) -> BinaryIO:
    if archive is not None:
        return cast(BinaryIO, archive.open(info))
    with zipfile.ZipFile(path) as opened:
        return cast(BinaryIO, opened.open(info))  # the open member keeps the file until it is closed itself
