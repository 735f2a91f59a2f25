"""From a dataset to what a programme has promised: points still owed, rules of expiry, tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Finding, check_level
from loyalty_research.i18n import message
from loyalty_research.programme import _promises_parts as parts
from loyalty_research.programme import _promises_view as view
from loyalty_research.programme.liability import redemption_liability
from loyalty_research.programme.tier_spells import PERIODS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.data import Dataset
    from loyalty_research.estimates import Estimate
    from loyalty_research.programme.bunching import Bunching
    from loyalty_research.programme.deferral_schedule import DeferralSchedule
    from loyalty_research.programme.demotion import DemotionStudy
    from loyalty_research.programme.grace import GraceWhatIf
    from loyalty_research.programme.ledger import PointsLedger
    from loyalty_research.programme.liability import ExpiryWhatIf, RedemptionLiability
    from loyalty_research.programme.tiers import TierMigration, TierReach

__all__ = ["PromisesStudy", "promises_study"]


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
        deferral: Deferred revenue over time; None likewise.
        demotion: Spend around the loss of a tier; None likewise.
        grace: What grace periods would have changed; None likewise.
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
    deferral: DeferralSchedule | None
    demotion: DemotionStudy | None
    grace: GraceWhatIf | None
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
                found.append(
                    Finding(
                        "owed",
                        view.owed(self.liability, self.period, worth=self.value_per_point),
                        shown,
                        status,
                        section,
                    )
                )
                broken = self.liability.breakage
                found.append(
                    Finding("breakage", view.broken(self.liability, self.period), broken, status, section)
                )
        if self.ledger is not None:
            found.append(Finding("ledger", self.ledger.verdict(), None, "finding", section))
        if self.migration is not None:
            kind: Any = "caution" if self.derived else "finding"
            found.append(Finding("tiers", self._moves(), None, kind, section))
        found += [f for f in (self._deferred(section), self._fall(section), self._grace(section)) if f]
        if not found:
            reasons = " ".join(dict.fromkeys([self.reason("ledger"), self.reason("tier")]))
            return (Finding("nothing-promised", reasons, status="suppressed", section=section),)
        return tuple(found)

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

    def _deferred(self, section: str) -> Finding | None:
        if self.deferral is None:
            return None
        status: Any = "finding" if self.deferral.allocated else "caution"
        return Finding("deferred", self.deferral.verdict(), None, status, section)

    def _fall(self, section: str) -> Finding | None:
        if self.demotion is None:
            return None
        withheld = bool(self.demotion.failed_gates)
        status: Any = "suppressed" if withheld else "caution"
        return Finding(
            "loss-of-a-tier",
            self.demotion.verdict(),
            None if withheld else self.demotion.main,
            status,
            section,
        )

    def _grace(self, section: str) -> Finding | None:
        if self.grace is None:
            return None
        said = self.grace.verdict()
        if self.derived:
            said = message("Had there been such tiers: {said}", said=f"{said[:1].lower()}{said[1:]}")
        share = self.grace.estimate(int(self.grace.policies["grace_days"].iloc[-1]), "share")
        return Finding("grace", said, share, "caution", section)

    @property
    def design(self) -> str:
        """How the figures came about, in words."""
        done = []
        if self.ledger is not None:
            done.append(message("a ledger booked exactly, redemptions to come by chain ladder over issues"))
        if self.migration is not None:
            done.append(message("moves between tiers counted"))
        if self.demotion is not None:
            done.append(
                message("spend around the loss of a tier by stacked event study")
                if self.demotion.line is None
                else message("spend after the loss of a tier compared at its line")
            )
        return message("description: {parts}", parts="; ".join(done) or message("nothing to describe"))

    def checks(self) -> tuple[Check, ...]:
        """Return every check once, what could not be measured last."""
        results = (
            self.ledger,
            self.liability,
            self.deferral,
            self.migration,
            *self.bunching,
            self.demotion,
            self.grace,
        )
        return tuple(dict.fromkeys([*(c for p in results if p is not None for c in p.checks), *self.missing]))

    # --- evidence ----------------------------------------------------------------------------------

    def ledger_tables(self) -> Iterator[tuple[pd.DataFrame, str]]:
        """Yield what was booked and how old what is left is, each with its caption."""
        if self.ledger is not None:
            yield from view.ledger_tables(self.ledger)

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
        unit = None if self.value_per_point is None else self.currency or message("money")
        return view.rules_table(self.expiry, self.period, unit), self.expiry.verdict()

    def deferred(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the picture of what is deferred over time, with alternative text and caption."""
        if self.deferral is None:
            return
        yield (
            self.deferral.plot(),
            message("What is deferred at the end of each period. {said}", said=self.deferral.verdict()),
            message(
                "Deferred revenue at the end of each period, and its run-off if no more points are issued."
            ),
        )

    def schedule(self) -> tuple[pd.DataFrame | None, str]:
        """Return deferred revenue rolled forward, and what it says; None where there is none."""
        if self.deferral is None:
            return None, self.reason("deferred")
        return view.schedule_table(self.deferral), self.deferral.verdict()

    def moves(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the pictures of moves between tiers and of pull at lines, with texts and captions."""
        if self.migration is None:
            return
        yield (
            self.migration.plot(),
            message("Shares of moves from each tier to each other. {said}", said=self.migration.verdict()),
            message(
                "Of those in a tier (row), the share in each tier (column) one {period} later.",
                period=view.ONE[self.tier_period],
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
        return view.ways_table(self.migration, self.reach, self.settled, self.tier_period)

    def falls(self) -> Iterator[tuple[Axes, str, str]]:
        """Yield the pictures of spend around the loss of a tier, with alternative texts and captions."""
        if self.demotion is None:
            return
        said = self.demotion.verdict()
        yield (
            self.demotion.plot(),
            message(
                "Difference in spend between those who lost a tier and those who kept it. {said}", said=said
            ),
            message(
                "Members who fell less members who kept the tier, by months since the fall. Those who fall bought little in "
                "the months that decided (shaded), so these are no base."
            ),
        )
        if self.demotion.line is not None:
            yield (
                self.demotion.plot_line(),
                message("Spend after the decision by how far activity lay from the line. {said}", said=said),
                message("A step at the line is what losing the tier could have done; the slope is not."),
            )

    def graces(self) -> tuple[pd.DataFrame | None, str]:
        """Return grace periods side by side, and what they say; None where there is nothing to compare."""
        if self.grace is None:
            return None, self.reason("grace")
        return view.grace_table(self.grace), " ".join(
            [self.grace.verdict(), *view.worth_of_grace(self.grace, self.demotion)]
        )

    def fall_words(self) -> tuple[str, ...]:
        """Return what the loss of a tier did, or why that is not measurable."""
        return (self.reason("loss"),) if self.demotion is None else (self.demotion.verdict(),)

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
            )
            if self.liability is None or self.liability.tail is None
            else message(
                "Redemptions older than the oldest issue seen follow a curve that was chosen, not seen; the ceiling is what a "
                "young programme can rely on."
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


def promises_study(
    source: Dataset,
    *,
    period: str = "M",
    value_per_point: float | None = None,
    expires_after: Sequence[int] = (),
    tiers: Sequence[str] = (),
    tier_lines: Mapping[str, float] | None = None,
    tier_period: str = "Q",
    tail: str | None = None,
    point_price: float | None = None,
    grace_days: Sequence[int] = (),
    benefit_cost: Mapping[str, float] | None = None,
    margin: float | None = None,
    donut: float = 0.0,
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
        tail: Curve of redemptions older than any seen, as for :func:`redemption_liability`.
        point_price: Stand-alone price of a redeemed point, for deferral; None where not known.
        grace_days: Lengths of grace to compare, in days.
        benefit_cost: Tier to what its benefits cost per member and month.
        margin: Margin on spend, a fraction.
        donut: Members whose activity lies this near to a line are left out of the comparison at it.
        seed: Seed of the draws.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a table breaks its contract: a ledger that does not balance, tiers that overlap.

    Examples:
        >>> import loyalty_research as lr
        >>> found = promises_study(lr.open_dataset("cdnow-sample"))
        >>> found.findings()[0].status, {c.status for c in found.missing}
        ('suppressed', {'not measurable'})
    """
    level = check_level(level)
    for name, value in (("period", period), ("tier_period", tier_period)):
        if value not in PERIODS:
            raise ArgumentError(f"{name} is one of {', '.join(PERIODS)}; got {value!r}")
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
    ledger = attempt(message("Points ledger"), lambda: parts.ledger_of(source))
    liability = attempt(
        message("Redemption liability"),
        lambda: redemption_liability(parts.needed(ledger), tail=tail, **worth),
    )
    expiry = attempt(
        message("Expiry rules"), lambda: parts.expiry_of(ledger, liability, expires_after, worth)
    )
    deferral = attempt(
        message("Deferred revenue"),
        lambda: parts.deferral_of(source, ledger, price=point_price, period=period, tail=tail),
    )
    lines = dict(tier_lines or {})
    table = attempt(message("Tiers"), lambda: parts.tiers_of(source, tiers, lines, tier_period))
    migration, way, settled = None, None, None
    if table is not None:
        migration = attempt(
            message("Moves between tiers"), lambda: parts.migration_of(table, seed=seed, level=level)
        )
    if migration is not None:
        way = attempt(message("Way to the highest tier"), lambda: migration.reach(migration.held[-1]))
        settled = attempt(message("Mix of tiers in the long run"), migration.settled)
    recorded = table is not None and table.recorded
    pulls = []
    for tier, line in lines.items() if recorded else ():
        found = attempt(
            message("Pull at the line of tier {tier}", tier=tier),
            lambda line=line: parts.pull_of(source, line, tier_period, seed=seed, level=level),  # type: ignore[misc]
        )
        pulls += [found] if found is not None else []
    demotion = attempt(
        message("Loss of a tier"),
        lambda: parts.demotion_of(source, table, donut=donut, seed=seed, level=level),
    )
    grace = attempt(
        message("Periods of grace"),
        lambda: parts.grace_of(
            source, table, days=grace_days, cost=benefit_cost or {}, margin=margin, seed=seed, level=level
        ),
    )
    return PromisesStudy(
        ledger=ledger,
        liability=liability,
        expiry=expiry,
        migration=migration,
        reach=way,
        settled=settled or {},
        bunching=tuple(pulls),
        deferral=deferral,
        demotion=demotion,
        grace=grace,
        derived=not recorded,
        value_per_point=value_per_point,
        period=period,
        tier_period=tier_period,
        as_of=source.as_of,
        missing=tuple(missing),
        currency=source.currency,
    )
