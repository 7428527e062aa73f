"""The door for untrusted files: everything is opened, recognised and parsed in a child process under limits."""

from __future__ import annotations

from kpi.ingest.archive import Limits, Opened

__all__ = ["Limits", "Opened"]
