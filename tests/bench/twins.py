"""Poisoned twins of every export at hand, by what became of them. `python -m tests.twins` names each one."""

from __future__ import annotations

from tests.twins import exports, run


def main() -> None:
    print("Exports re-encoded and damaged, beside the clean ones")
    print(f"  {run.counts(run.battery(exports.exports()))}")
    print(f"  as frames and in databases: {run.counts(run.in_memory(exports.exports()))}\n")
