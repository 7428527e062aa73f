"""Score names, labels, scales and trust."""

from __future__ import annotations

from typing import Any

import pytest

from kpi.assembly.outcomes import DEFAULT, OutcomeRules, Rule, fold, resolve, source_of

Row = dict[str, Any]


def score(name: str, value: float | None = None, label: str | None = None, source: str = "judge", at: int = 0) -> Row:
    return {"score_id": f"{name}{value}{label}{source}{at}", "name": name, "value": value, "label": label,
            "source": source, "at": at}  # fmt: skip


def outcomes(*scores: Row, **stated: bool) -> Row:
    results = [resolve(DEFAULT.verdicts(order), stated) for order in (scores, scores[::-1])]
    assert results[0] == results[1]  # in any order
    return results[0]


@pytest.mark.parametrize(
    ("row", "outcome", "expected"),
    [
        (score("Correctness", 0.8), "correct", True), (score("Correctness", 0.8), "correctness", 0.8),
        (score("hallucination", 0.9), "grounded", False), (score("hallucination", label="factual"), "grounded", True),
        (score("Hallucination", label="hallucinated"), "grounded", False),
        (score("hallucination", label="yes"), "grounded", False), (score("groundedness", 0.25), "groundedness", 0.25),
        (score("userFeedback", label="thumbs_down"), "success", False), (score("thumbs", -1), "user_rating", 0.0),
        (score("rating", 4), "user_rating", 0.75), (score("csat", 80), "user_rating", 0.8),
        (score("escalated", label="yes"), "escalated", True), (score("context_relevance", 0.7), "retrieval_score", 0.7),
        (score("Retrieval Hit", 1), "retrieval_hit", True),
    ],
)  # fmt: skip
def test_one_score_means_one_outcome(row: Row, outcome: str, expected: object) -> None:
    assert outcomes(row)[outcome] == pytest.approx(expected)


@pytest.mark.parametrize(
    "row",
    [
        score("correctness", 4.0),
        score("correctness", float("nan")),
        score("correct", label="a long story"),
        score("Relevance", 1.0),
        score("groundedness", -1),
    ],
)
def test_values_off_the_scale_and_free_text_say_nothing(row: Row) -> None:
    assert {k: v for k, v in outcomes(row).items() if v is not None} == {}


def test_trust_goes_human_user_code_judge_then_the_latest() -> None:
    judge, code = score("correct", 1, at=9), score("correct", 0, source="code", at=5)
    human = [score("correct", 1, source="human", at=1), score("correct", 0, source="human", at=2)]
    assert (outcomes(judge, code)["correct"], outcomes(judge, code)["outcome_source"]) == (False, "code")
    assert (outcomes(judge, *human)["correct"], outcomes(judge, *human)["outcome_source"]) == (False, "human")
    assert outcomes(score("resolved", 1), resolved=False)["resolved"] is False
    assert outcomes(score("resolved", 1, source="human"), resolved=False)["resolved"] is True


def test_correct_but_not_resolved_failed() -> None:
    assert outcomes(score("correct", 1, source="human"), resolved=False)["success"] is False
    assert outcomes(score("correct", 1), resolved=True)["success"] is True
    assert outcomes(score("correct", 0), resolved=True)["success"] is False
    assert outcomes(score("success", 1), resolved=False)["success"] is False
    assert outcomes(score("success", 1, source="human"), resolved=False)["success"] is True


def test_refusals_and_fallbacks_alone_are_no_source_of_outcome() -> None:
    assert outcomes(refused=False) == {"refused": False, "outcome_source": None}


def test_safety_evaluations_count_failures_and_that_they_were_made() -> None:
    assert DEFAULT.unsafe([score("correct", 1)]) == (False, 0)
    assert DEFAULT.unsafe([score("toxicity", 0.1), score("safety", label="safe")]) == (True, 0)
    assert DEFAULT.unsafe([score("toxicity", 0.9), score("safety", 0.1), score("toxicity", label="non-toxic")]) == (
        True,
        2,
    )


def test_rules_are_data() -> None:
    rules = OutcomeRules(rules=(Rule(outcome="resolved", names=("Ticket Closed",), low=1, high=5, threshold=0.75),))
    assert rules.verdicts([score("ticket_closed", 4)]) == {"resolved": (True, "judge")}
    assert rules.verdicts([score("ticket_closed", 3), score("correct", 1)]) == {"resolved": (False, "judge")}


def test_names_and_sources() -> None:
    assert {fold(n) for n in ("userFeedback", "User Feedback", "user-feedback")} == {"user_feedback"}
    assert [source_of("x", k) for k in ("HUMAN", "LLM", "CODE", "LLM_JUDGE", None)] == [
        "human", "judge", "code", "judge", "judge",
    ]  # fmt: skip
    assert source_of("user_rating") == "user"
