"""Special functions with plain array types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["digamma", "trigamma"]


def digamma(v: Array | float) -> Array:
    """Return the derivative of log gamma."""
    return np.asarray(special.digamma(v), dtype=float)


def trigamma(v: Array | float) -> Array:
    """Return the second derivative of log gamma, zeta(2, v)."""
    return np.asarray(special.zeta(2.0, v), dtype=float)
