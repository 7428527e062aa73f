"""For a served app and its children: no socket leaves this machine. Each attempt is written down, then refused.

Python runs this file at the start of every process that has its folder on PYTHONPATH. Sockets that compiled libraries
open on their own, past Python, are not seen.
"""

from __future__ import annotations

import os
import sys
import traceback

LOOPBACK = ("127.", "::1", "::ffff:127.", "localhost")
OUT = os.environ["KPI_TEST_OUTBOUND"]


def _watch(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
        host = place[0] if isinstance(place, tuple) else ""  # a path is a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "")
    if host and not host.startswith(LOOPBACK) and host != "0.0.0.0":
        with open(OUT, "a", encoding="utf-8") as file:
            file.write(f"{event} {arguments[1:] if 'connect' in event else arguments}\n")
            traceback.print_stack(limit=12, file=file)
        raise OSError(f"{event} is denied in tests: {host}")


sys.addaudithook(_watch)
