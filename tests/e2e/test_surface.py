"""The surface that the app shows to a network: who is let in, what every answer carries, what it never does."""

from __future__ import annotations

import csv
import http.client
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.driving import DENIED, PATIENCE_MS, PATIENCE_S, ROOT, Served, go, idle, opened, serve

pytestmark = pytest.mark.e2e
HANDSHAKE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
ADDRESSES = {  # address -> status of a GET
    "/": 200, "/why": 200, "/why/": 301, "/no/such/page": 200, "/favicon.png": 200, "/static/js/nothing.js": 200,
    "/media/nothing.csv": 404, "/component/a/b": 404, "/_stcore/health": 200, "/_stcore/host-config": 200,
    "/_stcore/metrics": 404, "/_stcore/metrics/": 404, "/_stcore//metrics": 404, "/%5Fstcore/metrics": 404,
    "/why/_stcore/metrics": 404, "/_stcore/script-health-check": 404, "/_stcore/agent/openapi.json": 404,
    "/_stcore/agent/interact": 404, "/_stcore/agent/mcp": 404, "/_stcore/bidi-components/a": 404, "/_stcore": 404,
    "//evil.example/": 400, "/..%2f..%2fetc/passwd": 400, "/auth/login": 302, "/oauth2callback": 302,
}  # fmt: skip
CHARTS = {  # page -> charts that it has at least
    "?": 1, "why?": 1, "trends?": 1, "versions?": 2, "segments?": 1, "drift?": 2, "cost?": 2, "traces?trace=first&": 1,
}  # fmt: skip
START = re.compile(r"[\s\x00-\x1f\u200b\ufeff]*[=+@＝＋＠－-]|[\t\r\x00]")


def ask(served: Served, path: str = "/", method: str = "GET", **headers: str | None) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer; a header None is left out, Host included."""
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    sent = {"Host": place.netloc, **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in sent.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return answer.status, found


def lacking(headers: dict[str, str]) -> set[str]:
    """What an answer's headers lack."""
    policy = headers.get("content-security-policy", "")
    wanted = {
        "default-src 'none'": "default-src 'none'" in policy,
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "no other host": not re.search(r"https?:|wss?:|\*|unsafe-eval", policy),
        "nosniff": headers.get("x-content-type-options") == "nosniff",
        "no-referrer": headers.get("referrer-policy") == "no-referrer",
    }
    return {name for name, there in wanted.items() if not there}


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_answer_has_its_headers_and_the_operators_side_is_closed(served: Served, path: str):
    status, headers = ask(served, path)
    assert status == ADDRESSES[path]
    assert not lacking(headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/_stcore/upload_file/a/b", "/_stcore/metrics"])
def test_other_methods_too(served: Served, path: str, method: str):
    status, headers = ask(served, path, method)
    assert not lacking(headers)
    assert status == 404 if "metrics" in path else status < 500
    assert status in (403, 405) if method in ("POST", "PUT", "DELETE") and "metrics" not in path else True


def test_no_origin_of_the_vendor_may_steer_the_page(served: Served):
    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
    connection.request("GET", "/_stcore/host-config")
    told = connection.getresponse().read().decode()
    connection.close()
    assert "streamlit" not in told
    assert '"useExternalAuthToken":false' in told


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "localhost.evil", "1"])
@pytest.mark.parametrize("upgrade", [False, True], ids=["http", "websocket"])
def test_a_foreign_host_is_refused(served: Served, host: str, upgrade: bool):
    """DNS rebinding: the name is the attacker's, and Host and Origin agree."""
    more = HANDSHAKE if upgrade else {}
    status, headers = ask(served, "/_stcore/stream" if upgrade else "/", Host=host, Origin=f"http://{host}", **more)
    assert status == 403
    assert not lacking(headers)


@pytest.mark.parametrize("host", ["user@127.0.0.1", "127.0.0.1:x", "127.0.0.1/evil", "[::1", "127.0.0.1, evil.example"])
def test_what_is_no_host_is_refused(served: Served, host: str):
    assert ask(served, "/", Host=host)[0] in (400, 403)


def test_handshakes(served: Served):
    own = urlsplit(served.url).netloc
    other = own.replace("127.0.0.1", "localhost")
    v6 = own.replace("127.0.0.1", "[::1]")
    answers = {
        (own, f"http://{own}"): 101, (other, f"http://{other}"): 101, (v6, f"http://{v6}"): 101,
        (own, None): 403, (own, "null"): 403, (own, "http://127.0.0.1:9999"): 403, (own, f"http://{other}"): 403,
        (own, "http://evil.example"): 403, (own, f"file://{own}"): 403, (own, ""): 403, (own, own): 403,
        ("evil.example", None): 403,
    }  # fmt: skip
    for (host, origin), wanted in answers.items():
        status, headers = ask(served, "/_stcore/stream", Host=host, Origin=origin, **HANDSHAKE)
        assert (host, origin, status) == (host, origin, wanted)
        assert not lacking(headers), (host, origin)
    assert ask(served, "/_stcore/health", Origin="http://evil.example")[0] == 403


