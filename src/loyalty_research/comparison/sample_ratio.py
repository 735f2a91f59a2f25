"""Sample-ratio test: did assignment deliver the arms it promised?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError, DesignError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SampleRatioTest", "sample_ratio_test"]


@dataclass(frozen=True, slots=True)
class SampleRatioTest:
    """Result of :func:`sample_ratio_test`.

    Attributes:
        statistic: Pearson's chi-square against the design.
        degrees_of_freedom: Arms less one.
        p_value: Chance of counts at least this far off under the design.
        observed: Units per arm.
        expected: Units per arm under the design.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    observed: tuple[int, ...]
    expected: tuple[float, ...]


def sample_ratio_test(
    counts: Sequence[int] | Mapping[str, int], *, ratio: Sequence[float] | Mapping[str, float]
) -> SampleRatioTest:
    """Test the sizes of arms against the ratios the design promised.

    A small p-value (below .001) means that units were lost or assigned unevenly, and then no
    difference between the arms can be trusted, however small the imbalance looks.

    Args:
        counts: Units per arm, in order or by label.
        ratio: Planned weights in the same order or by label, such as ``(1, 1)`` or ``(0.9, 0.1)``.

    Returns:
        The test.

    Raises:
        ArgumentError: When there are fewer than two arms, or counts are not whole numbers from 0.
        DesignError: When arms and ratios do not match, or an arm has no positive weight.

    References:
        Fabijan et al. (2019), KDD, 2156-2164; Kohavi, Tang and Xu (2020), chapter 21.

    Examples:
        >>> round(sample_ratio_test([821588, 815482], ratio=(1, 1)).p_value * 1e6, 2)
        1.82
    """
    if isinstance(counts, Mapping) != isinstance(ratio, Mapping):
        raise ArgumentError("counts and ratio are both sequences in one order, or both by label")
    if isinstance(counts, Mapping) and isinstance(ratio, Mapping):
        odd = sorted(set(counts) ^ set(ratio))
        if odd:
            raise DesignError(f"arms {listed(odd)} are in only one of counts and ratio")
        labels: list[str] = list(ratio)
        sizes, weights = [counts[a] for a in labels], [ratio[a] for a in labels]
    else:
        sizes, weights = list(counts), list(ratio)  # type: ignore[arg-type]
        labels = [f"number {i + 1}" for i in range(len(weights))]
        if len(sizes) != len(weights):
            raise DesignError(f"{len(sizes)} arms were counted but ratio has {len(weights)} weights")
    if len(sizes) < 2:
        raise ArgumentError("a sample-ratio test needs at least two arms")
    if any(not math.isfinite(c) or c < 0 or c != int(c) for c in sizes):
        raise ArgumentError(f"counts are whole numbers from 0; got {list(sizes)}")
    idle = [label for label, w in zip(labels, weights, strict=True) if not (math.isfinite(w) and w > 0)]
    if idle:
        raise DesignError(
            f"arm {listed(idle)} has no positive weight: leave it out of the design and the data"
        )
    observed = np.array(sizes, dtype=float)
    if observed.sum() == 0:
        raise ArgumentError("all counts are 0: there is nothing to test")
    expected = observed.sum() * np.array(weights, dtype=float) / float(np.sum(weights))
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    dof = len(sizes) - 1
    return SampleRatioTest(
        statistic=statistic,
        degrees_of_freedom=dof,
        p_value=float(stats.chi2.sf(statistic, dof)),
        observed=tuple(int(c) for c in sizes),
        expected=tuple(float(e) for e in expected),
    )
