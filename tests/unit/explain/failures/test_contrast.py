"""What sets failed requests apart is found, with examples of both sides, in at most three statements."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kpi
from kpi.errors import MetricError
from kpi.store.engines import DuckSource

pytestmark = pytest.mark.slow


def rows(n: int = 6000, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Requests that fail more with the tool `slow_search` and with the word refund, less with nothing else."""
    rng = np.random.default_rng(seed)
    tool = rng.random(n) < 0.3
    refund = rng.random(n) < 0.15
    failed = rng.random(n) < 0.1 + 0.3 * tool + 0.2 * refund
    ids = np.array([f"t{i:05d}" for i in range(n)])
    language = rng.choice(["en", "es"], n)
    text = np.where(language == "en", "please help with", "ayuda con por favor")
    asked = np.where(refund, "refund", "order")
    noise = rng.choice(["alpha", "beta", "gamma", "delta"], n)
    requests = pd.DataFrame({
        "trace_id": ids, "user_key": rng.integers(0, 400, n).astype(str), "language": language,
        "plan": rng.choice(["free", "pro"], n), "success": ~failed,
        "model_us": rng.integers(1000, 9000, n) + 9000 * tool,
        "input_text": [f"{a} {b} {c} [EMAIL]" for a, b, c in zip(text, noise, asked, strict=True)],
    })  # fmt: skip
    calls = pd.DataFrame({"trace_id": ids[tool], "span_id": "s", "call_id": "c", "name": "slow_search",
                          "error_type": np.where(rng.random(int(tool.sum())) < 0.5, "timeout", None)})  # fmt: skip
    documents = pd.DataFrame({"trace_id": ids, "span_id": "s", "rank": 1, "document_id": rng.choice(["d1", "d2"], n)})
    return requests, calls, documents


