"""Install what tests need beside Python packages: Chromium and PostgreSQL's server binaries.

apt where that works, else playwright's own download for the browser. Ends with one line that says what to install where
nothing works.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """A Chromium on this machine: CHROMIUM, one on the PATH, or playwright's own."""
    named = os.environ.get("CHROMIUM")
    if named and Path(named).exists():
        return named
    found = next((p for p in map(shutil.which, BROWSERS) if p), None)
    return found or _playwright_browser()


def _playwright_browser() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        path = p.chromium.executable_path
    return path if Path(path).exists() else None


def find_postgres() -> Path | None:
    """The folder that holds initdb and postgres, or None."""
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).parent
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    good = [p for p in places if (p / "initdb").exists() and (p / "postgres").exists()]
    return max(good, key=lambda p: [int(n) for n in p.parent.name.split(".") if n.isdigit()], default=None)


def apt_install(*packages: str) -> bool:
    """Install Debian packages, as root or through sudo without a password. False where that does not work."""
    if shutil.which("apt-get") is None:
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and shutil.which("sudo") is None:
        return False
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
    try:
        subprocess.run([*sudo, "apt-get", "update", "-qq"], check=False, **quiet)
        subprocess.run(
            [*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, **quiet
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def main() -> int:
    """Install what is missing; 1 when something still is."""
    if find_browser() is None and not (apt_install("chromium", "fonts-dejavu") and find_browser()):
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
        if find_browser() is None:
            print(
                "The browser tests need Chromium: install the package chromium, or set CHROMIUM to one.",
                file=sys.stderr,
            )
            return 1
    if find_postgres() is None and not (apt_install("postgresql") and find_postgres()):
        print("The database tests need PostgreSQL's server binaries: install the package postgresql.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
