"""The clean exports: what lies beside the project, cut to whole records where it is large, and some made here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.twins.damage import csv_bytes
from tests.twins.layouts import dumps, iso
from tests.twins.spans import Span, otlp, spans_of

SHARED = Path(__file__).resolve().parents[3] / "shared"
LARGEST = 120_000  # bytes of an export; a longer one of lines is cut to whole lines, another is left out
_T0 = 1_790_000_000_000_000_000  # nanoseconds
_ID = "{:032x}"
# Damaged copies on purpose, documents of a page or a schema, and what is of the tables' own battery.
LEFT_OUT = ("README.md", "manifests/", ".db", ".sql", "daily_totals.csv")
PATTERNS = ("data/exports/**/*", "data/field/**/*")


@dataclass(frozen=True)
class Export:
    """One clean export. name: as reports tell it. file: what the product sees."""

    name: str
    file: str
    data: bytes

    @property
    def spans(self) -> list[Span]:
        return spans_of(self.data)


def exports(shared: Path = SHARED) -> list[Export]:
    """Those made here first, then every good one beside the project."""
    return [*made(), *_given(shared)]


def _given(shared: Path) -> Iterator[Export]:
    files = {p for pattern in PATTERNS for p in shared.glob(pattern) if p.is_file()}
    for path in sorted(files):
        name = path.relative_to(shared / "data").as_posix()
        if any(part in name for part in LEFT_OUT):
            continue
        data = path.read_bytes()
        if len(data) > LARGEST:
            lines = data.splitlines(keepends=True)
            if path.suffix not in (".jsonl", ".csv") or len(lines) < 10:
                continue
            data = _whole_lines(lines) if path.suffix == ".jsonl" else _whole_rows(data)
        yield Export(name, path.name, data)


def _whole_lines(lines: list[bytes]) -> bytes:
    kept, size = [], 0
    for line in lines:
        if (size := size + len(line)) > LARGEST:
            break
        kept.append(line)
    return b"".join(kept)


def _whole_rows(data: bytes) -> bytes:
    from tests.twins.damage import csv_rows

    found = csv_rows(data)
    assert found is not None
    header, rows, delimiter = found
    share = LARGEST / len(data)
    return csv_bytes(header, rows[: max(5, int(len(rows) * share))], delimiter)


def made() -> list[Export]:
    """Exports that need nothing beside the project."""
    return [
        Export("made/agents.otlp.json", "agents.json", dumps(otlp(agent_spans(6))).encode()),
        Export("made/rag.otlp.jsonl", "rag.jsonl", _a_trace_a_line(rag_spans(8))),
        Export("made/requests.csv", "requests.csv", request_table(60)),
    ]


def _a_trace_a_line(spans: list[Span]) -> bytes:
    traces = dict.fromkeys(s.trace for s in spans)
    return "".join(dumps(otlp([s for s in spans if s.trace == t])) + "\n" for t in traces).encode()


def _us(dice: random.Random, low: float, high: float) -> int:
    """Some seconds in nanoseconds, of whole microseconds."""
    return int(dice.uniform(low, high) * 1e6) * 1_000


def agent_spans(traces: int) -> list[Span]:
    """Agents by the GenAI conventions: a root, model calls with cache and reasoning, tools of which some fail."""
    found = []
    dice = random.Random(11)
    for i in range(traces):
        trace, at = _ID.format(0xA000 + i), _T0 + i * 600_000_000_000
        ids = iter(f"{0x1000 * (i + 1) + n:016x}" for n in range(1, 20))
        root = next(ids)
        facts = {"gen_ai.conversation.id": f"conversation-{i // 2}", "user.id": f"user-{i % 3}"}
        steps, clock = [], at + 1_000_000
        for call in range(2):
            took = _us(dice, 0.5, 3)
            usage = {
                "gen_ai.usage.input_tokens": dice.randint(400, 4_000),
                "gen_ai.usage.output_tokens": dice.randint(40, 400),
                "gen_ai.usage.cache_read.input_tokens": dice.randint(10, 300),
                "gen_ai.usage.cache_creation.input_tokens": dice.randint(10, 90),
                "gen_ai.usage.reasoning.output_tokens": dice.randint(1, 30),
            }  # fmt: skip
            said = {
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18", "gen_ai.response.time_to_first_chunk": took / 4e9,
                "gen_ai.response.finish_reasons": ["stop"], **usage,
            }  # fmt: skip
            steps.append(Span(trace, next(ids), root, "chat gpt-4o-mini", clock, clock + took, attributes=said))
            clock += took + 2_000_000
            if call == 0:
                took, failed = _us(dice, 0.05, 0.4), i % 3 == 0
                tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
                if failed:
                    tool["error.type"] = "Timeout"
                ended = (2, "timed out") if failed else (0, "")
                steps.append(
                    Span(trace, next(ids), root, "execute_tool search", clock, clock + took, *ended, attributes=tool)
                )
                clock += took + 1_000_000
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper", **facts}
        if i == traces - 1:
            agent["error.type"] = "Unavailable"
        found += [
            Span(trace, root, None, "invoke_agent helper", at, clock, 2 if i == traces - 1 else 1, attributes=agent),
            *steps,
        ]
    resource = {"service.name": "helper", "service.version": "1.4.0"}
    return [
        Span(**{**s.__dict__, "resource": resource, "scope": ("opentelemetry.instrumentation.openai", "2.1")})
        for s in found
    ]


def rag_spans(traces: int) -> list[Span]:
    """Retrieval by OpenInference, with reported cost."""
    found = []
    dice = random.Random(12)
    for i in range(traces):
        trace, at = _ID.format(0xB000 + i), _T0 + i * 60_000_000_000
        root, search, call = (f"{0x2000 * (i + 1) + n:016x}" for n in range(3))
        took, answered = _us(dice, 0.1, 0.3), _us(dice, 1, 4)
        usage = {
            "llm.model_name": "gpt-4o", "llm.provider": "openai", "llm.token_count.prompt": dice.randint(500, 2_000),
            "llm.token_count.completion": dice.randint(50, 500), "llm.token_count.prompt_details.cache_read": 100,
            "llm.cost.total": dice.randint(1_000, 9_000) / 1e6,
        }  # fmt: skip
        found += [
            Span(trace, root, None, "answer", at, at + took + answered, 1,
                 attributes={"openinference.span.kind": "CHAIN", "session.id": f"s{i % 4}", "user.id": f"u{i % 5}"}),
            Span(trace, search, root, "retrieve", at + 1_000, at + took, 1,
                 attributes={"openinference.span.kind": "RETRIEVER", "input.value": "how?"}),
            Span(trace, call, root, "ChatCompletion", at + took, at + took + answered - 5_000, 1,
                 attributes={"openinference.span.kind": "LLM", **usage}),
        ]  # fmt: skip
    return found


def request_table(rows: int) -> bytes:
    """A table with one row a request, of every common sort of column."""
    dice = random.Random(13)
    header = ["request_id", "timestamp", "user_id", "session_id", "model", "latency_ms", "ttft_ms", "input_tokens",
              "output_tokens", "cost_usd", "success", "tool_calls"]  # fmt: skip
    found = []
    for i in range(rows):
        took = dice.randint(300_000, 9_000_000) / 1_000
        found.append([
            f"req-{i:04}", iso(_T0 + i * 3_600_000_000_000, zone="", separator=" ")[:19], f"u{i % 9}", f"s{i // 3}",
            ("gpt-4o", "gpt-4o-mini")[i % 2], f"{took:.3f}", f"{took / 5:.3f}", str(dice.randint(50, 5_000)),
            str(dice.randint(5, 800)), f"{dice.randint(100, 90_000) / 1e6:.6f}", ("true", "false")[i % 4 == 0],
            str(dice.randint(0, 5)),
        ])  # fmt: skip
    return csv_bytes(header, found)
