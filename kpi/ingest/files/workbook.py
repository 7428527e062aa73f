"""Rows of Excel workbooks (.xlsx), typed as their cells are: dates, booleans, numbers, and what formulas came to.

Runs in the child under limits, as all readers do; what a workbook expands to is bounded before it is opened. Cells are
streamed, so that memory holds one batch and the texts that cells share.
"""

import contextlib
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from kpi.errors import IngestError
from kpi.ingest.files import line_sniffing
from kpi.ingest.files.source import Opened
from kpi.ingest.limits import Limits

_EDGE = "\x1f"  # parts cells where a row is looked at as a line
LONGEST = 32_767  # characters of a cell: spreadsheets cut what is longer
_FEW = 50  # rows of a sheet that are looked at for anything
_NAMED = 20  # sheets that an error lists


def is_one(source: Opened) -> bool:
    """Whether an input is a workbook; archives were opened before."""
    return source.path is not None and source.head[:4] == b"PK\x03\x04"


def check(name: str, infos: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    """Raise IngestError for a workbook that expands to more than a load may hold; reading keeps to the sizes stated."""
    size, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if size > limits.expanded_bytes or (size > limits.batch_bytes and size > limits.ratio * max(packed, 1)):
        raise IngestError.told("ingest.bomb:workbook", name=name)


def sheets(source: Opened) -> list[str]:
    """Names of the visible sheets that hold anything."""
    with _opened(source) as book:
        return _filled(book)


def rows(source: Opened, sheet: str) -> Iterator[tuple[int, list[Any]]]:
    """(1-based row of the sheet, its cells) of the rows that hold anything. sheet: which one; the only one where "".

    Raises IngestError: `ingest.sheet` where it must be named, `ingest.bad_workbook` for a damaged workbook.
    """
    with _opened(source) as book:
        found = [name for name in book.sheetnames if name == sheet] if sheet else _filled(book)
        if len(found) != 1:
            raise _unsure(source, book.sheetnames if sheet else found)
        yield from _rows(book[found[0]], None)


def header(first: Sequence[tuple[int, list[Any]]]) -> line_sniffing.Header | None:
    """Which of the first rows of a sheet names the columns, and how; None where none does."""
    texts = (["" if c is None else str(c).replace('"', "'").replace("\n", " ") for c in cells] for _, cells in first)
    return line_sniffing.header(list(map(_EDGE.join, texts)), _EDGE)


def _filled(book: Any) -> list[str]:
    return [s.title for s in book.worksheets if s.sheet_state == "visible" and any(_rows(s, _FEW))]


def _unsure(source: Opened, names: Sequence[str]) -> IngestError:
    listed = ", ".join(repr(n[:40]) for n in names[:_NAMED])
    told = f"{source.name} has the sheets {listed}" if names else f"{source.name} has no sheet with cells"
    return IngestError.told("ingest.sheet", told=told)


@contextlib.contextmanager
def _opened(source: Opened) -> Iterator[Any]:
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(source.path, read_only=True, data_only=True, keep_links=False)
            try:
                yield book
            finally:
                book.close()
    except (IngestError, MemoryError):
        raise
    except Exception as error:  # the library lets through whatever XML and zip files raise
        raise IngestError.told("ingest.bad_workbook", name=source.name, kind=type(error).__name__) from error


def _rows(sheet: Any, most: int | None) -> Iterator[tuple[int, list[Any]]]:
    sheet.reset_dimensions()  # writers state too small ones
    for number, cells in enumerate(sheet.iter_rows(values_only=True, max_row=most), 1):
        held = list(cells)
        while held and held[-1] in (None, ""):
            held.pop()
        if held:
            yield number, held
