"""What a grace period would have changed: falls avoided by what members bought anyway, and its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._demotion_panel import LENGTH, calendar, declared_lines
from loyalty_research.programme.tier_spells import activity_lines, check_period, tier_states
from loyalty_research.summaries._frames import as_ordinal, to_dates

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["GraceWhatIf", "grace_period_what_if"]

METHOD = "bootstrap of customers, percentile"
EXACT = "Clopper-Pearson"
MONTH = 365.25 / 12  # days
SHORTEST = {"M": 28, "Q": 90, "Y": 365}


@dataclass(frozen=True, repr=False)
class GraceWhatIf(Result):
    """Grace periods side by side, if members bought as they did.

    Attributes:
        policies: One row per length: ``grace_days``; ``avoided`` (falls), ``share`` (of those who missed
            the line), ``cost`` (of benefits, all evaluations together), ``cost_per_month`` (of grace),
            ``per_fall`` (cost per fall avoided: what avoiding one must bring in margin), each with
            ``_low`` and ``_high``; costs are NaN where none was named.
        missed: Members who missed the line of their tier, by evaluation.
        evaluations: Moments at which tiers were decided.
        members: Members with a tier to lose at one of them.
        margin: Margin on spend, or None.
        months: Months of a qualifying period.
        level: Confidence level.
        currency: Currency code, or None.
    """

    title: ClassVar[str] = "Grace periods"

    policies: pd.DataFrame
    missed: int
    evaluations: int
    members: int
    margin: float | None
    months: int
    level: float
    currency: str | None

    def estimate(self, grace_days: int, figure: str) -> Estimate:
        """Return a figure of one grace period.

        Args:
            grace_days: One of the lengths compared.
            figure: ``"avoided"``, ``"share"``, ``"cost"``, ``"cost_per_month"`` or ``"per_fall"``.

        Raises:
            ArgumentError: When there is no such length or figure.
        """
        rows = self.policies[self.policies["grace_days"] == grace_days]
        if rows.empty or figure not in ("avoided", "share", "cost", "cost_per_month", "per_fall"):
            raise ArgumentError(f"there is no {figure!r} of {grace_days!r} days of grace")
        row = rows.iloc[0]
        unit = "fraction" if figure == "share" else None if figure == "avoided" else self.currency
        exact = figure in ("avoided", "share") and row["avoided"] in (0, self.missed)
        return Estimate(
            float(row[figure]),
            float(row[f"{figure}_low"]),
            float(row[f"{figure}_high"]),
            self.level,
            EXACT if exact else METHOD,
            self.missed,
            unit,
        )

    def spend_needed(self, grace_days: int) -> Estimate:
        """Return the spend per month of the next qualifying period that a fall avoided must bring to pay.

        Raises:
            ArgumentError: When there is no such length.
            DesignError: When no cost or no margin was named.
        """
        if self.margin is None or self.policies["cost"].isna().any():
            raise DesignError("the spend that pays needs benefit_cost and margin")
        e = self.estimate(grace_days, "per_fall")
        scale = 1 / (self.margin * self.months)
        return Estimate(e.value * scale, e.low * scale, e.high * scale, e.level, e.method, e.n, e.unit)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share of falls avoided by days of grace."""
        from loyalty_research.plots.demotion import falls_avoided

        return falls_avoided(self.policies, ax=ax)

    def _rows(self) -> Iterable[Row]:
        names = {
            "avoided": message("falls avoided"),
            "share": message("share of missed lines made good"),
            "cost": message("cost of benefits"),
            "cost_per_month": message("cost of benefits per month of grace"),
            "per_fall": message("cost per fall avoided"),
        }
        costed = not self.policies["cost"].isna().any()
        for days in self.policies["grace_days"].tolist():
            group = message("{days} days of grace", days=days)
            for figure, name in names.items():
                if costed or figure in ("avoided", "share"):
                    yield Row(name, self.estimate(days, figure), group=group)
            if costed and self.margin is not None:
                yield Row(message("spend per month that pays for it"), self.spend_needed(days), group=group)

    def _verdict(self) -> str:
        days = int(self.policies["grace_days"].iloc[-1])
        share, worth = self.estimate(days, "share"), self.estimate(days, "per_fall")
        fields = {
            "days": days,
            "missed": f"{self.missed:,}",
            "share": share.format(),
            "interval": share.interval(),
            "worth": worth.format(),
            "range": worth.interval(),
        }
        if math.isnan(worth.value):
            return message(
                "With {days} days of grace, {share} of the {missed} missed lines would have been made good ({interval}) by "
                "what members bought anyway. Members who hurry because of a deadline are not in this figure.",
                **fields,
            )
        return message(
            "With {days} days of grace, {share} of the {missed} missed lines would have been made good ({interval}) by what "
            "members bought anyway. Each fall avoided would have cost {worth} in benefits ({range}): it pays only where "
            "keeping the tier brings more margin than that. Members who hurry because of a deadline are not in it.",
            **fields,
        )


