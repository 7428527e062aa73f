"""Many people at once: one first visit beside thirty together, on a server of its own, without browsers.

Each visitor is a WebSocket that speaks the protocol of Streamlit's own front end, so that the server is measured and
not thirty browsers on the same cores. Ratios, because machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 30
PAGES = ("", "why", "trends", "versions", "segments", "drift", "cost", "traces")
NOTICE = "Someone else"


@dataclass(frozen=True)
class Visit:
    """One run of a page. seconds: until the script ended; elements: drawn; noticed: a notice of waiting was shown."""

    seconds: float
    elements: int
    size: int
    noticed: bool
    error: str


class Server:
    """The app on a free port, in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app/main.py", f"--server.port={self.port}",
             "--server.address=127.0.0.1", "--server.fileWatcherType=none"],
            cwd=ROOT, stdout=self.log, stderr=subprocess.STDOUT, env=dict(os.environ),
        )  # fmt: skip

    def wait(self) -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_stcore/health", timeout=1) as answer:
                    if answer.read() == b"ok":
                        return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server did not start")

    @property
    def memory(self) -> float:
        """Resident megabytes of the server."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    @property
    def cpu(self) -> float:
        """Processor seconds of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        server.wait()
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)
        server.log.close()


class Visitor:
    """One open tab."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.socket: ClientConnection | None = None

    async def open(self) -> None:
        address = f"ws://127.0.0.1:{self.server.port}/_stcore/stream"
        self.socket = await connect(address, subprotocols=["streamlit"], max_size=None, open_timeout=120,  # type: ignore[list-item]
                                    compression=None, ping_interval=None)  # fmt: skip

    async def visit(self, page: str, query: str) -> Visit:
        assert self.socket is not None
        asked = BackMsg()
        asked.rerun_script.query_string = query
        asked.rerun_script.page_name = page
        asked.rerun_script.context_info.timezone = "UTC"
        asked.rerun_script.context_info.url = f"http://127.0.0.1:{self.server.port}/{page}"
        asked.rerun_script.context_info.color_scheme = "light"
        start = time.perf_counter()
        await self.socket.send(asked.SerializeToString())
        elements, size, noticed, error = 0, 0, False, ""
        async for raw in self.socket:
            assert isinstance(raw, bytes)
            said = ForwardMsg.FromString(raw)
            kind = said.WhichOneof("type")
            size += len(raw)
            if kind == "delta":
                elements += 1
                noticed = noticed or NOTICE.encode() in raw
                new = said.delta.new_element
                if new.WhichOneof("type") == "exception":
                    error = new.exception.message or new.exception.type
            elif kind == "script_finished" and said.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                break
        return Visit(time.perf_counter() - start, elements, size, noticed, error)

    async def close(self) -> None:
        if self.socket:
            await self.socket.close()


@dataclass(frozen=True)
class Round:
    """What people who came together saw. last: seconds until the slowest had everything."""

    last: float
    middle: float
    cpu: float
    visits: tuple[Visit, ...]


async def together(server: Server, people: list[Visitor], page: str, query: str) -> Round:
    cpu = server.cpu
    start = time.perf_counter()
    visits = await asyncio.gather(*(p.visit(page, query) for p in people))
    return Round(time.perf_counter() - start, median(v.seconds for v in visits), server.cpu - cpu, tuple(visits))


async def crowd(server: Server, size: int) -> list[Visitor]:
    people = [Visitor(server) for _ in range(size)]
    for person in people:
        await person.open()
    return people


async def _first(page: str, size: int) -> Round:
    """A first visit of `size` people together to a server that has just started."""
    with serving() as server:
        people = await crowd(server, size)
        found = await together(server, people, page, "data=sample&last=28d")
        for person in people:
            await person.close()
    return found


async def _warm(page: str, size: int, rounds: int) -> tuple[list[Round], list[Round], list[float]]:
    """Rounds of one and of all on a server that has drawn the page before, and its memory before and after."""
    with serving() as server:
        one = await crowd(server, 1)
        query = "data=sample&last=28d"
        await together(server, one, page, query)
        await asyncio.sleep(1)
        memory = [server.memory]
        alone = []
        for _ in range(rounds):
            fresh = await crowd(server, 1)
            alone.append(await together(server, fresh, page, query))
            await fresh[0].close()
        all_ = []
        for _ in range(rounds):
            people = await crowd(server, size)
            all_.append(await together(server, people, page, query))
            memory.append(server.memory)
            for person in people:
                await person.close()
    return alone, all_, memory


def say(name: str, r: Round) -> None:
    errors = {v.error for v in r.visits if v.error}
    v = r.visits[-1]
    print(
        f"  {name:28} last {r.last:6.2f} s, median {r.middle:6.2f}, cpu {r.cpu:6.2f}, {v.elements} deltas "
        f"{v.size / 1e3:.0f} kB, noticed {sum(x.noticed for x in r.visits)}, {errors or ''}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", nargs="*", default=[""])
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    for page in args.pages:
        print(page or "overview", os.getloadavg())
        if args.cold:
            for _ in range(args.rounds):
                say("first, alone", asyncio.run(_first(page, 1)))
                say("first, together", asyncio.run(_first(page, args.people)))
        alone, all_, memory = asyncio.run(_warm(page, args.people, args.rounds))
        for r in alone:
            say("warm, alone", r)
        for r in all_:
            say("warm, together", r)
        print("  memory", [f"{m:.0f}" for m in memory])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
