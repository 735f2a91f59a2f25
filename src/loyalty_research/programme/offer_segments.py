"""A randomised offer by segment: for whom it pays, and what choosing by segment is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number
from loyalty_research.programme._campaign_arms import arm_masks, mean_difference, ratio_check
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.stats.multiplicity import adjust_p_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["OfferBySegment", "offer_by_segment"]

LEAST = 10  # customers per arm and half, below which a segment's choice would be chance


@dataclass(frozen=True, repr=False)
class OfferBySegment(Result):
    """Effect of an offer in each segment, and the value of choosing whom to offer it.

    Attributes:
        lifts: Segment to the effect per customer.
        adjusted: Segment to the p-value adjusted for the number of segments (Holm).
        all_customers: Effect per customer over all.
        differ: p-value of one effect for all segments.
        chosen: Segments in which the effect is above 0.
        policy: Effect per customer of offering by segment, where the segments were chosen on other
            customers than those on whom it is judged.
        gain: The same less that of offering to all.
    """

    title: ClassVar[str] = "Offer by segment"

    lifts: dict[str, Estimate]
    adjusted: dict[str, float]
    all_customers: Estimate
    differ: float
    chosen: tuple[str, ...]
    policy: Estimate
    gain: Estimate

    def _rows(self) -> Iterable[Row]:
        name, estimand = message("outcome per customer"), message("offered minus held out, all assigned")
        for segment, found in self.lifts.items():
            yield Row(
                name, found, group=segment, estimand=estimand, extra={"p_adjusted": self.adjusted[segment]}
            )
        nothing = {"p_adjusted": math.nan}
        yield Row(name, self.all_customers, group=message("all"), estimand=estimand, extra=nothing)
        yield Row(
            name,
            self.policy,
            group=message("chosen by segment"),
            estimand=message("offered where it paid in the other half, less offered to nobody"),
            extra=nothing,
        )
        yield Row(
            name,
            self.gain,
            group=message("chosen by segment"),
            estimand=message("less offered to all"),
            extra=nothing,
        )

    def _verdict(self) -> str:
        shown = {"gain": self.gain.format(signed=True), "interval": self.gain.interval(signed=True)}
        p = message("p < 0.001") if self.differ < 0.001 else message("p = {p}", p=number(self.differ))
        if not self.differ < 1 - self.gain.level:
            first = message("That the effect differs between segments is not shown ({p}).", p=p)
        else:
            first = message("The effect differs between segments ({p}).", p=p)
        if math.isnan(self.gain.low) and self.gain.value == 0:
            second = message(
                "In each half of the customers it paid in every segment, so choosing by segment is offering it to all."
            )
        elif self.gain.low > 0:
            second = message(
                "Offering it only where it paid brings {gain} more per customer than offering it to all ({interval}).",
                **shown,
            )
        elif self.gain.high < 0:
            second = message(
                "Choosing by segment loses against offering it to all: {gain} per customer ({interval}).",
                **shown,
            )
        else:
            second = message(
                "Whether choosing by segment beats offering it to all cannot be told: {gain} per customer ({interval}).",
                **shown,
            )
        return f"{first} {second}"


def offer_by_segment(
    units: pd.DataFrame,
    *,
    treated: str,
    control: str,
    segment: str,
    outcome: str,
    arm: str = "arm",
    cost: float = 0.0,
    covariates: Sequence[str] = (),
    ratio: float | None = None,
    currency: str | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> OfferBySegment:
    """Return a randomised offer's effect by segment, and what offering it by segment is worth.

    The best-looking segment looks better than it is. So the rule 'offer it where it pays' is made
    on one half of the customers and judged on the other, and the other way round; what is left is the
    value of the rule and not of the luck it was chosen by. Segments must be known before the offer.

    Args:
        units: One row per customer assigned by lot: arm, segment and outcome.
        treated: Label of those offered.
        control: Label of those held out.
        segment: Column of the segment, known before the offer.
        outcome: Column of the outcome, such as margin during and after the offer.
        arm: Column of the arm.
        cost: Cost of offering per customer, in the unit of the outcome.
        covariates: Columns known before the offer, such as margin before, that are allowed for.
        ratio: Planned size of the treated over that of the control.
        currency: Code of the outcome's currency.
        seed: Seed of the split into halves, made within segments and arms.
        level: Confidence level.

    Returns:
        Effects with Welch's limits; those of the policy treat the two halves as one sample.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing or a cell is empty.
        DesignError: When there is one segment only, or one has fewer than 20 customers in an arm.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> units = pd.DataFrame({"arm": ["in", "out"] * 400, "group": ["new"] * 400 + ["old"] * 400})
        >>> effect = np.where(units["group"] == "new", 4.0, -2.0) * (units["arm"] == "in")
        >>> found = offer_by_segment(units.assign(gain=effect + rng.normal(0, 3, 800)), treated="in",
        ...     control="out", segment="group", outcome="gain")
        >>> found.chosen, found.gain.low > 0
        (('new',), True)

    References:
        Holm (1979), Scandinavian Journal of Statistics 6; Deng et al. (2013), WSDM, for covariates; Athey and Wager (2021), Econometrica 89, on
        policies judged on other data than they were learnt on.
    """
    check_level(level)
    if isinstance(covariates, str):
        raise ArgumentError(f"covariates is a list of columns; got {covariates!r}")
    missing = [c for c in (segment, outcome, *covariates) if c not in units.columns]
    if missing:
        raise ContractError(f"units lacks the column {', '.join(missing)}")
    if not math.isfinite(cost):
        raise ArgumentError(f"cost must be a finite amount; got {cost!r}")
    own, held = arm_masks(units, arm, treated, control, "units")
    refuse(
        units[segment].isna().to_numpy(), f"units.{segment} is null", "name a segment, such as 'not known'"
    )
    y = pd.to_numeric(units[outcome], errors="coerce").to_numpy(dtype=float)
    refuse(
        ~np.isfinite(y), f"units.{outcome} is missing or no number", "give each customer a value, 0 for none"
    )
    y = _allowed_for(y, units, covariates, own, held) - cost * own
    labels = units[segment].astype(str).to_numpy()
    names = sorted(np.unique(labels[own | held]).tolist())
    _check_sizes(names, labels, own, held)
    lifts = {
        name: mean_difference(y, own & (labels == name), held & (labels == name), level=level, unit=currency)
        for name in names
    }
    p_values = [1.0 if found.p_value is None else found.p_value for found in lifts.values()]
    halves = _halves(labels, own, held, names, seed)
    policy, gain = _policy(y, labels, own, held, names, halves, level, currency)
    return OfferBySegment(
        lifts=lifts,
        adjusted=dict(zip(names, adjust_p_values(p_values).tolist(), strict=True)),
        all_customers=mean_difference(y, own, held, level=level, unit=currency),
        differ=_differ(list(lifts.values()), y, labels, own, held, names),
        chosen=tuple(name for name, found in lifts.items() if found.value > 0),
        policy=policy,
        gain=gain,
        checks=(*ratio_check(int(own.sum()), int(held.sum()), ratio), _known_before()),
    )


def _allowed_for(
    y: Floats, units: pd.DataFrame, covariates: Sequence[str], own: Flags, held: Flags
) -> Floats:
    """Take off what the covariates tell of the outcome within the arms, one slope for all."""
    if not covariates:
        return y
    x = units[list(covariates)].to_numpy(dtype=float, na_value=np.nan)
    for column, name in zip(x.T, covariates, strict=True):
        refuse(~np.isfinite(column), f"units.{name} is missing or not finite", "fill it, or leave it out")
    inside = own | held
    away_x, away_y = x.copy(), y.copy()
    for mask in (own, held):
        away_x[mask] -= x[mask].mean(axis=0)
        away_y[mask] -= y[mask].mean()
    slope = np.linalg.lstsq(away_x[inside], away_y[inside], rcond=None)[0]
    return np.asarray(y - (x - x[inside].mean(axis=0)) @ slope)


def _check_sizes(names: list[str], labels: NDArray[Any], own: Flags, held: Flags) -> None:
    if len(names) < 2:
        raise DesignError("there is one segment only, so there is nothing to choose between")
    small = sum(min(int((m & (labels == name)).sum()) for m in (own, held)) < 2 * LEAST for name in names)
    if small:
        raise DesignError(
            f"{small} segments have fewer than {2 * LEAST} customers in an arm: join them with others, since what "
            "is chosen by so few is chance"
        )


def _halves(labels: NDArray[Any], own: Flags, held: Flags, names: list[str], seed: int) -> NDArray[np.int64]:
    """Return 0 or 1 per customer, as many of each within every segment and arm."""
    rng = np.random.default_rng(seed)
    half = np.zeros(len(labels), dtype=np.int64)
    for name in names:
        for mask in (own, held):
            rows = np.flatnonzero(mask & (labels == name))
            half[rng.permutation(rows)[: len(rows) // 2]] = 1
    return half


def _moments(
    y: Floats, labels: NDArray[Any], own: Flags, held: Flags, names: list[str]
) -> tuple[Floats, Floats]:
    """Return each segment's effect and its variance."""
    lift, variance = np.empty(len(names)), np.empty(len(names))
    for i, name in enumerate(names):
        sides = [y[m & (labels == name)] for m in (own, held)]
        lift[i] = sides[0].mean() - sides[1].mean()
        variance[i] = sum(float(np.var(side, ddof=1)) / len(side) for side in sides)
    return lift, variance


