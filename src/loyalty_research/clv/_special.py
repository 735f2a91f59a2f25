"""Special functions with plain array types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["digamma", "endless_2f1", "trigamma"]

_MOST_TERMS = 5_000_000


def digamma(v: Array | float) -> Array:
    """Return the derivative of log gamma."""
    return np.asarray(special.digamma(v), dtype=float)


def trigamma(v: Array | float) -> Array:
    """Return the second derivative of log gamma, zeta(2, v)."""
    return np.asarray(special.zeta(2.0, v), dtype=float)


def endless_2f1(b: float, c: float, decay: float) -> float:
    """Return 2F1(1, b; c; exp(-decay)) for c above b: the discounted sum of chances of being there.

    Its terms are positive and fall at least by exp(-decay), so their sum keeps every digit where
    scipy's hyp2f1 returns NaN (b in the hundreds).

    Args:
        b: Second upper parameter.
        c: Lower parameter, above b.
        decay: Continuous discount rate per period, above 0.

    Raises:
        ArgumentError: When the rate is so small that millions of periods count.

    Examples:
        >>> round(endless_2f1(4.0, 5.0, 0.1), 6)
        4.72029
    """
    count = int(np.ceil(45.0 / decay))
    if count > _MOST_TERMS:
        raise ArgumentError(
            f"a discount rate of {np.expm1(decay):.2g} per period needs a sum of {count:,} periods; give a horizon="
        )
    k = np.arange(count - 1.0)
    return 1.0 + float(np.cumprod((b + k) / (c + k) * np.exp(-decay)).sum())
