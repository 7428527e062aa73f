"""`python -m tests.twins [-v] [part …]`: every twin of every export, or those with a part in their names."""

from __future__ import annotations

import sys

from tests.twins.exports import exports
from tests.twins.judge import CRASHED, SILENT
from tests.twins.run import battery, in_memory, report


def main() -> int:
    parts = [a for a in sys.argv[1:] if not a.startswith("-")]

    def wanted(export: str, form: str) -> bool:
        return not parts or any(p in f"{export} as {form}" for p in parts)

    found = [*battery(exports(), wanted), *in_memory(exports(), wanted)]
    if "-v" in sys.argv:
        print("\n".join(map(str, found)))
    print(report(found))
    return 1 if any(v.verdict in (SILENT, CRASHED) for v in found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
