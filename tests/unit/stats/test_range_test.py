"""Limits that hold for all pairs of groups at once: the published quantiles of the studentised range."""

from __future__ import annotations

import numpy as np
import pytest

from kpi.stats.range_test import simultaneous

TABLE = {2: 2.772, 3: 3.314, 5: 3.858, 10: 4.474, 20: 5.012}  # q(0.95; groups, infinite df), Harter 1960


@pytest.mark.parametrize(("groups", "q"), TABLE.items())
def test_the_quantile_is_the_published_one(groups: int, q: float) -> None:
    assert float(simultaneous(groups, np.inf)) * np.sqrt(2) == pytest.approx(q, abs=1e-3)


def test_two_groups_have_the_t_distribution_of_their_difference() -> None:
    assert simultaneous(2, np.array([5.0, 30.0])) == pytest.approx([2.5706, 2.0423], abs=1e-4)
