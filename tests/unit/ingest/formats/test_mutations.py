"""Files that somebody, or something, has damaged: no reader raises, hangs or stores what no clean file would give.

Every genuine export is mutated at random, half of the time byte by byte, half of the time value by value in valid JSON.
`KPI_MUTATIONS` sets how many mutants a file has (`make fuzz`: 10,000); each is reproducible from its number.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest

from kpi import schema
from kpi.errors import KpiError
from tests.unit.ingest.formats.exporters import EXPORTERS
from tests.unit.ingest.formats.helpers import Row, read_all

pytestmark = pytest.mark.slow

MUTANTS = int(os.environ.get("KPI_MUTATIONS", "25"))
CPU_SECONDS = 60  # of this process, so that a busy machine changes nothing; a mutant takes milliseconds
CANARY = "mallory.canary@example.org"
LARGEST = 60_000  # bytes of a seed file; larger ones are cut to whole records first
EXPORTS = (
    "opik/*.json", "opik/*.csv", "phoenix/*.json", "phoenix/*.jsonl", "langsmith/*", "mlflow/*.json*", "litellm/*",
    "langfuse/framework_traces/pydantic-ai-2025*.json", "langfuse/derived/*/*/*", "langfuse/derived/ui_batch/*",
    "langfuse/*.jsonl", "inspect_ai/*", "shapes/*/*", "otlp/*", "openinference/*",
)  # fmt: skip
FIELD = (
    "claude-code-otel/*", "gemini-cli/*", "adk-thinking/*", "claude-agent-sdk/*", "appinsights/*",
    "clickhouse-otel-traces/*",
    "jaeger-genai/*", "portkey-cents/portkey.jsonl", "openrouter-generation/*", "otel-js-long/*", "logfire-pending/*",
)  # fmt: skip
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**63), 1e308, -1e308, 1.5, "", " ", "\x00", "\ud800", "NaN", "Infinity", "1e400",
    CANARY, "x" * 5_000, [], {}, [[]], [None], {"": None}, {"a": {"b": [{}]}}, "{", '{"a":', "[1,2", "2026-13-45T99:99",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "tr-", "\u202e", [1, "a", None, {}], "'; DROP TABLE x; --",
)  # fmt: skip


def seeds(shared: Path) -> list[Path]:
    found = {p for pattern in EXPORTS for p in (shared / "data/exports").glob(pattern)}
    found |= {p for pattern in FIELD for p in (shared / "data/field").glob(pattern)}
    return sorted(p for p in found if p.is_file())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed_file" in metafunc.fixturenames:
        root = Path(__file__).resolve().parents[5] / "shared"
        found = [str(p.relative_to(root)) for p in seeds(root)] if root.exists() else ["(no shared folder)"]
        metafunc.parametrize("seed_file", found)


def shortened(data: bytes) -> bytes:
    """Whole lines of a large file of lines; another large document as it is."""
    if len(data) <= LARGEST:
        return data
    lines = data.splitlines(keepends=True)
    kept = b"".join(lines[: max(1, next((i for i in range(len(lines)) if sum(map(len, lines[:i])) > LARGEST), 1))])
    return kept if len(lines) > 3 and kept[:1] in b"{[" and kept.count(b"\n") > 2 and _is_json(lines[0]) else data


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to four random changes."""
    for _ in range(draw.randint(1, 4)):
        if draw.random() < 0.5 and (changed := _value_changed(data, draw)) is not None:
            data = changed
        else:
            data = _bytes_changed(data, draw)
    return data


def _bytes_changed(data: bytes, draw: random.Random) -> bytes:
    if not data:
        return data
    at, length = draw.randrange(len(data)), draw.choice((1, 1, 2, 8, 64, 512))
    how = draw.randrange(6)
    if how == 0:
        return data[:at]
    if how == 1:
        return data[:at] + data[at + length :]
    if how == 2:
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    if how == 3:
        return data[:at] + draw.randbytes(length) + data[at + length :]
    if how == 4:
        return data[:at] + draw.choice((b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"\x00", b"\\", b"\xff")) + data[at:]
    other = draw.randrange(len(data))
    return data[:at] + data[other : other + length] + data[at:]


