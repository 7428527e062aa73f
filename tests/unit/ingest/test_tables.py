"""Tables as people have them: the files of the field with their right answers, and more of each kind.

Numbers are worked out by hand from what is written here.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

import kpi
from kpi.errors import IngestError, KpiError, MappingError
from kpi.ingest.context import Context
from kpi.ingest.limits import Limits
from kpi.ingest.readers import table
from kpi.ingest.readers.detect import detect
from kpi.ingest.readers.open import open_inputs
from kpi.mapping.mapping import ColumnMapping, Mapping
from kpi.privacy.privacy import Privacy
from kpi.receipts import Receipt
from tests.unit.ingest.formats.helpers import read_all

Rows = list[dict[str, Any]]


def read(path: Path, mapping: Mapping | None = None) -> tuple[Rows, Receipt]:
    receipt = Receipt()
    context = Context(Privacy(b"k" * 32), receipt, mapping)
    sources = list(open_inputs([path], limits=Limits()))
    assert {detect(s, mapping.delimiter if mapping else "") for s in sources} == {"table"}
    context.plan = table.plan(sources, context)
    tables = [t for s in sources for n, t in table.read(s, context) if n == "requests"]
    return [row for t in tables for row in t.to_pylist()], receipt


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., tuple[Rows, Receipt]]:
    def make(text: str, mapping: Mapping | None = None) -> tuple[Rows, Receipt]:
        path = tmp_path / "t.csv"
        path.write_text(text, encoding="utf-8")
        return read(path, mapping)

    return make


def lines(header: str, row: Callable[[int], str], count: int = 30) -> str:
    return "\n".join([header, *(row(i) for i in range(count))]) + "\n"


def said(receipt: Receipt) -> str:
    return " ".join(receipt.notes)


# --- the files of the field ------------------------------------------------------------------------------------------

FIELD = {
    # kind: delimiter, decimal comma and dates are one convention of one file
    "decimal_comma_de.csv": {"rows": 200, "p50_s": 2.5, "cost": 0.014, "rate": ("success", 0.8), "says": "comma"},
    # kind: truth in the words of another language, and as databases write it
    "si_no.csv": {"rows": 200, "rate": ("resolved", 0.4)},
    "access.csv": {"rows": 200, "rate": ("resolved", 0.4)},
    # kind: lines above the header
    "preamble.csv": {"rows": 60, "rate": ("success", 0.8), "says": "4 lines above the header"},
    # kind: the order of day and month is shown by other rows
    "us_excel.csv": {"rows": 60, "rate": ("success", 0.8), "says": "month first: '10/13/26' in row 13"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FIELD))
def test_the_right_answer_of_a_table(name: str, shared: Path) -> None:
    wanted = FIELD[name]
    rows, receipt = read(shared / "data/field/tables" / name)
    assert len(rows) == wanted["rows"]
    assert receipt.dropped == 0
    assert all(r["started_at"].year == 2026 and r["started_at"].month == 10 for r in rows)
    if "p50_s" in wanted:
        took = sorted(r["total_us"] for r in rows)
        assert (took[99] + took[100]) / 2e6 == wanted["p50_s"]
        assert sum(r["total_nusd"] for r in rows) / 200e9 == pytest.approx(wanted["cost"])
    column, rate = wanted["rate"]
    assert sum(r[column] for r in rows) / len(rows) == pytest.approx(rate)
    assert wanted.get("says", "") in said(receipt)


def test_a_table_of_totals_is_refused_with_that_word(shared: Path) -> None:
    with pytest.raises(IngestError, match="totals") as caught:
        read(shared / "data/field/tables/daily_totals.csv")
    assert caught.value.code == "ingest.totals"
    assert "one row each" in caught.value.hint


TOTALS = {
    "successes and attempts by model": lines("model,successes,n", lambda i: f"m{i},{20 + i},{60 + i}"),
    "requests of a day": lines("day,requests,cost_usd", lambda i: f"2026-10-{i % 28 + 1:02},{300 + i},12.5"),
    "hours": lines("hour,errors,requests", lambda i: f"2026-10-01 {i % 24:02}:00,{3 + i},{90 + i}"),
}
NO_TOTALS = {
    "an id": lines("id,date,attempts,success", lambda i: f"r{i},2026-10-01,{i % 3 + 1},true"),
    "moments": lines("ts,calls,errors,latency_ms", lambda i: f"2026-10-01 10:{i:02}:07,{i % 9 + 2},{i % 3},{i + 300}"),
    "a day and retries": lines("date,attempts,success,latency_ms", lambda i: f"2026-10-01,{i % 3 + 1},true,{i + 300}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TOTALS))
def test_totals_of_other_shapes(kind: str, given) -> None:
    with pytest.raises(IngestError, match="totals"):
        given(TOTALS[kind])


@pytest.mark.parametrize("kind", sorted(NO_TOTALS))
def test_requests_that_count_something_are_no_totals(kind: str, given) -> None:
    assert len(given(NO_TOTALS[kind])[0]) == 30


# --- one file, one convention ----------------------------------------------------------------------------------------


def test_another_column_shows_the_decimal_mark(given) -> None:
    rows, receipt = given(lines("id;tokens_in;latency_s", lambda i: f"r{i};1.2{i:02};2,1{i:02}"))
    assert (rows[3]["input_tokens"], rows[3]["total_us"]) == (1_203, 2_103_000)
    assert "decimal comma: '1.200' in row 1 of column 'tokens_in'" in said(receipt)
    rows, _ = given(lines("id,cost_usd,latency_ms", lambda i: f'r{i},0.5,"2,1{i:02}"'))
    assert rows[3]["total_us"] == 2_103_000


AMBIGUOUS = lines("id;timestamp;latency_s", lambda i: f"r{i};2026-10-01;2,1{i:02}")


def test_a_mark_that_nothing_shows_is_asked_about(given) -> None:
    rows, receipt = given(AMBIGUOUS)
    assert rows[0]["total_us"] is None
    assert "--decimal" in said(receipt)
    assert given(AMBIGUOUS, Mapping(decimal=","))[0][0]["total_us"] == 2_100_000
    assert given(AMBIGUOUS.replace("latency_s", "latency_ms"), Mapping(decimal="."))[0][0]["total_us"] == 2_100_000
    with pytest.raises(MappingError) as caught:
        given(AMBIGUOUS, Mapping((ColumnMapping("latency_s", "total_us", "s"),)))
    assert "--decimal" in caught.value.hint


SLASHES = lines("id,ts,latency_ms", lambda i: f"r{i},0{i % 9 + 1}/02/26 10:00,{300 + i}")


def test_an_order_that_nothing_shows_is_asked_about(given) -> None:
    rows, receipt = given(SLASHES)
    assert {r["started_at"] for r in rows} == {None}
    assert "--dates" in said(receipt)
    assert given(SLASHES, Mapping(dates="day/month"))[0][1]["started_at"] == datetime(2026, 2, 2, 10, tzinfo=UTC)
    assert given(SLASHES, Mapping(dates="month/day"))[0][2]["started_at"] == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_the_order_is_shown_by_another_column(given) -> None:
    text = lines("id,ts,end,latency_ms", lambda i: f"r{i},02/03/26 10:00,02/{i % 28 + 1}/26 10:00,{300 + i}")
    rows, receipt = given(text)
    assert rows[0]["started_at"] == datetime(2026, 2, 3, 10, tzinfo=UTC)
    assert "'02/13/26' in row 13 of column 'end'" in said(receipt)


@pytest.mark.parametrize(
    ("written", "hour"),
    [("14:05 10/13/26", 14), ("10/13/26 2:05 p.m.", 14), ("2026-10-13 14:05 CET", 13), ("2026-10-13T14:05:00B", 12),
     ("2026-10-13 14:05 PST", 22), ("13-Oct-26 14:05", 14), ("13.10.26 14:05", 14),
     ("46308.586805556", 14), ("1791900300", 14), ("1791900300000000000", 14)],
)  # fmt: skip
def test_shapes_of_times(written: str, hour: int, given) -> None:
    rows, _ = given(lines("id,ts,latency_ms", lambda i: f"r{i},{written},{300 + i}"))
    wanted = datetime(2026, 10, 13, hour, 5, tzinfo=UTC)
    assert abs(rows[0]["started_at"] - wanted) < timedelta(seconds=1)


@pytest.mark.parametrize("written", ["2026-10-13 14:05 CST", "2026-10-13 14:05 IST", "2026-10-13T14:05:00J"])
def test_a_zone_of_several_places_is_no_time(written: str, given) -> None:
    rows, receipt = given(lines("id,ts,latency_ms", lambda i: f"r{i},{written},{300 + i}"))
    assert rows[0]["started_at"] is None
    assert f"such as {written!r}" in said(receipt)


@pytest.mark.parametrize(
    ("cell", "us"),
    [("1.58s", 1_580_000), ("350 ms", 350_000), ("1m 02s", 62_000_000), ("PT1.5S", 1_500_000),
     ("00:00:02.5", 2_500_000), ("0 days 00:00:01.580000", 1_580_000), ("250µs", 250), ("1 Minute 2 Sekunden", None)],
)  # fmt: skip
def test_lengths_that_carry_their_unit(cell: str, us: int | None, given) -> None:
    rows, receipt = given(lines("id,ts,latency", lambda i: f"r{i},2026-10-01,{cell}"))
    assert rows[0]["total_us"] == (us or 62_000_000)
    assert {c.source: c.unit for c in receipt.columns}["latency"] == "in cells"


@pytest.mark.parametrize(
    ("cell", "usd"), [("$0.012", 0.012), ("0.012 USD", 0.012), ("12 ct", 0.12), ('"0,012 €"', None), ("R$ 0.012", None)]
)
def test_money_that_carries_its_sign(cell: str, usd: float | None, given) -> None:
    rows, receipt = given(lines("id,ts,cost", lambda i: f"r{i},2026-10-01,{cell}"))
    assert rows[0]["total_nusd"] == (None if usd is None else round(usd * 1e9))
    assert ("only USD is read" in said(receipt)) is (usd is None)


WORDS = [
    ("sí", "no"), ("oui", "non"), ("sim", "não"), ("vero", "falso"), ("ja", "nein"), ("ja", "nej"), ("tak", "nie"),
    ("да", "нет"), ("так", "ні"), ("evet", "hayır"), ("はい", "いいえ"), ("是", "否"), ("예", "아니요"),
    ("نعم", "لا"), ("हाँ", "नहीं"), ("kyllä", "ei"), ("ano", "ne"), ("t", "f"), ("✓", "✗"), ("-1", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("yes", "no"), WORDS)
def test_truth_in_many_languages(yes: str, no: str, given) -> None:
    rows, _ = given(lines("id,ts,success", lambda i: f"r{i},2026-10-01,{yes if i % 5 else no}"))
    assert [r["success"] for r in rows] == [bool(i % 5) for i in range(30)]


@pytest.mark.parametrize(("yes", "no"), [("blip", "no"), ("yes", "blop"), ("-1", "1"), ("1", "2")])
def test_two_words_of_which_one_is_unknown_are_a_question(yes: str, no: str, given) -> None:
    rows, receipt = given(
        lines("id,ts,latency_ms,success", lambda i: f"r{i},2026-10-01,{300 + i},{yes if i % 5 else no}")
    )
    assert {r["success"] for r in rows} == {None}
    assert "Column 'success' was left out" in said(receipt)
    assert not any(c.field == "x_success" for c in receipt.columns)


def test_a_column_that_cannot_be_read_is_told_with_an_example(given) -> None:
    rows, receipt = given(lines("id,timestamp,latency_ms", lambda i: f"r{i},week {i % 4},{300 + i}"))
    assert "30 of 30 cells cannot be read" in said(receipt)
    assert "such as 'week 0'" in said(receipt)
    assert not [c for c in rows[0] if c.startswith("x_")]


def test_columns_of_other_scripts_keep_their_names(given) -> None:
    rows, _ = given(
        lines("id,応答の種類,結果,latency_ms,Größe,größe", lambda i: f"r{i},a{i % 2},b{i % 3},{300 + i},c,d")
    )
    assert {k: v for k, v in rows[0].items() if k.startswith("x_")} == {
        "x_応答の種類": "a0", "x_結果": "b0", "x_grösse": "c", "x_grösse_2": "d",
    }  # fmt: skip


def test_cohorts_of_other_scripts_work_to_the_end(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(lines("id,結果,latency_ms,ok", lambda i: f"r{i},あ{i % 2},{300 + i},{i % 2}"))
    kpi.load(path, dataset="ja")
    source = kpi.open("ja")
    found = kpi.summarise(source, "task_success", kpi.Slice(last="all"), by=["結果"])
    assert found.set_index("結果")["value"].to_dict() == {"あ0": 0.0, "あ1": 1.0}
    assert kpi.summarise(source, "requests", kpi.Slice(last="all").where(結果="あ1"))["value"].tolist() == [15]


@pytest.mark.parametrize("above", ["sep=;\n", "# a\n# b\n", "Report of October\nTeam A\n\n", '"sep=;"\n'])
def test_what_stands_above_the_header_is_no_row(above: str, given) -> None:
    rows, receipt = given(above + lines("id;latency_s;cost_usd", lambda i: f"r{i};2,5;0,01"))
    assert [r["total_us"] for r in rows] == [2_500_000] * 30
    assert receipt.dropped == 0


def test_a_delimiter_is_judged_by_the_lines_below_or_said(given) -> None:
    rows, _ = given(lines("id,name;latency_ms,total;cost_usd", lambda i: f"r{i};{300 + i};0.01"))
    assert rows[2]["total_nusd"] == 10_000_000
    rows, _ = given(lines("id^latency_ms^cost_usd", lambda i: f"r{i}^{300 + i}^0.01"), Mapping(delimiter="^"))
    assert rows[2]["total_us"] == 302_000


def test_what_a_load_decided_does_not_bind_the_next(home: Path, tmp_path: Path) -> None:
    """A file with decimal commas, and the week after one with points; and the other way round."""
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(lines("id;ts;latency_s", lambda i: f"a{i};{i % 28 + 1}/10/2026;2,5"))
    second.write_text(lines("id,ts,latency_s", lambda i: f"b{i},10/{i % 28 + 1}/2026,1.25"))
    kpi.load(first, dataset="weeks")
    kpi.load(second, dataset="weeks")
    found = kpi.summarise(kpi.open("weeks"), ["latency_worst", "latency_p50"], kpi.Slice(last="all"))
    assert found["n"].tolist() == [60, 60]
    assert found["value"][0] == 2_500
    assert 1_240 < found["value"][1] < 2_510
    days = kpi.summarise(kpi.open("weeks"), "requests", kpi.Slice(last="all"), every="month")
    assert days["value"].tolist() == [60]


def test_options_of_the_command_line(home: Path, tmp_path: Path) -> None:
    from kpi.cli import main

    path = tmp_path / "t.csv"
    path.write_text(AMBIGUOUS)
    assert main(["load", str(path), "--dataset", "x", "--decimal", ","]) == 0
    assert kpi.summarise(kpi.open("x"), "latency_worst", kpi.Slice(last="all"))["value"][0] == pytest.approx(2129)
    assert main(["load", str(path), "--dataset", "y", "--dates", "backwards"]) != 0
    assert Mapping.from_dict(Mapping(decimal=",", dates="day/month").to_dict()) == Mapping(
        decimal=",", dates="day/month"
    )


# --- workbooks -------------------------------------------------------------------------------------------------------


def workbook(folder: Path, sheets: dict[str, list[list[Any]]], name: str = "t.xlsx") -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    path = folder / name
    book.save(path)
    return path


def cells(count: int = 30) -> Iterator[list[Any]]:
    yield ["id", "timestamp", "latency", "cost_usd", "success", "language"]
    for i in range(count):
        yield [f"r{i}", datetime(2026, 10, 1, 10) + timedelta(hours=i), timedelta(seconds=1.5), 0.012, i % 5 != 0, None]


def test_a_workbook_is_read_with_its_types(tmp_path: Path) -> None:
    rows, receipt = read(workbook(tmp_path, {"Data": [["Report"], ["Team A"], *cells()], "Empty": []}))
    assert len(rows) == 30
    assert rows[2]["started_at"] == datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert (rows[2]["total_us"], rows[2]["total_nusd"], rows[5]["success"]) == (1_500_000, 12_000_000, False)
    assert "2 rows above the header" in said(receipt)


def test_the_sheet_is_asked_for_where_there_are_several(home: Path, tmp_path: Path) -> None:
    path = workbook(tmp_path, {"Notes": [["a", "b"], [1, 2]], "Data": list(cells())})
    with pytest.raises(IngestError, match="'Notes', 'Data'") as caught:
        kpi.load(path, dataset="x")
    assert (caught.value.code, "--sheet" in caught.value.hint) == ("ingest.sheet", True)
    assert kpi.preview(path).sheets == ("Notes", "Data")
    assert kpi.load(path, dataset="x", mapping=Mapping(sheet="Data")).requests == 30
    with pytest.raises(IngestError, match="sheets"):
        kpi.load(path, dataset="x", mapping=Mapping(sheet="data of May"))


def test_workbooks_that_are_damaged_or_a_bomb(tmp_path: Path) -> None:
    good = workbook(tmp_path, {"Data": list(cells())}).read_bytes()
    for cut in (len(good) // 3, len(good) // 2, len(good) - 30):
        path = tmp_path / "cut.xlsx"
        path.write_bytes(good[:cut])
        with pytest.raises(KpiError):
            read(path)
    broken = tmp_path / "broken.xlsx"
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(broken, "w") as new:
        for info in old.infolist():
            data = old.read(info.filename)
            new.writestr(info.filename, data[: len(data) // 2] if "sheet1" in info.filename else data)
    with pytest.raises(IngestError) as caught:
        read(broken)
    assert caught.value.code == "ingest.bad_workbook"
    bomb = tmp_path / "bomb.xlsx"
    packed = zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("xl/worksheets/sheet1.xml", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    with pytest.raises(IngestError) as caught:
        read(bomb)
    assert caught.value.code == "ingest.bomb"
    old_format = tmp_path / "old.xls"
    old_format.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(IngestError, match=r"\.xls") as caught:
        read_all([old_format])
    assert ".xlsx" in caught.value.hint
