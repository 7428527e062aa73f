"""Types of arrays that statistics pass around."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
