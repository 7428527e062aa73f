"""Pieces of SQL text for the embedded DuckDB: literals, names, Parquet files as a table."""

from collections.abc import Iterable
from pathlib import Path

UNPARTITIONED = "hive_partitioning=false"


def literal(text: object) -> str:
    """A string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def name(column: str) -> str:
    """A quoted identifier."""
    return '"' + column.replace('"', '""') + '"'


def names(columns: Iterable[str]) -> str:
    """Quoted identifiers, with commas."""
    return ", ".join(map(name, columns))


def parquet(files: Iterable[Path], options: str = UNPARTITIONED) -> str:
    """A table function over Parquet files; columns that some of them lack are null there."""
    return f"read_parquet([{', '.join(map(literal, files))}], union_by_name=true, {options})"
