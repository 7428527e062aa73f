"""A stranger's table, loaded as it is: what points at people is stored nowhere, harmless cohorts stay usable."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kpi
from kpi.cli import main
from kpi.loading.load import load, saved_allow, saved_mapping
from kpi.privacy.identifying_names import parts, reason_of
from tests.unit import span_loading

pytestmark = pytest.mark.slow

ROWS = 60
# Names of columns in the languages that people use. Their values here are made-up words, so only names can tell.
_IDENTIFYING = """
full_name customerName home_address homeAddr date_of_birth dateOfBirth DOB salary diagnosis password api_key
accessToken religion ethnicity sexual_orientation union_member political_party phone_number emailAddress age
bank_account passport_no latitude comments created_by marital_status blood_type mother_maiden_name employee_no
ip_address user_bio zip Geburtsdatum Vorname Kundenname Straße Gehalt Krankenkasse Passwort Gewerkschaft PLZ
Religionszugehörigkeit date_naissance prénom adresse_postale salaire mot_de_passe numéro_sécurité_sociale
nombre_completo apellidos teléfono contraseña fecha_nacimiento afiliación_sindical data_nascimento endereço senha cpf
salário codice_fiscale indirizzo cognome data_di_nascita stipendio achternaam geboortedatum wachtwoord woonplaats
nazwisko data_urodzenia hasło PESEL wynagrodzenie förnamn födelsedatum lösenord personnummer løn fødselsdag
adgangskode etternavn fødselsnummer lønn syntymäaika sukunimi salasana henkilötunnus příjmení datum_narození heslo
rodné_číslo soyadı doğum_tarihi şifre maaş имя_клиента дата_рождения пароль зарплата диагноз прізвище дата_народження
зарплатня ονοματεπώνυμο ημερομηνία_γέννησης μισθός vezetéknév születési_dátum jelszó lakcím prenume data_nașterii
parolă adresă 姓名 出生日期 身份证号 工资 氏名 生年月日 住所 年収 이름
생년월일 주민등록번호 연봉 الاسم تاريخ_الميلاد الراتب كلمة_المرور नाम जन्म_तिथि
वेतन पता nama_lengkap tanggal_lahir gaji agama họ_tên ngày_sinh lương mật_khẩu
"""
IDENTIFYING = _IDENTIFYING.split()
_HARMLESS = """
color store_size retention_7d model_name feature_name template_name file_type region_name experiment_name plan_name
device_name tool_name team_name agent_name nombre_producto Produktname nom_du_modele modellnamn phone_type
email_verified token_type message_type content_type question_category age_group cache_age customer_tier user_segment
client_build account_type membership_level difficulty app_name test_category subset persona party_size third_party
payment_method currency weekday quarter campaign ad_group creative placement format theme mode branch cluster gpu_type
quantization batch_size retriever chunk_size prompt_template annotator_kind language_pair audience finish_reason
cache_status api_version address_country key_metric screen_orientation union_type capacity city_tier farbe couleur
tamaño kolor цвет χρώμα szín renk
"""
HARMLESS = _HARMLESS.split()


def canary(number: int, variant: int) -> str:
    """A made-up word of letters, different for each column; three a column."""
    digits = f"{number:03d}{variant}"
    return "kanari" + "".join("bdfgklmnrt"[int(d)] for d in digits)


def canaries(count: int) -> list[str]:
    return [canary(i, v) for i in range(count) for v in range(3)]


def known(row: int) -> dict[str, Any]:
    return {
        "request_id": f"r{row:03d}", "timestamp": f"2026-11-01T{row % 24:02d}:00:00Z", "model": "m1",
        "success": row % 3 > 0, "latency_ms": 400 + row,
    }  # fmt: skip


def table(names: Iterable[str]) -> pd.DataFrame:
    named = {name: [canary(i, row % 3) for row in range(ROWS)] for i, name in enumerate(names)}
    return pd.DataFrame(named | pd.DataFrame(map(known, range(ROWS))).to_dict("list"))


def csv(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def jsonl(frame: pd.DataFrame, folder: Path) -> Path:
    """Everything that is no fact of the request lies in a nested object, as applications write it."""
    rows = []
    for row in frame.to_dict("records"):
        facts = {k: row.pop(k) for k in known(0)}
        rows.append(json.dumps({**facts, "metadata": row}, ensure_ascii=False))
    (folder / "t.jsonl").write_text("\n".join(rows), "utf-8")
    return folder / "t.jsonl"


def parquet(frame: pd.DataFrame, folder: Path) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "t.parquet")
    return folder / "t.parquet"


CONTAINERS = pytest.mark.parametrize("write", [csv, jsonl, parquet])


def found_in(home: Path, words: Iterable[str]) -> list[str]:
    """Those of these words that lie anywhere in the state folder, in bytes or in decoded Parquet."""
    heap = b""
    for path in (p for p in home.rglob("*") if p.is_file()):
        heap += path.read_bytes()
        if path.suffix == ".parquet":
            heap += str(pq.read_table(path).to_pydict()).encode()
    return [w for w in words if w.encode() in heap]


@CONTAINERS
def test_a_load_alone_stores_nothing_that_points_at_people(
    home: Path, tmp_path: Path, write: Callable[[pd.DataFrame, Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(IDENTIFYING) >= 60
    assert main(["load", str(write(table(IDENTIFYING), tmp_path)), "--dataset", "t"]) == 0
    assert found_in(home, canaries(len(IDENTIFYING))) == []
    assert found_in(home, ["m1", "r001"]) == ["m1", "r001"]  # the search does see what is stored
    receipt = kpi.receipt("t")
    prefix = "metadata." if write is jsonl else ""
    assert set(receipt.kept_out) == {prefix + name for name in IDENTIFYING}
    assert set(receipt.kept_out.values()) == {ROWS}
    printed = capsys.readouterr().out
    assert "--allow" in printed
    assert "salary" in printed
    assert "kanari" not in printed


@CONTAINERS
def test_harmless_columns_stay_usable(home: Path, tmp_path: Path, write: Callable[[pd.DataFrame, Path], Path]) -> None:
    assert len(HARMLESS) >= 60
    receipt = load(write(table(HARMLESS), tmp_path), dataset="t")
    assert receipt.kept_out == {}
    lost = [c.source for c in receipt.columns if c.field is None and parts(c.source)[-1].isascii()]
    assert lost == []
    assert kpi.profile(kpi.open("t")).dimensions
    color = "x_metadata_color" if write is jsonl else "x_color"
    by = kpi.summarise(kpi.open("t"), ["task_success"], kpi.Slice(last=None), by=[color])
    assert len(by) == 3


def test_frames_ask_the_same_policy() -> None:
    with pytest.warns(UserWarning, match="Left out to protect people: full_name") as told:
        source = kpi.from_frame(table(IDENTIFYING).rename(columns={"request_id": "trace_id", "timestamp": "at"}))
    assert not any(canary(0, 0) in str(w.message) for w in told)
    assert not [c for c in source.columns_of("requests") if c.startswith("x_") and c != "x_at"]
    kept = table(["full_name", "color"])[["full_name", "color", "model", "success"]]
    assert {"x_full_name", "x_color"} <= set(kpi.from_frame(kept, allow=["full_name"]).columns_of("requests"))


def test_a_database_read_in_place_asks_it_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("KPI_CONNECTION_MINE", "sqlite:///x.db")
    frame = table([*IDENTIFYING, "color"])
    frame["opaque"] = [["ann@example.org", "b", "c"][row % 3] for row in range(ROWS)]
    with sqlite3.connect(tmp_path / "x.db") as database:
        frame.to_sql("log", database, index=False)
        frame.rename(columns={"request_id": "trace_id", "timestamp": "started_at", "full_name": "x_full_name",
                              "color": "x_color"}).to_sql("canonical", database, index=False)  # fmt: skip
    place = kpi.connect("mine", table="log")
    assert place.mapping is not None
    assert {c.source for c in place.mapping.columns if c.field and c.field.startswith("x_")} == {"color"}
    kpi.connect("mine", table="canonical")
    columns = kpi.open_connection("mine").columns_of("requests")
    assert "x_color" in columns
    assert "x_full_name" not in columns
    assert found_in(home, canaries(len(IDENTIFYING))) == []


NESTED = {"birth": {"date": "2001-01-02", "country": "kanariland"}, "security": {"answer": "kanarihund"},
          "salary": {"amount": 918273}, "region": {"lat": "52.51638", "lon": "13.37770"}}  # fmt: skip


def test_a_known_last_word_does_not_let_a_nested_fact_through(home: Path, tmp_path: Path) -> None:
    rows = [{**known(row), **NESTED, "metadata": {"tenant": {"name": "kanariname"}}} for row in range(ROWS)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load(tmp_path / "t.jsonl", dataset="t")
    words = ["kanariland", "kanarihund", "918273", "52.51638", "13.3777", "kanariname", "2001-01-02"]
    assert found_in(home, words) == []


BY_VALUE = {
    "people": ["Maria Weber", "John Okafor", "Anna Lindqvist"],
    "chinese people": ["王小明", "李娜", "张伟"],
    "e-mails": ["ann.kanari@example.org", "bo.kanari@example.org", "cy.kanari@example.org"],
    "phones": ["+49 151 23456789", "+1 202-555-0123", "+44 20 7946 0958"],
    "coordinates": ["52.51638, 13.37770", "48.85837, 2.29448", "40.68924, -74.04450"],
    "birth dates": ["1981-03-04", "1975-12-24", "2001-07-08"],
    "german birth dates": ["04.03.1981", "24.12.1975", "08.07.2001"],
    "birth years": ["1981", "1975", "2001", "1966", "1993", "1988"],
    "streets": ["12 Kanari Street", "7 Old Kanari Road", "99 Kanari Avenue"],
    "german streets": ["Kanaristraße 12", "Am Kanariweg 3", "Kanariplatz 9"],
    "diseases": ["E11.9", "F32.1", "J45.0"],
    "beliefs": ["Catholic", "Muslim", "Buddhist"],
    "account numbers": ["4711-0815-99", "4711-0816-10", "4711-0817-21"],
    "id codes": ["AB123456C", "QX998877D", "ZZ112233A"],
    "tokens": ["a8Fk29ZqLm31XyTv90Bn", "Qw7rT5yU1iO9pA3sD4f", "zX2cV6bN8mK0jH4gF1d"],
    "free text": ["please call me back soon after noon", "the parcel never came to my door",
                  "all was fine with this one today"],
}  # fmt: skip


@pytest.mark.parametrize("what", BY_VALUE)
def test_a_name_that_says_nothing_does_not_hide_what_the_values_are(home: Path, tmp_path: Path, what: str) -> None:
    cells = BY_VALUE[what]
    frame = table(["color"]).assign(field_7=[cells[row % len(cells)] for row in range(ROWS)])
    receipt = load(csv(frame, tmp_path), dataset="t")
    assert list(receipt.kept_out) == ["field_7"]
    assert found_in(home, cells) == []


VALUES_KEPT = {
    "models": ["gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022", "gemini-1.5-pro-002"],
    "labels": ["1_full_compliance", "2_full_refusal", "3_partial_refusal"],
    "versions": ["10.2.345", "10.2.346", "11.0.1"],
    "dates of releases": ["2026-09-01", "2026-10-01", "2026-11-01"],
    "companies": ["Acme Corp", "Globex Ltd", "Initech GmbH"],
    "numbers": ["1", "2", "512"],
    "places": ["North America", "Western Europe", "Asia Pacific"],
    "codes": ["A12", "B7", "C3"],
    "scopes": ["opentelemetry.instrumentation.openai", "google.adk", "httpx"],
    "plans": ["Pro Plus", "Enterprise Gold", "Free"],
    "model years": ["2019", "2020", "2021", "2022", "2023", "2024"],
    "one of ten has a mail": [*(f"team {c}" for c in "abcdefghi"), "team of ann@example.org"],
}


@pytest.mark.parametrize("what", VALUES_KEPT)
def test_values_that_point_at_nobody_stay(home: Path, tmp_path: Path, what: str) -> None:
    cells = VALUES_KEPT[what]
    frame = table(["color"]).assign(field_7=[cells[row % len(cells)] for row in range(ROWS)])
    receipt = load(csv(frame, tmp_path), dataset="t")
    assert receipt.kept_out == {}
    assert next(c.field for c in receipt.columns if c.source == "field_7") == "x_field_7"
    assert found_in(home, ["ann@example.org"]) == []


def test_what_is_kept_on_purpose_is_masked_and_remembered(home: Path, tmp_path: Path) -> None:
    frame = table(["full_name", "color"])
    frame.loc[0, "full_name"] = "write to ann@example.org"
    path = csv(frame, tmp_path)
    assert set(load(path, dataset="t").kept_out) == {"full_name"}
    kept = load(path, dataset="t", allow=["full_name"])
    assert kept.kept_out == {}
    assert saved_allow("t") == {"full_name"}
    assert found_in(home, [canary(0, 1), "ann@example.org"]) == [canary(0, 1)]
    assert load(path, dataset="t").kept_out == {}  # remembered


def test_a_pattern_keeps_no_column_that_points_at_people(home: Path, tmp_path: Path) -> None:
    receipt = load(csv(table(["app.full_name", "app.color"]), tmp_path), dataset="t", allow=["app.*"])
    assert set(receipt.kept_out) == {"app.full_name"}


def test_a_guess_of_an_earlier_load_is_asked_about_anew(home: Path, tmp_path: Path) -> None:
    """A column that held colours, and people from the second month on; so is a mapping of before this policy."""
    frame = table(["thing"])
    load(csv(frame, tmp_path), dataset="t")
    mapping = saved_mapping("t")
    assert mapping is not None
    assert mapping["thing"].field == "x_thing"  # type: ignore[union-attr]
    frame["thing"] = [BY_VALUE["people"][row % 3] for row in range(ROWS)]
    assert set(load(csv(frame, tmp_path), dataset="t").kept_out) == {"thing"}
    assert set(load(csv(frame, tmp_path), dataset="u", mapping=mapping).kept_out) == {"thing"}
    by_hand = mapping.replace("thing", field="x_thing")
    assert load(csv(frame, tmp_path), dataset="v", mapping=by_hand).kept_out == {}


def test_ids_and_names_of_kept_columns_are_masked(home: Path, tmp_path: Path) -> None:
    frame = table(["color"])
    frame["session_id"] = [f"+49 151 234567{row % 3}9" for row in range(ROWS)]
    frame["tenant"] = [["acme", "globex", "write to ann@example.org"][row % 3] for row in range(ROWS)]
    frame["error_type"] = [["Timeout", "no mail to bo@example.org", None][row % 3] for row in range(ROWS)]
    frame["request_id"] = [f"cy{row}@example.org" for row in range(ROWS)]
    load(csv(frame, tmp_path), dataset="t")
    assert found_in(home, ["@example.org", "+49 151", "23456709", "23456719"]) == []
    assert found_in(home, ["acme", "Timeout"]) == ["acme", "Timeout"]
    assert len(kpi.summarise(kpi.open("t"), ["task_success"], kpi.Slice(last=None), by=["tenant"])) == 3


def test_metadata_of_spans_asks_the_same_policy(home: Path, tmp_path: Path) -> None:
    named = [f"app.{name}" for name in IDENTIFYING]
    attributes = [{"key": n, "value": {"stringValue": canary(i, 0)}} for i, n in enumerate([*named, "app.color"])]
    span = {"traceId": span_loading.TRACE, "spanId": "00f067aa0ba902b7", "name": "chat", "attributes": attributes,
            "startTimeUnixNano": str(1_793_000_000 * 10**9), "endTimeUnixNano": str(1_793_000_001 * 10**9)}  # fmt: skip
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    receipt = load(path, dataset="t", allow=["app.*"])
    assert found_in(home, canaries(len(IDENTIFYING))) == []
    assert set(receipt.kept_out) == set(named)
    assert found_in(home, [canary(len(IDENTIFYING), 0)])
    assert "names of people" in receipt.why_kept_out("app.full_name")


@pytest.mark.parametrize("name", ["has_email", "is_member", "phone_verified", "has_comments"])
def test_flags_about_contact_are_harmless_and_flags_about_health_are_not(home: Path, tmp_path: Path, name: str) -> None:
    frame = table(["color"]).assign(**{name: [["true", "false"][row % 2] for row in range(ROWS)]})
    frame["has_diabetes"] = frame["is_union_member"] = frame[name]
    assert set(load(csv(frame, tmp_path), dataset="t").kept_out) == {"has_diabetes", "is_union_member"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("homeAddr", ["home", "addr"]), ("date-of birth", ["date", "of", "birth"]), ("IPAddress", ["ip", "address"]),
     ("metadata.e_mail", ["metadata", "e", "mail"]), ("जन्म_तिथि", ["जन्म", "तिथि"]), ("ім'я", ["імя"]),
     ("生年月日", ["生年月日"])],
)  # fmt: skip
def test_names_are_cut_into_words_in_any_script(name: str, expected: list[str]) -> None:
    assert parts(name) == expected


def test_long_and_strange_names_are_judged_in_time() -> None:
    for strange in ("", "_", "…", "a" * 100_000, "name_" * 20_000, "\ud800"):
        assert isinstance(reason_of(strange), str)
