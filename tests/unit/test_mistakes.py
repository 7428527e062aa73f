"""Mistakes that a sensible person makes in a call: the right answer, or an error that says what to write instead."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kpi
from kpi.errors import KpiError

N = 600
SOURCE_CALLS = [
    "summarise", "compare_windows", "rolling", "resolve", "profile", "pass_hat_k", "trace", "find_traces", "rows",
    "read_first", "events", "compare", "compare_within", "sample_ratio", "decompose", "cost_waterfall",
    "latency_stages", "contrast", "weak_segments", "frontier", "agreement", "drift", "detect", "disparity",
    "scorecard", "findings", "story", "metrics_of", "model_prices",
]  # fmt: skip
# What else a call needs, so that only the mistake is wrong.
NEEDED = {
    "summarise": "'task_success'", "compare_windows": "'task_success', groupings=[kpi.Grouping()]",
    "rolling": "'task_success'", "trace": "'t'", "compare": "'de', 'en', by='language'",
    "compare_within": "'de', 'en', by='language', within='model'", "sample_ratio": "'de', 'en', by='language'",
    "decompose": "'task_success'", "agreement": "'language', 'model'", "drift": "'language'",
    "detect": "'task_success'",
}  # fmt: skip


def said(call: str, source: str = "source", more: str = "") -> str:
    return f"kpi.{call}({', '.join(filter(None, (source, NEEDED.get(call, ''), more)))})"


WITH_SLICE = [c for c in SOURCE_CALLS if c not in ("profile", "trace", "metrics_of", "model_prices")]
WRONG = [
    *(said(c, s) for c in SOURCE_CALLS for s in ("None", "5", "'nowhere'", "[frame]")),
    *(said(c, more=f"slice={s}") for c in WITH_SLICE for s in ("28", "'lately'", "{'last': '7d'}")),
    *(said(c, more="slcie=view") for c in SOURCE_CALLS),
    *(said(c, more="slice=view.where(lnguage='de')") for c in WITH_SLICE if c != "resolve"),
    *(f"kpi.Slice({told})" for told in (
        "last=28", "last='28 days'", "last='0d'", "last=''", "last=dt.timedelta(days=7)", "lst='28d'", "'28d'",
        "start='01.11.2026'", "start='yesterday'", "start=20261101", "start=dt.datetime(2026, 11, 1)", "start=pd.NaT",
        "start='2026-11-05', end='2026-11-01'", "start='2026-11-05', end='2026-11-05'", "start='9999-01-01'",
        "tz='Berlin'", "tz='CEST'", "tz=None", "tz=2", "tz=''", "grain='fortnight'", "grain=None", "baseline=None",
        "baseline='before'", "baseline='2026-11-05..2026-11-01'", "baseline=view", "version='1'", "dataset=None",
        "filters='language=de'", "filters={'language': None}", "filters={'language': []}", "filters=[('a',)]",
        "filters={1: 'de'}", "filters=5", "language='de'",
    )),
    "view.where('de')", "view.where(language=[])", "view.where(language={'a': 1})", "view.where(language=[None])",
    *(f"kpi.summarise(source, {told})" for told in (
        "", "'task_sucess'", "[]", "None", "5", "[None]", "['task_success', 'nope']", "{'task_success': 1}",
        "'revenue'", "'retrieval_hit_rate'", "kpi.mean('revnue')", "kpi.mean('language')", "metric='task_success'",
        "'task_success', by='lang uage'", "'task_success', by=[1]", "'task_success', by=[None]", "'task_success', by=5",
        "'task_success', by='user_key'", "'task_success', every='fortnight'", "'task_success', every=7",
        "'task_success', view, 'language'", "view, 'task_success'", "'task_success', by=['language', 'modle']",
    )),
    *(f"kpi.{c}(source, 'de', 'en', {told})" for c in ("compare", "sample_ratio") for told in (
        "by='lnguage'", "by=None", "by=5", "bye='language'",
    )),
    "kpi.compare(source, 'de', 'xx', by='language')", "kpi.compare(source, 'de', 'de', by='language')",
    "kpi.compare(source, 'de', by='language')", "kpi.compare(source, 1, 2, by='language')",
    "kpi.compare(source, 'de', 'en', by='language', metrics='nope')",
    "kpi.compare(source, 'de', 'en', by='language', metrics=[])",
    "kpi.compare(source, 'de', 'en', by='language', adjust='modle')",
    "kpi.compare(source, 'de', 'en', by='language', cluster='nobody')",
    "kpi.compare(source, 'de', 'en', by='language', matters=0.01)",
    "kpi.compare_within(source, 'de', 'en', by='language')",
    "kpi.sample_ratio(source, 'de', 'en', by='language', expected=0.5)",
    "kpi.sample_ratio(source, 'de', 'en', by='language', expected=(0, 0))",
    *(f"kpi.findings(source, {told})" for told in (
        "'task_success'", "metrics='nope'", "metrics=[]", "most='5'", "level='5%'", "register='mine.toml'",
    )),
    *(f"kpi.weak_segments(source, {told})" for told in (
        "'task_success'", "metric='tsk'", "metric=None", "metric=['task_success']", "dimensions=[]",
        "dimensions='lnguage'",
        "adjust='nope'", "most=None",
    )),
    *(f"kpi.disparity(source, {told})" for told in ("by='lnguage'", "by=5", "metrics='nope'", "'language'",
        "adjust=5")),
    *(f"kpi.decompose(source, {told})" for told in ("", "'nope'", "'task_success', by='lnguage'", "'requests'",
        "None")),
    *(f"kpi.drift(source, {told})" for told in ("'lnguage'", "5", "view", "['language', 5]")),
    *(f"kpi.detect(source, {told})" for told in ("'nope'", "metric='task_success'", "'task_success', every='year'")),
    *(f"kpi.rolling(source, 'task_success', {told})" for told in ("days='7'", "days=0", "by='lnguage'", "days=1.5")),
    *(f"kpi.frontier(source, {told})" for told in ("by='lnguage'", "target='0.8'", "quality='nope'", "cost='nope'")),
    *(f"kpi.find_traces(source, {told})" for told in ("sort='worst'", "sort=None", "limit='5'", "limit=0", "text=5")),
    *(f"kpi.pass_hat_k(source, {told})" for told in ("'task'", "by='tsk'", "by=5", "k='4'", "k=0",
        "by='language', k=-1")),
    *(f"kpi.agreement(source, {told})" for told in ("'language'", "'language', 'nope'", "'language', None", "1, 2")),
    *(f"kpi.contrast(source, {told})" for told in ("outcome='sucess'", "outcome=5", "most='3'", "view, 'success'")),
    *(f"kpi.trace(source, {told})" for told in ("5", "None", "'no such id'", "")),
    *(f"kpi.{told}" for told in (
        "share()", "share(5)", "share('a b')", "share('a', directon='up')", "mean(None)", "mean('a >= 4')",
        "ratio('revenue')", "ratio('revenue', 5)", "quantile('revenue')", "quantile('revenue', 95)",
        "quantile('revenue', '0.95')", "mean('revenue', direction='higher')", "mean('revenue', name='my metric')",
        "mean('revenue', name='task_success')", "mean('revenue', smallest='5%')", "share('ok', unit='usd')",
        "metric('tsk_success')", "metric(5)", "metric(None)", "open('nowhere')", "open('no/such.csv')", "open(None)",
        "open(5)", "open('requests.cvs')", "open(frame, 2)", "from_frame(None)", "from_frame(5)", "from_frame('x.csv')",
        "from_frame([1, 2])", "from_frame({'ok': [True]})", "from_frame(frame['ok'])", "from_frame(pd.DataFrame())",
        "from_frame(frame.head(0))", "from_frame(np.zeros((3, 3)))", "from_frame(frame, sucess='ok')",
        "from_frame(frame, success='okay')", "from_frame(frame, success=True)", "from_frame(frame, ignore='lagn')",
        "from_frame(frame, outcomes=['thumb'])", "from_frame(frame, name=5)",
        "from_frame(frame, mapping={'ok': 'success'})",
        "from_frame(frame, allow=5)", "from_frame(pd.DataFrame)", "from_frame(frame, cost='lang')",
        "load('no/such.csv')", "load(5)", "load([])", "load('x.csv', datset='mine')", "preview('no/such.csv')",
        "preview(5)", "versions('nowhere')", "versions(None)", "receipt('nowhere')", "restore('nowhere', 1)",
        "restore('nowhere', 'one')", "doctor('nowhere')", "repair('nowhere')", "reprice('nowhere')",
        "load_register('no.toml')", "load_register(5)", "difference(1, 2)", "kappa([1, 2], [1])", 
        "hide_small(5)", "outliers(None)", "connect(5)",
        "key_state(5)", "backup_key()", "running_rate('a', 2)", "likely(None, 'language', 'de')",
    )),
]  # fmt: skip
# Two ways to say one thing.
SAME = {
    "kpi.summarise(frame, 'task_success')": "kpi.summarise(source, ['task_success'])",
    "kpi.summarise(source, 'task_success', by='language')": "kpi.summarise(source, 'task_success', by=['language'])",
    "kpi.summarise(source, 'task_success', '7d')": "kpi.summarise(source, 'task_success', kpi.Slice(last='7d'))",
    "kpi.summarise(source, {'task_success'})": "kpi.summarise(source, 'task_success')",
    "kpi.summarise(source, kpi.mean('revenue'))": "kpi.summarise(source, [kpi.mean('revenue')])",
    "kpi.summarise(source, 'task_success', by=pd.Index(['language']))":
        "kpi.summarise(source, 'task_success', by=['language'])",
    "kpi.Slice(start='2026-11-01', tz='Europe/Berlin')":
        "kpi.Slice(start=dt.datetime(2026, 10, 31, 23, tzinfo=dt.UTC), tz='Europe/Berlin')",
    "kpi.Slice(start=dt.date(2026, 11, 1))": "kpi.Slice(start='2026-11-01')",
    "kpi.Slice(end=np.datetime64('2026-11-01'))": "kpi.Slice(end='2026-11-01')",
    "kpi.Slice(filters={'language': 'de', 'vip': True})": "kpi.Slice().where(language='de', vip='true')",
    "kpi.compare(source, 'de', 'en', 'task_success', by='language').sentence":
        "kpi.compare(source, 'de', 'en', ['task_success'], by='language').sentence",
    "kpi.weak_segments(source, metric='task_success', dimensions='language').sentence":
        "kpi.weak_segments(source, metric='task_success', dimensions=['language']).sentence",
    "kpi.frontier(source, target=1).target": "kpi.frontier(source, target=1.0).target",
}  # fmt: skip


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    frame = pd.DataFrame({
        "ts": pd.date_range("2026-10-01", "2026-11-20", periods=N, tz="UTC"), "user": [f"u{i % 37}" for i in range(N)],
        "lang": ["de", "en", "es"] * (N // 3), "ok": [i % 4 > 0 for i in range(N)], "model": ["a", "b"] * (N // 2),
        "cost": [0.012 + i / 1000 for i in range(N)], "revenue": np.arange(N) / 7,
        "thumbs_up": [i % 3 > 0 for i in range(N)],
    })  # fmt: skip
    return {"kpi": kpi, "dt": dt, "np": np, "pd": pd, "frame": frame, "source": kpi.from_frame(frame),
            "view": kpi.Slice(last="7d")}  # fmt: skip


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("call", WRONG)
def test_a_mistake_is_told_with_its_remedy(call: str, names: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KpiError) as caught:
            eval(call, names)
    assert caught.value.hint
    assert caught.value.code != "call.failed", str(caught.value)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("call", SAME)
def test_what_can_mean_one_thing_is_understood(call: str, names: dict[str, Any]) -> None:
    found, meant = eval(call, names), eval(SAME[call], names)
    assert found.equals(meant) if isinstance(found, pd.DataFrame) else found == meant


def test_there_are_enough_of_them() -> None:
    assert len(set(WRONG)) >= 150
