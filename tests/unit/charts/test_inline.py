"""Small pictures: what they draw is where the numbers are, every word is escaped, each says in words what it shows."""

from __future__ import annotations

import base64
import html
import math
import re
from datetime import date

import pandas as pd
import pytest

from kpi.charts import inline
from kpi.charts.series import DARK, LIGHT
from kpi.govern.findings import Finding

HOSTILE = '"><img src=http://127.0.0.1:9/x onerror=alert(1)>\u202e&'


def course(values: list[float], **more: object) -> pd.DataFrame:
    """A series of days as a card has it; the last one is not finished."""
    days = pd.date_range("2026-11-01", periods=len(values))
    complete = [i < len(values) - 1 for i in range(len(values))]
    return pd.DataFrame({"bucket": days, "value": values, "n": 1234, "complete": complete, "unit": "share"} | more)


def drawn(text: str) -> str:
    """The SVG inside the first image."""
    return base64.b64decode(re.search(r"base64,([^\"]+)", text)[1]).decode()


def alt(text: str) -> str:
    return html.unescape(re.search(r'alt="([^"]*)"', text)[1])


def points(svg: str) -> list[tuple[str, float, float]]:
    line = re.search(r'<path d="([^"]*)" fill="none"', svg)[1]
    return [(m, float(x), float(y)) for m, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", line)]


def spark(values: list[float], **more: object) -> str:
    asked = {"unit": "share", "target": 0.75, "state": "watch", "alt": "Task success"} | more
    return inline.spark(course(values), **asked)


def test_a_course_goes_from_left_to_right_and_its_best_value_is_on_top():
    found = points(drawn(spark([0.70, 0.80, 0.75])))
    assert [m for m, _, _ in found] == ["M", "L", "L"]
    assert [x for _, x, _ in found] == [4.0, 120.0, 236.0]
    heights = [y for _, _, y in found]
    assert heights[1] < heights[2] < heights[0]
    assert heights[2] == pytest.approx((heights[0] + heights[1]) / 2, abs=0.1)


def test_a_gap_breaks_the_line_and_a_lone_point_is_seen():
    svg = drawn(spark([0.70, 0.71, math.nan, 0.75, math.nan, 0.72, 0.73]))
    assert [m for m, _, _ in points(svg)] == ["M", "L", "M", "M", "L"]
    assert svg.count("<circle") == 2  # the one between gaps, filled, and the unfinished last, hollow
    assert svg.count('fill="none" stroke="#a86400"/>') == 1
    assert drawn(spark([0.7])).count("<circle") == 1


def test_every_known_bucket_has_its_words():
    said = html.unescape(spark([0.70, math.nan, 0.75]))
    titles = re.findall(r'title="([^"]*)"', said)
    assert titles[0] == "Sun 01 Nov 2026: 70.0 %, n = 1,234"
    assert len(titles) == 2
    assert titles[1].startswith("Tue 03 Nov 2026: 75.0 %, n = 1,234; not finished")


@pytest.mark.parametrize("values", [[], [math.nan, math.nan], [0.5], [0.5, 0.5], [math.nan, 0.5]])
@pytest.mark.parametrize("target", [math.nan, 0.5])
def test_what_cannot_be_a_line_is_drawn_as_far_as_it_goes(values, target):
    found = spark(values, target=target)
    assert "nan" not in drawn(found)
    assert alt(found) == "Task success"


def test_the_state_colours_and_the_theme_has_its_own():
    assert LIGHT.states["orange"] in drawn(spark([0.7, 0.8]))
    assert LIGHT.states["orange"] not in drawn(spark([0.7, 0.8], state="on_target"))
    assert DARK.states["orange"] in drawn(spark([0.7, 0.8], colours=DARK))


def test_no_word_of_the_data_becomes_markup():
    frame = course([0.7, 0.8]).assign(group=HOSTILE, low=0.6, high=0.9)
    for found in (spark([0.7, 0.8], alt=HOSTILE), inline.panels(frame, by="group", unit="share")):
        assert "<img src=http" not in found
        assert "\u202e" not in found
        assert not re.search(r'alt="[^"]*"[^>]*onerror', found)
    assert alt(spark([0.7, 0.8], alt=HOSTILE)) == HOSTILE.replace("\u202e", " ")


def test_small_multiples_share_one_axis_and_name_what_is_left_out():
    names = [f"g{i:02d}" for i in range(15)]
    each = [course([i / 100, 0.5]).assign(group=g, n=100 - i, low=math.nan, high=math.nan) for i, g in enumerate(names)]
    found = inline.panels(pd.concat(each, ignore_index=True), by="group", unit="share")
    assert re.findall(r"<strong>(g\d\d)</strong>", found) == names[:12]
    assert "The 12 largest of 15 groups. Every axis from 0 % to 50.0 %." in found
    first, last = (points(base64.b64decode(b).decode()) for b in re.findall(r"base64,([^\"]+)", found)[::11])
    assert first[1][2] == last[1][2]  # both end at 50 %
    assert first[0][2] > last[0][2]  # 0 % lies below 11 %


def test_the_gauge_has_its_mark_at_the_value():
    svg = drawn(inline.gauge(50, 40, 70, state="off_target", alt="AI index 50"))
    rects = [(float(x), float(w)) for x, w in re.findall(r'x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)]
    scale = (240 - 8) / 100
    assert rects[0] == (4.0, pytest.approx(100 * scale))
    assert rects[1] == (pytest.approx(4 + 40 * scale, abs=0.1), pytest.approx(30 * scale, abs=0.1))
    assert rects[2][0] + rects[2][1] / 2 == pytest.approx(120, abs=0.1)


def finding(metric: str, change: float, **more: object) -> Finding:
    fields = {"kind": "regression", "metric": metric, "where": {}, "version": None, "version_of": None,
              "since": date(2026, 11, 3), "value": 0.5 + change, "was": 0.5, "change": change, "low": change - 0.01,
              "high": change + 0.01, "unit": "share", "n": 100, "q": 0.0, "state": None, "owner": "", "action": "",
              "link": "", "labels": (metric,)}  # fmt: skip
    return Finding(**(fields | more))


def mark(found: Finding) -> float:
    return float(re.search(r'<circle cx="([\d.]+)"', drawn(inline.effect(found, colour="red")))[1])


def test_effects_stand_on_one_scale_worse_on_the_left():
    """1 pp is the smallest difference of a share that matters, 5 % that of a latency: ten of each lie alike."""
    share = mark(finding("task_success", -0.10))
    slow = mark(finding("latency_p95", 500.0, unit="ms", was=1000.0, value=1500.0, low=400.0, high=600.0))
    assert share == pytest.approx(slow, abs=0.1)
    assert share < 120
    assert mark(finding("task_success", 0.10, kind="improvement")) == pytest.approx(240 - share, abs=0.1)
    assert mark(finding("escalation_rate", 0.10)) == pytest.approx(share, abs=0.1)
    reach = (120 - share) / (120 - 2 * 4)
    assert reach == pytest.approx(math.log(11) / math.log(101), abs=0.001)
    assert mark(finding("task_success", -5.0)) == pytest.approx(8, abs=0.1)  # beyond the scale: at its end


@pytest.mark.parametrize(("kind", "metric", "change", "left"), [
    ("coverage", "latency_p95", -0.2, True), ("coverage", "task_success", 0.2, False),
    ("mix", "escalation_rate", 0.2, True), ("mix", "task_success", 0.2, False),
    ("hidden_regression", "task_success", -0.2, True), ("improvement", "an own metric", -0.2, False),
])  # fmt: skip
def test_each_kind_of_finding_has_its_side(kind, metric, change, left):
    assert (mark(finding(metric, change, kind=kind)) < 120) is left


def test_an_effect_says_its_metric_its_limits_and_its_size():
    assert alt(inline.effect(finding("task_success", -0.10), colour="red")) == (
        "task_success: −11.0 to −9.00 pp, 10.0 times the smallest difference that matters"
    )
