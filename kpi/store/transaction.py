"""One load on its way into a data set: tables merged, requests assembled, counts taken, the manifest last.

Runs while the writer's lock is held. Until the manifest is written no reader sees anything of it.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kpi import schema
from kpi.assembly.requests import assemble_all
from kpi.assembly.row_costs import READ, WRITTEN, reprice_requests
from kpi.disk import permissions
from kpi.errors import StoreError
from kpi.pricing.price_table import PriceTable
from kpi.privacy.user_key import UserKey
from kpi.receipts import NAMED_MODELS, NOT_NAMED, Receipt
from kpi.store import contents, delta, manifest, merge, orphans, record, sql, trash
from kpi.store.manifest import Manifest

Progress = Callable[[float, str], None]
_PARTS = ("documents", "tool_calls", "scores", "incidents")  # what is told of a trace beside its spans
_SMALL_BYTES = 16 * 2**20
_SMALL_FILES = 12  # so many small files in one partition are rewritten as one
_ASSEMBLED = "assembled_"
_DERIVED = frozenset(["day", "attributes"])


@dataclass
class Transaction:
    """One commit, while the writer's lock is held."""

    dataset: str
    path: Path
    base: Manifest | None
    connection: duckdb.DuckDBPyConnection
    staged: Path
    work: Path
    tell: Progress
    prices: PriceTable
    ahead: Sequence[str] = ()  # tables whose newest Delta version belongs to no version
    user_key: UserKey | None = None  # of the pseudonyms in the staged rows
    bound: str | None = None  # id of the key of all users, once this load is stored
    rekeyed: tuple[tuple[str, str], ...] = ()
    rebound: bool = False  # a new version is due, though no row may have changed
    moving: bool = True  # whether rows of tables may replace requests of the same id at another time
    files: dict[str, list[Path]] = field(default_factory=dict)
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    merges: dict[str, merge.Merge] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    sealed: dict[str, tuple[contents.Sealed, ...]] = field(default_factory=dict)  # of the base, verified
    passing: list[Path] = field(default_factory=list)  # files that were written and replaced within this load

    def run(self, receipt: Receipt, settle: Callable[[Self, Receipt], None]) -> Receipt:
        """Store what is staged. settle: called before the first row is written; what it raises leaves all as it was."""
        self.open(receipt)
        settle(self, receipt)
        given = {name: files for name in schema.TABLES if (files := merge.staged_files(self.staged, name))}
        if receipt.columns and not self.moving:
            self._refuse_calls_of_requests(given.get("spans", []))
        for i, (name, files) in enumerate(given.items()):
            self.tell(i / (len(given) + 1), f"Storing {name.replace('_', ' ')}")
            self.merge(name, [*files, *self._adopted(files)] if name == "scores" else files)
        if "spans" in given and "scores" not in given and (found := self._adopted(())):
            self.merge("scores", found)
        self.tell(len(given) / (len(given) + 1), "Assembling requests")
        self._assemble(receipt)
        self._count(receipt)
        return self.finish(receipt)

    def reprice(self, receipt: Receipt) -> Receipt:
        """Replace the cost columns of every request, and nothing else of it."""
        self.open(receipt)
        requests = self.files.get("requests")
        if requests:
            self.tell(0.1, "Computing costs")
            costs = sql.parquet(self._written("costs", self._all_costs()))
            changed = ", ".join(f"c.{sql.name(name)} AS {sql.name(name)}" for name in WRITTEN)
            target = self.work / "repriced.parquet"
            self.connection.execute(
                f"COPY (SELECT o.* REPLACE ({changed}) FROM {merge.scan(requests, schema.REQUESTS)} o "
                f"JOIN {costs} c ON o.trace_id = c.trace_id) TO {sql.literal(target)}"
            )
            self.tell(0.7, "Storing requests")
            receipt.loaded = self.merge("requests", [target]).changed
            self.look(receipt, None)
        receipt.note(f"The cost columns of {receipt.loaded:,} requests changed, by price table {self.prices.label}.")
        return self.finish(receipt)

    def _written(self, name: str, tables: Iterable[pa.Table]) -> list[Path]:
        """Tables as Parquet files of the work folder, in their order."""
        place, paths = self.work / name, []
        place.mkdir()
        for i, table in enumerate(tables):
            paths.append(place / f"{i}.parquet")
            pq.write_table(table, paths[-1], compression="zstd")
        return paths

    def _all_costs(self) -> Iterator[pa.Table]:
        """Cost columns of all requests: from their spans where there are any, else from their own."""
        spans = self.files.get("spans")
        known = f"SELECT DISTINCT trace_id FROM {merge.scan(spans, schema.SPANS)}" if spans else "SELECT '' AS trace_id"
        self.connection.execute(f"CREATE OR REPLACE TABLE touched AS {known}")
        made_of = assemble_all(spans=self._stream("spans"), tool_calls=self._stream("tool_calls"), prices=self.prices)
        rows = merge.scan(self.files["requests"], schema.REQUESTS)
        columns = ", ".join(f"r.{sql.name(c)}" for c in ("trace_id", *READ))
        alone = f"SELECT {columns} FROM {rows} r ANTI JOIN touched t ON r.trace_id = t.trace_id"
        tables = (reprice_requests(pa.Table.from_batches([batch]), self.prices)
                  for batch in merge.batches(self.connection, alone))  # fmt: skip
        return (table.select(["trace_id", *WRITTEN]) for table in chain(made_of, tables))

    def open(self, receipt: Receipt) -> None:
        """Start from the version that is the newest."""
        receipt.prices = self.prices.label
        if self.ahead:
            receipt.note(f"A load of an earlier release had not ended: its {', '.join(self.ahead)} are left out.")
        if self.base:
            self.bound, self.rekeyed = self.base.user_key, self.base.rekeyed
        for name, table in self.base.tables.items() if self.base else ():
            self.files[name] = self._stored(name)
            self.extra[name] = table.extra

    def finish(self, receipt: Receipt) -> Receipt:
        """Make the next version, where there is anything new to it."""
        if not self.written and not self.rebound:
            receipt.version = self.base.number if self.base else 0
            return receipt
        for name in sorted(self.written):
            self._compact(name)
        for name in set(self.ahead) - self.written:
            self._begin(name)
            self.written.add(name)
        self._publish(receipt)
        for path in self.passing:
            path.unlink(missing_ok=True)
        record.end(self.path)
        trash.empty(self.path)
        self.tell(1.0, "Stored")
        return receipt

    def _stored(self, name: str) -> list[Path]:
        """Files of a table in the version that this load builds on; as they were written, or StoreError."""
        if self.base is None or name not in self.base.tables:
            return []
        place, known = self.path / name, self.base.tables[name]
        if name not in self.sealed:
            self.sealed[name] = delta.stored(self.path, name, known)
            contents.verify(place, self.sealed[name])
        return [place / f.path for f in self.sealed[name]]

    def merge(self, name: str, staged: Sequence[Path], prefix: str = "") -> merge.Merge:
        merged = merge.Merge(self.connection, schema.TABLES[name], staged=staged, stored=self.files.get(name, []),
                             stored_extra=self.extra.get(name, ()), prefix=prefix)  # fmt: skip
        if merged.moved and not prefix and not self.moving:
            raise _other_times(merged.moved)
        self.merges[prefix + name] = merged
        if merged.query is not None:
            self.extra[name] = merged.extra
            self._write(name, merged.query, merged.replaced)
        return merged

    def _refuse_calls_of_requests(self, staged: Sequence[Path]) -> None:
        """Raise where rows of a table add up to a request of which a single row is stored: that one would be lost."""
        requests = self.files.get("requests")
        if not staged or not requests:
            return
        spans = self.files.get("spans")
        known = f"ANTI JOIN {merge.scan(spans, schema.SPANS)} k ON r.trace_id = k.trace_id" if spans else ""
        found = merge.number(
            self.connection, f"SELECT count(DISTINCT r.trace_id) FROM {merge.scan(requests, schema.REQUESTS)} r "
            f"SEMI JOIN {sql.parquet(staged)} s ON r.trace_id = s.trace_id {known}")  # fmt: skip
        if found:
            raise _other_times(found)

    def _adopted(self, staged: Sequence[Path]) -> list[Path]:
        """Scores, staged or stored, that waited for their span; the spans of this load are stored by now."""
        found = orphans.adopted(self.connection, scores=[*staged, *self.files.get("scores", [])],
                                spans=self.files.get("spans", []), target=self.work / "adopted.parquet")  # fmt: skip
        return [found] if found else []

    def _write(self, name: str, query: str, replaced: Sequence[Path]) -> None:
        place = self.path / name
        named = set(self._stored(name))
        self._begin(name)
        self.passing += [path for path in replaced if path not in named]
        delta.append(place, name, merge.batches(self.connection, query))
        delta.remove(place, replaced)
        self.written.add(name)
        self.files[name] = [place / f.path for f in delta.files(place, delta.latest(place) or 0)]

    def _begin(self, name: str) -> None:
        """Before the first change: the record; and the newest Delta version holds what the base version does."""
        if not self.written:
            record.begin(self.path, self.base.number if self.base else 0)
        if name in self.written:
            return
        place = self.path / name
        if self.base and name in self.base.tables:
            delta.go_back(place, self.base.tables[name].version)
        elif delta.exists(place):
            delta.clear(place)  # older versions may name its files

    def _assemble(self, receipt: Receipt) -> None:
        """Requests of the touched traces that have spans, from everything that is stored of them."""
        merges = [self.merges[n] for n in ("spans", *_PARTS) if n in self.merges]
        touched = [m.touched_traces() for m in merges if m.new or m.changed]
        if not touched or not self.files.get("spans"):
            return
        whole = "" if receipt.columns else self._whole_traces()  # a mapped table knows less than the spans do
        query = f"SELECT DISTINCT trace_id FROM ({' UNION ALL '.join(touched)}){whole}"
        self.connection.execute(f"CREATE OR REPLACE TABLE touched AS {query}")
        if not merge.number(self.connection, "SELECT count(*) FROM touched"):
            return
        made_of: dict[str, Any] = {name: self._stream(name) for name in ("spans", *_PARTS)}
        if made := self._written("assembled", assemble_all(**made_of, prices=self.prices)):
            self.merge("requests", made, prefix=_ASSEMBLED)

    def _whole_traces(self) -> str:
        """` EXCEPT …`: traces of which nothing was stored and that bring their request along, assembled already."""
        if "requests" not in self.merges:
            return ""
        known = [f"SELECT trace_id FROM {merge.scan(files, schema.TABLES[name])}"
                 for name in ("requests", "spans", *_PARTS) if (files := self._stored(name))]  # fmt: skip
        given = self.merges["requests"].given_traces()
        return f" EXCEPT ({given}{''.join(f' EXCEPT {query}' for query in known)})"

    def _stream(self, name: str) -> Iterator[pa.RecordBatch]:
        if not self.files.get(name):
            return iter(())
        table = schema.TABLES[name]
        columns = ", ".join(f"r.{sql.name(c)}" for c in table.names)
        order = ["trace_id"] + [c for c in ("started_at", "span_id") if c in table.names]
        scan = merge.scan(self.files[name], table)
        touched = f"SEMI JOIN touched t ON r.trace_id = t.trace_id ORDER BY {', '.join(order)}"
        query = f"SELECT {columns} FROM {scan} r {touched}"
        return iter(merge.batches(self.connection, query))

    def _count(self, receipt: Receipt) -> None:
        """Exact counts of the load: what was new or completed, what was known, and what its requests look like."""
        told = [m for n, m in self.merges.items() if not n.startswith(_ASSEMBLED)]
        main = [self.merges[n] for n in ("spans", "requests") if n in self.merges][:1] or told
        receipt.loaded = sum(m.new + m.changed for m in main) or sum(m.new + m.changed for m in told)
        if not receipt.loaded:  # the rules of assembly may have changed since the spans were stored
            receipt.loaded = sum(m.new + m.changed for m in self.merges.values())
        receipt.repeated = (receipt.repeated if "requests" in self.merges else 0) + sum(m.known for m in main)
        if "spans" in self.merges:
            receipt.spans = self.merges["spans"].count(f"kind IS DISTINCT FROM '{schema.WHOLE}'")
        parts = [self.merges[n].given_traces() for n in ("requests", "spans") if n in self.merges]
        if parts and self.files.get("requests"):
            self.look(receipt, " UNION ALL ".join(parts))
        elif parts:
            receipt.requests = 0
            receipt.note("So far only logs of spans: the requests appear once their traces are loaded as well.")
        self._unmatched(receipt)

    def look(self, receipt: Receipt, traces: str | None) -> None:
        """The requests of this load, or without `traces` all. In a first load they are all there are, too."""
        every = self.base is None or traces is None
        proven = merge.filled(self.connection, self.files["requests"]) if every else set()
        columns = [c for c in schema.REQUESTS.names if c not in _DERIVED | proven]
        filled = "".join(f", count(r.{sql.name(c)})" for c in columns)
        of_load = f"SEMI JOIN (SELECT DISTINCT trace_id FROM ({traces})) t ON r.trace_id = t.trace_id"
        times = "min(epoch_us(r.started_at)), max(epoch_us(r.started_at))"
        rows = f"FROM {merge.scan(self.files['requests'], schema.REQUESTS)} r " + ("" if every else of_load)
        counted = f"SELECT count(*), count(*) FILTER (r.priced = false), {times}{filled} {rows}"
        row = self.connection.execute(counted).fetchone()
        assert row is not None
        receipt.requests, receipt.unpriced, receipt.first, receipt.last = row[:4]
        receipt.missing = [c for c, n in zip(columns, row[4:], strict=True) if not n]
        models: Counter[str] = Counter()
        if receipt.unpriced:
            query = f"SELECT r.unpriced_model, count(*) {rows} WHERE r.priced = false GROUP BY 1"
            for names, count in self.connection.execute(query).fetchall():
                models.update(dict.fromkeys(names.split(", ") if names else [NOT_NAMED], count))
        receipt.unpriced_models = dict(models.most_common(NAMED_MODELS))

    def _unmatched(self, receipt: Receipt) -> None:
        """Scores and incidents of requests that came from a table change no outcome: say so."""
        if "scores" in self.merges and (waiting := self.merges["scores"].count("trace_id IS NULL")):
            receipt.note(
                f"{waiting} scores name a span that is not loaded: they are stored and join its trace once it is."
            )
        told = [self.merges[n].given_traces() for n in ("scores", "incidents") if n in self.merges]
        if not told or "requests" in self.merges or not self.files.get("requests"):
            return
        spans = self.files.get("spans")
        known = f"ANTI JOIN {merge.scan(spans, schema.SPANS)} s ON t.trace_id = s.trace_id" if spans else ""
        requests = merge.scan(self.files["requests"], schema.REQUESTS)
        found = merge.number(
            self.connection, f"SELECT count(*) FROM (SELECT DISTINCT trace_id FROM ({' UNION ALL '.join(told)})) t "
            f"{known} SEMI JOIN {requests} r ON t.trace_id = r.trace_id")  # fmt: skip
        if found:
            receipt.note(f"{found} requests came from a table without spans: their scores and incidents are stored, "
                         "their outcomes stay as the table gave them.")  # fmt: skip

    def _compact(self, name: str) -> None:
        """Rewrite the small files of a partition as one when many have piled up."""
        place = self.path / name
        small: dict[str, list[Path]] = {}
        for f in delta.files(place, delta.latest(place) or 0):
            if f.size < _SMALL_BYTES:
                small.setdefault(os.path.dirname(f.path), []).append(place / f.path)
        doomed = [path for paths in small.values() if len(paths) >= _SMALL_FILES for path in paths]
        if not doomed:
            return
        self._write(name, merge.ordered(doomed, schema.TABLES[name], self.extra.get(name, ())), doomed)

    def _publish(self, receipt: Receipt) -> None:
        kept = dict(self.base.tables) if self.base else {}
        for name in self.written:
            kept[name] = delta.describe(self.path / name, self.extra.get(name, ()))
        for name, table in kept.items():
            if name in self.written or not table.files:
                known = self.sealed.get(name, ())
                digest = contents.write(self.path, delta.seal(self.path / name, table.version, known))
                kept[name] = dataclasses.replace(table, files=digest)
        first = last = None
        if self.files.get("requests"):
            scan = merge.scan(self.files["requests"], schema.REQUESTS)
            times = f"SELECT min(epoch_us(started_at)), max(epoch_us(started_at)) FROM {scan}"
            first, last = self.connection.execute(times).fetchone()  # type: ignore[misc]
        permissions.tighten(self.path)
        receipt.version = (self.base.number if self.base else 0) + 1
        manifest.write(Manifest(
            dataset=self.dataset, number=receipt.version, created_at=manifest.now(), tables=kept,
            receipt=orjson.loads(receipt.to_json()), first=first, last=last, user_key=self.bound,
            rekeyed=self.rekeyed, requests=kept["requests"].rows if "requests" in kept else 0,
            spans=kept["spans"].rows if "spans" in kept else 0,
            size=sum(f.stat().st_size for paths in self.files.values() for f in paths)))  # fmt: skip


def _other_times(count: int) -> StoreError:
    return StoreError.told("store.other_times", count=count)
