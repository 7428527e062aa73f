"""`python -m kpi.cli` is `kpi`."""

from kpi.cli.program import main

raise SystemExit(main())