def _check_options(grace_days: Sequence[int], qualifying: str, margin: float | None, draws: int) -> list[int]:
    days = sorted(set(grace_days))
    longest = SHORTEST[check_period(qualifying)]
    if not days or any(
        isinstance(d, bool) or not isinstance(d, (int, np.integer)) or not 1 <= d <= longest for d in days
    ):
        raise ArgumentError(
            f"grace_days are whole days from 1 to {longest}, so that a grace ends before the next decision; "
            f"got {list(grace_days)}"
        )
    if margin is not None and not (math.isfinite(margin) and 0 < margin <= 1):
        raise ArgumentError(f"margin is a fraction above 0, up to 1; got {margin!r}")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 200:
        raise ArgumentError(f"draws is a whole number from 200; got {draws!r}")
    return [int(d) for d in days]


def _costs(benefit_cost: Mapping[str, float] | float | None, tiers: Sequence[str]) -> Floats:
    """Return the cost of benefits per member and month by tier, NaN where none is named."""
    if benefit_cost is None:
        return np.full(len(tiers), math.nan)
    named = (
        dict(benefit_cost)
        if isinstance(benefit_cost, Mapping)
        else dict.fromkeys(tiers[1:], float(benefit_cost))
    )
    odd = [t for t in named if t not in tiers[1:]]
    lacking = [t for t in tiers[1:] if t not in named]
    if odd or lacking or not all(math.isfinite(c) and c >= 0 for c in named.values()):
        raise ArgumentError(
            f"benefit_cost is an amount from 0 per member and month for each of {', '.join(tiers[1:])}; got {named}"
        )
    return np.array([math.nan, *(float(named[t]) for t in tiers[1:])])


@dataclass(frozen=True, slots=True)
class _Missed:
    """Members who missed the line of their tier.

    Attributes:
        customer: Code, shape (n,).
        tier: Tier held, shape (n,).
        days: Days of the next period until the line is reached; infinite where not seen, shape (n,).
        months: Months of the next period, shape (n,).
        members: Members with a tier to lose.
        moments: Evaluations.
    """

    customer: Ints
    tier: Ints
    days: Floats
    months: Floats
    members: int
    moments: int


def _days_until(daily: pd.DataFrame, member: Ints, starts: Ints, need: Floats, longest: int) -> Floats:
    """Return, for each missed line, the day of the next period on which what was lacking was bought."""
    out = np.full(len(member), math.inf)
    rows = pd.DataFrame({"row": np.arange(len(member)), "member": member, "start": starts, "need": need})
    both = rows.merge(daily, on="member")
    both = both[(both["day"] >= both["start"]) & (both["day"] < both["start"] + longest)]
    both = both.sort_values(["row", "day"], kind="stable")
    both["bought"] = both.groupby("row")["done"].cumsum().round(6)
    there = both[both["bought"] >= both["need"]].drop_duplicates("row")
    out[there["row"].to_numpy()] = (there["day"] - there["start"] + 1).to_numpy()
    return out


