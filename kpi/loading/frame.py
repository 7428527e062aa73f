"""A frame in memory as a source, read as a load reads a file: same mapping, same units, same receipt.

Frames that are canonical already (`kpi.schema.REQUESTS`) are taken as they are. All others go through the reader of
tables, which looks at every row before it decides what a column means.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kpi import schema
from kpi.errors import IngestError, MetricError
from kpi.ingest.context import Context
from kpi.ingest.files.source import Opened
from kpi.ingest.readers import table as reader
from kpi.ingest.staging import Stage
from kpi.loading.load import refuse_loss
from kpi.mapping.column_names import close_name, known
from kpi.mapping.mapping import UNREAD, ColumnMapping, ColumnProfile, Mapping
from kpi.pricing.price_file import table_of, user_text
from kpi.privacy.privacy import DEFAULT_ALLOW, Privacy
from kpi.receipts import Receipt
from kpi.store import engines
from kpi.store.manifest import home

_KEY = b"frames stay in memory: no pseudonym is kept"
_PLACE = "(place)"
_WARNED = ("was left out", "were left out", "did you mean", "are unknown")
_WRONG = (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeEncodeError)


def from_frame(
    frame: object, *, name: str = "frame", allow: Collection[str] = (), mapping: Mapping | None = None
) -> engines.DuckSource:
    """A source over a frame in memory: pandas, Polars or Arrow, one row a request. The frame is never changed.

    Its columns are recognised, converted and checked as those of a file by `kpi.load`, but rows without an id are told
    apart by their place. Warnings name what is left out; `notes` and `receipt` say what was read how.

    Args:
        frame: One row a request.
        name: Of the source, as people call it.
        allow: Columns to keep that would be left out to protect people.
        mapping: What columns mean, where a person says so.

    Returns:
        A source of version 0.

    Raises:
        MetricError: When the frame has no column that the index knows, or one that does not hold what its canonical
            name promises.
        IngestError, MappingError: As `kpi.load` does.

    Example:
        >>> import pandas as pd
        >>> rows = kpi.from_frame(pd.DataFrame({"ok": ["yes", "no", "yes"], "model": ["a", "a", "b"]}))
        >>> kpi.summarise(rows, "task_success", by=["model"])["value"].tolist()
        [0.5, 1.0]
    """
    rows = _arrow(frame)
    if mapping is None and _is_canonical(rows):
        return engines.from_frame(rows, name=name, allow=allow, stacklevel=3)
    receipt = Receipt(files=[name], format="frame")
    privacy = Privacy(_KEY, DEFAULT_ALLOW | set(allow))
    context = Context(privacy, receipt, mapping, prices=table_of(user_text(home())))
    with tempfile.TemporaryDirectory(prefix="kpi-frame-") as place:
        tables = _read(rows, name, context, Path(place))
    source = engines.DuckSource(name=name, fingerprint=engines.content_hash(tables["requests"]),
                                tables={t: rows for t, rows in tables.items() if rows.num_rows})  # fmt: skip
    source.notes, source.receipt = tuple(receipt.notes), receipt
    for told in _left_out(receipt):
        warnings.warn(told, stacklevel=2)
    return source


def _read(rows: pa.Table, name: str, context: Context, place: Path) -> dict[str, pa.Table]:
    """`requests` and `scores`, staged as a load stages them."""

    source = Opened(name=name, head=b"", path=None, opener=io.BytesIO, rows=rows)
    try:
        plan = reader.plan([source], context)
        for column in plan.mapping.columns:
            if column.source in schema.REQUESTS.names and column.why.startswith(UNREAD):
                raise _wrong(column.source, str(rows[column.source].type))
        if plan.mapping.source_of("trace_id") is None:
            columns = (*plan.mapping.columns, ColumnMapping(_PLACE, "trace_id", why="the place of the row"))
            profile = ColumnProfile(_PLACE, count=rows.num_rows, rows=rows.num_rows)
            plan = dataclasses.replace(plan, mapping=Mapping(columns), profiles=(*plan.profiles, profile))
            source = dataclasses.replace(source, rows=rows.append_column(_PLACE, pa.array(range(1, len(rows) + 1))))
        context.plan = plan
        stage = Stage(place, context.receipt)
        for canonical, converted in reader.read(source, context):
            stage.write(canonical, converted)
    except IngestError as error:
        if error.code == "ingest.no_columns":
            raise _no_columns(rows, error) from error
        raise
    stage.finish()
    for reason, count in context.receipt.drop_reasons.items():
        context.receipt.note(f"{count:,} rows were left out: {reason}.")
    refuse_loss(context.receipt, 0.5)
    found = {t: pa.concat_tables(map(pq.read_table, sorted((place / t).glob("*.parquet"))), promote_options="default")
             for t in ("requests", "spans", "scores") if any((place / t).glob("*.parquet"))}  # fmt: skip
    if found.pop("spans", None) is not None:
        raise MetricError("frame.calls", "Rows of the frame share an id at different times: calls of one request",
                          hint="Write it as Parquet and load that (kpi.load), or give every row an id.")  # fmt: skip
    held = found["requests"]
    kept = [c for c in held.column_names if c == "trace_id" or held[c].null_count < held.num_rows]
    return {**found, "requests": held.select(kept)}


def _left_out(receipt: Receipt) -> Iterator[str]:
    people = [f"{c.source} ({c.note})" for c in receipt.columns if c.kept_out]
    if people:
        yield f"Left out to protect people: {', '.join(people)}. Name one in `allow` to keep it."
    yield from (note for note in receipt.notes if any(word in note for word in _WARNED))


# --- frames as Arrow -------------------------------------------------------------------------------------------------


def _arrow(frame: Any) -> pa.Table:
    """Columns as Arrow has them; what it cannot hold as text. Nested objects are flattened, as those of JSON are."""
    if isinstance(frame, pd.DataFrame):
        names = [str(".".join(map(str, n)) if isinstance(n, tuple) else n) for n in frame.columns]
        found = pa.table({n: _column(frame.iloc[:, i]) for i, n in reversed(list(enumerate(names)))}).select(
            list(dict.fromkeys(names))
        )
    elif hasattr(frame, "iter_columns"):  # Polars
        found = pa.table({series.name: _column(series) for series in frame.iter_columns()})
    elif isinstance(frame, pa.Table):
        found = frame
    elif hasattr(frame, "__arrow_c_stream__"):
        found = pa.table(frame)
    else:
        raise MetricError("frame.unknown_type", f"Cannot read a {type(frame).__name__}",
                          hint="Give a pandas, Polars or Arrow table; collect a lazy one first.")  # fmt: skip
    while any(pa.types.is_struct(f.type) for f in found.schema):
        found = found.flatten()
    arrays = {n: _storage(found[n]) for n in dict.fromkeys(found.column_names) if not n.startswith("__index_level_")}
    return pa.table(arrays)


def _column(series: Any) -> pa.ChunkedArray | pa.Array:
    try:
        return series.to_arrow() if hasattr(series, "to_arrow") else pa.Array.from_pandas(series)
    except _WRONG:
        return pa.array([_text(v) for v in (series.to_list())], pa.string())


def _text(value: Any) -> str | None:
    if isinstance(value, bool | np.bool_ | dict | list | tuple | np.ndarray):
        return orjson.dumps(value, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return str(value).encode("utf-8", "replace").decode()


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    if pa.types.is_dictionary(column.type) and not pa.types.is_string(column.type.value_type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _is_canonical(rows: pa.Table) -> bool:
    """Whether every column that the index knows has its canonical name and type, and nothing but possible values.

    Raises MetricError for fractions where whole numbers are meant: their unit is another.
    """
    names = [n for n in rows.column_names if n in schema.REQUESTS.names and not pa.types.is_null(rows[n].type)]
    fits = [_fits(rows[n], n) for n in names]
    return bool(fits) and all(fits) and all(n in names or known(n) is None for n in rows.column_names)


def _fits(column: pa.ChunkedArray, name: str) -> bool:
    kind, wanted = engines.arrow_kind(column.type), schema.REQUESTS[name].type
    if wanted not in ("int", "float", "bool") or kind not in ("int", "float"):
        return kind == wanted or name == "trace_id"
    values = column.cast(pa.float64(), safe=False).drop_null().to_numpy()
    values = values[~np.isnan(values)]
    whole = bool((values == np.rint(values)).all())
    if wanted == "int" and not whole:
        raise _wrong(name, "fractions")
    return (whole or wanted == "float") and bool((np.isfinite(values) & (values >= 0)).all())


def _wrong(name: str, held: str) -> MetricError:
    column = schema.REQUESTS[name]
    other = {"usd": "cost_usd", "nusd": "cost_usd", "us": "latency_s or latency_ms"}.get(column.unit, "")
    return MetricError(
        "frame.wrong_type", f"Column {name!r} holds {held}, expected {column.type} {column.unit}".rstrip(),
        hint=f"Convert it, or call the column by what it holds{f', such as {other}' if other else ''}.",
    )  # fmt: skip


def _no_columns(rows: pa.Table, error: IngestError) -> MetricError:
    close = {n: c for n in rows.column_names if (c := close_name(n))}
    meant = f"Did you mean {', '.join(f'{c!r} by {n!r}' for n, c in list(close.items())[:4])}? " if close else ""
    return MetricError("frame.no_columns", f"The frame has no column that is known: {error.message}",
                       hint=f"{meant}{error.hint}")  # fmt: skip
