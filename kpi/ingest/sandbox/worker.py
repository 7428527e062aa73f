"""The child process of `supervisor`: one job, a line of standard input, messages as lines on standard output.

It sets its own limits before it touches a byte, and it writes only redacted, canonical Parquet into the folder it was
given. Its messages hold names, counts and positions, never content.
"""

import contextlib
import gc
import importlib
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from kpi.disk import full
from kpi.errors import IngestError, KpiError
from kpi.ingest.sandbox import lifeline

REPORT_SECONDS = 0.2
_SPLIT = "Split the export into smaller files, or raise the limits."
# Rows wait by the ten thousand and hold no circles: collecting as often as Python does would only walk over them.
_COLLECT = (100_000, 20, 50)


def main() -> int:
    """Run one job. The exit status says nothing; the last message does."""
    lifeline.hold(int(sys.argv[1]))
    os.umask(0o077)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the parent died while it wrote
        return lifeline.ORPHANED
    lifeline.watch(sys.stdin.buffer)
    job = orjson.loads(line)
    own_limit = _limit_process(job["limits"])
    gc.set_threshold(*_COLLECT)
    try:
        with _told_full(own_limit):
            _send({"result": _TASKS[job["task"]](job)})
    except Exception as error:
        told = _told(error)
        _send({"error": {"kind": type(told).__name__, "code": told.code, "message": told.message, "hint": told.hint,
                         "row": told.row}})  # fmt: skip
    return 0


def _told(error: Exception) -> KpiError:
    """An error as the parent passes it on."""
    if isinstance(error, KpiError):
        return error
    if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "alloc of size" in str(error):
        return IngestError("ingest.out_of_memory", "The file needs more memory than a load may use", hint=_SPLIT)
    if os.environ.get("KPI_DEBUG"):
        traceback.print_exception(error)
    return IngestError.told("ingest.unreadable", kind=type(error).__name__)


@contextlib.contextmanager
def _told_full(own_limit: bool) -> Iterator[None]:
    """A full disk as such; so that a file over our own limit is none, `own_limit` says whether that one holds."""
    try:
        with full.told(full.READING, "reading the files"):
            yield
    except IngestError as error:
        if own_limit and error.code == full.READING and full.is_too_large(error):
            raise IngestError("ingest.too_large", "The staged data grew too large", hint=_SPLIT) from error
        raise


def _limit_process(limits: dict[str, int]) -> bool:
    """Set the limits; whether the one on the size of files is ours, and not a narrower one that was there."""
    try:
        import resource
    except ImportError:  # Windows: the wall clock of the parent is the only limit
        return False
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    files = limits["file_bytes"] if before == resource.RLIM_INFINITY else min(limits["file_bytes"], before)
    for name, value in (
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_CPU", limits["cpu_seconds"]),
        ("RLIMIT_FSIZE", files),
        ("RLIMIT_CORE", 0),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(kind, (bound, hard))
    return files == limits["file_bytes"]


def _send(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message, default=str) + b"\n")
    sys.stdout.buffer.flush()


