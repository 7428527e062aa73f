"""Files that came through a browser, for as long as their session: raw rows, so in a folder of their own that goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kpi.disk import full
from kpi.disk.owned_folders import UPLOAD, OwnedFolder


class Uploads:
    """Uploads as files that can be loaded. Their folder, mode 0700, goes with this object and with its process.

    files: pairs of name and content. Names are kept as far as they are harmless, and never trusted as paths. paths: one
    for each, in their order. Raises IngestError `ingest.full` for a full disk; nothing is left then.
    """

    def __init__(self, files: Iterable[tuple[str, bytes | memoryview]]) -> None:
        with full.told(full.READING, "keeping the upload"):
            self._folder = OwnedFolder(UPLOAD)
            try:
                self.paths = [self._put(number, name, content) for number, (name, content) in enumerate(files)]
            except BaseException:
                self.close()
                raise

    def _put(self, number: int, name: str, content: bytes | memoryview) -> Path:
        place = self._folder.path / f"{number:03d}"
        place.mkdir(mode=0o700)
        path = place / (re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-80:].lstrip(".") or "file")
        path.write_bytes(content)
        return path

    def close(self) -> None:
        self._folder.close()
