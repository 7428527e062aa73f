"""Parts drawn once for all sessions: what is repeated is what was drawn, and other content is drawn anew."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import streamlit as st

import kpi
from app import once
from kpi.charts import inline, series as charts

PAGES = ("overview", "why", "trends", "versions", "segments", "drift", "cost")


def drawn(node: Any) -> list[tuple[str, bytes]]:
    """Type and content of all that a page shows, in order; of tables and downloads, whose id is random, the type."""
    if hasattr(node, "children"):
        return [(node.type, b""), *(found for child in node.children.values() for found in drawn(child))]
    if node.type in ("dataframe", "download_button"):
        return [(node.type, b"")]
    return [(node.type, node.proto.SerializeToString(deterministic=True))]


@pytest.mark.parametrize("name", PAGES)
def test_the_second_who_opens_a_page_sees_what_the_first_saw(app, monkeypatch, name):
    made = []
    real = st.altair_chart
    monkeypatch.setattr(st, "altair_chart", lambda *args, **kwargs: (made.append(args), real(*args, **kwargs))[1])
    first = drawn(app(name).main)
    built = len(made)
    second = drawn(app(name).main)
    assert built
    assert len(made) == built  # no chart is built again
    assert second == first


def key(*args: Any, **kwargs: Any) -> str:
    return once._key(inline.spark, args, kwargs)


def numbers() -> pd.DataFrame:
    return pd.DataFrame({"bucket": pd.date_range("2026-11-01", periods=3), "value": [1.0, 2.0, 3.0]})


def test_the_key_is_the_content():
    frame = numbers()
    same = key(frame, target=2.0, state="watch", colours=charts.LIGHT)
    assert key(numbers(), target=2.0, state="watch", colours=charts.LIGHT) == same
    others = [
        key(frame.assign(value=[1.0, 2.0, 3.0000001]), target=2.0, state="watch", colours=charts.LIGHT),
        key(frame.rename(columns={"value": "other"}), target=2.0, state="watch", colours=charts.LIGHT),
        key(frame, target=2.5, state="watch", colours=charts.LIGHT),
        key(frame, target=2.0, state="watch", colours=charts.DARK),
        once._key(inline.gauge, (frame,), {"target": 2.0, "state": "watch", "colours": charts.LIGHT}),
    ]
    assert len({same, *others}) == len(others) + 1


def test_rows_of_another_version_are_other_content(world, monkeypatch):
    monkeypatch.setenv("KPI_HOME", str(world))
    source, again = kpi.open("sample"), kpi.open("sample")
    assert key(source) == key(again)
    again.fingerprint = "another"
    assert key(source) != key(again)


def test_a_theme_is_other_content(monkeypatch):
    found = set()
    for theme in ("light", "dark"):
        monkeypatch.setattr(type(st.context.theme), "type", theme, raising=False)
        found.add(key(1.0))
    assert len(found) == 2
