"""The staged files of one load: canonical Parquet, one folder a table, every request once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpi import schema
from kpi.errors import IngestError
from kpi.ingest import table_calls
from kpi.receipts import Receipt

_DERIVED = {"day", "attributes"}
_UNIQUE = {"trace_id", "span_id", "score_id", "incident_id", "call_id", "event_id"}
_REMEDY = "Export the traces themselves, or the logs of an agent whose events are known: see docs/agents.md."


class Stage:
    """Writes tables as they come and, at the end, keeps only the last of several requests with one trace id."""

    def __init__(self, directory: Path, receipt: Receipt) -> None:
        self._directory = directory
        self._receipt = receipt
        self._files: dict[str, list[Path]] = {}
        self._filled: set[str] = set()

    def write(self, name: str, table: pa.Table) -> None:
        """Write one canonical table as the next file. Empty tables leave no file."""
        if not table.num_rows:
            return
        folder = self._directory / name
        folder.mkdir(exist_ok=True)  # not its parents: a stage that is gone was taken back
        path = folder / f"{len(self._files.setdefault(name, []))}.parquet"
        _write(table, path)
        self._files[name].append(path)
        if "started_at" in table.column_names:
            times = pc.min_max(table["started_at"].cast(pa.int64()))
            self._receipt.seen(times["min"].as_py(), times["max"].as_py())
        if name == "requests":
            self._filled |= {c for c in table.column_names if table[c].null_count < table.num_rows}

    def finish(self) -> None:
        """Drop repeated requests, count, and say which columns stayed empty.

        Raises IngestError `ingest.nothing_read` when nothing was staged: no span, no request, no score.
        """
        receipt = self._receipt
        if not self._files:
            raise _nothing(receipt)
        requests = self._unique_requests(self._add_up_calls(self._column("requests", "trace_id")))
        traces = self._column("spans", "trace_id")
        receipt.spans = int((self._column("spans", "kind") != schema.WHOLE).sum())
        receipt.requests = requests + (traces.nunique() if len(traces) else 0)
        receipt.rows_read = receipt.rows_read or receipt.spans + requests + receipt.dropped
        receipt.loaded = receipt.requests
        if receipt.first is None and receipt.requests and not any("over time" in note for note in receipt.notes):
            receipt.note("No time of a request could be read: nothing can be shown over time or by window.")
        if requests and not len(traces):
            receipt.missing = [c for c in schema.REQUESTS.names if c not in self._filled and c not in _DERIVED]

    def _column(self, table: str, column: str, type_: pa.DataType | None = None) -> pd.Series:
        type_ = type_ or pa.string()
        tables = (pq.read_table(path, columns=[column]) for path in self._files.get(table, []))
        return pa.chunked_array([c for t in tables for c in t[column].cast(type_).chunks], type_).to_pandas()

    def _requests(self) -> Iterator[tuple[Path, pa.Table, slice]]:
        """Each file of requests, what is in it, and where its rows lie among all."""
        start = 0
        for path in self._files["requests"]:
            table = pq.read_table(path)
            yield path, table, slice(start, start + table.num_rows)
            start += table.num_rows

    def _add_up_calls(self, ids: pd.Series) -> pd.Series:
        """Make spans of requests that share an id and differ in time. Returns the ids of those that are left."""
        if not ids.duplicated().any():
            return ids
        times = self._column("requests", "started_at", pa.int64())
        shared = table_calls.shared_ids(ids, times)
        if not shared:
            return ids
        parts, mask = [], ids.isin(shared).to_numpy()
        for path, table, rows in self._requests():
            chosen = pa.array(mask[rows])
            parts.append(table.filter(chosen))
            _write(table.filter(pc.invert(chosen)), path)  # of no rows, too: others count on the file
        calls, lost = table_calls.to_spans(pa.concat_tables(parts, promote_options="default"))
        self.write("spans", calls)
        self._receipt.note(
            f"{int(mask.sum()):,} rows share their trace id with rows of other times: they are calls, and were added "
            f"up to {len(shared):,} requests."
        )
        if lost:
            self._receipt.note(f"Of calls that were added up, these columns are left out: {', '.join(lost)}.")
        return ids[~mask].reset_index(drop=True)

    def _unique_requests(self, ids: pd.Series) -> int:
        keep = ~ids.duplicated(keep="last").to_numpy()
        repeated = int(len(keep) - keep.sum())
        if not repeated:
            return len(ids)
        self._receipt.repeated += repeated
        self._receipt.note(f"{repeated} rows repeat the trace id of a later row; the last one counts.")
        if overwritten := self._overwritten(ids, keep):
            self._receipt.overwritten += overwritten
            self._receipt.note(
                f"{overwritten:,} of the rows that were overwritten say something else than the last one."
            )
        for path, table, rows in self._requests():
            if not keep[rows].any():
                path.unlink()
            elif not keep[rows].all():
                _write(table.filter(pa.array(keep[rows])), path)
        return int(keep.sum())

    def _overwritten(self, ids: pd.Series, keep: np.ndarray) -> int:
        """Of the requests that are left out for a later one of their id, those that say something else than it."""
        again = ids.duplicated(keep=False).to_numpy()
        content = np.zeros(len(ids), dtype=np.uint64)
        for _, table, rows in self._requests():
            repeated = table.filter(pa.array(again[rows])).to_pandas(strings_to_categorical=False)
            content[rows][again[rows]] = _content(repeated)
        kept = pd.Series(content[keep], index=ids[keep].to_numpy())
        left = ids[~keep].to_numpy()
        return int((kept.reindex(left).to_numpy() != content[~keep]).sum())


def _content(rows: pd.DataFrame) -> np.ndarray:
    """A number for each row that is the same for the same values, whatever other columns are empty."""
    total = np.zeros(len(rows), dtype=np.uint64)
    for name in sorted(rows.columns):
        values = rows[name]
        told = values.notna().to_numpy()
        hashed = pd.util.hash_pandas_object(values.astype(str) + f"|{name}", index=False).to_numpy()
        total[told] += hashed[told]
    return total


def _nothing(receipt: Receipt) -> IngestError:
    """Why nothing could be read, and what was seen instead."""
    first = receipt.drops[0] if receipt.drops else None
    reasons = sorted(receipt.drop_reasons, key=lambda reason: -receipt.drop_reasons[reason])
    seen = [f"{receipt.drop_reasons[reason]:,} × {reason}" for reason in reasons[:3]]
    told = "; ".join([*seen, *(note.rstrip(".") for note in receipt.notes[-3:])])
    held = f"{receipt.rows_read:,} records of {receipt.format or 'an unknown format'} hold no span, request or score"
    return IngestError(
        "ingest.nothing_read", f"Nothing could be read: {held}" + (f" ({told})" if told else ""),
        hint=(first.hint if first else "") or _REMEDY, row=first.row if first else None,
    )  # fmt: skip


def _write(table: pa.Table, path: Path) -> None:
    """Ids and measures hardly repeat: a dictionary of them costs time and saves nothing."""
    repeating = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name not in _UNIQUE]
    pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=repeating)
