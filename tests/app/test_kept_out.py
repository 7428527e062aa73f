"""The Data page on a stranger's table: what is kept out is named with its reason, and a tick box keeps it."""

from __future__ import annotations

from pathlib import Path

from streamlit.testing.v1 import AppTest

import kpi

HEAD = "request_id,timestamp,model,success,latency_ms,full_name,salary,color"
CELLS = [
    f"r{i},2026-11-01T{i % 24:02d}:00:00Z,m1,true,{400 + i},Kanari{'bdf'[i % 3]},7{i % 3}123,{('red', 'blue')[i % 2]}"
    for i in range(60)
]
TABLE = "\n".join([HEAD, *CELLS]).encode()


def uploaded(at: AppTest) -> AppTest:
    at.file_uploader(key="load_files").set_value([("t.csv", TABLE, "text/csv")]).run()
    assert not at.exception, at.exception[0].message
    return at


def stored(home: Path) -> bytes:
    return b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())


def load(at: AppTest) -> None:
    at.button(key="load_go").click().run()
    assert not at.exception, at.exception[0].message
    assert any("Loaded into" in s.value for s in at.success)


def test_a_tick_keeps_a_column_and_is_remembered(empty_app, home: Path) -> None:
    at = uploaded(empty_app("data"))
    boxes = {c.key.rpartition("load_keep_default_")[2]: c for c in at.checkbox if "load_keep_" in (c.key or "")}
    assert set(boxes) == {"full_name", "salary"}
    assert "names of people" in boxes["full_name"].label
    assert not any(box.value for box in boxes.values())
    assert any("everybody who opens this data set sees them" in c.value for c in at.caption)
    assert not any("Kanari" in str(frame.value) for frame in at.dataframe)

    load(at)
    assert kpi.receipt("default").kept_out == {"full_name": 60, "salary": 60}
    assert b"Kanari" not in stored(home)

    at.checkbox(key="load_keep_default_full_name").check().run()
    assert any("full_name" in w.value.replace("\\", "") for w in at.warning)
    load(at)
    assert kpi.receipt("default").kept_out == {"salary": 60}
    assert "x_full_name" in kpi.open("default").columns_of("requests")
    assert kpi.saved_allow("default") == {"full_name"}

    again = uploaded(empty_app("data"))
    assert again.checkbox(key="load_keep_default_full_name").value is True
    assert again.checkbox(key="load_keep_default_salary").value is False


def test_a_table_in_which_nothing_is_recognised_waits_for_its_mapping(empty_app, home: Path) -> None:
    at = empty_app("data")
    table = b"foo;bar\nu;0,5\nw;0,7\n"
    at.file_uploader(key="load_files").set_value([("t.csv", table, "text/csv")]).run()
    assert at.button(key="load_go").disabled
    assert "Nothing was recognised in this" in "".join(m.value for m in at.markdown)
    assert at.warning


def test_home_takes_a_file_and_opens_what_it_loaded(empty_app, home: Path) -> None:
    at = uploaded(empty_app())
    load(at)
    assert at.title[0].value.replace("\\", "").startswith("Data")
    told = "".join(m.value for m in at.markdown).replace("\\", "")
    assert "This data tells quality and latency, of 60 requests." in told
    assert "cost" in next(line for line in told.splitlines() if line.startswith("- To see more, add"))
    assert at.selectbox(key="bar_dataset").value == "default"


def test_home_offers_the_sample(empty_app, home: Path, monkeypatch) -> None:
    from app import page

    at = empty_app()
    monkeypatch.setattr(page, "SAMPLE", [*page.SAMPLE, "--requests", "400"])
    at.button(key="try_sample").click().run()
    assert not at.exception
    assert at.selectbox(key="bar_dataset").value == "sample"
