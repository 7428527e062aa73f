"""Reading OTLP: genuine exports counted another way, every dialect, broken input, and order that must not matter."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from kpi.errors import IngestError
from kpi.ingest.limits import Limits
from kpi.ingest.otlp.decode import identifier, nanos, value_of
from kpi.ingest.readers.open import open_inputs
from kpi.receipts import Receipt
from tests.unit.span_loading import (
    T0,
    TRACE,
    attribute,
    canonical,
    load,
    logs,
    message,
    one,
    requests,
    span,
    streamed,
)

Row = dict[str, Any]
TRACES = [
    "otlp/genai_semconv_2026.traces.json",
    "otlp/genai_semconv_2026.traces.jsonl",
    "otlp/genai_semconv_2026.traces.binpb",
    "otlp/traceloop_0.40.traces.json",
    "otlp/traceloop_0.40.traces.jsonl",
    "openinference/openinference_otlp.json",
    "openinference/openinference_otlp.binpb",
    "langfuse/sdk_otlp_export.jsonl",
]
SAME = [
    (TRACES[0], TRACES[1]),
    (TRACES[0], TRACES[2]),
    (TRACES[3], TRACES[4]),
    (TRACES[5], TRACES[6]),
    ("otlp/genai_semconv_2026.logs.jsonl", "otlp/genai_semconv_2026.logs.binpb"),
]
LEAF_USAGE = {
    "in": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "out": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
}


def raw_spans(path: Path) -> list[Row]:
    """Spans walked independently of the reader: id, parent, status, and attributes as text."""
    if path.suffix == ".binpb":
        data = TracesData.FromString(path.read_bytes())
        return [
            {
                "trace": s.trace_id.hex(),
                "root": not s.parent_span_id,
                "error": s.status.code == 2 or any(e.name == "exception" for e in s.events if s.status.code != 1),
                "attributes": {a.key: a.value.string_value or str(a.value.int_value) for a in s.attributes},
            }
            for r in data.resource_spans
            for sc in r.scope_spans
            for s in sc.spans
        ]
    text = path.read_text()
    documents = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    return [
        {
            "trace": s["traceId"],
            "root": not s.get("parentSpanId"),
            "error": s.get("status", {}).get("code") == 2 or any(a["key"] == "error.type" for a in s["attributes"]),
            "attributes": {a["key"]: str(next(iter(a["value"].values()), "")) for a in s["attributes"]},
        }
        for d in documents
        for r in d["resourceSpans"]
        for sc in r["scopeSpans"]
        for s in sc["spans"]
    ]


@pytest.mark.parametrize("name", TRACES)
def test_genuine_export_has_exactly_the_counts_of_the_file(shared: Path, name: str) -> None:
    path = shared / "data/exports" / name
    raw = raw_spans(path)
    receipt = Receipt()
    found = load(path, receipt=receipt)
    assembled = requests(found)

    assert receipt.dropped == 0
    assert len(found["spans"]) == receipt.spans == len(raw)
    assert Counter(r["trace_id"] for r in found["spans"]) == Counter(s["trace"] for s in raw)
    assert sum(r["status"] == "error" for r in found["spans"]) == sum(s["error"] for s in raw)
    roots_failed = {s["trace"] for s in raw if s["root"] and s["error"]}
    assert {i for i, r in assembled.items() if r["error"]} == roots_failed
    for trace, request in assembled.items():
        for side, column in (("in", "input_tokens"), ("out", "output_tokens")):
            models = [
                s["attributes"]
                for s in raw
                if s["trace"] == trace and s["attributes"].get("openinference.span.kind") != "EMBEDDING"
            ]
            usage = [int(a[key]) for a in models for key in LEAF_USAGE[side] if key in a]
            details = [json.loads(a["langfuse.observation.usage_details"]) for a in models if _buckets(a)]
            word = "input" if side == "in" else "output"
            usage += [sum(v for k, v in d.items() if word in k) for d in details]
            assert request[column] == (sum(usage) if usage else None), (trace, column)


def _buckets(attributes: Row) -> bool:
    return "langfuse.observation.usage_details" in attributes


@pytest.mark.parametrize(("left", "right"), SAME)
def test_encodings_of_one_export_give_equal_rows(shared: Path, left: str, right: str) -> None:
    base = shared / "data/exports"
    assert canonical(load(base / left)) == canonical(load(base / right))


def test_phoenix_unions_snake_case_and_rounded_times(shared: Path) -> None:
    """The spans of the OpenInference export with all-null unions, enum names and rounded times."""
    through_phoenix = load(shared / "data/exports/phoenix/rest_spans_otlpv1.json")
    direct = {r["span_id"]: r for r in load(shared / "data/exports/openinference/openinference_otlp.json")["spans"]}
    assert len(through_phoenix["spans"]) == len(direct) == 51
    for row in through_phoenix["spans"]:
        other = direct[row["span_id"]]
        for name in ("trace_id", "parent_id", "kind", "status", "model", "input_tokens", "output_text"):
            assert row[name] == other[name], name
        assert abs(row["started_at"] - other["started_at"]) <= 1


def test_identifiers_in_hex_base64_and_no_id() -> None:
    assert identifier("7Q9vY8paPDMIQGQxvM8Kjg==", 16) == "ed0f6f63ca5a3c3308406431bccf0a8e"
    assert identifier("tr-7Q9vY8paPDMIQGQxvM8Kjg==", 16) == "ed0f6f63ca5a3c3308406431bccf0a8e"
    assert identifier("C563BA5AE349385906BC0D19A12B9D0D", 16) == TRACE
    for none in ("", "0", "0000000000000000", "undefined", None, b"", b"\0" * 8, "AAAAAAAAAAA="):
        assert identifier(none, 8) is None
    assert identifier("1748652919163558461", 8) == "1748652919163558461"


@pytest.mark.parametrize("parent", ["", None, "0000000000000000", "undefined", "AAAAAAAAAAA="])
def test_every_spelling_of_no_parent_is_a_root(parent: str | None) -> None:
    request = one({**span(1, end=500), "parentSpanId": parent}, span(2, 1, start=0, end=900))
    assert request["total_us"] == 500_000


def test_tempo_batches_base64_and_enum_names() -> None:
    raw = {
        **span(1),
        "traceId": "7Q9vY8paPDMIQGQxvM8Kjg==",
        "spanId": "AAAAAAAAAAE=",
        "kind": "SPAN_KIND_SERVER",
        "status": {"code": "STATUS_CODE_ERROR"},
    }
    (row,) = load(orjson.dumps({"batches": [{"scopeSpans": [{"spans": [raw]}]}]}))["spans"]
    assert (row["trace_id"], row["span_id"]) == ("ed0f6f63ca5a3c3308406431bccf0a8e", "0000000000000001")
    assert (row["parent_id"], row["status"]) == (None, "error")


def test_times_of_any_magnitude_are_the_same_moment() -> None:
    moment = 1_795_455_516_902_000_000
    iso = "2026-11-23T17:38:36.902"
    for value in (moment, str(moment), moment // 10**3, moment // 10**6, iso, iso + "Z", f'"{iso}Z"', moment / 1e9):
        assert abs((nanos(value) or 0) - moment) < 1_000, value
    assert [nanos(v) for v in (0, "0", "", None, True, "soon", float("nan"))] == [None] * 7


@pytest.mark.parametrize(
    ("union", "value"),
    [
        ({"intValue": "412"}, 412), ({"intValue": 412}, 412), ({"doubleValue": 1}, 1), ({"doubleValue": None}, None),
        ({"doubleValue": "NaN"}, None), ({}, None), ({"intValue": "9007199254740993"}, 9007199254740993),
        ({"string_value": None, "int_value": 3, "bool_value": None}, 3), ({"boolValue": False}, False),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {}]}}, ["a", None]), ({"arrayValue": {}}, []),
        ({"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}}, {"k": 1}),
    ],
)  # fmt: skip
def test_value_unions(union: Row, value: object) -> None:
    """The declared kind of a number is not to be trusted, an all-null union is null."""
    assert value_of(union) == value


def test_tokens_as_text_integers_and_whole_floats() -> None:
    for value in (412, "412", 412.0):
        request = one(span(1, attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": value}))
        assert request["input_tokens"] == 412


def test_json_in_a_string_is_parsed_once() -> None:
    """`"\\"de\\""` is the language de; arguments of a tool may be an object or a string."""
    first = span(1, attributes={"langfuse.trace.metadata.language": '"de"', "metadata": '{"plan": "pro", "x": {}}'})
    assert (one(first)["language"], one(first)["plan"]) == ("de", "pro")


def test_logs_complete_spans_of_another_file_in_either_order(shared: Path) -> None:
    """On spans whose text was captured in events only."""
    traces = shared / "data/exports/otlp/genai_semconv_2026.traces.json"
    logs_file = shared / "data/exports/otlp/genai_semconv_2026.logs.jsonl"
    whole = requests(load(traces))
    document = json.loads(traces.read_text())
    for scope in document["resourceSpans"][0]["scopeSpans"]:
        for item in scope["spans"]:
            item["attributes"] = [a for a in item["attributes"] if not a["key"].endswith(".messages")]
    bare = orjson.dumps(document)
    assert all(r["output_text"] is None for r in requests(load(bare)).values())
    for files in ((bare, logs_file), (logs_file, bare)):
        joined = requests(load(*files))
        for trace, request in joined.items():
            assert request["output_text"] == whole[trace]["output_text"]
            assert request["input_text"] == whole[trace]["input_text"]
            assert request["refused"] == whole[trace]["refused"] if "refused" in whole[trace] else True


def test_logs_alone_make_scores_but_no_request(shared: Path) -> None:
    """Evaluation records have no time of their own, only the observed one."""
    found = load(shared / "data/exports/otlp/genai_semconv_2026.logs.jsonl")
    assert streamed(found) == []
    assert [(s["name"], s["value"], s["source"]) for s in found["scores"]] == [
        ("Relevance", v, "judge") for v in (4.0, 3.0, 2.0, 0.0)
    ]
    assert all(s["at"] is not None and len(s["score_id"]) == 32 for s in found["scores"])


def test_old_message_events_of_logs() -> None:
    """2024 conventions: attribute `event.name`, structured body, refusal beside an empty content."""
    ids = {"traceId": TRACE, "spanId": f"{2:016x}", "observedTimeUnixNano": str(T0)}
    asked = {"kvlistValue": {"values": [attribute("content", "How?")]}}
    answer = {"kvlistValue": {"values": [attribute("role", "assistant"), attribute("refusal", "I can't help.")]}}
    choice = {"kvlistValue": {"values": [attribute("finish_reason", "stop"), {"key": "message", "value": answer}]}}
    records = [
        {**ids, "body": choice, "attributes": [attribute("event.name", "gen_ai.choice")]},
        {**ids, "body": asked, "attributes": [attribute("event.name", "gen_ai.user.message")]},
    ]
    model = span(2, 1, attributes={"gen_ai.operation.name": "chat"})
    (request,) = requests(load(logs(records), message([span(1), model]))).values()
    assert (request["input_text"], request["output_text"], request["refused"]) == ("How?", "I can't help.", True)


def framed(*payloads: bytes) -> bytes:
    return b"".join(len(p).to_bytes(4, "big") + p for p in payloads)


def test_framed_protobuf_equals_bare_and_a_cut_message_is_reported(shared: Path) -> None:
    """Length-framed traces and logs in one stream; signals are told apart by their content."""
    traces = (shared / "data/exports/otlp/genai_semconv_2026.traces.binpb").read_bytes()
    logs_ = (shared / "data/exports/otlp/genai_semconv_2026.logs.binpb").read_bytes()
    both = framed(traces, logs_)
    assert canonical(load(both)) == canonical(load(traces, logs_))
    receipt = Receipt()
    found = load(both[:-10], receipt=receipt)
    assert len(found["spans"]) == 23
    assert list(receipt.drop_reasons) == ["last message is cut off"]


def test_compressed_files_read_the_same(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/exports/otlp/genai_semconv_2026.traces.jsonl"
    packed = tmp_path / "traces.jsonl.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    (opened,) = open_inputs([packed], limits=Limits())
    assert canonical(load(opened.stream().read())) == canonical(load(source))


def test_broken_lines_and_spans_are_counted_and_the_rest_is_kept() -> None:
    good = message([span(1), {"name": "no ids"}, span(2, 1)])
    receipt = Receipt()
    found = load(good + b'{"resourceSpans": [{"sco\n' + b'{"other": 1}\n' + message([span(3, 1)]), receipt=receipt)
    assert [r["span_id"][-1] for r in found["spans"]] == ["1", "2", "3"]
    assert receipt.dropped == 3
    assert [d.row for d in receipt.drops] == [1, 2, 3]


@pytest.mark.parametrize("data", [b"{not json", b"[1, 2", b"\x0a\x03abc\xff\xff", b"{\n\n}x"])
def test_a_file_without_anything_readable_is_an_error(data: bytes) -> None:
    with pytest.raises(IngestError):
        load(data)


@pytest.mark.parametrize("depth", [100, 300, 5_000])
def test_deep_nesting_costs_one_record_at_most(depth: int) -> None:
    value = b'{"arrayValue":{"values":[' * depth + b'{"stringValue":"x"}' + b"]}}" * depth
    deep = message([span(2, 1, attributes={"a": "DEEP"})]).replace(b'{"stringValue":"DEEP"}', value)
    receipt = Receipt()
    found = load(message([span(1)]) + deep, receipt=receipt)
    assert found["spans"][0]["span_id"] == f"{1:016x}"
    assert receipt.spans + receipt.dropped == 2


def test_users_are_pseudonyms_and_text_is_redacted() -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "user.id": "bob@example.com",
        "session.id": "bob@example.com",
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"mail me at bob@example.com"}]}]',
        "app.password_hint": "bob@example.com",
    }
    receipt = Receipt()
    found = load(message([span(1, attributes=attributes, name="GET /users/bob@example.com")]), receipt=receipt)
    assert b"bob@example.com" not in orjson.dumps(found)
    (request,) = requests(found).values()
    assert len(request["user_key"]) == 32
    assert request["input_text"].startswith("mail me at ")


def genuine() -> list[bytes]:
    """A trace with everything that order could disturb: stages, a repeat, an unfinished version, logs, scores."""
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7}
    cohort = {"app.locale": "de", "user.id": "u1"}
    finished = span(4, 1, start=400, end=800, attributes={**chat, "llm.prompt_template.version": "v2"})
    record = {
        "traceId": TRACE,
        "spanId": f"{4:016x}",
        "timeUnixNano": str(T0),
        "eventName": "gen_ai.evaluation.result",
        "attributes": [attribute("gen_ai.evaluation.name", "correct"), attribute("gen_ai.evaluation.score.value", 1.0)],
    }
    return [
        message([span(1, end=900, attributes=cohort)], {"service.version": "1"}),
        message([span(2, 1, start=10, end=200, attributes={"gen_ai.operation.name": "retrieval"})], {"team": "search"}),
        message([span(3, 1, start=200, end=300, attributes={**chat, "llm.prompt_template.version": "v1"})]),
        message([finished]),
        message([span(4, 1, start=400, end=None, attributes=chat)]),
        message([finished]),
        message([span(5, 1, start=300, end=380, attributes={"gen_ai.operation.name": "execute_tool"})]),
        message([span(1, end=700, trace="ab" * 16, attributes=cohort)]),
        logs([record]),
    ]  # fmt: skip


@settings(max_examples=40)
@given(lines=st.permutations(genuine()), cut=st.integers(0, 9))
def test_order_of_lines_and_splitting_into_files_change_nothing(lines: list[bytes], cut: int) -> None:
    expected = requests(load(b"".join(genuine())))
    assert requests(load(b"".join(lines))) == expected
    parts = [b"".join(part) for part in (lines[:cut], lines[cut:]) if part]
    assert requests(load(*parts)) == expected


def test_a_repeated_span_is_counted_and_collapses_to_the_finished_version() -> None:
    receipt = Receipt()
    found = load(b"".join(genuine()), receipt=receipt)
    assert receipt.repeated == 2
    request = requests(found)[TRACE]
    assert (request["llm_calls"], request["input_tokens"], request["model_us"]) == (2, 14, 500_000)


def test_streaming_equals_trace_by_trace(shared: Path) -> None:
    base = shared / "data/exports"
    found = load(base / TRACES[0], base / "otlp/genai_semconv_2026.logs.jsonl", base / TRACES[5])
    expected = requests(found)
    rows = streamed(found)
    assert [r["trace_id"] for r in rows] == sorted(expected)
    for row in rows:
        known = {k: v for k, v in row.items() if v is not None}
        assert known == {k: v for k, v in expected[row["trace_id"]].items() if v is not None}


@pytest.mark.slow
def test_any_json_at_all_is_rows_drops_or_a_typed_error(shared: Path) -> None:
    """318 files that must, must not or may parse, alone and as the attribute value of a span beside a good one."""
    good = message([span(1)])
    template = message([span(2, 1, attributes={"a": "HERE"})])
    files = sorted((shared / "data/corpora/jsontestsuite").rglob("*.json"))
    assert len(files) > 300
    for path in files:
        data = path.read_bytes()
        with contextlib.suppress(IngestError):
            load(data)
        for place in (b'{"stringValue":"HERE"}', b'"HERE"', f'"{2:016x}"'.encode(), f'"{T0}"'.encode()):
            found = load(good + template.replace(place, data.replace(b"\n", b" ")))
            assert found["spans"][0]["span_id"] == f"{1:016x}", path.name


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_of_a_genuine_export_are_rows_drops_or_a_typed_error(shared: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([TRACES[1], TRACES[2], "otlp/genai_semconv_2026.logs.binpb"]))
    content = bytearray((shared / "data/exports" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(1, len(content) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(content[: data.draw(st.integers(1, len(content)))]) if data.draw(st.booleans()) else bytes(content)
    with contextlib.suppress(IngestError):
        assert all(one["trace_id"] == trace for trace, one in requests(load(whole)).items())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'"half \\ud800"', "half \ufffd"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"NaN is \\\\ud800 text"', "NaN is \\ud800 text"),
    ],
)
def test_text_that_is_no_unicode_costs_no_span(written: bytes, read: str) -> None:
    line = message([span(1, attributes={"input.value": "HERE"})]).replace(b'"HERE"', written)
    (row,) = load(line.replace(b'"status":', b'"unknown":NaN,"status":'))["spans"]
    assert row["input_text"] == read


def test_not_a_number_is_null() -> None:
    chat = {"gen_ai.operation.name": "chat", "gen_ai.usage.cost": 0.5, "gen_ai.usage.input_tokens": 3}
    line = message([span(1, attributes=chat)]).replace(b"0.5", b"NaN")
    (request,) = requests(load(line)).values()
    assert (request["inference_nusd"], request["input_tokens"], request["priced"]) == (None, 3, False)
