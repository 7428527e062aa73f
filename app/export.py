"""Tables and their download: every table of a page is drawn here, with a CSV that no spreadsheet runs as a program.

The download of the framework writes cells as they are, so that `=HYPERLINK(…)` out of a prompt becomes a formula
on the desk of whoever opens the file; it is off (`client.disableDataExport`). Texts, headers included, are made inert;
numbers stay numbers. Files are UTF-8 with a byte order mark, because spreadsheets otherwise read another encoding;
pandas, Polars, DuckDB and this project's own loader skip the mark.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from io import StringIO
from numbers import Number
from typing import Any

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

STARTS = "=+@＝＋＠﹦﹢﹫⁼₌⁺₊⩵⩶﬩－﹣-"  # whatever is =, +, - or @ once a program has normalised it
_UNSEEN = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u2060\ufeff"  # what a spreadsheet may skip, beside blanks
_START = re.compile(rf"[\x00-\x1f\x7f]|[\s{_UNSEEN}]*[{STARTS}]")
_INNER = re.compile(rf'(?<=[;\t\r\n])([^\S\t\r\n]|[{_UNSEEN}"])*(?=[{STARTS}])')


def table(shown: pd.DataFrame | Styler, *, alt: str, key: str = "", **options: Any) -> None:
    """Draw a table and, below it, its download; options are those of `st.dataframe`.

    alt: what the table is, for screen readers and as the file's name. key: tells tables with the same alt apart.
    """
    frame = shown.data if isinstance(shown, Styler) else shown
    name = re.sub(r"[^a-z0-9]+", "-", alt.lower()).strip("-")[:60] or "table"
    if "on_select" in options:
        options["key"] = key
    with st.container(gap="xxsmall"):
        st.dataframe(shown, alt=alt, placeholder="–", **options)
        st.download_button("Download CSV", partial(to_csv, frame, index=not options.get("hide_index")),
                           file_name=f"{name}.csv", mime="text/csv", key=f"csv_{zlib.crc32(alt.encode())}_{key}",
                           on_click="ignore", type="tertiary", icon=":material/download:")  # fmt: skip


def notebook(made: Callable[[], str], dataset: str) -> None:
    """The download of the notebook that makes a page's numbers. made: its text, asked for when it is wanted."""
    st.download_button("Notebook", made, file_name=f"{dataset}.ipynb", mime="application/x-ipynb+json", key="notebook",
                       on_click="ignore", type="tertiary", icon=":material/download:")  # fmt: skip


def to_csv(frame: pd.DataFrame, *, index: bool = False) -> bytes:
    """A frame as CSV for spreadsheets: inert texts in quotes, numbers bare, lines end in CRLF, UTF-8 with BOM."""
    out = StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    names = [n if n is not None else "" for n in frame.index.names] if index else []
    writer.writerow(inert(_joined(n)) for n in [*names, *frame.columns])
    for label, row in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
        labels = label if isinstance(label, tuple) else (label,)
        writer.writerow(map(_cell, [*labels, *row] if index else row))
    return out.getvalue().encode("utf-8-sig", "replace")


def inert(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe stands before whatever could start one.

    Inside a text too, after a semicolon, tab or line break: where the semicolon separates cells, a spreadsheet cuts
    a comma-separated line there and takes the rest for a cell of its own.
    """
    text = _INNER.sub(r"\g<0>'", text)
    return f"'{text}" if _START.match(text) else text


def _joined(name: Any) -> str:
    """A column's name; the levels of one with several in one line."""
    parts: Iterable[Any] = name if isinstance(name, tuple) else (name,)
    return " ".join(str(p) for p in parts)


def _cell(value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    return value if isinstance(value, Number) and not isinstance(value, bool) else inert(str(value))