class _Reporter:
    """Turns the bytes consumed of one input after the other into a fraction, at most five times a second."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = [max(s, 1) for s in sizes]
        self._last = 0.0
        self.text = ""
        self.index = 0
        self.start, self.share = 0.0, 1.0  # the part of the bar that the present step fills

    def tick(self, consumed: int) -> None:
        now = time.monotonic()
        if now - self._last < REPORT_SECONDS:
            return
        self._last = now
        before = sum(self._sizes[: self.index])
        done = (before + min(consumed, self._sizes[self.index])) / sum(self._sizes)
        _send({"fraction": round(self.start + self.share * min(done, 1.0), 4), "text": self.text})

    def say(self, fraction: float, text: str) -> None:
        _send({"fraction": fraction, "text": text})


def _open(job: dict[str, Any]) -> list[tuple[Any, str]]:
    """All inputs with their formats. A stray file in a folder or archive is left out; a file named by hand must fit."""
    from kpi.ingest.files.archive import expand
    from kpi.ingest.limits import Limits
    from kpi.ingest.readers.detect import detect
    from kpi.ingest.readers.open import open_inputs

    limits = Limits(**job["limits"])
    paths = [Path(p) for p in job["paths"]]
    if sum(f.stat().st_size for f in expand(paths)) > limits.input_bytes:
        raise IngestError("ingest.too_large", "The files are too large for one load", hint="Load them in parts.")
    found: list[tuple[Any, str]] = []
    written = job["mapping"] or {}
    strays: list[IngestError] = []
    for path in paths:
        sources = list(open_inputs([path], limits=limits))
        for source in sources:
            try:
                found.append((source, detect(source, written.get("delimiter", ""), written.get("sheet", ""))))
            except IngestError as error:
                if len(sources) == 1 or error.code != "ingest.unknown_format":
                    raise
                strays.append(error)
    if not found:
        raise strays[0]
    job["strays"] = [e.message for e in strays]
    return found


def _stage(job: dict[str, Any]) -> dict[str, Any]:
    from kpi.ingest.context import Context
    from kpi.ingest.formats import formats
    from kpi.ingest.limits import Limits
    from kpi.ingest.readers import otlp
    from kpi.ingest.readers.detect import OTLP, TABLE
    from kpi.ingest.readers.vendor import Translation
    from kpi.ingest.staging import Stage
    from kpi.mapping.mapping import Mapping
    from kpi.pricing.price_file import table_of
    from kpi.pricing.price_table import NO_PRICES
    from kpi.privacy.privacy import DEFAULT_ALLOW, Privacy
    from kpi.receipts import Receipt

    inputs = _open(job)
    # files as people know them: the members of an evaluation log are one
    names = [name for name, _ in dict.fromkeys((source.name, source.path) for source, _ in inputs)]
    receipt = Receipt(files=names, format="+".join(sorted({slug for _, slug in inputs})))
    for stray in job["strays"]:
        receipt.note(f"{stray}; it was left out.")
    prices = cache(lambda: table_of(job["prices"]))
    reporter = _Reporter([s.size or len(s.head) * 4 for s, _ in inputs])
    key, ids_key = (bytes.fromhex(job[name]) for name in ("key", "ids_key"))
    privacy = Privacy(key, DEFAULT_ALLOW | frozenset(job["allow"]), ids_key=ids_key)
    context = Context(
        privacy=privacy, receipt=receipt, mapping=Mapping.from_dict(job["mapping"]) if job["mapping"] else None,
        saved=Mapping.from_dict(job["saved"]) if job.get("saved") else None, tick=reporter.tick,
        limits=Limits(**job["limits"]), now_us=job["now_us"],
        prices=prices() if any(slug == "table" for _, slug in inputs) else NO_PRICES, find_prices=prices, more=True,
    )  # fmt: skip
    _plan(inputs, context, reporter)
    stage = Stage(Path(job["directory"]), receipt)
    translations: dict[str, Translation] = {}  # one a format: the files of an export may need each other
    for index, (source, slug) in enumerate(inputs):
        reporter.index, reporter.text = index, f"Reading {source.name}"
        if slug in (OTLP, TABLE):
            tables = importlib.import_module(f"kpi.ingest.readers.{slug}").read(source, context)
        else:
            tables = translations.setdefault(slug, Translation(formats()[slug], context)).read(source)
        for name, table in tables:
            stage.write(name, table)
    context.more = False
    ends = [translation.finish() for translation in translations.values()]
    if any(slug == OTLP for _, slug in inputs):
        ends.append(otlp.finish(context))
    for name, table in chain.from_iterable(ends):
        stage.write(name, table)
    reporter.say(0.98, "Checking for repeated rows")
    stage.finish()
    receipt.keep_out(Counter(context.privacy.kept_out))
    reporter.say(1.0, "Read")
    used = context.plan.mapping.to_dict() if context.plan else None
    return {"receipt": orjson.loads(receipt.to_json()), "mapping": used, "pseudonyms": context.privacy.used}


def _plan(inputs: list[tuple[Any, str]], context: Any, reporter: _Reporter) -> None:
    tables = [(i, source) for i, (source, slug) in enumerate(inputs) if slug == "table"]
    if not tables:
        return
    from kpi.ingest.readers import table

    def sources() -> Iterator[Any]:
        for index, source in tables:
            reporter.index, reporter.text = index, f"Looking at the columns of {source.name}"
            yield source

    reporter.share = 0.4
    context.plan = table.plan(sources(), context)
    reporter.start, reporter.share = 0.4, 0.56


def _preview(job: dict[str, Any]) -> dict[str, Any]:
    from kpi.ingest.context import Context
    from kpi.ingest.files import workbook
    from kpi.ingest.limits import Limits
    from kpi.ingest.readers import table
    from kpi.mapping.mapping import Mapping, Preview
    from kpi.privacy.privacy import Privacy
    from kpi.receipts import Receipt

    inputs = _open(job)
    slugs = sorted({slug for _, slug in inputs})
    if slugs != ["table"]:
        return Preview(format="+".join(slugs), rows=0, columns=()).to_dict()
    options = job["mapping"] or {}
    books = [s for s, _ in inputs if workbook.is_one(s)]
    if books and not options.get("sheet") and len(names := workbook.sheets(books[0])) > 1:
        return Preview(format=table.NAME, rows=0, sheets=tuple(names)).to_dict()
    mapping = Mapping.from_dict(options) if options else None
    privacy = Privacy(b"preview only: nothing is stored!")
    context = Context(privacy, Receipt(), mapping=mapping, limits=Limits(**job["limits"]))
    return table.describe([s for s, _ in inputs], context, samples=job["rows"]).to_dict()


_TASKS = {"stage": _stage, "preview": _preview}

if __name__ == "__main__":
    sys.exit(main())