def _missed(
    memberships: Any,
    transactions: Any,
    *,
    tiers: Sequence[str],
    lines: Floats,
    qualifying: str,
    measure: str,
    as_of: dt.date | str,
    longest: int,
) -> _Missed:
    last = as_ordinal(as_of, "as_of")
    day = to_dates([last])[0].date()
    states = tier_states(memberships, tiers=tiers, as_of=as_of, period=qualifying)
    both = calendar(states, transactions, period=qualifying, measure=measure, as_of=day)
    over = both.ends + longest <= last
    # the first period of a customer is not whole
    whole = np.arange(len(both.ends))[None, :] > both.known[:, None]
    may = (both.tier > 0) & (both.tier < both.held) & over[None, :] & whole
    line = np.where(may, lines[np.where(may, both.tier, 0)], math.nan)
    member, moment = np.nonzero(both.spend < line)
    if not len(member):
        raise DesignError(
            f"nobody missed the line of a tier held, with {longest} days after the evaluation observed"
        )
    found, _ = activity_lines(transactions, qualifying, measure, day)
    code = pd.Index(states.ids).get_indexer(pd.Index(found["customer_id"]))
    daily = pd.DataFrame({"member": code, "day": found["day"].to_numpy(), "done": found[measure].to_numpy()})
    daily = daily[np.isin(code, member)].groupby(["member", "day"])["done"].sum().reset_index()
    starts = both.ends[moment] + 1
    need = (line - both.spend)[member, moment].round(6)
    return _Missed(
        customer=member.astype(np.int64),
        tier=both.tier[member, moment],
        days=_days_until(daily, member.astype(np.int64), starts, need, longest),
        months=np.full(len(member), float(LENGTH[qualifying])),
        members=int(may.any(axis=1).sum()),
        moments=int(may.any(axis=0).sum()),
    )


def _sums(missed: _Missed, graces: list[int], costs: Floats) -> Floats:
    """Return, by customer with a missed line: lines missed, and per grace falls avoided and cost."""
    size = int(missed.customer.max()) + 1
    columns = [np.bincount(missed.customer, minlength=size).astype(float)]
    price = costs[missed.tier]
    for days in graces:
        good = missed.days <= days
        months = np.where(good, missed.months, days / MONTH)
        columns += [np.bincount(missed.customer, weights=w, minlength=size) for w in (good, price * months)]
    table = np.column_stack(columns)
    return table[table[:, 0] > 0]


def _resampled(table: Floats, members: int, draws: int, seed: int) -> Floats:
    """Return bootstrap sums of columns over all members; those without a missed line add nothing."""
    patterns, counts = np.unique(table, axis=0, return_counts=True)
    chances = np.append(counts, members - len(table)) / members
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(chances))
    parts = [
        rng.multinomial(members, chances, size=min(step, draws - done))[:, :-1] @ patterns
        for done in range(0, draws, step)
    ]
    return np.concatenate(parts)


