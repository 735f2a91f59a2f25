"""What a page on promises measures, one part after another, each with a reason where it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.errors import DesignError
from loyalty_research.programme._demotion_panel import LEAST
from loyalty_research.programme.bunching import bunching_at_line
from loyalty_research.programme.deferral_schedule import deferral_schedule
from loyalty_research.programme.demotion import demotion_event_study
from loyalty_research.programme.grace import grace_period_what_if
from loyalty_research.programme.ledger import points_ledger
from loyalty_research.programme.liability import expiry_what_if, redemption_triangle
from loyalty_research.programme.tier_spells import activity_lines, qualifying_activity, tier_spells
from loyalty_research.programme.tiers import tier_migration

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from loyalty_research.data import Dataset
    from loyalty_research.programme.bunching import Bunching
    from loyalty_research.programme.deferral_schedule import DeferralSchedule
    from loyalty_research.programme.demotion import DemotionStudy
    from loyalty_research.programme.grace import GraceWhatIf
    from loyalty_research.programme.ledger import PointsLedger
    from loyalty_research.programme.liability import ExpiryWhatIf, RedemptionLiability
    from loyalty_research.programme.tiers import TierMigration

__all__ = [
    "TierTable",
    "deferral_of",
    "demotion_of",
    "expiry_of",
    "grace_of",
    "ledger_of",
    "migration_of",
    "needed",
    "pull_of",
    "tiers_of",
]

_BINS = 50  # bins up to a tier's line; customers may move by a tenth of it
_AFTER = {"M": 1, "Q": 3, "Y": 6}  # months after a fall that are looked at


@dataclass(frozen=True, slots=True)
class TierTable:
    """Spells of tiers, recorded or derived.

    Attributes:
        spells: Table ``memberships``.
        names: Tiers, lowest first.
        lines: Tier to what it takes; empty where not named.
        period: Calendar period whose activity decides.
        recorded: Whether tiers exist.
        end: Last day observed.
    """

    spells: pd.DataFrame
    names: list[str]
    lines: dict[str, float]
    period: str
    recorded: bool
    end: dt.date


def ledger_of(source: Dataset) -> PointsLedger:
    """Book the ledger.

    Raises:
        DesignError: When there is none.
        ContractError: When it does not balance.
    """
    if not source.has("points_ledger"):
        raise DesignError("the data have no points_ledger: no points, or none recorded")
    return points_ledger(source.frame("points_ledger"), as_of=source.as_of, decimals=None)


def needed(ledger: PointsLedger | None) -> PointsLedger:
    """Return the ledger, or raise DesignError."""
    if ledger is None:
        raise DesignError("there is no points ledger")
    return ledger


def expiry_of(
    ledger: PointsLedger | None,
    liability: RedemptionLiability | None,
    rules: Sequence[int],
    worth: Mapping[str, Any],
) -> ExpiryWhatIf:
    """Compare expiry rules.

    Raises:
        DesignError: When redemptions to come are not measurable, or no rule is within what was seen.
    """
    if liability is None:
        raise DesignError("redemptions to come are not measurable")
    seen = [rule for rule in rules if rule <= liability.last_age]
    if not seen:
        raise DesignError(
            f"no rule of at most {liability.last_age} periods was named, and older redemptions were never seen"
        )
    return expiry_what_if(needed(ledger), expires_after=seen, **worth)


def tiers_of(source: Dataset, tiers: Sequence[str], lines: Mapping[str, float], period: str) -> TierTable:
    """Return the tiers that are recorded, or else those that lines lay over spend.

    Raises:
        DesignError: When there are neither, or the order of recorded tiers is not known.
    """
    recorded = source.has("memberships", "tier") and bool(source.frame("memberships")["tier"].notna().any())
    if recorded:
        if not tiers:
            raise DesignError("the order of the tiers is not known: name them, the lowest first")
        spells, names = source.frame("memberships"), [str(t) for t in tiers]
    elif lines and source.has("transactions"):
        spells = tier_spells(source.frame("transactions"), lines=lines, period=period, as_of=source.as_of)
        names = ["base", *lines]
    else:
        raise DesignError("the data have no tiers, and no lines were named from which to derive them")
    end = source.as_of or pd.to_datetime(spells["valid_from"]).max().date()
    return TierTable(spells, names, dict(lines), period, recorded, end)


def _known(table: TierTable | None) -> TierTable:
    if table is None:
        raise DesignError("there are no tiers")
    return table


def migration_of(table: TierTable | None, *, seed: int, level: float) -> TierMigration:
    """Count moves between tiers."""
    known = _known(table)
    return tier_migration(
        known.spells, tiers=known.names, as_of=known.end, period=known.period, seed=seed, level=level
    )


def demotion_of(
    source: Dataset, table: TierTable | None, *, donut: float, seed: int, level: float
) -> DemotionStudy:
    """Follow spend around the loss of a recorded tier.

    Raises:
        DesignError: When tiers are not recorded, or it cannot be studied.
    """
    known = _known(table)
    if not known.recorded:
        raise DesignError("these tiers do not exist, so nobody lost one")
    if not source.has("transactions"):
        raise DesignError("the data have no transactions")
    return demotion_event_study(
        known.spells,
        source.frame("transactions"),
        tiers=known.names,
        as_of=known.end,
        lines=known.lines or None,
        qualifying=known.period,
        period="M",
        after=_AFTER[known.period],
        donut=donut,
        level=level,
        seed=seed,
        currency=source.currency,
    )


def grace_of(
    source: Dataset,
    table: TierTable | None,
    *,
    days: Sequence[int],
    cost: Mapping[str, float],
    margin: float | None,
    seed: int,
    level: float,
) -> GraceWhatIf:
    """Say what grace periods would have changed.

    Raises:
        DesignError: When no lines or lengths are named, or it cannot be said.
    """
    known = _known(table)
    if not known.lines or not days:
        raise DesignError("no lines of tiers, or no days of grace, were named")
    if not source.has("transactions"):
        raise DesignError("the data have no transactions")
    found = grace_period_what_if(
        known.spells,
        source.frame("transactions"),
        tiers=known.names,
        lines=known.lines,
        as_of=known.end,
        grace_days=days,
        qualifying=known.period,
        benefit_cost=dict(cost) or None,
        margin=margin,
        level=level,
        seed=seed,
        currency=source.currency,
    )
    # a page shows no count of one to four, nor a share that tells it
    few = found.policies["avoided"].between(1, LEAST - 1)
    if few.all():
        raise DesignError(f"fewer than {LEAST} falls would have been avoided, too few to show")
    return replace(found, policies=found.policies[~few].reset_index(drop=True))


def deferral_of(
    source: Dataset, ledger: PointsLedger | None, *, price: float | None, period: str, tail: str | None
) -> DeferralSchedule:
    """Defer revenue for points, sales of members split by stand-alone prices where they are recorded.

    Raises:
        DesignError: When there is no ledger or no price, or the chain ladder cannot be drawn.
    """
    known = needed(ledger)
    if price is None:
        raise DesignError("no stand-alone price of a point was named")
    return deferral_schedule(
        known,
        point_value=price,
        period=period,
        sales=_sales(source, known, period),
        tail=tail,
        currency=source.currency,
    )


def _sales(source: Dataset, ledger: PointsLedger, period: str) -> dict[str, float] | None:
    """Return sales to members from their first entry on, by period; None where a period has none."""
    if not source.has("transactions"):
        return None
    bought, _ = activity_lines(source.frame("transactions"), period, "amount", ledger.as_of)
    entries = source.frame("points_ledger")
    when = "occurred_date" if "occurred_date" in entries else "occurred_at"
    since = pd.to_datetime(entries[when]).groupby(entries["customer_id"]).min()
    first = bought["customer_id"].map(since.dt.normalize().map(pd.Timestamp.toordinal))
    mine = bought[(bought["day"] >= first).to_numpy()]
    sums = mine.groupby("period")["amount"].sum()
    names = pd.PeriodIndex.from_ordinals(sums.index.to_numpy(), freq=period).astype(str)  # type: ignore[attr-defined]
    sales = {n: round(float(v), 2) for n, v in zip(names, sums, strict=True) if v > 0}
    cohorts = redemption_triangle(ledger, period=period).redeemed.index
    return sales if all(c in sales for c in cohorts) else None


def pull_of(source: Dataset, line: float, period: str, *, seed: int, level: float) -> Bunching:
    """Look for pull at a line."""
    spend = qualifying_activity(source.frame("transactions"), period=period, as_of=source.as_of)["activity"]
    width = line / _BINS
    return bunching_at_line(
        spend, line=line, bin_width=width, below=5 * width, above=5 * width, seed=seed, level=level
    )