def test_it_listens_on_loopback_only(served: Served):
    """Nothing in the command says so: the settings of the project do."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc/net/tcp")
    port = f":{urlsplit(served.url).port:04X}"
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
        if line.split()[1].endswith(port) and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F{port}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_whole_under_the_policy(browser: Browser, served: Served, scheme: str):
    """`opened` fails on any violation; here: that charts have marks and tables are drawn, in both looks."""
    for page in opened(browser, served, width=1400, height=1600, scheme=scheme):
        for path, least in CHARTS.items() if scheme == "light" else [("?", 1), ("cost?", 2)]:
            go(page, f"{served.url}/{path}data=sample")
            charts = page.get_by_test_id("stVegaLiteChart").locator("svg")
            expect(charts.nth(least - 1)).to_be_visible()
            assert all(c.locator("path, text").count() for c in charts.all()), path
        expect(page.get_by_test_id("stDataFrame").locator("canvas").first).to_be_attached()


@pytest.fixture(scope="module")
def formulas(served: Served, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set whose cohorts, errors and texts would run in a spreadsheet."""
    path = tmp_path_factory.mktemp("formulas") / "formulas.csv"
    starts = ["=1+1", "@SUM(1)", "\t=1", "+cmd|' /C calc'!A0", "-2+3", "＝1+1", "\r=1", " =1", "x;=1"]
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["request_id", "timestamp", "user_id", "model", "language", "success", "latency_ms", "prompt"])
        for i in range(120):
            when = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=i)
            out.writerow([f"=r{i}", when.isoformat(), f"u{i % 40}", starts[i % 9], starts[i % 4], i % 3 > 0, 300 + i,
                          starts[i % 9]])  # fmt: skip
    load = "import sys, kpi; kpi.load([sys.argv[1]], dataset='formulas')"
    environment = {**os.environ, "KPI_HOME": str(served.home)}
    subprocess.run([sys.executable, "-c", load, str(path)], cwd=ROOT, env=environment, check=True)
    return "formulas"


def test_a_download_runs_in_no_spreadsheet(page: Page, served: Served, formulas: str):
    go(page, f"{served.url}/traces?data={formulas}&last=all")
    page.get_by_test_id("stDataFrame").hover()
    idle(page)
    assert not page.get_by_role("button", name="Download as CSV").count(), "the framework's own download is back"
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").first.click()
    raw = Path(waiting.value.path()).read_bytes()
    assert raw.startswith("\ufeff".encode())
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert len(rows) == 51
    assert any("'=1+1" in row for row in rows)
    assert [cell for row in rows for cell in row if START.match(cell)] == []


@pytest.mark.parametrize("value", ["²", "9" * 4000, "-1", "NaN"])
def test_a_bad_page_number_is_said(page: Page, served: Served, value: str):
    go(page, f"{served.url}/traces?p={value}")
    expect(page.get_by_text(re.compile("Cannot read p"))).to_be_visible()


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A failing page with the project's settings and without its gate."""
    folder = tmp_path_factory.mktemp("failing")
    outbound = folder / "outbound"
    process, url = serve(folder, folder / "log", script="tests/e2e/failing.py", outbound=outbound)
    yield Served(url, folder, outbound)
    process.terminate()
    process.wait()


def test_an_error_box_tells_the_type_and_no_foreign_host(browser: Browser, failing: Served):
    page = browser.new_page()
    page.goto(failing.url)
    box = page.get_by_test_id("stException")
    box.wait_for(timeout=PATIENCE_MS)
    assert "RuntimeError" in box.inner_text()
    assert "stay in the log" not in page.content()
    assert page.locator("a[href^=http]").count() == 0
    page.close()
    assert not failing.outbound.exists(), "starting it and failing calls nobody"


def test_the_server_never_calls_out(served: Served, failing: Served):
    """The fixture `served` fails if any test made its server try. That it would notice: the framework, without the
    gate, asks a host on the internet for its own address when an origin is foreign."""
    own = urlsplit(failing.url).netloc
    status, _ = ask(failing, "/_stcore/stream", Host=own, Origin="http://evil.example", **HANDSHAKE)
    assert status == 403
    tried = failing.outbound.read_text()
    assert "8.8.8.8" in tried or "checkip" in tried
    assert not served.outbound.exists(), served.outbound.read_text()


def test_denial_reaches_children(tmp_path: Path):
    out = tmp_path / "outbound"
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print(e)"
    environment = {**os.environ, "PYTHONPATH": str(DENIED), "KPI_TEST_OUTBOUND": str(out)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "is denied in tests" in done.stdout
    assert "192.0.2.1" in out.read_text()