def grace_period_what_if(
    memberships: Any,
    transactions: Any,
    *,
    tiers: Sequence[str],
    lines: Mapping[str, float],
    as_of: dt.date | str,
    grace_days: Sequence[int] = (15, 30, 60),
    qualifying: str = "Q",
    measure: str = "amount",
    benefit_cost: Mapping[str, float] | float | None = None,
    margin: float | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    currency: str | None = None,
) -> GraceWhatIf:
    """Say how many falls a grace period would have avoided, at what cost.

    Members who miss the line of their tier would have some days more to reach it, and what they buy in
    them counts towards the period before. Purchases are those that were seen, so nobody hurries; those
    who reach the line keep the tier for the period, the others for the grace. A fall avoided pays when
    the margin it brings exceeds its cost, which the comparison at the line may say.

    Args:
        memberships: Table ``memberships`` with ``tier``, recorded or from :func:`tier_spells`.
        transactions: ``customer_id``, ``transacted_at`` or ``transacted_date``, ``amount``.
        tiers: Names of tiers, lowest first.
        lines: Tier to the activity per ``qualifying`` period that keeps it; tiers without one are left out.
        as_of: Last day observed; evaluations whose longest grace is not over by then are left out.
        grace_days: Lengths to compare, in days, shorter than a qualifying period.
        qualifying: Calendar period whose activity decides: ``"M"``, ``"Q"`` or ``"Y"``.
        measure: ``"amount"`` or ``"orders"``.
        benefit_cost: What the benefits of a tier cost per member and month beyond those of the tier
            below: by tier, or one figure for all; None where not known.
        margin: Margin on spend, to turn the cost into the spend that pays for it.
        level: Confidence level.
        draws: Bootstrap draws of customers.
        seed: Seed of the draws.
        currency: Currency code of costs.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a table breaks its contract; rows by position.
        DesignError: When nobody missed a line with the longest grace observed.

    Examples:
        >>> spells = pd.DataFrame({"customer_id": list("ab"), "tier": "gold",
        ...     "valid_from": pd.to_datetime("2023-10-02"), "valid_to": pd.NaT})
        >>> orders = pd.DataFrame({"customer_id": list("aab"), "amount": [80.0, 30.0, 40.0],
        ...     "transacted_at": pd.to_datetime(["2024-01-09", "2024-04-20", "2024-02-01"])})
        >>> found = grace_period_what_if(spells, orders, tiers=["base", "gold"], lines={"gold": 100},
        ...     as_of="2024-05-31", grace_days=[15, 30], benefit_cost=2.0)
        >>> found.policies[["grace_days", "avoided", "cost"]].round(2).to_numpy().tolist()
        [[15.0, 0.0, 1.97], [30.0, 1.0, 7.97]]

    References:
        Efron, Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    check_level(level)
    graces = _check_options(grace_days, qualifying, margin, draws)
    names = [str(t) for t in tiers]
    heights = declared_lines(lines, names)
    heights[0] = math.nan
    costs = _costs(benefit_cost, names)
    missed = _missed(
        memberships,
        transactions,
        tiers=names,
        lines=heights,
        qualifying=qualifying,
        measure=measure,
        as_of=as_of,
        longest=graces[-1],
    )
    table = _sums(missed, graces, costs)
    drawn = _resampled(table, missed.members, draws, seed)
    whole = table.sum(axis=0)
    policies = pd.DataFrame(
        [
            _policy(
                days, whole[[0, 2 * k + 1, 2 * k + 2]], drawn[:, [0, 2 * k + 1, 2 * k + 2]], len(table), level
            )
            for k, days in enumerate(graces)
        ]
    )
    return GraceWhatIf(
        policies=policies,
        missed=len(missed.customer),
        evaluations=missed.moments,
        members=missed.members,
        margin=margin,
        months=LENGTH[qualifying],
        level=level,
        currency=currency,
        checks=_checks(missed),
    )


def _policy(days: int, whole: Floats, drawn: Floats, customers: int, level: float) -> dict[str, float]:
    """Return the figures of one length with their limits, from lines missed, falls avoided and cost."""
    tail = (1 - level) / 2

    def figures(sums: Floats) -> dict[str, Floats]:
        lines, avoided, cost = np.moveaxis(np.atleast_2d(sums), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "avoided": avoided,
                "share": np.where(lines > 0, avoided / np.maximum(lines, 1), 0.0),
                "cost": cost,
                "cost_per_month": cost / (days / MONTH),
                "per_fall": np.where(avoided > 0, cost / np.maximum(avoided, 1), math.inf) + 0 * cost,
            }

    out: dict[str, float] = {"grace_days": days}
    seen, spread = figures(whole), figures(drawn)
    for name, value in seen.items():
        # limits of infinite figures are drawn figures themselves: none lies between
        low, high = np.quantile(spread[name], [tail, 1 - tail], method="inverted_cdf")
        out |= {name: float(value[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
    if whole[1] in (0, whole[0]):
        low, high = _exact(int(whole[1] > 0) * customers, customers, tail)
        out |= {"share_low": low, "share_high": high}
        out |= {"avoided_low": low * whole[0], "avoided_high": high * whole[0]}
    return out


def _exact(count: int, n: int, tail: float) -> tuple[float, float]:
    """Return Clopper-Pearson limits; customers count once, however many lines they missed."""
    from scipy.special import betaincinv

    low = float(betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high


def _checks(missed: _Missed) -> tuple[Check, ...]:
    few = len(np.unique(missed.customer)) < 30
    return (
        Check(
            message("Missed lines to learn from"),
            "warning" if few else "passed",
            message(
                "Missed lines: {missed}, of {customers} customers; evaluations: {moments}.",
                missed=f"{len(missed.customer):,}",
                customers=f"{len(np.unique(missed.customer)):,}",
                moments=f"{missed.moments:,}",
            ),
        ),
        Check(
            message("Members buy the same with a grace as without"),
            "not measurable",
            message(
                "Their purchases were made after the tier was lost. With a deadline ahead some would hurry, and some buy "
                "later; only a trial would show that."
            ),
        ),
    )
