"""Does it work every time? pass^k: the chance that all of k independent tries of one task succeed.

pass^k = E_task[C(c, k) / C(n, k)], c successes in n tries of a task: unbiased, and falls with k where tries of a task
differ (Yao et al. 2024, arXiv 2406.12045, section 4). pass^1 is the mean success of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from kpi.errors import MetricError
from kpi.measure.cells import Grouping
from kpi.measure.estimate import LEVEL, steady
from kpi.measure.metrics import METRICS
from kpi.measure.slice import Slice
from kpi.measure.summary import collect, resolve
from kpi.narrate.comparisons import reliability_sentence
from kpi.narrate.wording import scope_of
from kpi.result import Result
from kpi.store.engines import Source

_SUCCESS = "task_success"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Reliability(Result):
    """pass^k. by: dimensions that name a task; rows: see `pass_hat_k`."""

    main = "rows"
    columns = ("k", "value", "low", "high", "n_tasks", "trials")
    by: tuple[str, ...]
    rows: pd.DataFrame
    sentence: str
    scope: str = ""


def pass_hat_k(source: Source, slice: Slice | None = None, by: str | Sequence[str] = "task", k: int = 4) -> Reliability:
    """Share of tasks solved in each of 1 to k tries, one row for each number of tries.

    Tries of one task belong together, so tasks are the sample: a t interval of the mean over tasks by the delta method
    on the logit, which stays in [0, 1]. Where no task differs, the exact limit of as many tasks.

    Args:
        source: Where the rows are.
        slice: The rows to look at; all of them when None.
        by: The dimension whose values are tasks, or several that name one together.
        k: Most tries.

    Returns:
        A `Reliability`: rows with columns k, value, low, high (95 %, tasks as the units; NaN below two tasks), n_tasks
        (tasks tried at least k times), trials (requests of those tasks whose success is known). Requests without a task
        count in none.

    Raises:
        MetricError: For a k below one, an unknown dimension.

    Source:
        Brown, Cai and DasGupta 2001, section 4.1.2; Clopper and Pearson 1934.

    Example:
        >>> found = kpi.pass_hat_k(source, kpi.Slice(last="28d"), by="intent", k=2)
        >>> found.frame()["k"].tolist()
        [1, 2]
    """
    if k < 1:
        raise MetricError("reliability.k", f"Cannot try a task {k} times", hint="Ask for k of at least one.")
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names:
        raise MetricError("reliability.by", "A task needs a dimension", hint="Say which one holds tasks, such as task.")
    resolved = resolve(source, slice)
    (cells,) = collect(source, [METRICS[_SUCCESS]], filters=resolved.filters,
                       window=resolved.window, tz=resolved.slice.tz,
                       groupings=[Grouping(by=names, intervals=False, metrics=(_SUCCESS,))])  # fmt: skip
    sums = cells.ratio(METRICS[_SUCCESS])
    named = np.array([all(part is not None for part in key[: len(names)]) for key in cells.keys], dtype=bool)
    tries, wins = np.asarray(sums.n)[named], np.asarray(sums.y)[named]
    rows = [_row(tries, wins, size) for size in range(1, k + 1)]
    return Reliability(by=names, rows=pd.DataFrame(rows), sentence=reliability_sentence(rows),
                       scope=scope_of(resolved, int(cells.rows().sum())))  # fmt: skip


def _row(tries: np.ndarray, wins: np.ndarray, k: int) -> dict[str, float]:
    enough = tries >= k
    n, c = tries[enough], wins[enough]
    value, low, high = _mean(special.binom(c, k) / special.binom(n, k) if len(n) else np.zeros(0))
    return {"k": k, "value": value, "low": low, "high": high, "n_tasks": len(n), "trials": int(n.sum())}


def _mean(shares: np.ndarray) -> tuple[float, float, float]:
    """Mean of the tasks' shares with its interval."""
    tasks = len(shares)
    if tasks == 0:
        return np.nan, np.nan, np.nan
    value = float(shares.mean())
    if tasks < 2:
        return value, np.nan, np.nan
    tail = (1 - LEVEL) / 2
    if value <= 0:
        return 0.0, 0.0, float(1 - tail ** (1 / tasks))
    if value >= 1:
        return 1.0, float(tail ** (1 / tasks)), 1.0
    error = float(shares.std(ddof=1)) / np.sqrt(tasks)
    reach = float(special.stdtrit(tasks - 1, 1 - tail)) * error / (value * (1 - value))
    middle = special.logit(value)
    low, high = steady(special.expit(np.array([middle - reach, middle + reach])))
    return value, float(low), float(high)
