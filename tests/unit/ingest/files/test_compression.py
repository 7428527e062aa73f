"""Archives and files of every compression that exports come in: what is inside is what went in, limits hold for each.

Archives are made here byte by byte by the published layout of zip (APPNOTE 6.3), for the standard library writes
neither zstd nor deflate64 nor xz.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import inflate64
import pytest
import zstandard

from kpi.errors import IngestError
from kpi.ingest.limits import Limits
from kpi.ingest.readers.open import open_inputs
from tests.unit.ingest.formats.helpers import read_all, requests_of

ROWS = b"".join(b'{"id": "r%d", "latency_ms": %d}\n' % (n, 100 + n) for n in range(3000))


def _deflate64(data: bytes) -> bytes:
    packer = inflate64.Deflater()
    return packer.deflate(data) + packer.flush()


def _lzma(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20}]
    header = b"\x5d" + struct.pack("<I", 1 << 20)
    return struct.pack("<2sH", b"\x09\x14", 5) + header + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


METHODS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda data: data,
    8: lambda data: zlib.compress(data, wbits=-15),
    9: _deflate64,
    12: bz2.compress,
    14: _lzma,
    93: zstandard.ZstdCompressor().compress,
    95: lzma.compress,
}
FILES = {
    "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress, "bz2": bz2.compress, "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}  # fmt: skip


def packed(members: dict[str, bytes], method: int, pack: Callable[[bytes], bytes] | None = None, **wrong: int) -> bytes:
    """A zip archive with one method for all members. wrong: a checksum or size that is stated instead."""
    body, directory = io.BytesIO(), io.BytesIO()
    for name, data in members.items():
        inner, offset, encoded = (pack or METHODS[method])(data), body.tell(), name.encode()
        flags = 0x2 if method == 14 else 0
        facts = (20, flags, method, 0, 0x21, wrong.get("crc", zlib.crc32(data)), len(inner),
                 wrong.get("size", len(data)), len(encoded), 4)  # fmt: skip
        extra = b"\xfe\xca\x00\x00"  # an extra field, which stands between name and data
        body.write(struct.pack("<4s5H3I2H", b"PK\x03\x04", *facts) + encoded + extra + inner)
        directory.write(struct.pack("<4sH5H3I5H2I", b"PK\x01\x02", 20, *facts, 0, 0, 0, 0, offset) + encoded + extra)
    start = body.tell()
    body.write(directory.getvalue())
    body.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(members), len(members), directory.tell(), start, 0))
    return body.getvalue()


def contents(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    return {o.name: o.stream().read() for o in open_inputs([path], limits=limits or Limits())}


def refusal(path: Path, limits: Limits | None = None) -> IngestError:
    with pytest.raises(IngestError) as caught:
        contents(path, limits)
    return caught.value


@pytest.mark.parametrize("method", METHODS)
def test_members_of_every_method(tmp_path: Path, method: int) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(packed({"a.jsonl": ROWS, "b.jsonl": b'{"id": "x", "latency_ms": 1}\n'}, method))
    assert zipfile.ZipFile(path).testzip() is None if method in (0, 8, 12, 14) else True
    assert contents(path) == {"export.zip: a.jsonl": ROWS, "export.zip: b.jsonl": b'{"id": "x", "latency_ms": 1}\n'}
    tables, receipt = read_all([path])
    assert (len(tables["requests"]), receipt.dropped) == (3001, 0)


def test_members_that_the_library_wrote(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.jsonl", ROWS)
        assert list(contents(path).values()) == [ROWS]


@pytest.mark.parametrize("ending", FILES)
def test_files_of_every_compression(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"export.jsonl.{ending}"
    path.write_bytes(FILES[ending](ROWS))
    assert list(contents(path).values()) == [ROWS]
    if ending != "lzma":  # of which there is one stream a file
        path.write_bytes(FILES[ending](ROWS) + FILES[ending](ROWS))
        assert list(contents(path).values()) == [ROWS + ROWS]


@pytest.mark.parametrize("ending", FILES)
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"export.jsonl.{ending}"
    path.write_bytes(FILES[ending](ROWS)[:-200])
    assert refusal(path).code == "ingest.bad_archive"


@pytest.mark.parametrize("method", METHODS)
def test_damage_is_a_typed_error(tmp_path: Path, method: int) -> None:
    path = tmp_path / "export.zip"
    for wrong in ({"crc": 1}, {"size": len(ROWS) - 1}):
        path.write_bytes(packed({"a.jsonl": ROWS}, method, **wrong))
        assert refusal(path).code == "ingest.bad_archive"
    whole = packed({"a.jsonl": ROWS}, method)
    middle = 60 + len(METHODS[method](ROWS)) // 2
    path.write_bytes(whole[:middle] + bytes(b ^ 0x55 for b in whole[middle : middle + 40]) + whole[middle + 40 :])
    assert refusal(path).code == "ingest.bad_archive"


BOMB = b'{"id": "r", "latency_ms": 1}\n' * 400_000


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS if m])
def test_bombs_stop_at_the_ratio_whatever_the_method(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(packed({"a.jsonl": BOMB}, method))
    limits = Limits(ratio=40 if method == 9 else 100)  # deflate64 packs less tightly
    if method == 9 and len(BOMB) < 40 * len(METHODS[9](BOMB)):
        limits = Limits(expanded_bytes=2**21)
        assert refusal(path, limits).code == "ingest.too_large"
    else:
        assert refusal(path, limits).code == "ingest.bomb"
    assert refusal(path, Limits(ratio=10**6, expanded_bytes=2**21)).code == "ingest.too_large"


@pytest.mark.slow
@pytest.mark.parametrize("ending", FILES)
def test_bombs_of_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"bomb.{ending}"
    path.write_bytes(FILES[ending](BOMB))
    assert refusal(path, Limits(ratio=100)).code == "ingest.bomb"


def test_a_dictionary_of_lzma_has_a_bound(tmp_path: Path) -> None:
    """Properties that ask for a dictionary of 4 GB: refused before any of it is taken."""
    greedy = lambda data: _lzma(data)[:5] + b"\xff\xff\xff\xff" + _lzma(data)[9:]  # noqa: E731
    path = tmp_path / "greedy.zip"
    path.write_bytes(packed({"a.jsonl": ROWS}, 14, greedy))
    assert refusal(path).code == "ingest.bad_archive"


def test_methods_that_nothing_reads_are_named(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    for method, word in ((98, "PPMd"), (97, "WavPack"), (77, "method 77"), (99, "AES")):
        path.write_bytes(packed({"a.jsonl": ROWS}, method, lambda data: data))
        told = refusal(path)
        assert told.code == "ingest.bad_archive"
        assert word in told.message
        assert "Unpack" in told.hint


def test_an_archive_inside_a_compressed_file_is_refused(tmp_path: Path) -> None:
    for ending, pack in FILES.items():
        path = tmp_path / f"nested.{ending}"
        path.write_bytes(pack(bz2.compress(ROWS)))
        assert refusal(path).code == "ingest.nested_archive"


def test_text_that_begins_like_an_archive_is_text(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"BZhours,latency_ms,id\n1,2,a\n3,4,b\n")
    assert len(read_all([path])[0]["requests"]) == 2


def test_an_evaluation_log_with_zstd_members(shared, tmp_path: Path) -> None:
    """A genuine log of Inspect, packed as its newer versions do: each member with zstd, method 93."""
    (source,) = (shared / "data" / "exports" / "inspect_ai").glob("*.json")
    log = json.loads(source.read_bytes())
    samples = {f"samples/{s['id']}_epoch_{s['epoch']}.json": json.dumps(s).encode() for s in log["samples"]}
    header = json.dumps({k: v for k, v in log.items() if k != "samples"}).encode()
    path = tmp_path / "log.eval"
    path.write_bytes(packed({"header.json": header, **samples, "summaries.json": b"[]"}, 93))
    expected = requests_of(read_all([source])[0])
    assert requests_of(read_all([path])[0]) == expected
    assert len(expected) == len(samples)
