"""Opens inputs under limits: plain files and folders, .gz, .zst and .zip, each decompressed lazily and never to a named path.

Member names are shown, never used as paths. What is inside an archive is decided by its first bytes, not by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 64 * 1024
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one load may cost. Sizes in bytes, times in seconds."""

    input_bytes: int = 1024 * MIB  # all files of one load, as they lie on disk
    expanded_bytes: int = 4096 * MIB  # one input after decompression
    ratio: int = 250  # decompressed / compressed, judged after the first MiB
    members: int = 1_000
    json_depth: int = 100
    line_bytes: int = 16 * MIB
    string_chars: int = 4_000_000
    columns: int = 2_000
    rows: int = 5_000_000
    batch_bytes: int = 256 * MIB  # one batch of rows in memory
    memory_bytes: int = 4096 * MIB
    cpu_seconds: int = 600
    wall_seconds: int = 900
    file_bytes: int = 4096 * MIB  # one staged file


@dataclass(frozen=True)
class Opened:
    """One logical input: a file, or a member of an archive.

    name: for display only. head: its first 64 KiB after decompression. path: set where the bytes are a plain file on
    disk; Parquet and SQLite inside an archive are spooled to one, for they need random access.
    """

    name: str
    head: bytes
    path: Path | None
    opener: Callable[[], BinaryIO] = field(repr=False, compare=False)
    size: int | None = None

    def stream(self) -> BinaryIO:
        """The decompressed bytes from the start; limits are enforced while reading (IngestError)."""
        return self.opener()
