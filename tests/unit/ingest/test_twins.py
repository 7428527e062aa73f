"""Poisoned twins in their short form: every form and every export once or more; `python -m tests.twins` tries all.

What the forms rest on: the console exporter of OpenTelemetry's Python SDK, `otel_traces` of ClickHouse's exporter,
query answers of Jaeger and Zipkin, dependencies of Application Insights, and what pandas and notebooks write of spans.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.twins import damage, exports, forms, judge, layouts, run, tables
from tests.twins.forms import Form
from tests.twins.judge import CRASHED, EQUAL, REFUSED, SAID, SILENT, Verdict
from tests.twins.spans import Span, otlp

pytestmark = pytest.mark.slow

A_GIVEN_ONE = 5  # forms of each export that lies beside the project; those made here have all
MADE = {e.name: e for e in exports.made()}


def chosen() -> Iterator[tuple[exports.Export, list[Form]]]:
    """Forms by turns, so that the exports together have all of them."""
    turn = 0
    for export in exports.exports():
        every = list(run.forms(export))
        if export.name in MADE:
            yield export, every
            continue
        yield export, [every[(turn + 17 * i) % len(every)] for i in range(min(A_GIVEN_ONE, len(every)))]
        turn += A_GIVEN_ONE


def test_no_twin_differs_without_a_word(record_property: Callable[[str, object], None]) -> None:
    verdicts = [v for export, some in chosen() for v in run.judged(export, some)]
    record_property("counts", run.counts(verdicts))
    tried = {v.form for v in verdicts}
    assert tried >= {*damage.BYTES, *damage.FILES, *forms.LAYOUTS, *forms.WIRES, *tables.SHEETS, *tables.CONTAINERS} - {
        "list or lines", "split in two", *(f"{a} as {b}" for a in ("_s",) for b, _ in tables.UNITS[a])
    }  # fmt: skip
    bad = [v for v in verdicts if v.verdict in (SILENT, CRASHED)]
    assert not bad, run.report(bad)


@pytest.mark.parametrize("name", [n for n in MADE if "otlp" in n])
def test_rows_of_spans_are_spans_however_they_are_written(name: str) -> None:
    """Every layout and wire shape of whole spans is read, and gives what OTLP gives: none is refused."""
    export = MADE[name]
    wanted = {*forms.LAYOUTS, *forms.WIRES}
    verdicts = list(run.judged(export, [f for f in run.forms(export) if f.name in wanted]))
    assert {v.form for v in verdicts} == wanted
    bad = [str(v) for v in verdicts if v.verdict != EQUAL]
    assert not bad, "\n".join(bad)


# --- any spans in any layout -----------------------------------------------------------------------------------------

_SECOND = 1_000_000_000
UNNAMED = {"Duration", *(n for n in layouts.LENGTHS if n.startswith("bare"))}  # a unit that few spans may not tell
_MODELS = st.sampled_from(
    [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"), ("gcp.gemini", "gemini-2.5-pro")]
)


@st.composite
def trees(draw: st.DrawFn) -> list[Span]:
    """Spans of one to three requests: a root, and model calls and tools somewhere below it."""
    found: list[Span] = []
    for number in range(draw(st.integers(1, 3))):
        trace, at = f"{0xC0DE0000 + number:032x}", 1_790_000_000 * _SECOND + number * 3_600 * _SECOND
        root = Span(trace, f"{number + 1:08x}{0:08x}", None, "invoke_agent", at, at + 60 * _SECOND, 1, attributes={
            "gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": f"c{number % 2}",
            "user.id": f"u{number}",
        })  # fmt: skip
        held = [root]
        for i in range(1, draw(st.integers(2, 6))):
            above = draw(st.sampled_from([s for s in held if s.attributes["gen_ai.operation.name"] != "chat"]))
            start = above.start + draw(st.integers(1, 9_000)) * 1_000
            end = min(above.end, start + draw(st.integers(1_000, 9_000_000)) * 1_000)
            held.append(
                Span(trace, f"{number + 1:08x}{i:08x}", above.span, *draw(steps(start, max(start + 1_000, end))))
            )
        found += held
    return found


@st.composite
def steps(draw: st.DrawFn, start: int, end: int) -> tuple:
    """A model call or a tool: name, start, end, status, message, attributes."""
    if draw(st.booleans()):
        failed = draw(st.booleans())
        said = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"} | (
            {"error.type": "E"} if failed else {}
        )
        return "execute_tool search", start, end, 2 if failed else 0, "", said
    provider, model = draw(_MODELS)
    usage = {
        "gen_ai.usage.input_tokens": draw(st.integers(1_000, 90_000)),
        "gen_ai.usage.output_tokens": draw(st.integers(100, 5_000)),
        "gen_ai.usage.cache_read.input_tokens": draw(st.integers(0, 900)),
        "gen_ai.usage.reasoning.output_tokens": draw(st.integers(0, 90)),
    }
    kept = draw(st.sets(st.sampled_from(sorted(usage)))) | {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}
    said = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": model,
            **{k: v for k, v in usage.items() if k in kept}}  # fmt: skip
    if draw(st.booleans()):
        said["gen_ai.response.time_to_first_chunk"] = (end - start) / draw(st.integers(2, 9)) / _SECOND
    return f"chat {model}", start, end, draw(st.sampled_from([0, 1, 2])), "", said


@st.composite
def any_layout(draw: st.DrawFn) -> layouts.Layout:
    """Any spelling of each part that tells when a span ended."""
    moments = draw(st.sampled_from(sorted(layouts.MOMENTS)))
    lengths = sorted(n for n in layouts.LENGTHS if n or layouts.MOMENTS[moments][1])
    envelope = draw(st.sampled_from([*sorted(layouts.ENVELOPES), *layouts.TABLES]))
    return layouts.Layout(
        envelope, draw(st.sampled_from(sorted(layouts.KEYS))), moments, draw(st.sampled_from(lengths)),
        "map" if envelope.startswith("parquet") else draw(st.sampled_from(sorted(layouts.ATTRIBUTES))),
        draw(st.sampled_from(sorted(layouts.STATUSES))),
        flat="attributes." if envelope == "parquet flat" else draw(st.sampled_from([None, None, "attributes.", ""])),
    )  # fmt: skip


@settings(max_examples=60)
@given(spans=trees(), layout=any_layout(), turn=st.randoms())
def test_any_spans_in_any_layout_give_the_same(spans: list[Span], layout: layouts.Layout, turn) -> None:
    clean = judge.load({"clean.json": layouts.dumps(otlp(spans)).encode()})
    assert (clean.requests, clean.spans) == (len({s.trace for s in spans}), len(spans))
    shuffled = turn.sample(spans, len(spans))
    twin = judge.load({f"twin.{layout.suffix}": layout.render(shuffled)})
    found = judge.judge("drawn", repr(layout), clean, twin)
    asks = layout.length in UNNAMED and not layouts.MOMENTS[layout.moments][1]
    assert found.verdict in ((EQUAL, SAID) if asks else (EQUAL,)), f"{found}"


# --- the harness itself ----------------------------------------------------------------------------------------------


def outcome(**changed: object) -> judge.Outcome:
    rows = tuple(dict.fromkeys(judge.METRICS) | {"input_tokens": n, "total_us": 1_000 * n} for n in (10, 20, 30))
    return dataclasses.replace(judge.Outcome(requests=3, spans=9, rows=rows), **changed)


def verdict(twin: judge.Outcome, expected: judge.Expected = judge.AS_IT_IS) -> Verdict:
    return judge.judge("export", "form", outcome(), twin, expected)


def rows_with(**columns: list) -> tuple[dict, ...]:
    return tuple(row | {n: v[i] for n, v in columns.items()} for i, row in enumerate(outcome().rows))


def test_the_judge_tells_each_verdict() -> None:
    """What it must find, done on purpose: a judge that finds nothing proves nothing."""
    assert verdict(outcome()).verdict == EQUAL
    assert verdict(outcome(rows=outcome().rows[::-1])).verdict == EQUAL
    assert verdict(outcome(error="ingest.not_json")).verdict == REFUSED
    assert verdict(outcome(error="KeyError: x", typed=False)).verdict == CRASHED
    lost = rows_with(input_tokens=[None, None, None])
    assert verdict(outcome(rows=lost)).silent == ["input_tokens"]
    assert verdict(outcome(rows=lost, names=frozenset({"acme.tokens_in"}))).verdict == SAID
    assert verdict(outcome(rows=lost, names=frozenset({"acme.colour"}))).verdict == SILENT
    assert verdict(outcome(rows=lost), judge.Expected(gone=frozenset({"input_tokens"}))).verdict == EQUAL
    assert (
        verdict(
            outcome(rows=rows_with(input_tokens=[0, 0, 0])), judge.Expected(gone=frozenset({"input_tokens"}))
        ).verdict
        == SILENT
    )


def test_what_is_left_out_explains_less_and_never_more() -> None:
    fewer = dataclasses.replace(outcome(), requests=2, spans=6, rows=outcome().rows[:2], dropped=1)
    assert verdict(fewer).verdict == SAID
    assert verdict(dataclasses.replace(fewer, dropped=0)).verdict == SILENT
    longer = dataclasses.replace(fewer, rows=tuple(r | {"total_us": 10**12} for r in fewer.rows))
    assert verdict(longer).silent == ["total_us"]
    wrong = rows_with(input_tokens=[1, 2, 3])
    assert verdict(outcome(rows=wrong, names=frozenset({"acme.tokens_in"}))).silent == ["input_tokens"]
    assert verdict(outcome(rows=wrong, notes=frozenset({"Tokens were read as counts of characters."}))).verdict == SAID
    gone = outcome(
        rows=rows_with(input_tokens=[None, 20, 30]), notes=frozenset({"# numbers that are none (NaN, Infinity)"})
    )
    assert verdict(gone).verdict == SAID


def test_a_form_changes_nothing_that_it_does_not_name() -> None:
    """Spans read back from OTLP that was rendered anew are the spans they were."""
    for export in MADE.values():
        if spans := export.spans:
            assert exports.Export("", "", layouts.dumps(otlp(spans)).encode()).spans == spans
