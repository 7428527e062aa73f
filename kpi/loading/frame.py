"""A frame in memory as a source, read as a load reads a file: same mapping, same units, same receipt.

Frames that are canonical already (`kpi.schema.REQUESTS`) are taken as they are. All others go through the reader of
tables, which looks at every row before it decides what a column means.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import interchange

from kpi import schema
from kpi.errors import IngestError, MetricError, StoreError
from kpi.ingest.context import Context
from kpi.ingest.files.source import Opened
from kpi.ingest.readers import table as reader
from kpi.ingest.staging import Stage
from kpi.loading.load import refuse_loss
from kpi.mapping.column_names import ALIASES, FIELDS, close_name, known, named, slug
from kpi.mapping.mapping import CALLED, UNREAD, ColumnMapping, ColumnProfile, Mapping, kind_of
from kpi.pricing.price_file import table_of, user_text
from kpi.privacy.privacy import DEFAULT_ALLOW, Privacy
from kpi.receipts import ColumnUse, How, Receipt
from kpi.schema import EXTRA_PREFIX, MEASURE_PREFIX
from kpi.store import engines
from kpi.store.manifest import home

KEY = b"frames stay in memory: no pseudonym is kept"
_PLACE = "(place)"
_WARNED = ("was left out", "were left out", "did you mean", "are unknown")
_OPTIONS = ("name", "allow", "mapping", "outcomes", "cohorts", "ignore")
# Names by which things give all their rows -> how: DuckDB, a dataset of Arrow, a reader, a batch, the interchange.
_WAYS: dict[str, Callable[[Any], Any]] = {
    "to_arrow_table": methodcaller("to_arrow_table"), "to_table": methodcaller("to_table"),
    "read_all": methodcaller("read_all"), "__arrow_c_stream__": pa.table,
    "to_struct_array": lambda f: pa.Table.from_batches([f]), "__arrow_c_array__": pa.record_batch,
    "__dataframe__": interchange.from_dataframe,
}  # fmt: skip
_WRONG = (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeEncodeError)


def from_frame(
    frame: object, *, name: str = "frame", allow: Collection[str] = (), mapping: Mapping | None = None,
    outcomes: Collection[str] = (), cohorts: Collection[str] = (), ignore: Collection[str] = (), **fields: str,
) -> engines.DuckSource:  # fmt: skip
    """A source over a frame in memory, one row a request. The frame is never changed, and nothing is stored.

    Its columns are recognised, converted and checked as those of a file by `kpi.load`, but rows without an id are told
    apart by their place. Warnings name what is left out; `columns` is a table of what was taken as what, which an
    interactive session shows once; `notes` and `receipt` say more.

    Args:
        frame: pandas, Polars (lazy ones are collected), Arrow (table, batch, dataset, reader), a DuckDB relation, or
            anything else with the dataframe interchange or an Arrow stream.
        name: Of the source, as people call it.
        allow: Columns to keep that would be left out to protect people.
        mapping: What columns mean, where a person says so.
        outcomes: Columns that are results: no search (findings, segments, contrast) takes them for a reason.
        cohorts: Columns to keep as dimensions whatever they hold.
        ignore: Columns to leave out.
        fields: Which column is what, where its name does not say: `success="ok", user="uid"`.

    Returns:
        A source of version 0.

    Raises:
        MetricError: When the frame has no column that the index knows, one that is named here and not there, or one
            that does not hold what its canonical name promises.
        IngestError, MappingError: As `kpi.load` does.

    Example:
        >>> import pandas as pd
        >>> rows = kpi.from_frame(pd.DataFrame({"ok": ["yes", "no", "yes"], "model": ["a", "a", "b"]}))
        >>> kpi.summarise(rows, "task_success", by=["model"])["value"].tolist()
        [0.5, 1.0]
    """
    rows = _arrow(frame)
    rows = rows.drop_columns(_present(rows, ignore, "ignore"))
    said, results = _said(rows, mapping, fields, cohorts), _present(rows, outcomes, "outcomes")
    if said is None and _is_canonical(rows):
        source = engines.from_frame(rows, name=name, allow=allow, stacklevel=4)
        source.receipt = receipt = _as_named(rows, source)
    else:
        receipt = Receipt(files=[name], format="frame")
        context = Context(Privacy(KEY, DEFAULT_ALLOW | set(allow)), receipt, said, prices=table_of(own_prices()))
        with tempfile.TemporaryDirectory(prefix="kpi-frame-") as place:
            source = in_memory(name, _read(rows, name, context, Path(place)), receipt)
        _check_taken(said, receipt)
    source.shares = {n: 1 - rows[n].null_count / max(rows.num_rows, 1) for n in rows.column_names}
    source.outcomes = frozenset(
        schema.dimension_name(u.field or slug(u.source)).removeprefix(schema.MEASURE_PREFIX)
        for u in receipt.columns if u.source in results
    )  # fmt: skip
    tell(source, stacklevel=4)
    return source


def in_memory(name: str, tables: dict[str, pa.Table], receipt: Receipt) -> engines.DuckSource:
    """A source over canonical tables, with the account of how they were read."""
    source = engines.DuckSource(name=name, fingerprint=engines.content_hash(tables["requests"]),
                                tables={t: rows for t, rows in tables.items() if rows.num_rows})  # fmt: skip
    source.notes, source.receipt = tuple(receipt.notes), receipt
    return source


def tell(source: engines.DuckSource, *, stacklevel: int) -> None:
    """Warn of what was left out; where a person sits before it, show once what was taken as what."""
    for told in _left_out(source.receipt or Receipt()):
        warnings.warn(told, stacklevel=stacklevel)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None or hasattr(sys, "ps1"):
        print(source.columns.to_string(index=False, max_colwidth=60, na_rep="(left out)"))


def own_prices() -> str | None:
    """The user's price file, where there is a state folder: what lies in memory needs none."""
    with contextlib.suppress(StoreError):
        return user_text(home())
    return None