def _value_changed(data: bytes, draw: random.Random) -> bytes | None:
    """A random leaf, key or element of a JSON document, or of one of its lines, replaced, removed or doubled."""
    lines = data.splitlines()
    number = draw.randrange(len(lines)) if lines else 0
    try:
        whole = orjson.loads(data)
    except ValueError:
        try:
            document = orjson.loads(lines[number])
        except (ValueError, IndexError):
            return None
        lines[number] = _dumps(_changed(document, draw))
        return b"\n".join(lines) + b"\n"
    return _dumps(_changed(whole, draw))


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()  # orjson refuses lone surrogates, which are wanted here


def _changed(value: Any, draw: random.Random) -> Any:
    inner = value if isinstance(value, dict | list) and value else None
    if inner is None or draw.random() < 0.12:
        return draw.choice(NASTY)
    key: Any = draw.choice(list(inner)) if isinstance(inner, dict) else draw.randrange(len(inner))
    if draw.random() < 0.1:
        del inner[key]
    elif draw.random() < 0.05 and isinstance(inner, list):
        inner.append(inner[key])
    else:
        inner[key] = _changed(inner[key], draw)
    return inner


class Hung(BaseException):
    """Reading took more CPU time than it may; no reader may catch this."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def assert_clean(tables: dict[str, list[Row]]) -> None:
    """What holds for every row that any reader stores."""
    for name, rows in tables.items():
        table = schema.TABLES[name]
        for row in rows:
            for column in table.columns:
                value = row.get(column.name)
                if value is None:
                    continue
                if column.type == "int":
                    assert isinstance(value, int)
                    assert 0 <= value < 2**63, (name, column.name, value)
                elif column.type == "float":
                    assert abs(value) < float("inf"), (name, column.name)
                elif column.type == "string":
                    assert CANARY not in value, (name, column.name)
                    value.encode()
            for key in table.key:
                assert row[key] not in (None, ""), (name, key)
            if name == "spans":
                assert row["kind"] in (*schema.SPAN_KINDS, schema.WHOLE, None)
                assert row["status"] in ("ok", "error", "running", None)
                for column in ("attributes", "context"):
                    assert row[column] is None or isinstance(orjson.loads(row[column]), dict)
            if name == "scores":
                assert row["source"] in schema.SOURCES
            if name == "incidents":
                assert row["severity"] in (*schema.SEVERITIES, None)


def survives(seed: str, data: bytes, target: Path) -> int:
    """How many mutants of some bytes could be read; none may do harm."""
    read = 0
    for number in range(MUTANTS):
        draw = random.Random(f"{seed}:{number}")
        target.write_bytes(mutated(data, draw))
        try:
            with cpu_limit(CPU_SECONDS):
                tables, _ = read_all([target])
        except KpiError:
            continue
        except Hung:
            pytest.fail(f"mutant {number} of {seed} took more than {CPU_SECONDS} s of CPU time")
        except Exception as error:
            raise AssertionError(f"mutant {number} of {seed} raised {type(error).__name__}") from error
        assert_clean(tables)
        read += 1
    return read


def test_mutants(shared: Path, seed_file: str, tmp_path: Path) -> None:
    data = shortened((shared / seed_file).read_bytes())
    read = survives(seed_file, data, tmp_path / f"mutant{Path(seed_file).suffix}")
    if seed_file.endswith(".binpb"):
        return  # bare protobuf has no good part: most damage makes the one message unreadable
    assert read > MUTANTS // 10, "hardly a mutant could be read: the mutations are too coarse to test anything"


@pytest.mark.parametrize("name", sorted(EXPORTERS))
def test_mutants_of_every_exporter_of_spans(name: str, tmp_path: Path) -> None:
    assert survives(name, EXPORTERS[name](), tmp_path / "mutant.txt") > MUTANTS // 10
