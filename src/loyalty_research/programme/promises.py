"""From a dataset to what a programme has promised: points still owed, rules of expiry, tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Finding, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme.bunching import bunching_at_line
from loyalty_research.programme.ledger import points_ledger
from loyalty_research.programme.liability import expiry_what_if, redemption_liability
from loyalty_research.programme.tier_spells import qualifying_activity, tier_spells
from loyalty_research.programme.tiers import tier_migration

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.bunching import Bunching
    from loyalty_research.programme.ledger import PointsLedger
    from loyalty_research.programme.liability import ExpiryWhatIf, RedemptionLiability
    from loyalty_research.programme.tiers import TierMigration, TierReach

__all__ = ["PromisesStudy", "promises_study"]

_BINS = 50  # bins up to a tier's line; customers may move by a tenth of it
_ONE = {"M": "month", "Q": "quarter", "Y": "year"}
_NAMES = {"M": "months", "Q": "quarters", "Y": "years"}


@dataclass(frozen=True)
class PromisesStudy:
    """What a programme owes its members, and how they move between tiers.

    Attributes:
        ledger: The points ledger; None with a reason among ``missing``.
        liability: Points still to be redeemed; None likewise.
        expiry: Expiry rules side by side; None likewise.
        migration: Moves between tiers; None likewise.
        reach: Way to the highest tier; None likewise.
        settled: Mix of tiers in the long run, by tier; empty likewise.
        bunching: Pull at the lines of tiers that exist.
        derived: Whether tiers were derived from spend instead of recorded.
        value_per_point: Money per redeemed point; None where not known.
        period: Calendar period of issue cohorts.
        tier_period: Calendar period of tiers.
        as_of: Last day observed.
        missing: What could not be measured, with the reason.
        currency: ISO 4217 code, or None.
    """

    ledger: PointsLedger | None
    liability: RedemptionLiability | None
    expiry: ExpiryWhatIf | None
    migration: TierMigration | None
    reach: TierReach | None
    settled: Mapping[str, Estimate]
    bunching: tuple[Bunching, ...]
    derived: bool
    value_per_point: float | None
    period: str
    tier_period: str
    as_of: dt.date | None
    missing: tuple[Check, ...]
    currency: str | None

    @property
    def n(self) -> int:
        """Accounts in the ledger, or else customers with a tier."""
        if self.ledger is not None:
            return self.ledger.accounts
        return self.migration.customers if self.migration is not None else 0

    def findings(self) -> tuple[Finding, ...]:
        """Return the answer: what is owed, what will not be redeemed, how members move."""
        section = message("The answer")
        found = []
        if self.liability is not None:
            unsure = any(c.status == "warning" for c in self.liability.checks)
            status: Any = "suppressed" if self.liability.failed_gates else "caution" if unsure else "finding"
            shown = self.liability.points if self.value_per_point is None else self.liability.liability
            if status == "suppressed":
                found.append(Finding("owed", self.liability.verdict(), None, status, section))
            else:
                found.append(Finding("owed", self._owed(), shown, status, section))
                broken = self.liability.breakage
                said = message(
                    "{share} of all points issued will not have been redeemed {age} {periods} after their issue ({interval}).",
                    share=broken.format(),
                    age=self.liability.last_age,
                    periods=_NAMES[self.period],
                    interval=broken.interval(),
                )
                found.append(Finding("breakage", said, broken, status, section))
        if self.ledger is not None:
            found.append(Finding("ledger", self.ledger.verdict(), None, "finding", section))
        if self.migration is not None:
            kind: Any = "caution" if self.derived else "finding"
            found.append(Finding("tiers", self._moves(), None, kind, section))
        if not found:
            reasons = " ".join(c.detail for c in self.missing)
            return (Finding("nothing-promised", reasons, status="suppressed", section=section),)
        return tuple(found)

    def _owed(self) -> str:
        if self.liability is None:
            return ""
        fit = self.liability
        held = float(fit.cohorts["held"].sum())
        if self.value_per_point is None:
            return message(
                "Of {held} points held, {points} are expected to be redeemed within {age} {periods} of their issue "
                "({interval}). What they cost is not measurable, since no value per point was named.",
                held=number(held, digits=0),
                points=fit.points.format(),
                age=fit.last_age,
                periods=_NAMES[self.period],
                interval=fit.points.interval(),
            )
        ceiling = held * self.value_per_point
        return message(
            "Redemptions still to come are expected to cost {worth} ({interval}), counting those within "
            "{age} {periods} of their issue; at most, if every point held were redeemed, {ceiling}.",
            worth=fit.liability.format(),
            interval=fit.liability.interval(),
            age=fit.last_age,
            periods=_NAMES[self.period],
            ceiling=fit.liability.format(ceiling),
        )

    def _moves(self) -> str:
        if self.migration is None:
            return ""
        said = self.migration.verdict()
        if self.derived:
            said = message(
                "Had there been such tiers, with nobody spending differently for them: {said}",
                said=f"{said[:1].lower()}{said[1:]}",
            )
        # times to a tier are rough where moves hang on more than the present tier
        rough = any(c.status == "warning" for c in self.migration.checks)
        return said if self.reach is None or rough else f"{said} {self.reach.verdict()}"

    @property
    def design(self) -> str:
        """How the figures came about, in words."""
        parts = []
        if self.ledger is not None:
            parts.append(message("a ledger booked exactly, redemptions to come by chain ladder over issues"))
        if self.migration is not None:
            parts.append(message("moves between tiers counted"))
        return message("description: {parts}", parts="; ".join(parts) or message("nothing to describe"))

    def checks(self) -> tuple[Check, ...]:
        """Return every check once, what could not be measured last."""
        parts = (self.ledger, self.liability, self.migration, *self.bunching)
        return tuple(dict.fromkeys([*(c for p in parts if p is not None for c in p.checks), *self.missing]))

    # --- evidence ----------------------------------------------------------------------------------

    def ledger_tables(self) -> Iterator[tuple[pd.DataFrame, str]]:
        """Yield what was booked and how old what is left is, each with its caption."""
        if self.ledger is None:
            return
        totals = self.ledger.totals.assign(points=self.ledger.totals["points"].astype(float))
        totals.columns = pd.Index([message("Movement"), message("Entries"), message("Points")])
        yield totals, message("What was booked up to {day}", day=self.ledger.as_of.isoformat())
        ages = self.ledger.ageing
        made = pd.DataFrame(
            {
                "age": [_band(a, b) for a, b in zip(ages["from_day"], ages["to_day"], strict=True)],
                "points": ages["points"].astype(float),
                "accounts": ages["accounts"],
            }
        )
        made = suppress_small_cells(made, count="accounts", values=["points"])
        made.columns = pd.Index(
            [message("Days since they were earned"), message("Points"), message("Accounts")]
        )
        yield made, message("Points still held by age, the oldest used first")

    def cohorts(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of points by issue cohort, with alternative text and caption."""
        if self.liability is None:
            return
        yield (
            self.liability.plot(),
            message(
                "Points by the period of their issue: redeemed, still expected, not expected. {said}",
                said=self.liability.verdict(),
            ),
            message("What became of the points of each period, and what is expected of the rest."),
        )

    def rules(self) -> tuple[pd.DataFrame | None, str]:
        """Return expiry rules side by side, and what they say; None where there is nothing to compare."""
        if self.expiry is None:
            return None, self.reason("expiry")
        table = self.expiry.policies

        def between(column: str, *, money: bool = False) -> list[str]:
            def shown(value: float) -> str:
                return number(value, digits=0) if money else percent(value)

            parts = zip(table[column], table[f"{column}_low"], table[f"{column}_high"], strict=True)
            return [f"{shown(v)} ({shown(lo)} to {shown(hi)})" for v, lo, hi in parts]

        owed = self.currency or message("money")
        rows = {
            message("Points lapse after, {periods}", periods=_NAMES[self.period]): table[
                "expires_after"
            ].tolist(),
            message("Redeemed, of points issued"): between("redemption"),
            message("Breakage"): between("breakage"),
            message(
                "Still to be redeemed, {unit}",
                unit=message("points") if self.value_per_point is None else owed,
            ): between("liability", money=True),
        }
        return pd.DataFrame(rows), self.expiry.verdict()

    def moves(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the pictures of moves between tiers and of pull at lines, with texts and captions."""
        if self.migration is None:
            return
        yield (
            self.migration.plot(),
            message("Shares of moves from each tier to each other. {said}", said=self.migration.verdict()),
            message(
                "Of those in a tier (row), the share in each tier (column) one {period} later.",
                period=_ONE[self.tier_period],
            ),
        )
        for found in self.bunching:
            yield (
                found.plot(),
                message("Customers by qualifying spend about the line. {said}", said=found.verdict()),
                message(
                    "A heap just above the line and a dent below are what a line that pulls would leave."
                ),
            )

    def ways(self) -> pd.DataFrame | None:
        """Return, by tier, the share now and in the long run, and the way to the highest; None without tiers."""
        if self.migration is None or self.reach is None:
            return None
        moves = self.migration
        now = moves.latest[: len(moves.held)]
        way = {row["start"]: row for row in self.reach.states.to_dict("records")}
        rows = []
        for tier, count in zip(moves.held, now.tolist(), strict=True):
            there = self.settled.get(tier)
            steps = way.get(tier)
            rows.append(
                (
                    tier,
                    percent(count / now.sum()) if count >= 5 else "–",
                    f"{there.format()} ({there.format(there.low)} to {there.format(there.high)})"
                    if there
                    else "–",
                    "–"
                    if steps is None
                    else f"{number(steps['periods'], digits=1)} ({number(steps['periods_low'], digits=1)} to "
                    f"{number(steps['periods_high'], digits=1)})",
                )
            )
        names = [
            message("Tier"),
            message("Now"),
            message("In the long run, at present moves"),
            message(
                "{periods} to {tier}", periods=_NAMES[self.tier_period].capitalize(), tier=self.reach.target
            ),
        ]
        return pd.DataFrame(rows, columns=names)

    def tier_words(self) -> tuple[str, ...]:
        """Return what the tiers are, and why something about them is missing."""
        if self.migration is None:
            return (self.reason("tier"),)
        rough = [c.detail for c in self.migration.checks if c.status == "warning"]
        if not self.derived:
            return (*rough, *(b.verdict() for b in self.bunching))
        return (
            message(
                "These tiers do not exist: they were laid over recorded spend to see how customers would have moved. "
                "With a line to reach, customers might spend otherwise; only a trial would show that. Everybody begins "
                "in the lowest tier, so rises are many in the first period."
            ),
            *rough,
        )

    def limits(self) -> tuple[str, ...]:
        """Return what the figures cannot say, one sentence each."""
        tiers = message(
            "A tier that members keep or lose by what they spend describes them; that holders of a higher tier spend more "
            "is how they came to hold it, and no effect of the tier."
        )
        if self.ledger is None:
            return (tiers,)
        return (
            message(
                "The expectation carries past redemptions forward. A new reward, a reminder or the news that points will "
                "lapse changes how members redeem, and is not in it."
            ),
            message(
                "Redemptions older than the oldest issue seen are not counted; a young programme is always in this "
                "position, and the ceiling is what it can rely on."
            ),
            message(
                "The figures are estimates for planning. What is booked as a liability follows the accounting rules "
                "that apply, and their own view of value."
            ),
            *((tiers,) if self.migration is not None else ()),
        )

    def reason(self, name: str) -> str:
        """Return why something is missing, by a word of its name."""
        found = [c.detail for c in self.missing if name in c.name.lower()]
        return found[0] if found else message("Not measurable because the tables it needs are missing.")


def _band(start: float, end: float) -> str:
    low = number(start, digits=0)
    if end == float("inf"):
        return message("{low} and more", low=low)
    return message("{low} to {high}", low=low, high=number(end - 1, digits=0))


def promises_study(
    source: Dataset,
    *,
    period: str = "M",
    value_per_point: float | None = None,
    expires_after: Sequence[int] = (),
    tiers: Sequence[str] = (),
    tier_lines: Mapping[str, float] | None = None,
    tier_period: str = "Q",
    seed: int = 0,
    level: float = 0.95,
) -> PromisesStudy:
    """Measure what a programme has promised, from its ledger and its tiers.

    Args:
        source: What ``lr.open_dataset`` returned.
        period: Calendar period of issue cohorts: ``"M"``, ``"Q"`` or ``"Y"``.
        value_per_point: Money per redeemed point; None where not known.
        expires_after: Expiry rules to compare, in periods; those beyond what was seen are left out.
        tiers: Names of recorded tiers, lowest first.
        tier_lines: Tier to qualifying spend per ``tier_period``, lowest first. Where tiers are recorded
            the pull at these lines is looked at; where they are not, they are derived from spend.
        tier_period: Calendar period of tiers.
        seed: Seed of the draws.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a table breaks its contract: a ledger that does not balance, tiers that overlap.

    Examples:
        >>> import loyalty_research as lr
        >>> found = promises_study(lr.open_dataset("cdnow-sample"))
        >>> found.findings()[0].status, [c.status for c in found.missing]
        ('suppressed', ['not measurable', 'not measurable', 'not measurable', 'not measurable'])
    """
    level = check_level(level)
    for name, value in (("period", period), ("tier_period", tier_period)):
        if value not in _NAMES:
            raise ArgumentError(f"{name} is one of {', '.join(_NAMES)}; got {value!r}")
    missing: list[Check] = []

    def attempt(name: str, measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except DesignError as why:
            missing.append(
                Check(name, "not measurable", message("Not measurable because {why}.", why=str(why)))
            )
            return None

    worth: dict[str, Any] = {
        "period": period,
        "value_per_point": 1.0 if value_per_point is None else value_per_point,
        "currency": None if value_per_point is None else source.currency,
        "level": level,
    }
    ledger = attempt(message("Points ledger"), lambda: _ledger(source))
    liability = attempt(
        message("Redemption liability"), lambda: redemption_liability(_needed(ledger), **worth)
    )
    expiry = attempt(message("Expiry rules"), lambda: _expiry(ledger, liability, expires_after, worth))
    lines = dict(tier_lines or {})
    recorded = source.has("memberships", "tier") and bool(source.frame("memberships")["tier"].notna().any())
    migration = attempt(
        message("Tiers"),
        lambda: _migration(source, tiers, lines, tier_period, recorded=recorded, seed=seed, level=level),
    )
    way, settled = None, None
    if migration is not None:
        way = attempt(message("Way to the highest tier"), lambda: migration.reach(migration.held[-1]))
        settled = attempt(message("Mix of tiers in the long run"), migration.settled)
    pulls = []
    if recorded and lines and migration is not None:
        for tier, line in lines.items():
            found = attempt(
                message("Pull at the line of tier {tier}", tier=tier),
                lambda line=line: _pull(source, line, tier_period, seed=seed, level=level),  # type: ignore[misc]
            )
            pulls += [found] if found is not None else []
    return PromisesStudy(
        ledger=ledger,
        liability=liability,
        expiry=expiry,
        migration=migration,
        reach=way,
        settled=settled or {},
        bunching=tuple(pulls),
        derived=not recorded,
        value_per_point=value_per_point,
        period=period,
        tier_period=tier_period,
        as_of=source.as_of,
        missing=tuple(missing),
        currency=source.currency,
    )


def _ledger(source: Dataset) -> PointsLedger:
    if not source.has("points_ledger"):
        raise DesignError("the data have no points_ledger: no points, or none recorded")
    return points_ledger(source.frame("points_ledger"), as_of=source.as_of)


def _needed(ledger: PointsLedger | None) -> PointsLedger:
    if ledger is None:
        raise DesignError("there is no points ledger")
    return ledger


def _expiry(
    ledger: PointsLedger | None,
    liability: RedemptionLiability | None,
    rules: Sequence[int],
    worth: Mapping[str, Any],
) -> ExpiryWhatIf:
    if liability is None:
        raise DesignError("redemptions to come are not measurable")
    seen = [rule for rule in rules if rule <= liability.last_age]
    if not seen:
        raise DesignError(
            f"no rule of at most {liability.last_age} periods was named, and older redemptions were never seen"
        )
    return expiry_what_if(_needed(ledger), expires_after=seen, **worth)


def _migration(
    source: Dataset,
    tiers: Sequence[str],
    lines: Mapping[str, float],
    period: str,
    *,
    recorded: bool,
    seed: int,
    level: float,
) -> TierMigration:
    if recorded:
        if not tiers:
            raise DesignError("the order of the tiers is not known: name them, the lowest first")
        spells, names = source.frame("memberships"), list(tiers)
    elif lines and source.has("transactions"):
        spells = tier_spells(source.frame("transactions"), lines=lines, period=period, as_of=source.as_of)
        names = ["base", *lines]
    else:
        raise DesignError("the data have no tiers, and no lines were named from which to derive them")
    end = source.as_of or pd.to_datetime(spells["valid_from"]).max().date()
    return tier_migration(spells, tiers=names, as_of=end, period=period, seed=seed, level=level)


def _pull(source: Dataset, line: float, period: str, *, seed: int, level: float) -> Bunching:
    spend = qualifying_activity(source.frame("transactions"), period=period, as_of=source.as_of)["activity"]
    width = line / _BINS
    return bunching_at_line(
        spend, line=line, bin_width=width, below=5 * width, above=5 * width, seed=seed, level=level
    )
