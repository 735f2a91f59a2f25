"""Adjusting p-values for the number of questions asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MULTIPLICITY_METHODS", "adjust_p_values"]

MULTIPLICITY_METHODS = ("holm", "hochberg", "benjamini-hochberg", "bonferroni")


def adjust_p_values(p: ArrayLike, *, method: str = "holm") -> NDArray[np.float64]:
    """Adjust the p-values of one family of tests.

    Comparing an adjusted p-value with alpha decides its hypothesis. Bonferroni and Holm hold
    the chance of any false positive at alpha whatever the dependence; Hochberg does so for
    independent or positively dependent tests; Benjamini-Hochberg holds the expected share of
    false positives among the rejections.

    Args:
        p: P-values of the family, shape (m,), each in [0, 1].
        method: ``"holm"``, ``"hochberg"``, ``"benjamini-hochberg"`` or ``"bonferroni"``.

    Returns:
        Adjusted p-values in the order given, shape (m,).

    Raises:
        ArgumentError: When the method is unknown or a value is missing or outside [0, 1].

    References:
        Holm (1979), Scandinavian Journal of Statistics 6, 65-70. Hochberg (1988), Biometrika 75,
        800-802. Benjamini and Hochberg (1995), JRSS B 57, 289-300, equation 1.

    Examples:
        >>> adjust_p_values([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
        >>> adjust_p_values([0.01, 0.04, 0.03], method="hochberg").tolist()
        [0.03, 0.04, 0.04]
    """
    if method not in MULTIPLICITY_METHODS:
        raise ArgumentError(f"method is one of {', '.join(MULTIPLICITY_METHODS)}; got {method!r}")
    values: NDArray[np.float64] = np.asarray(p, dtype=float)
    if values.ndim != 1:
        raise ArgumentError(f"p must be one-dimensional; got shape {values.shape}")
    bad = int(np.sum(~((values >= 0) & (values <= 1))))
    if bad:
        raise ArgumentError(f"{bad:,} of {len(values):,} p-values are missing or outside 0 to 1")
    m = len(values)
    if m == 0:
        return values
    if method == "bonferroni":
        return np.minimum(values * m, 1.0)
    order = np.argsort(values, kind="stable")
    ranked, rank = values[order], np.arange(1, m + 1)
    if method == "holm":
        adjusted = np.maximum.accumulate(ranked * (m + 1 - rank))
    else:
        factor = m + 1 - rank if method == "hochberg" else m / rank
        adjusted = np.minimum.accumulate((ranked * factor)[::-1])[::-1]
    out = np.empty(m)
    out[order] = np.minimum(adjusted, 1.0)
    return out
