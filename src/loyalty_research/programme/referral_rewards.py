"""Rewards for referring: how many more are brought, what they buy, what each costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.programme._campaign_arms import arm_masks, cost_per_extra, mean_difference, ratio_check
from loyalty_research.programme._contact_rows import as_moment, refuse
from loyalty_research.programme.contact_dose import margins
from loyalty_research.stats.arm_contrasts import contrast, means_of_rows, ratio_of_first_two, t_limits
from loyalty_research.stats.proportions import difference_in_proportions, proportion
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["ReferralReward", "referral_reward"]


@dataclass(frozen=True, repr=False)
class ReferralReward(Result):
    """What a reward for referring brought.

    Attributes:
        rewarded: Share of those offered a reward who referred anybody.
        unrewarded: The same share of the others.
        referring: Difference of the two.
        brought: Customers brought per customer invited, reward minus none.
        bought: Share of those brought who bought in time, reward minus none: not an effect.
        value: Margin per customer brought, reward minus none: not an effect.
        value_brought: Margin of those brought per customer invited, reward minus none.
        cost_per_extra: Cost of one more customer brought, or None where no cost was given.
        value_days: Days after the referral in which purchases count.
    """

    title: ClassVar[str] = "Reward for referring"

    rewarded: Estimate
    unrewarded: Estimate
    referring: Estimate
    brought: Estimate
    bought: Estimate | None
    value: Estimate | None
    value_brought: Estimate | None
    cost_per_extra: Estimate | None
    value_days: int | None

    def _rows(self) -> Iterable[Row]:
        both, effect = message("reward minus none"), message("effect of the reward, all invited")
        of = message("of those invited")
        yield Row(message("referred somebody"), self.rewarded, group=message("reward"), estimand=of)
        yield Row(message("referred somebody"), self.unrewarded, group=message("no reward"), estimand=of)
        yield Row(message("referred somebody"), self.referring, group=both, estimand=effect)
        yield Row(
            message("customers brought per customer invited"), self.brought, group=both, estimand=effect
        )
        apart = message("of those brought, not an effect")
        for name, found, estimand in (
            (message("bought in time"), self.bought, apart),
            (message("margin per customer brought"), self.value, apart),
            (message("margin of those brought per customer invited"), self.value_brought, effect),
            (message("cost per extra customer brought"), self.cost_per_extra, effect),
        ):
            if found is not None:
                yield Row(name, found, group=both, estimand=estimand)

    def _verdict(self) -> str:
        up = self.brought
        if up.value == 0 and math.isnan(up.low):
            return message(
                "Those offered a reward referred somebody more or less often by {change} ({interval}); nobody is recorded "
                "to have come of it.",
                change=self.referring.format(signed=True),
                interval=self.referring.interval(signed=True),
            )
        shown = {"change": up.format(signed=True), "interval": up.interval(signed=True)}
        first = (
            message(
                "The reward changed customers brought per customer invited by {change} ({interval}).", **shown
            )
            if up.low > 0 or up.high < 0
            else message(
                "Whether the reward brought customers cannot be told: {change} per customer invited ({interval}).",
                **shown,
            )
        )
        parts = [first]
        cost = self.cost_per_extra
        if cost is not None:
            parts.append(
                message(
                    "Each extra customer cost {cost} ({interval}).",
                    cost=cost.format(),
                    interval=cost.interval(),
                )
                if math.isfinite(cost.low)
                else message("What an extra customer cost cannot be limited: too few were brought.")
            )
        if self.value_brought is not None:
            parts.append(
                message(
                    "In {days} days those brought added {value} of margin per customer invited ({interval}), before "
                    "rewards.",
                    days=str(self.value_days),
                    value=self.value_brought.format(signed=True),
                    interval=self.value_brought.interval(signed=True),
                )
            )
        return " ".join(parts)


def referral_reward(
    customers: pd.DataFrame,
    referrals: pd.DataFrame,
    *,
    transactions: pd.DataFrame | None = None,
    treated: str,
    control: str,
    start: dt.date | str,
    days: int,
    as_of: dt.date | str,
    value_days: int | None = None,
    arm: str = "arm",
    margin: float | None = None,
    reward_cost: float | None = None,
    ratio: float | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> ReferralReward:
    """Return what a reward for referring, offered to some by lot, brought.

    All who were drawn count, whether they referred or not. Customers brought with a reward are
    other people than those brought without one, so what each of them buys is compared but is no
    effect; what all of them buy, per customer invited, is.

    Args:
        customers: ``customer_id`` and ``arm``, one row per customer drawn by lot.
        referrals: ``referrer_id``, ``referred_id`` (empty where nobody came of it) and ``referred_at``.
        transactions: ``customer_id, transacted_at, amount`` and ``cost_of_goods`` or ``margin``.
        treated: Label of those offered a reward.
        control: Label of the others.
        start: First moment in which referrals count, naive UTC.
        days: Days in which they count.
        as_of: Last day observed.
        value_days: Days after the referral in which purchases count; needed with ``transactions``.
        arm: Column of the arm.
        margin: Share of the amount that is margin, a fraction.
        reward_cost: Cost of the reward for one customer brought by the treated.
        ratio: Planned size of the treated over that of the control, for the sample-ratio gate.
        currency: Code of the currency.
        level: Confidence level.

    Returns:
        Rates with Newcombe's limits, means with Welch's, means per customer brought by the delta
        method with referrers as clusters, cost per extra customer with Fieller's.

    Raises:
        ArgumentError: When windows had not ended, or options do not go together.
        ContractError: When a column is missing or a customer referred himself.
        DesignError: When an arm has fewer than two customers.

    Examples:
        >>> people = pd.DataFrame({"customer_id": [f"c{i}" for i in range(200)],
        ...                        "arm": ["reward"] * 100 + ["none"] * 100})
        >>> brought = pd.DataFrame({"referrer_id": [f"c{i}" for i in [*range(30), *range(100, 110)]],
        ...     "referred_id": [f"n{i}" for i in range(40)], "referred_at": pd.Timestamp("2024-05-03")})
        >>> found = referral_reward(people, brought, treated="reward", control="none", start="2024-05-01",
        ...     days=30, as_of="2024-06-30", reward_cost=10.0, currency="EUR")
        >>> round(found.brought.value, 6), found.cost_per_extra.format()
        (0.2, '15.00 EUR')

    References:
        Schmitt, Skiera and Van den Bulte (2011), Journal of Marketing 75, 46-59, on referred
        customers' value; Fieller (1954), JRSS B 16, 175-185.
    """
    check_level(level)
    first = as_moment(start, "start")
    last = first + pd.Timedelta(days=positive_days(days, "days"))
    if (transactions is None) != (value_days is None):
        raise ArgumentError(
            "transactions and value_days go together: purchases count in a stated number of days"
        )
    until = last + pd.Timedelta(days=positive_days(value_days, "value_days") if value_days is not None else 0)
    if until > as_moment(as_of, "as_of") + pd.Timedelta(days=1):
        raise ArgumentError(
            f"the days asked for end {until.date()}, but the data end {as_of}: wait, or shorten them"
        )
    if reward_cost is not None and not (math.isfinite(reward_cost) and reward_cost > 0):
        raise ArgumentError(f"reward_cost is the cost of one reward, above 0; got {reward_cost!r}")
    if "customer_id" not in customers.columns:
        raise ContractError("customers lacks the column customer_id")
    refuse(
        customers["customer_id"].duplicated().to_numpy(), "customers.customer_id repeats", "keep one row each"
    )
    own, held = arm_masks(customers, arm, treated, control, "customers")
    people = pd.Index(customers["customer_id"])
    made, came = _referred(referrals, people, first, last)
    hits = [int(made[m].sum()) for m in (own, held)]
    sizes = [int(m.sum()) for m in (own, held)]
    count = _per_referrer(came, people)
    bought = value = value_brought = None
    if transactions is not None and value_days is not None and len(came):
        gains = _of_referred(came, margins(transactions, margin), value_days)
        bought = _per_brought(_per_referrer(gains, people, "bought"), count, own, held, level, "fraction")
        spent = _per_referrer(gains, people, "margin")
        value = _per_brought(spent, count, own, held, level, currency)
        value_brought = mean_difference(spent, own, held, level=level, unit=currency)
    return ReferralReward(
        rewarded=proportion(hits[0], sizes[0], level=level),
        unrewarded=proportion(hits[1], sizes[1], level=level),
        referring=difference_in_proportions(hits[0], sizes[0], hits[1], sizes[1], level=level),
        brought=mean_difference(count, own, held, level=level),
        bought=bought,
        value=value,
        value_brought=value_brought,
        cost_per_extra=None
        if reward_cost is None
        else cost_per_extra(count, reward_cost * count * own, own, held, level=level, unit=currency),
        value_days=value_days,
        checks=(*ratio_check(sizes[0], sizes[1], ratio), _mixing(came, people)),
    )


def _referred(
    referrals: pd.DataFrame, people: pd.Index, first: pd.Timestamp, last: pd.Timestamp
) -> tuple[Flags, pd.DataFrame]:
    """Return who referred anybody, and one row per customer brought: referrer, referred, when."""
    missing = [c for c in ("referrer_id", "referred_id", "referred_at") if c not in referrals.columns]
    if missing:
        raise ContractError(f"referrals lacks the column {', '.join(missing)}")
    for column in ("referrer_id", "referred_at"):
        refuse(
            referrals[column].isna().to_numpy(), f"referrals.{column} is null", "fill it or leave the row out"
        )
    own = (referrals["referrer_id"] == referrals["referred_id"]).to_numpy(dtype=bool, na_value=False)
    refuse(own, "referrals has customers who referred themselves", "leave those rows out")
    # who was referred twice was brought by the first
    known = referrals["referred_id"].notna()
    order = referrals[known].sort_values("referred_at", kind="stable").drop_duplicates("referred_id")
    inside = (referrals["referred_at"] >= first) & (referrals["referred_at"] < last)
    made = people.isin(referrals.loc[inside, "referrer_id"])
    came = order[(order["referred_at"] >= first) & (order["referred_at"] < last)]
    return np.asarray(made), came[came["referrer_id"].isin(people)]


def _per_referrer(came: pd.DataFrame, people: pd.Index, column: str | None = None) -> Floats:
    """Return how many each customer brought, or the sum of a column over them."""
    grouped = came.groupby("referrer_id")
    found = grouped.size() if column is None else grouped[column].sum()
    return np.asarray(found.reindex(people).fillna(0), dtype=float)


def _of_referred(came: pd.DataFrame, gains: pd.DataFrame, value_days: int) -> pd.DataFrame:
    """Add each referred customer's margin in the days after the referral, and whether there was an order."""
    joined = gains.merge(
        came[["referred_id", "referred_at"]], left_on="customer_id", right_on="referred_id", how="inner"
    )
    gap = joined["transacted_at"] - joined["referred_at"]
    kept = joined[(gap >= pd.Timedelta(0)) & (gap < pd.Timedelta(days=value_days))]
    sums = kept.groupby("referred_id")["margin"].agg(["sum", "size"]).reindex(came["referred_id"])
    return came.assign(
        margin=sums["sum"].fillna(0.0).to_numpy(), bought=(sums["size"].fillna(0) > 0).to_numpy(dtype=float)
    )