def _as_named(rows: pa.Table, source: engines.DuckSource) -> Receipt:
    """The account of a frame whose columns are canonical: each is what it is called, or a cohort, or a measure."""
    held, uses = source.columns_of("requests"), []
    for n in rows.column_names:
        field = next((c for c in (n, EXTRA_PREFIX + n, MEASURE_PREFIX + n) if c in held), None)
        how: How = "unmapped" if field is None else "exact" if field in schema.REQUESTS.names else "cohort"
        uses.append(ColumnUse(n, field, how, note="" if field else "left out"))
    return Receipt(files=[source.name], format="frame", rows_read=rows.num_rows, columns=uses, notes=[*source.notes])


def _present(rows: pa.Table, given: Collection[str] | str, what: str) -> list[str]:
    """The columns that were named, all of which must be there."""
    names = [str(n) for n in ([given] if isinstance(given, str) or not isinstance(given, Collection) else given)]
    for name in names:
        if name not in rows.column_names:
            near = difflib.get_close_matches(name, rows.column_names, n=3, cutoff=0.5) or rows.column_names[:8]
            raise MetricError("frame.no_column", f"The frame has no column {name[:60]!r}, which {what} names",
                              hint=f"It has {', '.join(near)}.")  # fmt: skip
    return names


def _said(
    rows: pa.Table, mapping: Mapping | None, fields: dict[str, str], cohorts: Collection[str]
) -> Mapping | None:  # fmt: skip
    """The mapping with what keywords say of columns."""
    found = mapping or Mapping()
    for field, column in fields.items():
        told = named(field)
        if told is None:
            near = difflib.get_close_matches(field, {*FIELDS, *ALIASES, *_OPTIONS}, n=3, cutoff=0.5)
            meant = f"Did you mean {', '.join(near)}? " if near else ""
            raise MetricError("frame.no_field", f"There is no field {field[:60]!r}",
                              hint=f"{meant}Write what a column is as field=column: success='ok'.")  # fmt: skip
        if not isinstance(column, str):
            told = f"{field} must be the name of one column, not a {type(column).__name__}"
            raise MetricError("frame.one_column", told, hint=f"Write {field}='column'.")  # fmt: skip
        _present(rows, column, field)
        found = found.replace(column, field=told[0], unit=told[1])
        if not told[1]:
            columns = (dataclasses.replace(c, why=CALLED) if c.source == column else c for c in found.columns)
            found = dataclasses.replace(found, columns=tuple(columns))
    for column in _present(rows, cohorts, "cohorts"):
        stated, told = found[column], named(column)
        if kind_of((stated and stated.field) or (told[0] if told else "")) != "dimension":
            found = found.replace(column, field=EXTRA_PREFIX + slug(column))
    return found if found.columns else mapping


def _check_taken(said: Mapping | None, receipt: Receipt) -> None:
    """Raise MetricError for a column that does not hold what a keyword says it is."""
    uses = {u.source: u for u in receipt.columns}
    for column in said.columns if said else ():
        use = uses[column.source]
        if column.field and use.field not in (column.field, f"{column.field}_type", f"{column.field}_message"):
            why = use.note or f"its values are no {column.kind}"
            told = f"Column {column.source[:60]!r} cannot be read as {column.field}: {why}"
            raise MetricError("frame.not_taken", told, hint="Convert it, or name its unit: latency_s='column'.")


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
    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):
        frame = frame.collect()  # a lazy one of Polars
    if isinstance(frame, pd.DataFrame):
        names = [str(".".join(map(str, n)) if isinstance(n, tuple) else n) for n in frame.columns]
        found = pa.table({n: _column(frame.iloc[:, i]) for i, n in reversed(list(enumerate(names)))}).select(
            list(dict.fromkeys(names))
        )
    elif hasattr(frame, "iter_columns"):  # Polars
        found = pa.table({series.name: _column(series) for series in frame.iter_columns()})
    else:
        found = _read_whole(frame)
    while any(pa.types.is_struct(f.type) for f in found.schema):
        found = found.flatten()
    places = {n: i for i, n in reversed(list(enumerate(found.column_names))) if not n.startswith("__index_level_")}
    return pa.table({n: _storage(found.column(places[n])) for n in dict.fromkeys(found.column_names) if n in places})


def _read_whole(frame: Any) -> pa.Table:
    """What is not pandas or Polars, by the first of the ways in which it gives all of its rows."""
    is_frame = not isinstance(frame, pd.Series | pa.Array | pa.ChunkedArray) and type(frame).__name__ != "Series"
    try:
        for way, read in _WAYS.items():
            if is_frame and not isinstance(frame, type) and hasattr(frame, way):
                found = read(frame)
                return found if isinstance(found, pa.Table) else pa.table(found)
    except _WRONG as error:
        raise MetricError("frame.unreadable", f"The {type(frame).__name__} cannot be read ({type(error).__name__})",
                          hint="Convert it to pandas, Polars or an Arrow table.") from error  # fmt: skip
    raise MetricError("frame.unknown_type", f"Cannot read a {type(frame).__name__}",
                      hint="Give a pandas, Polars or Arrow table, a row a request.")  # fmt: skip


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
