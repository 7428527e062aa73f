"""Costs of requests: reported against computed, what is missing, unit costs, tables, and pricing a data set again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kpi
from kpi import schema
from kpi.assembly.requests import assemble
from kpi.cli import main
from kpi.pricing.price_file import table_of
from kpi.store import lake

pytestmark = pytest.mark.slow

Row = dict[str, Any]
UNITS = """
[[price]]
model = "in-house-7b"
input = 1
output = 2
[units]
retrieval_usd = 0.0004
orchestration_usd = 0.00005
review_minute_usd = 0.6
[units.tool_call]
search = 0.01
"""
OWN = table_of(UNITS)
FACTS = table_of(None)
EMPTY = dict.fromkeys(c.name for c in schema.SPANS.columns)


def span(number: int, kind: str, parent: int | None = 1, **more: Any) -> Row:
    base = {"trace_id": "t", "span_id": str(number), "parent_id": None if number == 1 else str(parent), "kind": kind}
    timed = {"name": kind, "started_at": 1_750_000_000_000_000 + number, "duration_us": 90_000_000, "status": "ok"}
    return {**EMPTY, **base, **timed, **more}


def call(number: int, model: str = "gpt-4o-mini", parent: int = 1, **more: Any) -> Row:
    usage = {"input_tokens": 412, "output_tokens": 31, "cached_read_tokens": 256}
    return span(number, "llm", parent, model=model, provider="openai", **{**usage, **more})


def costs(*spans: Row, prices=FACTS, **more: Any) -> Row:
    found = assemble([span(1, "agent"), *spans], prices=prices, **more)
    names = (*(f"{p}_nusd" for p in ("inference", "retrieval", "orchestration", "tool", "review", "total")), "priced",
             "computed_nusd", "cost_source", "unpriced_model")  # fmt: skip
    return {name: found[name] for name in names if found.get(name) is not None}


def test_a_reported_cost_wins_and_the_computed_one_is_kept() -> None:
    found = costs(call(2, cost_nusd=70_000))
    assert found == {"inference_nusd": 70_000, "total_nusd": 70_000, "priced": True, "computed_nusd": 61_200,
                     "cost_source": "reported"}  # fmt: skip


def test_without_a_reported_cost_the_table_counts_and_both_may_mix() -> None:
    assert costs(call(2)) == {"inference_nusd": 61_200, "total_nusd": 61_200, "priced": True, "computed_nusd": 61_200,
                              "cost_source": "computed"}  # fmt: skip
    both = costs(call(2), call(3, cost_nusd=70_000))
    assert (both["inference_nusd"], both["computed_nusd"], both["cost_source"]) == (131_200, 122_400, "mixed")


def test_one_call_without_a_price_leaves_the_request_unpriced_and_is_named() -> None:
    found = costs(call(2), call(3, "in-house-7b"), call(4, "another"))
    assert found == {"priced": False, "unpriced_model": "another, in-house-7b"}
    assert costs(call(2, "in-house-7b"), prices=OWN)["inference_nusd"] == 412 * 1_000 + 31 * 2_000


def test_counts_that_are_missing_are_no_fault_of_the_model() -> None:
    assert costs(call(2, output_tokens=None)) == {"priced": False}


@pytest.mark.parametrize("reported", [None, 500])
def test_wrappers_are_billed_once_reported_or_not(reported: int | None) -> None:
    """An agent and a wrapping model span that repeat the usage of the call below them."""
    outer = call(2, cost_nusd=reported)
    found = assemble([{**span(1, "agent"), "input_tokens": 412, "model": "gpt-4o-mini"}, outer, call(3, parent=2)],
                     prices=FACTS)  # fmt: skip
    assert found["inference_nusd"] == (reported or 61_200)
    assert found["computed_nusd"] == 61_200


def test_a_reported_aggregate_covers_all_below_it() -> None:
    found = assemble([{**span(1, "agent"), "cost_nusd": 900}, call(2), call(3, "in-house-7b")], prices=FACTS)
    assert (found["inference_nusd"], found["cost_source"], found["priced"]) == (900, "reported", True)
    assert found.get("computed_nusd") is None


def test_embeddings_are_inference_rerankers_retrieval_and_judges_review() -> None:
    embed = span(2, "embedding", model="text-embedding-3-small", provider="openai", input_tokens=1_000)
    rerank = span(3, "reranker", model="rerank-v3.5", provider="cohere")
    judge = span(4, "evaluator")
    found = costs(embed, rerank, judge, call(5, parent=4), call(6))
    parts = {name: found[f"{name}_nusd"] for name in ("inference", "retrieval", "review", "computed")}
    assert parts == {"inference": 81_200, "retrieval": 2_000_000, "review": 61_200, "computed": 81_200}
    assert found["total_nusd"] == 81_200 + 2_000_000 + 61_200


def test_unit_costs_count_where_no_span_of_that_kind_reports() -> None:
    spans = [call(2, cost_nusd=100), span(3, "retriever"), span(4, "retriever"), span(5, "tool", name="lookup"),
             span(6, "tool", name="execute_tool search"), span(7, "evaluator", name="human review")]  # fmt: skip
    found = costs(*spans, prices=OWN, tool_calls=[{"span_id": "5", "name": "search"}])
    parts = [found[f"{part}_nusd"] for part in ("inference", "retrieval", "orchestration", "tool", "review")]
    assert parts == [100, 800_000, 50_000, 20_000_000, 900_000_000]
    assert (found["total_nusd"], found["cost_source"]) == (sum(parts), "mixed")
    told = costs(call(2), {**span(3, "retriever"), "cost_nusd": 7}, span(4, "retriever"), prices=OWN)
    assert told["retrieval_nusd"] == 7
    assert "retrieval_nusd" not in costs(call(2), span(3, "retriever"))  # no unit cost ships: unknown, not 0


def load_rows(tmp_path: Path, rows: list[Row], name: str = "rows") -> kpi.Receipt:
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    return kpi.load(path, dataset=name)


def stored(name: str = "rows") -> list[Row]:
    return kpi.open(name).run(kpi.open(name).table("requests").select()).sort_by("trace_id").to_pylist()


def test_tables_are_priced_again_when_prices_change_and_only_then(home: Path, tmp_path: Path) -> None:
    def usage(i: int, model: str, **more: Any) -> Row:
        return {"id": f"r{i}", "timestamp": f"2026-11-01T10:00:0{i}Z", "model": model, "provider": "openai",
                "prompt_tokens": 412, "completion_tokens": 31, "cached_tokens": 256, **more}  # fmt: skip

    rows = [usage(1, "gpt-4o-mini"), usage(2, "in-house-7b"), usage(3, "gpt-4o-mini", cost_usd=0.5)]
    receipt = load_rows(tmp_path, rows)
    assert (receipt.unpriced, receipt.unpriced_models) == (1, {"in-house-7b": 1})
    assert receipt.prices == FACTS.label
    first = stored()
    assert [r["total_nusd"] for r in first] == [61_200, None, 500_000_000]
    assert [r["computed_nusd"] for r in first] == [61_200, None, 61_200]
    assert [r["cost_source"] for r in first] == ["computed", None, "reported"]
    assert lake.reprice("rows").version == 1  # nothing changed
    (home / "prices.toml").write_text(UNITS, encoding="utf-8")
    again = kpi.reprice("rows")
    assert (again.version, again.loaded, again.unpriced, again.prices) == (2, 2, 0, OWN.label)
    second = stored()
    assert [r["total_nusd"] for r in second] == [61_200 + 50_000, 474_000 + 50_000, 500_000_000]
    assert [r["unpriced_model"] for r in second] == [None] * 3
    others = set(first[0]) - {"total_nusd", "inference_nusd", "orchestration_nusd", "priced", "computed_nusd",
                              "cost_source", "unpriced_model"}  # fmt: skip
    assert [{k: r[k] for k in others} for r in first] == [{k: r[k] for k in others} for r in second]
    (home / "prices.toml").unlink()
    assert kpi.reprice("rows").version == 3
    assert stored() == first


def test_a_bad_price_file_stops_a_load_before_anything_is_read(home: Path, tmp_path: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "prices.toml").write_text("[[price]]\nmodel = 3", encoding="utf-8")
    with pytest.raises(kpi.errors.PriceError, match="'model' is missing"):
        load_rows(tmp_path, [{"id": "r", "prompt_tokens": 1}])
    assert kpi.datasets() == []


def test_the_table_equals_what_a_gateway_computed_from_the_same_facts(shared: Path, home: Path) -> None:
    kpi.load(shared / "data" / "exports" / "litellm" / "standard_logging_payload.json", dataset="gateway")
    told = [(r["inference_nusd"], r["computed_nusd"]) for r in stored("gateway") if r["cost_source"] == "reported"]
    assert told
    assert all(computed is not None for _, computed in told)
    assert [reported for reported, _ in told] == [computed for _, computed in told]


def test_models_of_a_data_set_with_the_price_that_counts(home: Path, tmp_path: Path, capsys) -> None:
    usage = {"prompt_tokens": 412, "completion_tokens": 31, "provider": "openai"}
    load_rows(tmp_path, [{"id": "a", "model": "gpt-4o-mini", **usage}, {"id": "b", "model": "in-house-7b", **usage}])
    found = kpi.model_prices(kpi.open("rows")).set_index("model")
    assert found.loc["gpt-4o-mini", ["requests", "unpriced", "input_usd", "cached_usd", "output_usd"]].tolist() == [
        1, 0, 0.15, 0.075, 0.6
    ]  # fmt: skip
    assert (found.loc["in-house-7b", "unpriced"], found.loc["in-house-7b", "source"]) == (1, "")
    assert main(["prices", "rows"]) == 0
    assert "in-house-7b  openai" in capsys.readouterr().out
    assert main(["prices", "--init"]) == 0
    assert main(["prices", "--init"]) == 3
    assert main(["reprice", "rows", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert printed["unpriced_models"] == {"in-house-7b": 1}
    assert (printed["changed"], printed["version"]) == (0, 1)


def test_the_page_says_what_was_computed_and_names_what_has_no_price(home: Path, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 412, "completion_tokens": 31, "provider": "openai"}
    load_rows(tmp_path, [{"id": "a", "model": "gpt-4o-mini", **usage}, {"id": "b", "model": "in-house-7b", **usage}])
    source, view = kpi.open("rows"), kpi.Slice(dataset="rows", last="all")
    numbers = kpi.summarise(source, ["priced_share", "computed_share", "computed_deviation"], view)
    told = kpi.price_sentences(numbers, kpi.price_state())
    assert told[0].startswith("50.0 % of the requests that used tokens")
    assert "100 % computed" in told[1]
    assert FACTS.version in told[2]
    assert told[3].startswith("No unit costs are set")
    split = kpi.summarise(source, ["requests"], view, by=["unpriced_model"])
    assert kpi.unpriced_models(split).to_dict("records") == [{"model": "in-house-7b", "requests": 1}]