def _policy(
    y: Floats,
    labels: NDArray[Any],
    own: Flags,
    held: Flags,
    names: list[str],
    half: NDArray[np.int64],
    level: float,
    currency: str | None,
) -> tuple[Estimate, Estimate]:
    """Return the value of a rule learnt on one half and judged on the other, both ways averaged."""
    n = int((own | held).sum())
    share = np.array([((own | held) & (labels == name)).sum() / n for name in names])
    values, errors = np.zeros(2), np.zeros(2)
    for learn in (0, 1):
        chosen = _moments(y, labels, own & (half == learn), held & (half == learn), names)[0] > 0
        judged, variance = _moments(y, labels, own & (half != learn), held & (half != learn), names)
        for i, weight in enumerate((share * chosen, -share * ~chosen)):
            values[i] += float(weight @ judged) / 2
            errors[i] += float(weight**2 @ variance) / 4
    z = float(stats.norm.isf((1 - level) / 2))
    made = []
    for value, variance_ in zip(values.tolist(), errors.tolist(), strict=True):
        # a rule that is the same as its yardstick differs from it by nothing, which is no estimate
        half_width = z * math.sqrt(variance_) if variance_ > 0 else math.nan
        made.append(
            Estimate(value, value - half_width, value + half_width, level, "cross-fitted", n, currency)
        )
    return made[0], made[1]


def _differ(
    lifts: list[Estimate], y: Floats, labels: NDArray[Any], own: Flags, held: Flags, names: list[str]
) -> float:
    """Return the p-value of one effect for all segments, by the weighted spread of the effects."""
    lift, variance = _moments(y, labels, own, held, names)
    if not (variance > 0).all() or any(math.isnan(found.low) for found in lifts):
        return math.nan
    weight = 1 / variance
    mean = float(weight @ lift / weight.sum())
    return float(stats.chi2.sf(float(weight @ (lift - mean) ** 2), len(names) - 1))


def _known_before() -> Check:
    return Check(
        message("Segments known before the offer"),
        "not measurable",
        message("Taken as given: a segment that the offer itself changed would compare unlike customers."),
    )
