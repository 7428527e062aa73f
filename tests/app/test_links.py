"""Hostile values of every key of a link: each is said, none is a traceback."""

from __future__ import annotations

import re
import shutil

import pytest

import kpi
from app import slicebar
from tests.app.conftest import MAIN, _forget, _opener
from tests.app.test_pages import texts

ROOT = MAIN.parents[1]
HOSTILE = (
    "²", "9" * 5000, "NaN", "-1", "٣", "１２", "\x00", "x" * 20_000, '{"a": [1]}', "%00%2e%2e",
    "../../etc/passwd", "1e999", "' OR 1=1 --", "=1+1", "\u202e", "a\nb", "::..", "9999-99-99", "prompt_version:",
)  # fmt: skip
FEW = HOSTILE[::3]  # where every run draws a whole page
OF_PAGES = {
    "overview": ["by"], "why": ["metric", "show", "by", "unit"], "trends": ["metric", "by", "show"],
    "versions": ["by", "a", "b", "running", "split", "within", "show"], "segments": ["metric", "by", "with"],
    "drift": ["col"], "cost": ["by"], "traces": ["sort", "p", "trace", "q", "if"],
}  # fmt: skip
UNSAID = {"q", "split", "unit"}  # what is searched for may be anything; two count only in one form of a page
SOUND = {"where": {"prompt_version:"}, "vs": {"prompt_version:"}}  # an empty version is one like any other


def test_every_key_of_the_documents_is_tried():
    named = set(re.findall(r"^\| ((?:`[a-z]+`(?:, )?)+) \|", (ROOT / "docs" / "links.md").read_text(), re.MULTILINE))
    keys = {key for group in named for key in re.findall("[a-z]+", group)}
    assert keys == {*slicebar.SLICE_KEYS, *(k for keys in OF_PAGES.values() for k in keys)}


def test_a_link_opens_no_file(app, tmp_path):
    """A name in Python may be a path; that of a link never is."""
    file = tmp_path / "rows.csv"
    file.write_text("ok,model\nyes,secret-model\nno,secret-model\n")
    for data in (str(file), file.as_uri(), f"./{file.name}"):
        told = said(app(data=data))
        assert "secret-model" not in told
        assert "no data set" in told


def said(at) -> str:
    assert not at.exception, at.exception[0].message
    return texts(at).replace("\\", "")


@pytest.mark.parametrize("name", OF_PAGES)
def test_page_keys(app, name):
    """All keys of a page at once: each is said for itself."""
    at = app(name)
    for value in FEW:
        at.query_params.clear()
        for key in {*OF_PAGES[name]} - {"p", "if"}:
            at.query_params[key] = value
        told = said(at.run())
        for key in {*OF_PAGES[name]} - {"p", "if", *UNSAID}:
            assert re.search(rf"link asks for {key} |no trace", told), (key, value[:40])


def test_page_numbers(app):
    at = app("traces")
    for value in HOSTILE:
        at.query_params["p"] = value
        assert "Cannot read p " in said(at.run()), value[:40]


def test_the_planned_split(app):
    at = app("versions", running="1")
    for value in FEW:
        at.query_params["split"] = value
        assert "link asks for split " in said(at.run()), value[:40]


@pytest.mark.parametrize("key", sorted(slicebar.SLICE_KEYS))
def test_slice_keys(app, key):
    at = app("traces")
    for value in FEW if key == "fp" else HOSTILE:
        at.query_params.clear()
        at.query_params[key] = value
        told = said(at.run())
        assert at.error or "This link" in told or "moved on" in told or value in SOUND.get(key, ()), value[:40]


@pytest.mark.parametrize(("query", "told"), [
    ({"last": ["7d", "28d"]}, "gives last several times"), ({"at": ["1", "²"]}, "gives at several times"),
    ({"metric": ["task_success", "error_rate"]}, "gives metric several times"),
])  # fmt: skip
def test_a_key_that_comes_twice_is_said(app, query, told):
    assert told in said(app("trends", **query))
    assert told not in said(app("trends", **{k: [v[0], v[0]] for k, v in query.items()}))


def test_a_bad_value_is_taken_out_by_its_button(app):
    at = app("trends", metric="banana", by="language")
    assert "asks for metric banana" in said(at)
    at.button(key="doubt_metric").click().run()
    assert "banana" not in said(at)
    assert "metric" not in at.query_params
    assert at.query_params["by"] in (["language"], "language")


def test_choices_of_people_are_never_doubted(app):
    """What the widgets of a page write is what it can show: another choice drops the keys that depend on it."""
    at = app("versions", by="prompt_version", a="p6", b="p7")
    at.selectbox(key="page_by").select("model").run()
    assert "link asks for" not in said(at)
    at = app("segments", by="language", with_="region")
    at.selectbox(key="page_by").select("region").run()
    assert "link asks for" not in said(at)
    at = app("trends", metric="latency_p95", show="percentiles")
    at.selectbox(key="page_metric").select(at.selectbox(key="page_metric").options[0]).run()
    assert "link asks for" not in said(at)


def test_a_slice_that_says_two_things_is_refused():
    with pytest.raises(kpi.errors.SliceError, match="several times"):
        kpi.Slice.from_query({"last": ["7d", "28d"]})
    assert kpi.Slice.from_query({"last": ["7d", "7d"]}).last == "7d"


def test_what_failed_and_a_condition_are_read_or_said(app):
    at = app("why", show="traits", unit="galaxy")
    assert "link asks for unit galaxy" in said(at)
    at = app("traces", if_="cots > 1")
    assert "Did you mean cost" in said(at)
    assert not at.dataframe
    at = app("traces", if_="cost > 0.01 and language in (es, de)")
    found = kpi.find_traces(kpi.open("sample"), kpi.Slice(), condition="cost > 0.01 and language in (es, de)")
    assert f"{found.attrs['matching']} traces match" in said(at)
    assert set(at.dataframe[0].value["Id"]) == set(found["trace_id"])


def test_a_bare_address_opens_what_was_loaded_first(world, monkeypatch, tmp_path):
    """A data set that a colleague loads later, though its name comes first, changes nobody's bookmark."""
    home = tmp_path / "home"
    shutil.copytree(world, home)
    monkeypatch.setenv("KPI_HOME", str(home))
    (tmp_path / "a.csv").write_text("timestamp,success\n2026-11-01,true\n")
    kpi.load(tmp_path / "a.csv", dataset="azure")
    _forget()
    assert _opener().selectbox(key="bar_dataset").value == "sample"
    monkeypatch.setenv("KPI_DATASET", "azure")
    _forget()
    assert _opener().selectbox(key="bar_dataset").value == "azure"
    at = _opener(data="sample", last="banana")
    assert at.title[0].value == "Overview"
    ways = [e.proto.query_string for e in at.get("page_link")]
    assert ways
    assert all("data=sample" in way for way in ways)
    at.button(key="bar_reset").click().run()
    assert at.query_params["data"] in ("sample", ["sample"])
    assert not at.error
    _forget()


def test_the_time_zone_can_be_chosen_and_a_window_with_one_end_has_a_title(app):
    at = app("traces")
    at.selectbox(key="bar_tz").select("Asia/Kolkata").run()
    assert at.query_params["tz"] in ("Asia/Kolkata", ["Asia/Kolkata"])
    assert "to 9 Nov 2026" in said(app("traces", to="2026-11-10"))
