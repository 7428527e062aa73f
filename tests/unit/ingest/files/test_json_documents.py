"""One policy for JSON that breaks the rules, and one bad object never costs its neighbours."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given, strategies as st

import kpi
from kpi.ingest.files.json_decoding import DEPTH, MARK, decode, is_cut, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def nested(levels: int) -> str:
    return '{"a":' * levels + '"x"' + "}" * levels


def depth_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(JSON, st.integers(1, 6))
def test_what_is_deeper_is_cut_and_nothing_else(value: object, depth: int) -> None:
    told = decode(orjson.dumps(value), depth=depth)
    assert told.cut == (depth_of(value) > depth) == is_cut(told.value)
    if told.cut:
        assert depth_of(told.value) == depth
    else:
        assert told.value == value


def test_the_rules_that_are_repaired() -> None:
    assert loads(b'{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}') == {"a": None, "b": [None, None], "c": "NaN"}
    assert loads(b'"\xff \\ud83d\\ude00 \\ud83d"') == "\ufffd \U0001f600 \ufffd"
    assert decode(b"[NaN]").nans == 1
    assert decode(b"[1]") == ([1], False, 0, False)
    with pytest.raises(ValueError, match="unexpected"):
        loads(b"[1")


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = orjson.dumps({"a": "[{" * 500, "b": '\\"[[' * 90})
    assert decode(text, depth=1) == (orjson.loads(text), False, 0, False)


@pytest.mark.parametrize("levels", [DEPTH, 260, 5_000])
@pytest.mark.parametrize("shape", ["jsonl", "document"])
def test_a_row_that_is_too_deep_is_left_out_alone(home: Path, tmp_path: Path, levels: int, shape: str) -> None:
    rows = [f'{{"id": "r{i}", "success": true, "latency_ms": {i + 1}}}' for i in range(100)]
    rows[40] = f'{{"id": "deep", "success": true, "latency_ms": 5, "extra": {nested(levels)}}}'
    path = tmp_path / f"rows.{shape}"
    path.write_text("\n".join(rows) if shape == "jsonl" else f"[{','.join(rows)}]")
    told = kpi.load(path, dataset="deep")
    assert (told.requests, told.dropped) == (99, 1)
    assert [(d.row, d.reason) for d in told.drops] == [(41, f"the record is nested deeper than {DEPTH} levels")]


def test_a_span_that_is_too_deep_keeps_the_rest_and_says_so(home: Path, tmp_path: Path) -> None:
    value = '{"kvlistValue":{"values":[{"key":"k","value":' * 60 + '{"stringValue":"x"}' + "}]}}" * 60
    span = (
        '{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"chat",'
        '"startTimeUnixNano":"1767225600000000000","endTimeUnixNano":"1767225601000000000",'
        f'"attributes":[{{"key":"gen_ai.usage.input_tokens","value":{{"intValue":"7"}}}},{{"key":"deep","value":{value}}}]}}'
    )
    path = tmp_path / "traces.json"
    path.write_text(f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}')
    told = kpi.load(path, dataset="deep")
    assert told.requests == 1
    assert any("nested deeper than 100 levels" in note for note in told.notes)
    source = kpi.open("deep")
    found = source.run(source.table("requests").select()).to_pylist()[0]
    assert found["input_tokens"] == 7
    assert MARK not in repr(found)
