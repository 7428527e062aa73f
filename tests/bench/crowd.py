"""Many people at once: one first visit beside thirty together, on a server of its own, without browsers.

Each visitor is a WebSocket that speaks the protocol of Streamlit's own front end, so that the server is measured and
not thirty browsers on the same cores. Ratios, because machines differ. Environment: KPI_BENCH_PEOPLE (default 30).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from statistics import median

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from app.inflight import Flights
from tests.bench.serving import Server, serving

PAGES = {"": "Overview", "why": "Why", "segments": "Segments"}
ROUNDS = 3
QUERY = "data=sample&last=28d"


@dataclass(frozen=True)
class Visit:
    """One run of a page. seconds: until the script ended; noticed: the page said that it waits for someone else."""

    seconds: float
    noticed: bool
    error: str


@dataclass(frozen=True)
class Round:
    """People who came together. last: seconds until the slowest had everything; cpu: processor seconds of the server;
    memory: megabytes that it held when all had their page.
    """

    last: float
    cpu: float
    memory: float
    visits: tuple[Visit, ...]


class Visitor:
    """One open tab."""

    def __init__(self, server: Server, tab: ClientConnection) -> None:
        self.server, self.tab = server, tab

    @classmethod
    async def open(cls, server: Server) -> Visitor:
        address = f"ws://127.0.0.1:{server.port}/_stcore/stream"
        origin = f"http://127.0.0.1:{server.port}"
        tab = await connect(address, origin=origin, subprotocols=["streamlit"], max_size=None, open_timeout=120,  # type: ignore[arg-type,list-item]
                            compression=None, ping_interval=None)  # fmt: skip
        return cls(server, tab)

    async def visit(self, page: str) -> Visit:
        """Ask for a page and read until it is complete."""
        asked = BackMsg()
        asked.rerun_script.query_string = QUERY
        asked.rerun_script.page_name = page
        asked.rerun_script.context_info.timezone = "UTC"
        asked.rerun_script.context_info.url = f"http://127.0.0.1:{self.server.port}/{page}"
        asked.rerun_script.context_info.color_scheme = "light"
        start = time.perf_counter()
        await self.tab.send(asked.SerializeToString())
        noticed, error = False, ""
        async for raw in self.tab:
            assert isinstance(raw, bytes)
            noticed = noticed or Flights.SAID.encode() in raw
            said = ForwardMsg.FromString(raw)
            if said.WhichOneof("type") == "delta" and said.delta.new_element.WhichOneof("type") == "exception":
                error = said.delta.new_element.exception.type
            done = said.WhichOneof("type") == "script_finished"
            if done and said.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return Visit(time.perf_counter() - start, noticed, error)
        raise RuntimeError("the server closed the connection")


async def together(server: Server, size: int, page: str) -> Round:
    """`size` fresh tabs that ask for the same page at the same moment."""
    people = [await Visitor.open(server) for _ in range(size)]
    cpu, start = server.cpu, time.perf_counter()
    visits = await asyncio.gather(*(p.visit(page) for p in people))
    last = time.perf_counter() - start
    found = Round(last, server.cpu - cpu, server.memory, tuple(visits))
    for person in people:
        await person.tab.close()
    return found


async def first(page: str, size: int) -> Round:
    """The first visit to a server that has just started."""
    with serving() as server:
        return await together(server, size, page)


async def warm(page: str, size: int) -> tuple[list[Round], list[Round], float]:
    """Visits of one and of `size` in turn to a server that has drawn the page before, and megabytes a session."""
    with serving() as server:
        await together(server, 1, page)
        one, all_ = [], []
        for _ in range(ROUNDS):
            one.append(await together(server, 1, page))
            all_.append(await together(server, size, page))
        return one, all_, (all_[0].memory - one[0].memory) / size


def main(people: int = 0) -> None:
    """Print first and later visits of one and of all, their ratio, and the memory of a session."""
    people = people or int(os.environ.get("KPI_BENCH_PEOPLE", "30"))
    print(f"Crowd: one visitor beside {people} together; seconds until the slowest has all (of the processor)")
    heads = ("first, one", "together", "ratio", "later, one", "together", "ratio")
    print(f"  {'page':10}", *(f"{head:>16}" for head in heads), f"{'MB each':>8}")
    for page, name in PAGES.items():
        alone, crowd = (asyncio.run(first(page, size)) for size in (1, people))
        one, all_, memory = asyncio.run(warm(page, people))
        cells = (*_cells([alone], [crowd]), *_cells(one, all_))
        told = sum(v.noticed for v in crowd.visits)
        errors = {v.error for r in (alone, crowd, *one, *all_) for v in r.visits if v.error}
        failed = f"; errors: {', '.join(errors)}" if errors else ""
        print(f"  {name:10}", *cells, f"{memory:8.1f}", f" {told} were told that they wait{failed}", flush=True)
    print()


def _cells(alone: list[Round], crowd: list[Round]) -> list[str]:
    """Medians of one, of all, and their ratio, each as "seconds (of the processor)"."""
    (a, b), (c, d) = (
        (median(r.last for r in rounds), median(r.cpu for r in rounds)) for rounds in (alone, crowd)
    )  # fmt: skip
    return [f"{x:7.2f} ({y:6.2f})" for x, y in ((a, b), (c, d), (c / a, d / b))]


if __name__ == "__main__":
    main()
