"""What every command of the line shares: its options, its exit codes, and printing for people and for scripts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson
import pandas as pd

import kpi
from kpi.measure.slice import Filters, parse_filters, read_time

FINE, BREACHED, CANNOT_TELL, BAD = 0, 1, 2, 3


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # argparse leaves with 2, which here means "cannot tell"
        self.print_usage(sys.stderr)
        print(f"kpi: {message}", file=sys.stderr)
        raise SystemExit(BAD)


def finish(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    parser.set_defaults(run=run)


def slice_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="default", help="data set (default: %(default)s)")
    parser.add_argument("--version", type=int, help="stored version (default: the newest)")
    parser.add_argument(
        "--last", default=None, metavar="28d", help="window back from the end of the data: 28d, 24h, 2w, all"
    )
    parser.add_argument("--from", dest="start", metavar="TIME", help="start of the window, ISO 8601")
    parser.add_argument("--to", dest="end", metavar="TIME", help="end of the window (exclusive), ISO 8601")
    parser.add_argument("--where", action="append", default=[], metavar="DIM=VALUE", help="filter; may be repeated")
    parser.add_argument("--vs", default="previous", metavar="BASELINE",
                        help="previous, weekdays, none, 2026-09-01..2026-10-01 or prompt_version:p6")  # fmt: skip
    parser.add_argument("--tz", default="UTC", help="time zone in which days begin (default: UTC)")


def slice_of(options: argparse.Namespace) -> kpi.Slice:
    filters: Filters = parse_filters(options.where)
    start, end = (read_time(t, options.tz) if t else None for t in (options.start, options.end))
    last = None if start or end else (options.last or "28d")
    return kpi.Slice(
        dataset=options.dataset, version=options.version, last=last, start=start, end=end, baseline=options.vs,
        filters=filters, tz=options.tz,
    )  # fmt: skip


def say_timeless(source: kpi.Source, options: argparse.Namespace, looked: kpi.Slice | None = None) -> None:
    """What asks for a time is said to be in vain, on standard error, where no request has one; and what the windows of
    the slice (`looked`, else the one of the options) leave out."""
    asked = options.last or options.start or options.end or getattr(options, "every", None)
    if asked and kpi.profile(source).first is None:
        print("kpi: this data has no times: windows and buckets are off, every request counts", file=sys.stderr)
    for note in kpi.resolve(source, looked or slice_of(options)).notes:
        print(f"kpi: {printable(note, longest=400)}", file=sys.stderr)


def progress() -> Any:
    if not sys.stderr.isatty():
        return None

    def show(fraction: float, text: str) -> None:
        filled = int(30 * min(max(fraction, 0.0), 1.0))
        end = "\n" if fraction >= 1 else ""
        print(
            f"\r[{'#' * filled}{'.' * (30 - filled)}] {fraction:4.0%} {text[:40]:40}",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    return show


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [
        {k: (v.isoformat() if hasattr(v, "isoformat") else v) for k, v in row.items()}
        for row in plain.to_dict("records")
    ]


def cell(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(
        orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str).decode() + "\n"
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Left-aligned text, right-aligned numbers; control characters of untrusted text shown as escapes."""
    cells = [[printable(str(v)) for v in row] for row in rows]
    widths = [max([len(h), *(len(r[i]) for r in cells)]) for i, h in enumerate(head)]
    print("  ".join(h.ljust(w) for h, w in zip(head, widths, strict=True)).rstrip())
    print("  ".join("-" * w for w in widths))
    for row in cells:
        print(
            "  ".join(
                v.rjust(w) if v[:1].isdigit() and len(v) < 18 else v.ljust(w) for v, w in zip(row, widths, strict=True)
            ).rstrip()
        )


def printable(text: str, *, longest: int = 120) -> str:
    """Text of an export as a terminal may get it: control and direction characters as escapes, cut."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:longest])


def moment(microseconds: int | None) -> str | None:
    return (
        None
        if microseconds is None
        else datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat().replace("+00:00", "Z")
    )


def day(microseconds: int | None) -> str:
    return "–" if microseconds is None else f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d}"
