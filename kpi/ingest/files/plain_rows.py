"""Many lines of delimited text at once, where each row is as the header says; who finds one odd looks at each."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from kpi.ingest.files.odd_rows import TOTALS_BEGIN, is_header, is_total

_BLANK = r"[\p{Z}\t-\r\x1c-\x1f\x{85}]*"


def plain_rows(lines: Sequence[str], names: Sequence[str], delimiter: str) -> pa.Table | None:
    """Columns named 0, 1, … of whole lines, as the csv module reads them.

    None where one is not well formed, has another number of cells, or may be a header or a total.
    """
    columns = [str(i) for i in range(len(names))]
    text = "".join(lines)
    try:
        if '"' in text or "\r" in text or "\0" in text or max(map(len, lines)) > csv.field_size_limit():
            cells = zip(*csv.reader(lines, delimiter=delimiter, strict=True), strict=True)
            rows = pa.table({name: pa.array(held, pa.string()) for name, held in zip(columns, cells, strict=True)})
        else:
            rows = arrow_csv.read_csv(
                pa.py_buffer(text.encode()),
                read_options=arrow_csv.ReadOptions(use_threads=False, column_names=columns),
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False),
                convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
            )
    except (ValueError, csv.Error):
        return None
    first = f"^{_BLANK}(?:{re.escape(names[0])}{_BLANK}|[{TOTALS_BEGIN}].*[^0-9]|)$"
    suspect = rows.filter(pc.match_substring_regex(rows["0"], f"(?is){first}"))
    odd = (is_header(row, names) or is_total(row) for row in zip(*suspect.to_pydict().values(), strict=True))
    return None if any(odd) else rows
