"""Limits of what a load may read: bytes, rows, depth, seconds."""

from dataclasses import dataclass

MIB = 1024 * 1024


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
