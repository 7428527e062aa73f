"""The door for untrusted files: everything is opened, recognised and parsed in a child process under limits.

The child runs `worker`, started afresh, told its job on standard input and heard on standard output as JSON
lines. It never imports the caller's main module, so it works under Streamlit, pytest and notebooks, and it gets
a bare environment: no database passwords, a private temporary folder. The parent reads only its messages. A child ends
with its parent (`kpi.ingest.sandbox.lifeline`), and what its folder held is taken back by the next load.
"""

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from kpi import clock, errors
from kpi.disk import full, owned_folders
from kpi.errors import IngestError
from kpi.ingest.files.archive import expand
from kpi.ingest.files.source import Opened
from kpi.ingest.limits import Limits
from kpi.ingest.readers.open import open_inputs
from kpi.mapping.mapping import Mapping, Preview
from kpi.receipts import Receipt

__all__ = ["Limits", "Opened", "Read", "open_inputs", "preview", "read"]

Progress = Callable[[float, str], None]
_ROOT = Path(__file__).resolve().parents[3]
_SPLIT_HINT = "Split the export into smaller files, or raise the limits."
_START = "import sys; from kpi.ingest.sandbox.worker import main; sys.exit(main())"
_KEPT_ENVIRONMENT = (
    "PATH", "SYSTEMROOT", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME", "KPI_DEBUG")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Read:
    """What reading came to. mapping: the one that tables were read through; None where there was no table.

    pseudonyms: whether what was staged holds any, so that it hangs on the key.
    """

    receipt: Receipt
    mapping: Mapping | None
    pseudonyms: bool = True


def read(
    paths: Sequence[Path], *, directory: Path, mapping: Mapping | None = None, saved: Mapping | None = None,
    allow: Collection[str] = (), key: bytes, ids_key: bytes | None = None, prices: str | None = None,
    limits: Limits | None = None, progress: Progress | None = None,
) -> Read:  # fmt: skip
    """Read files (or folders of them) into `directory/<table>/<n>.parquet`, canonical and redacted.

    mapping: given by a person, strict. saved: of an earlier load, applied to the columns that are there and fit.
    allow: metadata keys to keep besides the default ones. key: for pseudonyms of users. ids_key: see `Privacy`.
    prices: text of the user's price file. progress: called in this process with a fraction in 0-1 and a short text.
    Raises IngestError for a file that cannot be read at all, and when the child crashes, runs out of memory or time;
    MappingError for a mapping that contradicts the data. What was staged until then is not to be used.
    """
    job = {
        "task": "stage", "paths": _existing(paths),
        "directory": str(Path(directory).resolve()), "mapping": mapping.to_dict() if mapping else None,
        "saved": saved.to_dict() if saved and not (mapping and mapping.columns) else None, "allow": sorted(allow),
        "key": key.hex(), "ids_key": (ids_key or key).hex(), "prices": prices, "now_us": clock.now_us()}  # fmt: skip
    with full.told(full.READING, "making a folder for what is read"):
        Path(directory).mkdir(parents=True, exist_ok=True)
    told = _run(job, limits or Limits(), progress)
    used = Mapping.from_dict(told["mapping"]) if told["mapping"] else None
    return Read(Receipt.from_json(orjson.dumps(told["receipt"])), used, bool(told["pseudonyms"]))


def preview(path: Path, mapping: Mapping | None = None, rows: int = 20, *, limits: Limits | None = None) -> Preview:
    """What a load of `path` would make of it: format, columns with samples, and the mapping as guessed (or as given).

    Reads a table once, whole, for guesses rest on all rows.

    Args:
        path: A file, or a folder of files.
        mapping: To try instead of the guessed one.
        rows: Sample rows to show.
        limits: Of the child process that reads: bytes, seconds, memory.

    Returns:
        A `Preview`; its `mapping` can be changed with `Mapping.replace` and given to `kpi.load`.

    Raises:
        IngestError: For a file that cannot be read at all.
        MappingError: For a mapping that contradicts the data.

    Example:
        >>> seen = kpi.preview("requests.csv")
        >>> seen.format
        'table'
        >>> [c.field for c in seen.mapping.columns]
        ['trace_id', 'success', 'total_us']
    """
    written = mapping.to_dict() if mapping else None
    job = {"task": "preview", "paths": _existing([Path(path)]), "mapping": written, "rows": rows}
    return Preview.from_dict(_run(job, limits or Limits(), None))


def _existing(paths: Sequence[Path]) -> list[str]:
    if not paths:
        raise IngestError("ingest.not_found", "No file was given", hint="Name a file or a folder.")
    expand(paths)  # raises for what does not exist, before a process is started
    return [str(p.resolve()) for p in paths]


def _run(job: dict[str, Any], limits: Limits, progress: Progress | None) -> dict[str, Any]:
    """Run one job in a child; its result, or the error it ended with."""
    with full.told(full.READING, "reading the files"), owned_folders.OwnedFolder(owned_folders.READING) as temporary:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=None if os.environ.get("KPI_DEBUG") else subprocess.DEVNULL, cwd=temporary,
            env=_environment(str(temporary)))  # fmt: skip
        try:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(orjson.dumps({**job, "limits": dataclasses.asdict(limits)}) + b"\n")
                child.stdin.flush()  # and not closed: an end of it is how the child learns of ours
            return _listen(child, limits, progress)
        finally:  # also when the progress callback raises: Streamlit stops a script so
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def _environment(temporary: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return kept | {
        "PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", "TMPDIR": temporary, "TEMP": temporary,
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2",
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve address space that RLIMIT_AS would count
    }  # fmt: skip


def _listen(child: subprocess.Popen[bytes], limits: Limits, progress: Progress | None) -> dict[str, Any]:
    deadline = time.monotonic() + limits.wall_seconds
    assert child.stdout is not None
    for message in _messages(child.stdout, deadline):
        if "error" in message:
            raise _error(message["error"])
        if "result" in message:
            return dict(message["result"])
        if progress is not None and "fraction" in message:
            progress(float(message["fraction"]), str(message["text"]))
    if time.monotonic() >= deadline:
        raise IngestError("ingest.timeout", f"Reading took longer than {limits.wall_seconds} s", hint=_SPLIT_HINT)
    raise _ended(child.wait(), limits)


def _messages(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    """Messages of the child until it closes its output or the deadline passes."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def pump() -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=pump, daemon=True, name="kpi-ingest").start()
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return
        if not line:
            return
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            continue


def _error(data: dict[str, Any]) -> errors.KpiError:
    kind = errors.MappingError if data.get("kind") == "MappingError" else IngestError
    return kind(data["code"], data["message"], hint=data.get("hint", ""), row=data.get("row"))


def _ended(status: int, limits: Limits) -> IngestError:
    """The child ended without a word: say why as far as its exit status tells."""
    if status in (-getattr(signal, "SIGXCPU", 24), 152):
        return IngestError("ingest.timeout", f"Reading took more than {limits.cpu_seconds} s of work", hint=_SPLIT_HINT)
    if status in (-getattr(signal, "SIGKILL", 9), 137):
        return IngestError("ingest.out_of_memory", "Reading was stopped by the system", hint=_SPLIT_HINT)
    if status == -getattr(signal, "SIGXFSZ", 25):
        return IngestError("ingest.too_large", "The staged data grew too large", hint=_SPLIT_HINT)
    return IngestError.told("ingest.crashed", status=status)
