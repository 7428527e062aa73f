"""Whether an error means that the disk is full, whoever reports it, and what is then said in its place.

A full disk shows as an `OSError` of Python or Arrow, as text of DuckDB, Delta's Rust code or SQLite, or as the cause of
an error that says something else. A quota that is used up and a limit on the size of files are the same to a load:
what it writes does not fit.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from kpi.errors import IngestError, KpiError, StoreError

READING, STORING = "ingest.full", "store.full"
_NUMBERS = {name: n for name in ("ENOSPC", "EDQUOT", "EFBIG") if (n := getattr(errno, name, None)) is not None}
_WINDOWS = frozenset([39, 112])  # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL
_TEXTS = {
    "no space left on device": "ENOSPC", "not enough space on the disk": "ENOSPC", "disk quota exceeded": "EDQUOT",
    "file too large": "EFBIG", "database or disk is full": "ENOSPC",
    "max_temp_directory_size": "ENOSPC",  # DuckDB's own limit of spilling: what the disk has free
}  # fmt: skip
_NUMBERED = re.compile(r"\(os error (\d+)\)|\"errno\":\"(\d+)\"")  # the words may be in the language of the system
# Whose texts count: classes of DuckDB, SQLite and Delta that report on files. Others may quote what a trace says.
_SPEAKERS = frozenset(["OperationalError", "FatalException", "InternalException", "DeltaError"])
_LIBRARIES = frozenset(["duckdb", "_duckdb", "sqlite3", "deltalake", "_internal"])
_DEPTH = 20


def is_full(error: BaseException) -> bool:
    """Whether this error, or one that led to it, says that what was written did not fit."""
    return any(_says_full(one) for one in _chain(error))


def is_too_large(error: BaseException) -> bool:
    """Whether it was one file that grew over a limit on its size."""
    return any("EFBIG" in _reasons(one) for one in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what led to it."""
    found = [error]
    for one in found:
        found += [cause for cause in (one.__cause__, one.__context__) if cause is not None and cause not in found]
        if len(found) > _DEPTH:
            break
    return found


def _says_full(error: BaseException) -> bool:
    return error.code in (READING, STORING) if isinstance(error, KpiError) else bool(_reasons(error))


def _reasons(error: BaseException) -> set[str]:
    """Names of the error numbers of a full disk that an error holds, as its number or in its text."""
    kinds = ((c.__name__, c.__module__.partition(".")[0]) for c in type(error).__mro__)
    if not isinstance(error, OSError) and not any(k in _SPEAKERS and m in _LIBRARIES for k, m in kinds):
        return set()
    text = str(error).lower()
    numbers = {int(a or b) for a, b in _NUMBERED.findall(text)}
    numbers |= {n for n in (getattr(error, "errno", None),) if n is not None}
    found = {name for name, number in _NUMBERS.items() if number in numbers}
    found |= {name for words, name in _TEXTS.items() if words in text}
    if getattr(error, "winerror", None) in _WINDOWS or (os.name == "nt" and numbers & _WINDOWS):
        found.add("ENOSPC")
    return found


@contextlib.contextmanager
def told(code: str, doing: str) -> Iterator[None]:
    """Errors that mean a full disk leave as IngestError `ingest.full` or StoreError `store.full`, by `code`.

    doing: what did not fit, after "while": "storing the rows".
    """
    try:
        yield
    except Exception as error:
        if not is_full(error) or (isinstance(error, KpiError) and _says_full(error)):
            raise
        raise full(code, doing) from error


def full(code: str, doing: str, *, after: str = "nothing that was stored before is lost") -> KpiError:
    """The error of a full disk: what was being done, how things stand, and how to go on."""
    kind = IngestError if code == READING else StoreError
    place = "folder for temporary files or the state folder" if code == READING else "state folder"
    return kind(
        code, f"The disk is full, or a quota or a limit on the size of files is reached, while {doing}",
        hint=f"Free some space where the {place} lies, then do it again: {after}.")  # fmt: skip