def _per_brought(
    top: Floats, count: Floats, own: Flags, held: Flags, level: float, unit: str | None
) -> Estimate | None:
    """Return the difference of a mean per customer brought; None where an arm has fewer than two referrers."""
    # who brought nobody adds nothing to either sum, and would only flatter the degrees of freedom
    sides = [np.column_stack([top, count])[m & (count > 0)] for m in (own, held)]
    if min(len(side) for side in sides) < 2:
        return None
    found = contrast(means_of_rows(sides[0]), means_of_rows(sides[1]), ratio_of_first_two, outcomes=2)
    value, variance, n = (
        float(found.difference[0]),
        float(found.covariance[0, 0]),
        int(count[own | held].sum()),
    )
    method = "delta method, referrers as clusters"
    if variance < 1e-24:  # all who were brought are alike, but for rounding
        return Estimate(value, math.nan, math.nan, level, method, n, unit)
    low, high, p = t_limits(value, math.sqrt(variance), float(found.dof[0]), level)
    return Estimate(value, low, high, level, method, n, unit, p)


def _mixing(came: pd.DataFrame, people: pd.Index) -> Check:
    name = message("Referred customers who were drawn themselves")
    inside = int(came["referred_id"].isin(people).sum())
    if not inside:
        return Check(name, "passed", message("Nobody who was brought was in the draw."))
    return Check(
        name,
        "warning",
        messages(
            "{count} customer brought was in the draw already; the offer to one customer may have reached another.",
            "{count} customers brought were in the draw already; the offer to one customer may have reached another.",
            inside,
        ),
    )
