"""The command line `kpi`: one file a group of commands, on Typer and Rich.

Nothing here imports pandas or an engine before a command that needs it runs, so that help and completion are quick.
"""

from kpi.cli.command import BAD, BREACHED, CANNOT_TELL, FINE
from kpi.cli.program import main

__all__ = ["BAD", "BREACHED", "CANNOT_TELL", "FINE", "main"]
