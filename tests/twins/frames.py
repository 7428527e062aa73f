"""A table as a frame in memory and as a table of a database, in every type that libraries have.

A twin is judged beside the file: `kpi.from_frame` and a table in place must give what a load gives, refuse, or say.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import sqlalchemy as sa

import kpi
import kpi.loading.frame as frame_module
from kpi.errors import KpiError
from kpi.store import live
from kpi.store.databases import SqlSource
from kpi.store.engines import Source
from tests.twins.damage import csv_bytes, csv_rows
from tests.twins.judge import KEY, METRICS, Expected, Outcome, Verdict, _names, _notes, judge, load

Frame = Callable[[pd.DataFrame], Any]
_UNITS = {"_ms": 1e3, "_s": 1.0}


def typed(data: bytes) -> pd.DataFrame | None:
    """The columns of plain delimited text as pandas types them; None where pandas would need to be told how."""
    found = csv_rows(data)
    if found is None or any(len(row) != len(found[0]) for row in found[1]):
        return None
    frame = pd.read_csv(io.BytesIO(data), sep=found[2], keep_default_na=True)
    for name in frame.columns:
        if "time" in name and frame[name].dtype == "str":
            try:
                frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
            except ValueError:
                return None
    return frame


def _numbers(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c]) and frame[c].dtype != bool]


def _times(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if isinstance(frame[c].dtype, pd.DatetimeTZDtype)]


def _bools(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if frame[c].dtype == bool]


def _each(columns: Callable[[pd.DataFrame], list[str]], change: Callable[[pd.Series], Any]) -> Frame:
    return lambda f: f.assign(**{c: change(f[c]) for c in columns(f)})


def _lengths(frame: pd.DataFrame, spell: Callable[[pd.Series], Any]) -> pd.DataFrame:
    """Lengths with their unit in the name as values that know their unit."""
    for name in list(frame.columns):
        ending = next((e for e in _UNITS if name.endswith(e) and name in _numbers(frame)), "")
        if ending:
            frame = frame.rename(columns={name: name.removesuffix(ending)})
            frame[name.removesuffix(ending)] = spell(frame[name.removesuffix(ending)] / _UNITS[ending])
    return frame


def _epoch(per_second: float) -> Callable[[pd.Series], pd.Series]:
    return lambda s: (s.astype("datetime64[us, UTC]").astype("int64") * (per_second / 1e6)).round().astype("int64")


FRAMES: dict[str, Frame] = {
    "pandas": lambda f: f,
    "pandas, nullable": lambda f: f.convert_dtypes(),
    "pandas, Arrow dtypes": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, objects": lambda f: f.astype(object),
    "pandas, categories": lambda f: f.astype({c: "category" for c in f.columns if f[c].dtype == "str"}),
    "pandas, category of truth": _each(_bools, pd.Categorical),
    "pandas, float32": _each(
        lambda f: [c for c in _numbers(f) if c.endswith(("_ms", "_s"))], lambda s: s.astype("float32")
    ),
    "pandas, nanoseconds": _each(_times, lambda s: s.astype("datetime64[ns, UTC]")),
    "pandas, naive times": _each(_times, lambda s: s.dt.tz_localize(None)),
    "pandas, times of another zone": _each(_times, lambda s: s.dt.tz_convert("Asia/Tokyo")),
    "pandas, times as text": _each(_times, lambda s: s.astype(str)),
    "pandas, epoch seconds": _each(_times, _epoch(1)),
    "pandas, epoch ms": _each(_times, _epoch(1e3)),
    "pandas, epoch ns": _each(_times, lambda s: s.astype("datetime64[ns, UTC]").astype("int64")),
    "pandas, yes and no": _each(_bools, lambda s: s.map({True: "yes", False: "no"})),
    "pandas, 1.0 and 0.0": _each(_bools, lambda s: s.astype(float)),
    "pandas, timedeltas": lambda f: _lengths(f, lambda s: pd.to_timedelta(s, unit="s")),
    "pandas, lengths as text": lambda f: _lengths(f, lambda s: s.map("{:.6f}s".format)),
    "pandas, one infinity": lambda f: f.assign(**{c: [np.inf, *f[c].astype(float)[1:]] for c in _numbers(f)[:1]}),
    "pandas, one NaN": lambda f: f.assign(**{c: [np.nan, *f[c].astype(float)[1:]] for c in _numbers(f)[:1]}),
    "pandas, lists and objects": lambda f: f.assign(payload=[{"a": [1]}, [2]] * (len(f) // 2) + [None] * (len(f) % 2)),
    "pandas, mixed column": lambda f: f.assign(payload=[1, "a", None, 2.5][: len(f)] + [True] * (len(f) - 4)),
    "pandas, columns of two levels": lambda f: f.set_axis(pd.MultiIndex.from_product([["x"], f.columns]), axis=1),
    "pandas, rows twice": lambda f: pd.concat([f, f], ignore_index=True),
    "polars": pl.from_pandas,
    "polars, categories": lambda f: pl.from_pandas(f).with_columns(pl.col(pl.String).cast(pl.Categorical)),
    "polars, decimals": lambda f: pl.from_pandas(f).with_columns(pl.col(pl.Float64).cast(pl.Decimal(20, 6))),
    "polars, durations": lambda f: pl.from_pandas(_lengths(f, lambda s: pd.to_timedelta(s, unit="s"))),
    "Arrow": pa.Table.from_pandas,
    "Arrow, dictionaries": lambda f: pa.table({
        n: c.dictionary_encode() for n, c in zip(f.columns, pa.Table.from_pandas(f).columns, strict=False)}),
    "Arrow, chunks": lambda f: pa.concat_tables([pa.Table.from_pandas(f[:7]), pa.Table.from_pandas(f[7:])]),
}  # fmt: skip


def of_source(source: Source, receipt: Any = None) -> Outcome:
    """The requests of a source, as the judge compares them."""
    table = source.table("requests")
    rows = source.run(sa.select(*(c for c in table.c if c.name in METRICS or c.name == "trace_id")))
    for i, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type):
            rows = rows.set_column(i, column.name, rows[column.name].cast(pa.int64()))
    told = asdict(receipt) if receipt else {"notes": [*source.notes], "drop_reasons": {}, "unmapped": [], "columns": []}
    found = [{m: row.get(m) for m in METRICS} for row in rows.to_pylist()]
    return Outcome(requests=len(found), rows=tuple(found), dropped=receipt.dropped if receipt else 0,
                   notes=frozenset(_notes(told)), names=frozenset(_names(told)))  # fmt: skip


def of_frame(frame: Any) -> Outcome:
    """What `kpi.from_frame` makes of a frame. Never raises."""
    with warnings.catch_warnings(), patch.object(frame_module, "KEY", KEY):
        warnings.simplefilter("ignore")
        try:
            source = kpi.from_frame(frame)
            return of_source(source, source.receipt)
        except KpiError as error:
            return Outcome(error=error.code)
        except Exception as error:
            return Outcome(error=f"{type(error).__name__}: {error}"[:200], typed=False)


# Declared type, and what is stored in a column of it; SQLite keeps any value in any column.
SQLITE: dict[str, tuple[str, Frame]] = {
    "SQLite, texts": ("TEXT", lambda f: f.astype(str)),
    "SQLite, ISO texts in DATETIME": ("DATETIME", lambda f: _each(_times, lambda s: s.astype(str))(f)),
    "SQLite, epoch ms in DATETIME": ("DATETIME", lambda f: _each(_times, _epoch(1e3))(f)),
    "SQLite, epoch seconds in DATETIME": ("DATETIME", lambda f: _each(_times, _epoch(1))(f)),
    "SQLite, epoch text in DATETIME": ("DATETIME", lambda f: _each(_times, lambda s: _epoch(1)(s).astype(str))(f)),
    "SQLite, American dates in DATETIME": (
        "DATETIME", lambda f: _each(_times, lambda s: s.dt.strftime("%m/%d/%y %H:%M:%S"))(f)
    ),
    "SQLite, t and f in BOOLEAN": ("BOOLEAN", lambda f: _each(_bools, lambda s: s.map({True: "t", False: "f"}))(f)),
    "SQLite, sí and no in BOOLEAN": ("BOOLEAN", lambda f: _each(_bools, lambda s: s.map({True: "sí", False: "no"}))(f)),
    "SQLite, -1 and 0 in BOOLEAN": ("BOOLEAN", lambda f: _each(_bools, lambda s: s.map({True: -1, False: 0}))(f)),
    "SQLite, 1 and 0 in BOOLEAN": ("BOOLEAN", lambda f: _each(_bools, lambda s: s.astype(int))(f)),
    "SQLite, no types": ("", lambda f: f),
    "SQLite, lengths with units in INTEGER": ("INTEGER", lambda f: _lengths(f, lambda s: s.map("{:.6f}s".format))),
}  # fmt: skip


def of_sqlite(declared: str, frame: pd.DataFrame) -> Outcome:
    """The requests of a SQLite table read in place through a guessed mapping. Never raises."""
    plain = frame.astype(dict.fromkeys(_times(frame), str)).astype(object).where(frame.notna(), None)
    changed = {"DATETIME": "time", "BOOLEAN": "success", "INTEGER": "latency"}.get(declared, "")
    kinds = [f'"{c}" {declared if changed in c else ""}' for c in plain.columns]
    with tempfile.TemporaryDirectory(prefix="kpi-twin-") as place:
        path = Path(place) / "x.db"
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE t ({', '.join(kinds)})")
            marks = ",".join("?" * len(plain.columns))
            database.executemany(
                f"INSERT INTO t VALUES ({marks})", [[_cell(v) for v in row] for row in plain.to_numpy()]
            )
        database.close()
        return of_table(sa.create_engine(f"sqlite:///{path}"), "t")


def of_table(engine: sa.Engine, table: str) -> Outcome:
    """The requests of a table read in place, as `kpi.connect` guesses its columns."""
    try:
        raw = SqlSource(engine, name="t", tables={"requests": table})
        mapping = live._guessed(raw, raw.physical("requests"))
        source = SqlSource(engine, name="t", tables={"requests": table}, mapping=mapping)
        live._check_values(mapping, source, raw.sample(1_000))
        outcome = of_source(source)
        left = frozenset(c.source for c in mapping.columns if c.field is None)
        return Outcome(outcome.requests, 0, outcome.rows, names=left)
    except KpiError as error:
        return Outcome(error=error.code)
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {error}"[:200], typed=False)
    finally:
        engine.dispose()


def _one_missing(data: bytes, frame: pd.DataFrame) -> Outcome:
    """The file without the first of its numbers."""
    header, rows, delimiter = csv_rows(data) or ([], [], "")
    for name in _numbers(frame)[:1]:
        rows[0][header.index(name)] = ""
    return load({"clean.csv": csv_bytes(header, rows, delimiter)})


def _cell(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# Sessions and users of a table in place are no pseudonyms, and its cost is not computed.
_IN_PLACE = Expected(free=frozenset({"user_key"}), grain_us=1_000)


def verdicts(name: str, data: bytes) -> Iterator[Verdict]:
    """Every frame and every SQLite table of some delimited text, beside its load; none where it is no plain table."""
    frame = typed(data)
    if frame is None or len(frame) < 5:
        return
    clean = load({"clean.csv": data})
    if not clean.requests or clean.requests != len(frame):
        return
    before = frame.copy(deep=True)
    for form, change in FRAMES.items():
        beside = _one_missing(data, frame) if form == "pandas, one NaN" else clean
        yield judge(name, form, beside, of_frame(change(frame.copy())), Expected(grain_us=1_000))
    pd.testing.assert_frame_equal(frame, before)
    for form, (declared, change) in SQLITE.items():
        yield judge(name, form, clean, of_sqlite(declared, change(frame.copy())), _IN_PLACE)
