"""Matched pairs, and how much hidden bias their difference can bear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["RosenbaumBounds", "bias_borne", "pair_up", "rosenbaum_bounds"]

_GAMMAS: Final = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
_MOST: Final = 1e3


def pair_up(score: Array, treated: Array, *, caliper: float = 0.2) -> tuple[Integers, Integers]:
    """Pair each treated unit with the nearest control not yet taken.

    Treated units choose in the order of their scores, highest first, since those have fewest
    controls near them.

    Args:
        score: Such as the logit of the propensity, shape (n,).
        treated: 0 or 1, shape (n,).
        caliper: Largest distance in standard deviations of the score.

    Returns:
        Rows of treated units and of their controls, as many as pairs.

    References:
        Rosenbaum and Rubin (1985), The American Statistician 39, 33-38; Austin (2011),
        Pharmaceutical Statistics 10, 150-161 (caliper).
    """
    width = caliper * float(np.std(score))
    ones, zeros = np.flatnonzero(treated == 1), np.flatnonzero(treated == 0)
    ones = ones[np.argsort(-score[ones], kind="stable")]
    zeros = zeros[np.argsort(score[zeros], kind="stable")]
    sorted_scores = score[zeros].tolist()
    starts = np.searchsorted(score[zeros], score[ones], side="left").tolist()
    wanted = score[ones].tolist()
    last = len(sorted_scores)
    # nearest free place to the right and to the left of each place, with 0 and last + 1 as walls
    right, left = list(range(last + 2)), list(range(last + 2))

    def free(links: list[int], place: int) -> int:
        while links[place] != place:
            links[place] = links[links[place]]
            place = links[place]
        return place

    first, second = [], []
    for row, at, value in zip(ones.tolist(), starts, wanted, strict=True):
        above, below = free(right, at + 1), free(left, at)
        up = sorted_scores[above - 1] - value if above <= last else math.inf
        down = value - sorted_scores[below - 1] if below >= 1 else math.inf
        place, distance = (above, up) if up < down else (below, down)
        if distance > width or not math.isfinite(distance):
            continue
        right[place], left[place] = place + 1, place - 1
        first.append(row)
        second.append(int(zeros[place - 1]))
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)


def _tail(differences: Array, gamma: float) -> tuple[float, float]:
    """Return the smallest and largest one-sided p-value under a hidden bias of at most gamma."""
    ranks = stats.rankdata(np.abs(differences)) * (differences != 0)
    total, squares = float(ranks.sum()), float(ranks @ ranks)
    seen = float(ranks[differences > 0].sum())
    out = []
    for chance in (1 / (1 + gamma), gamma / (1 + gamma)):
        spread = math.sqrt(chance * (1 - chance) * squares)
        out.append(float(stats.norm.sf((seen - chance * total) / spread)))
    return out[0], out[1]


def bias_borne(differences: Array, *, alpha: float) -> float:
    """Return the largest hidden bias under which the pairs still differ; 1 where they do not at all."""
    if _tail(differences, 1.0)[1] > alpha:
        return 1.0
    low, high = 1.0, 2.0
    while _tail(differences, high)[1] <= alpha:
        low, high = high, 2 * high
        if high > _MOST:
            return math.inf
    while high - low > 1e-6 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(differences, middle)[1] <= alpha else (low, middle)
    return low


@dataclass(frozen=True, repr=False)
class RosenbaumBounds(Result):
    """How a hidden bias in who was treated would change the p-value of matched pairs.

    Attributes:
        gammas: By how much the odds of treatment may differ within a pair.
        lower: Smallest p-value possible at each.
        upper: Largest p-value possible at each.
        borne: Largest gamma at which the largest p-value is still below 1 - level.
        pairs: Pairs that differ or not.
        level: Confidence level.
    """

    title: ClassVar[str] = "Rosenbaum bounds"

    gammas: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    borne: float
    pairs: int
    level: float

    def _rows(self) -> Iterator[Row]:
        for gamma, low, high in zip(self.gammas, self.lower, self.upper, strict=True):
            estimate = Estimate(high, low, high, self.level, "Wilcoxon signed rank, bounds", self.pairs)
            yield Row(message("largest p-value"), estimate, estimand="gamma", extra={"gamma": gamma})

    def _verdict(self) -> str:
        if self.borne <= 1:
            return message("The pairs do not differ clearly even if nothing hidden decided who was treated.")
        return message(
            "The pairs differ clearly unless something hidden made treatment more than {gamma} times as likely, in "
            "odds, for one of a pair than for the other.",
            gamma=number(self.borne, digits=2) if math.isfinite(self.borne) else message("a thousand"),
        )


def rosenbaum_bounds(
    treated: ArrayLike,
    control: ArrayLike,
    *,
    gammas: Sequence[float] = _GAMMAS,
    alternative: Literal["greater", "less"] = "greater",
    level: float = 0.95,
) -> RosenbaumBounds:
    """Bound the p-value of matched pairs when something hidden helped to decide who was treated.

    Within a pair the odds of being the treated one may differ by a factor of gamma; the signed-rank
    test then has a smallest and a largest p-value.

    Args:
        treated: Outcome of the treated unit of each pair, shape (m,).
        control: Outcome of its control, shape (m,).
        gammas: Factors to look at, each at least 1.
        alternative: ``"greater"`` when the treated are thought to have more, or ``"less"``.
        level: The one-sided p-value is held against 1 - level.

    Returns:
        The bounds, and the largest gamma that the conclusion bears.

    Raises:
        ArgumentError: When an option is out of range or lengths differ.
        ContractError: When values are missing or infinite.
        DesignError: When no pair differs.

    References:
        Rosenbaum (2002), Observational Studies, 2nd edition, section 4.3.

    Examples:
        >>> treated = [38, 23, 41, 18, 37, 36, 23, 62, 31, 34, 24, 14]
        >>> control = [16, 18, 18, 24, 19, 11, 10, 15, 16, 18, 18, 13]
        >>> round(rosenbaum_bounds(treated, control, gammas=[2]).upper[0], 4)
        0.0305
    """
    check_level(level)
    if alternative not in ("greater", "less"):
        raise ArgumentError(f"alternative is 'greater' or 'less'; got {alternative!r}")
    if not gammas or not all(math.isfinite(g) and g >= 1 for g in gammas):
        raise ArgumentError(f"gammas are factors of at least 1; got {list(gammas)!r}")
    one, zero = np.asarray(treated, dtype=float), np.asarray(control, dtype=float)
    if one.ndim != 1 or one.shape != zero.shape:
        raise ArgumentError(f"treated and control must be pairs; got {one.shape} and {zero.shape}")
    for name, values in (("treated", one), ("control", zero)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ContractError(f"{name} is missing or infinite in {at_rows(bad.tolist())}")
    differences = one - zero if alternative == "greater" else zero - one
    if not differences.any():
        raise DesignError("no pair differs: there is nothing to bound")
    bounds = [_tail(differences, float(g)) for g in gammas]
    return RosenbaumBounds(
        gammas=tuple(float(g) for g in gammas),
        lower=tuple(low for low, _ in bounds),
        upper=tuple(high for _, high in bounds),
        borne=bias_borne(differences, alpha=1 - level),
        pairs=len(differences),
        level=level,
    )
