"""Options of a plan, checked before anything is computed."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.counts import check_fraction, check_whole
from loyalty_research.stats.spending import group_sequential_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.stats.spending import GroupSequentialBounds, Spending

__all__ = ["check_looks", "check_rates", "check_sizes", "design_effect_of", "plan_checks"]


def check_rates(baseline: float, uplift: float) -> tuple[float, float]:
    """Return a baseline and an uplift that keep both rates inside (0, 1)."""
    baseline = check_fraction(baseline, "baseline")
    known = isinstance(uplift, Real) and math.isfinite(uplift) and uplift != 0
    if not (known and 0 < baseline + uplift < 1):
        raise ArgumentError(
            f"uplift is a difference of fractions that keeps baseline + uplift inside (0, 1); got {uplift!r}"
        )
    return baseline, float(uplift)


def check_sizes(
    required: int | None,
    given: int | None,
    horizon_days: int | None,
    cards_per_day: float | None,
    reward_cost: float | None,
    card_cost: float,
) -> None:
    """Check the card, its time and its prices."""
    if (required is None) != (given is None):
        raise ArgumentError("required and given describe one card; give both or neither")
    if required is not None:
        check_whole(required, "required", least=1)
        check_whole(given, "given", least=1)
        if required <= (given or 0):
            raise ArgumentError(
                f"required must exceed given, or nothing is left to earn; got required={required}, given={given}"
            )
    if horizon_days is not None:
        check_whole(horizon_days, "horizon_days", least=1)
    for value, name, least in (
        (cards_per_day, "cards_per_day", None),
        (reward_cost, "reward_cost", 0.0),
        (card_cost, "card_cost", 0.0),
    ):
        if value is None:
            continue
        finite = isinstance(value, Real) and math.isfinite(value)
        if not finite or (value <= 0 if least is None else value < least):
            raise ArgumentError(
                f"{name} must be {'positive' if least is None else 'zero or more'}; got {value!r}"
            )


def check_looks(looks: int | Sequence[float], level: float, spending: Spending) -> GroupSequentialBounds:
    """Return the bounds of a plan, whose last look has all cards."""
    bounds = group_sequential_bounds(looks, level=level, spending=spending)
    if not math.isclose(bounds.fractions[-1], 1.0):
        raise ArgumentError(f"the last look of a plan has all cards, so looks must end at 1; got {looks!r}")
    return bounds


def design_effect_of(cluster_size: int, icc: float) -> float:
    """Return 1 + (m - 1) x icc.

    Raises:
        ArgumentError: When the size or the correlation is out of range.
    """
    size = check_whole(cluster_size, "cluster_size", least=1)
    if not (isinstance(icc, Real) and 0 <= icc <= 1):
        raise ArgumentError(f"icc must lie from 0 to 1; got {icc!r}")
    if icc > 0 and size == 1:
        raise ArgumentError("icc needs cluster_size above 1: a cluster of one card has no likeness within")
    return 1 + (size - 1) * icc


def plan_checks(
    cluster_size: int, icc: float, bounds: GroupSequentialBounds | None = None
) -> tuple[float, tuple[Check, ...]]:
    """Return the design effect and what a plan rests on, as checks."""
    effect = design_effect_of(cluster_size, icc)
    checks = [
        Check(
            message("the assumed effect"),
            "not measurable",
            message(
                "published effects that reached significance tend to overstate the true one; see half the effect"
            ),
        ),
        Check(
            message("design effect"),
            "passed",
            message(
                "{effect} (clusters of {size}, intraclass correlation {icc})",
                effect=number(effect),
                size=cluster_size,
                icc=number(icc),
            ),
        ),
    ]
    if bounds is not None and len(bounds.z) > 1:
        checks.append(
            Check(
                message("error over the looks"),
                "passed",
                message(
                    "{looks} looks at {shares} of the cards spend {error} in all ({spending})",
                    looks=len(bounds.z),
                    shares=", ".join(percent(t, digits=0) for t in bounds.fractions),
                    error=percent(1 - bounds.level),
                    spending=bounds.spending,
                ),
            )
        )
    return effect, tuple(checks)
