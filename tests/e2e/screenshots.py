"""Draw docs/screenshots: every page of the sample data in light, dark and at 390 px. Run by `make screenshots`.

With names of pages as arguments only those are drawn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.driving import ROOT, go, launch, serve

TARGET = ROOT / "docs" / "screenshots"
LOOKS = {"light": ("light", 1400), "dark": ("dark", 1400), "phone": ("light", 390)}
MOST_BYTES = 250_000
PAGES = {  # name -> (address, height on a desk); English traces, because not every machine has fonts for the others
    "overview": ("?data=sample", 1120),
    "why": ("why?data=sample&metric=escalation_rate", 1500),
    "traits": ("why?data=sample&metric=escalation_rate&show=traits", 1300),
    "trends": ("trends?data=sample&last=90d&metric=latency_p95&by=region", 960),
    "versions": ("versions?data=sample&by=prompt_version&a=p6&b=p7", 1760),
    "frontier": ("versions?data=sample&by=model&show=frontier", 1860),
    "segments": ("segments?data=sample&metric=escalation_rate&by=language", 1700),
    "drift": ("drift?data=sample&col=intent", 1180),
    "cost": ("cost?data=sample&by=model", 1420),
    "traces": ("traces?data=sample&where=language:en&sort=failed&trace={trace}", 1560),
    "data": ("data?data=sample", 1000),
}


def main() -> int:
    """Start the app on KPI_HOME (or a fresh sample) and draw; returns the exit code."""
    chosen = {n: p for n, p in PAGES.items() if n in sys.argv[1:] or len(sys.argv) == 1}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(os.environ.get("KPI_HOME") or folder)
        environment = {**os.environ, "KPI_HOME": str(home)}
        subprocess.run([sys.executable, "-m", "sample_data", "--if-absent"], cwd=ROOT, env=environment, check=True)
        browser = launch(playwright)
        if browser is None:
            print("No Chromium: install chromium, or run playwright install chromium.")
            return 1
        process, url = serve(home, Path(folder) / "server.log")
        try:
            TARGET.mkdir(parents=True, exist_ok=True)
            trace = _telling_trace(environment)
            for look, (scheme, width) in LOOKS.items():
                for name, (address, height) in chosen.items():
                    context = browser.new_context(
                        viewport={"width": width, "height": 844 if width < 500 else height},
                        color_scheme=scheme,
                        reduced_motion="reduce",
                        timezone_id="UTC",
                        locale="en-US",
                    )
                    page = context.new_page()
                    go(page, f"{url}/{address.format(trace=trace)}")
                    page.wait_for_timeout(1500)
                    path = TARGET / f"{name}-{look}.png"
                    page.screenshot(path=path)
                    context.close()
                    size = path.stat().st_size
                    print(f"{path.name}: {size:,} bytes{' (too large)' if size > MOST_BYTES else ''}")
        finally:
            process.terminate()
            process.wait()
    return 0


def _telling_trace(environment: dict[str, str]) -> str:
    """A failed English trace with several tool calls."""
    code = (
        "import kpi; v = kpi.Slice(dataset='sample').where(language='en');"
        "f = kpi.find_traces(kpi.open('sample'), v, sort='failed', limit=200);"
        "print(f.sort_values('tool_calls', ascending=False, kind='stable').trace_id.iloc[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


if __name__ == "__main__":
    raise SystemExit(main())
