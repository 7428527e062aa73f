"""tau-bench and tau2-bench: counts against the raw file, trials as the benchmark counts them, nothing invented."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ingest.formats.helpers import read_all, requests_of

AIRLINE = "data/datasets/tau_bench/gpt-4o-airline.json"


@pytest.fixture(scope="module")
def raw(shared) -> list[dict[str, Any]]:
    return json.loads((shared / AIRLINE).read_text())


@pytest.fixture(scope="module")
def loaded(shared):
    tables, receipt = read_all([shared / AIRLINE])
    return tables, receipt, requests_of(tables)


def test_counts_are_those_of_the_raw_messages(raw, loaded) -> None:
    tables, receipt, requests = loaded
    messages = [m for r in raw for m in r["traj"]]
    calls = sum(len(m.get("tool_calls") or []) for m in messages)
    failed = sum(m["role"] == "tool" and m["content"].startswith("Error") for m in messages)
    assert len(requests) == len(raw) == 200
    assert len(tables["tool_calls"]) == sum(r["tool_calls"] for r in requests.values()) == calls == 1164
    assert sum(r["tool_errors"] for r in requests.values()) == failed == 73
    assert sum(r["llm_calls"] for r in requests.values()) == sum(m["role"] == "assistant" for m in messages) == 2454
    assert sum(r["turns"] for r in requests.values()) == sum(m["role"] == "user" for m in messages) == 1490
    assert len(tables["scores"]) == 200
    assert receipt.dropped == 0
    assert sum(r["escalated"] for r in requests.values()) == sum(
        any(c["function"]["name"] == "transfer_to_human_agents" for m in r["traj"] for c in m.get("tool_calls") or [])
        for r in raw
    )


def test_rewards_are_successes_by_task_and_trial(raw, loaded) -> None:
    requests = loaded[2].values()
    stated = {(str(r["task_id"]), str(r["trial"])): r["reward"] == 1 for r in raw}
    assert {(r["x_task"], r["x_trial"]): r["success"] for r in requests} == stated
    assert {r["outcome_source"] for r in requests} == {"code"}
    assert {r["x_run"] for r in requests} == {"gpt-4o-airline"}
    assert len({r["user_key"] for r in requests}) == len({r["info"]["task"]["user_id"] for r in raw})


def test_the_simulated_user_is_no_cost_of_the_agent(raw, loaded) -> None:
    _, receipt, requests = loaded
    told = sum(round(r["info"]["user_cost"] * 1e9) for r in raw if r["info"].get("user_cost") is not None)
    assert sum(r["review_nusd"] or 0 for r in requests.values()) == told
    assert {r["inference_nusd"] for r in requests.values()} == {None}
    assert {r["total_nusd"] for r in requests.values()} == {None}  # the agent's part of it is not in the export
    assert any("simulated user" in n for n in receipt.notes)
    assert any("no cost of the agent" in n for n in receipt.notes)


def test_no_time_and_no_model_is_invented(loaded) -> None:
    tables, receipt, requests = loaded
    for column in ("started_at", "total_us", "model_us", "model", "input_tokens", "ttft_us"):
        assert {r[column] for r in requests.values()} == {None}
    assert {s["started_at"] for s in tables["spans"]} == {None}
    assert {r["error"] for r in requests.values()} == {False}
    assert any("does not name the agent's model" in n for n in receipt.notes)


def test_call_ids_that_repeat_are_calls_of_their_own(raw, loaded) -> None:
    """In 49 trajectories a model that repeats itself repeats the ids of its calls: by id, calls would vanish."""
    by_id = {(i, c["id"]) for i, r in enumerate(raw) for m in r["traj"] for c in m.get("tool_calls") or []}
    assert len(by_id) < 1164
    assert len({(c["trace_id"], c["span_id"]) for c in loaded[0]["tool_calls"]}) == 1164


def test_twice_renamed_or_shuffled_is_the_same(shared, tmp_path: Path, raw, loaded) -> None:
    mixed = copy.copy(raw)
    random.Random(3).shuffle(mixed)
    for i in range(2):
        (tmp_path / f"part{i}.json").write_text(json.dumps(mixed[i::2]))
    (tmp_path / "again.json").write_text(json.dumps(raw[:30]))
    found = requests_of(read_all([tmp_path])[0])
    own = {"x_run"}
    strip = lambda rows: {t: {k: v for k, v in r.items() if k not in own} for t, r in rows.items()}  # noqa: E731
    assert strip(found) == strip(loaded[2])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_file_loads_its_whole_trajectories(shared, tmp_path: Path, loaded, share: float) -> None:
    text = (shared / AIRLINE).read_bytes()
    (tmp_path / "cut.json").write_bytes(text[: int(len(text) * share)])
    tables, receipt = read_all([tmp_path / "cut.json"])
    found = requests_of(tables)
    assert 0 < len(found) < 200
    assert found.keys() <= loaded[2].keys()
    assert any("cut off" in n for n in receipt.notes)


# --- tau2-bench, by its published schema -----------------------------------------------------------------------------

CALL = {"id": "c1", "name": "get_line", "arguments": {"id": "L1"}, "requestor": "assistant"}
SIMULATION = {
    "id": "sim-1", "task_id": "t1", "trial": 0, "timestamp": "2026-03-01T10:00:00", "seed": 7,
    "start_time": "2026-03-01T10:00:00", "end_time": "2026-03-01T10:01:00", "duration": 60.0,
    "termination_reason": "user_stop", "agent_cost": 0.003, "user_cost": 0.001,
    "reward_info": {"reward": 1.0, "db_check": {"db_match": True, "db_reward": 1.0}},
    "messages": [
        {"role": "assistant", "content": "Hi! How can I help you today?", "turn_idx": 0, "cost": 0.0, "usage": None,
         "timestamp": "2026-03-01T10:00:00"},
        {"role": "user", "content": "My data is slow.", "turn_idx": 1, "timestamp": "2026-03-01T10:00:01"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "turn_idx": 2, "cost": 0.002,
         "usage": {"prompt_tokens": 900, "completion_tokens": 20}, "generation_time_seconds": 1.5,
         "timestamp": "2026-03-01T10:00:05"},
        {"role": "tool", "id": "c1", "content": "Error: no such line", "error": True, "requestor": "assistant",
         "turn_idx": 3, "timestamp": "2026-03-01T10:00:06"},
        {"role": "assistant", "content": "Please toggle data.", "turn_idx": 4, "cost": 0.001,
         "usage": {"prompt_tokens": 950, "completion_tokens": 10}, "timestamp": "2026-03-01T10:00:10"},
        {"role": "user", "content": None, "tool_calls": [{**CALL, "id": "u1", "name": "toggle", "requestor": "user"}],
         "turn_idx": 5, "timestamp": "2026-03-01T10:00:20"},
        {"role": "tool", "id": "u1", "content": "on", "error": False, "requestor": "user", "turn_idx": 6,
         "timestamp": "2026-03-01T10:00:21"},
        {"role": "user", "content": "It works. ###STOP###", "turn_idx": 7, "timestamp": "2026-03-01T10:00:30"},
    ],
}  # fmt: skip
RESULTS = {
    "timestamp": "2026-03-01T09:59:00",
    "info": {"git_commit": "abc123", "num_trials": 2,
             "agent_info": {"implementation": "llm_agent", "llm": "openai/m-1"},
             "user_info": {"implementation": "user_simulator", "llm": "m-2"},
             "environment_info": {"domain_name": "telecom"}},
    "tasks": [{"id": "t1"}],
    "simulations": [SIMULATION, {**SIMULATION, "id": "sim-2", "trial": 1, "reward_info": {"reward": 0.5}},
                    {**SIMULATION, "id": "sim-3", "trial": 2, "reward_info": None,
                     "termination_reason": "infrastructure_error"}],
}  # fmt: skip


def test_tau2_results(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    tables, receipt = read_all([tmp_path / "results.json"])
    found = requests_of(tables)
    one, two, three = (found[f"sim-{i}"] for i in (1, 2, 3))
    assert (one["llm_calls"], one["tool_calls"], one["tool_errors"], one["turns"]) == (2, 1, 1, 2)  # not the greeting
    assert (one["input_tokens"], one["output_tokens"]) == (1850, 30)
    assert (one["inference_nusd"], one["review_nusd"], one["total_nusd"]) == (3_000_000, 1_000_000, 4_000_000)
    assert (one["total_us"], one["model_us"]) == (60_000_000, 1_500_000)
    assert (one["model"], one["provider"], one["release"]) == ("m-1", "openai", "abc123")
    assert (one["x_domain"], one["x_task"], one["x_trial"]) == ("telecom", "t1", "0")
    assert (one["success"], one["input_text"]) == (True, "My data is slow.")
    assert two["success"] is False  # half of a reward is no success
    assert (three["success"], three["error"], three["error_type"]) == (None, True, "infrastructure_error")
    assert Counter(c["name"] for c in tables["tool_calls"]) == {"get_line": 3}
    assert receipt.dropped == 0


def test_tau2_in_a_folder_is_the_same_and_misses_what_is_missing(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts" / "simulations"
    whole.mkdir()
    parts.mkdir(parents=True)
    (whole / "results.json").write_text(json.dumps(RESULTS))
    index = [{"id": s["id"], "task_id": "t1", "trial": s["trial"]} for s in RESULTS["simulations"]]
    head = {k: v for k, v in RESULTS.items() if k != "simulations"} | {"simulation_index": index}
    (parts.parent / "results.json").write_text(json.dumps(head, indent=2))
    for simulation in RESULTS["simulations"]:
        (parts / f"{simulation['id']}.json").write_text(json.dumps(simulation, indent=2))
    expected = requests_of(read_all([whole])[0])
    files = sorted((tmp_path / "parts").rglob("*.json"))
    for order in (files, files[::-1]):
        assert requests_of(read_all(order)[0]) == expected
    (parts / "sim-2.json").unlink()
    assert any("1 simulations that the results list" in n for n in read_all([tmp_path / "parts"])[1].notes)


def test_a_malformed_simulation_loses_itself_only(tmp_path: Path) -> None:
    broken = {**SIMULATION, "id": "sim-0", "messages": [{"role": "assistant", "usage": {"a": 1}, "timestamp": [],
              "generation_time_seconds": 1e999, "tool_calls": [{"id": []}]}, {"role": "tool", "id": {}}]}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps({**RESULTS, "simulations": [broken, SIMULATION]}))
    assert requests_of(read_all([tmp_path / "results.json"])[0])["sim-1"]["llm_calls"] == 2


def test_cohorts_of_the_format_s_own_are_kept_and_masked(tmp_path: Path) -> None:
    named = {**SIMULATION, "task_id": "ask ann@example.org", "messages": []}
    (tmp_path / "one.json").write_text(json.dumps(named))
    (row,) = requests_of(read_all([tmp_path / "one.json"])[0]).values()
    assert row["x_task"] == "ask [EMAIL]"
    assert row["x_trial"] == "0"  # neither is on the allow-list, which no export can get around by such names
    assert row["llm_calls"] is None


def test_a_run_that_raised_is_an_error() -> None:
    from kpi.ingest.formats import tau

    class Say:
        kept: dict = {}  # noqa: RUF012
        file = "x.json"
        note = drop = left_out = staticmethod(lambda *a, **k: None)

    record = {"task_id": 1, "reward": 0.0, "info": {"error": "boom"}, "traj": [], "trial": 0}
    spans = [i for i in tau.translate(record, Say()) if hasattr(i, "parent_id")]
    assert [s.status for s in spans] == [2]