def source_of(requests: pd.DataFrame, **tables: pd.DataFrame) -> DuckSource:
    named = {"requests": requests, **tables}
    return DuckSource(
        name="planted", fingerprint="f" * 16,
        tables={k: pa.Table.from_pandas(v, preserve_index=False) for k, v in named.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> DuckSource:
    requests, calls, documents = rows()
    return source_of(requests, tool_calls=calls, documents=documents)


def test_planted_traits_are_found_with_examples(planted: DuckSource) -> None:
    found = kpi.contrast(planted, kpi.Slice(last="all"))
    clear = found.lifts[found.lifts["q"] <= 0.05].set_index(["kind", "value"])
    assert {("tool", "slow_search"), ("tool error", "slow_search"), ("word", "refund")} <= set(clear.index)
    assert "stage" in clear.index.get_level_values("kind")
    row = clear.loc[("tool", "slow_search")]
    requests, calls, _ = rows()
    having = requests["trace_id"].isin(calls["trace_id"])
    assert row["failed_share"] == pytest.approx(having[~requests["success"]].mean())
    assert row["success_share"] == pytest.approx(having[requests["success"]].mean())
    assert row["low"] < row["lift"] < row["high"]
    outcome = requests.set_index("trace_id")["success"]
    for side, worked in (("failed_examples", False), ("success_examples", True)):
        assert len(row[side]) == 3
        assert set(row[side]) <= set(calls["trace_id"])
        assert (outcome[list(row[side])] == worked).all()
    assert {"alpha", "beta", "gamma", "delta", "email"}.isdisjoint(clear.index.get_level_values("value"))
    assert "slow_search" in found.sentence


def test_only_what_was_planted_is_found(planted: DuckSource) -> None:
    found = kpi.contrast(planted, kpi.Slice(last="all"))
    clear = found.lifts[found.lifts["q"] <= 0.05]
    assert set(clear["kind"]) <= {"tool", "tool error", "word", "stage"}
    assert not {"help", "please", "ayuda"} & set(found.lifts["value"])  # in every request of a language
    quiet, calls, documents = rows(seed=3)
    quiet["success"] = np.random.default_rng(9).random(len(quiet)) < 0.8
    nothing = kpi.contrast(source_of(quiet, tool_calls=calls, documents=documents), kpi.Slice(last="all"))
    assert not (nothing.lifts["q"] <= 0.05).any()
    assert "nothing that was looked at" in nothing.sentence
    assert nothing.tree is not None
    assert nothing.tree.accuracy.low < 0.5 < nothing.tree.accuracy.high + 0.03


def test_the_tree_is_small_checked_and_speaks_of_all_requests(planted: DuckSource) -> None:
    tree = kpi.contrast(planted, kpi.Slice(last="all")).tree
    assert tree is not None
    assert tree.accuracy.low > 0.55
    assert len(tree.leaves) <= 8
    first = tree.leaves.iloc[0]
    assert "slow_search" in first["rule"]
    assert first["failed_share"] > 0.35
    assert first["failed_examples"]
    assert first["success_examples"]


def test_a_sample_says_what_the_whole_says(planted: DuckSource) -> None:
    whole, part = (kpi.contrast(planted, kpi.Slice(last="all"), sample=n) for n in (20_000, 2000))
    assert part.sampled == 2000
    assert (part.failed, part.succeeded) == (whole.failed, whole.succeeded)
    tool = [c.lifts[c.lifts["kind"] == "tool"].iloc[0] for c in (whole, part)]
    assert tool[1]["low"] < tool[0]["lift"] < tool[1]["high"]
    assert part.tree is not None
    assert whole.tree is not None
    assert part.tree.leaves["failed_share"].max() == pytest.approx(whole.tree.leaves["failed_share"].max(), abs=0.12)


def test_three_statements_and_other_outcomes(sample: DuckSource, monkeypatch: pytest.MonkeyPatch) -> None:
    kpi.resolve(sample, kpi.Slice(last="28d"))  # what a source holds and where it ends is asked once in its life
    run, asked = type(sample).run, []
    monkeypatch.setattr(type(sample), "run", lambda self, s: asked.append(s) or run(self, s))
    found = kpi.contrast(sample, kpi.Slice(last="28d"), outcome="escalated")
    assert len(asked) <= 3
    rate = kpi.summarise(sample, "escalation_rate", kpi.Slice(last="28d")).iloc[0]
    assert found.failed / (found.failed + found.succeeded) == pytest.approx(rate["value"])


def test_rare_words_never_show(planted: DuckSource) -> None:
    requests, calls, documents = rows()
    mine = np.flatnonzero(~requests["success"])[:40]
    requests.loc[mine, "input_text"] += " zebrafinch"
    requests.loc[mine, "user_key"] = "u1"
    found = kpi.contrast(source_of(requests, tool_calls=calls, documents=documents), kpi.Slice(last="all"), most=500)
    assert not found.lifts["value"].str.contains("zebrafinch").any()


def test_what_cannot_be_told_says_what_to_do(planted: DuckSource) -> None:
    with pytest.raises(MetricError, match="It knows success"):
        kpi.contrast(planted, outcome="resolved")
    requests, _, _ = rows(100)
    with pytest.raises(MetricError, match="No request failed"):
        kpi.contrast(source_of(requests.assign(success=True)), kpi.Slice(last="all"))
    with pytest.raises(MetricError, match="Map a column"):
        kpi.contrast(source_of(requests.drop(columns="success")), kpi.Slice(last="all"))


def test_few_rows_without_users_tools_or_texts() -> None:
    requests, _, _ = rows(60)
    found = kpi.contrast(source_of(requests[["trace_id", "success"]]), kpi.Slice(last="all"))
    assert found.tree is None
    assert found.lifts.empty
    assert found.sampled == 60


def test_sessions_fail_with_one_of_their_requests_and_miss_retrieval_by_hand() -> None:
    """Shares of sessions and of requests are those of plain pandas; what may follow from failing stands last."""
    requests, _, _ = rows(4000, seed=5)
    rng = np.random.default_rng(2)
    failed = ~requests["success"].to_numpy()
    requests["session_id"] = [f"s{i}" for i in rng.integers(0, 1500, len(requests))]
    requests["retrieval_hit"] = np.where(
        rng.random(len(requests)) < 0.1, None, rng.random(len(requests)) > 0.1 + 0.3 * failed
    )
    requests["error_type"] = np.where(failed & (rng.random(len(requests)) < 0.6), "timeout", None)
    source, view = source_of(requests), kpi.Slice(last="all")
    by_request = kpi.contrast(source, view, most=200)
    by_session = kpi.contrast(source, view, most=200, unit="session")
    missed = requests["retrieval_hit"] == False  # noqa: E712
    both = (
        pd.DataFrame({"session": requests["session_id"], "failed": failed, "missed": missed}).groupby("session").any()
    )
    assert (by_session.failed, by_session.succeeded) == (both["failed"].sum(), (~both["failed"]).sum())
    assert "sessions failed" in by_session.sentence
    for found, side, having in ((by_request, failed, missed), (by_session, both["failed"], both["missed"])):
        row = found.lifts[found.lifts["trait"] == "missed retrieval"].iloc[0]
        assert row["failed_share"] == pytest.approx(having[side].mean())
        assert row["success_share"] == pytest.approx(having[~side].mean())
        names = list(found.lifts[found.lifts["q"] <= 0.05]["name"])
        assert names.index("retrieval_hit") < names.index("error_type")
        assert found.lifts["failed_examples"].map(lambda ids: set(ids) <= set(requests["trace_id"])).all()
    part = kpi.contrast(source, view, sample=400, unit="session")
    assert part.sampled == 400
    assert (part.failed, part.succeeded) == (by_session.failed, by_session.succeeded)
