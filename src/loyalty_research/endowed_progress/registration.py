"""A page that lays an experiment down beforehand, and what its analysis is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.endowed_progress._checks import shares
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent
from loyalty_research.registration import Registration, iso_date, kept_check
from loyalty_research.stats.spending import group_sequential_bounds

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from loyalty_research.endowed_progress.planning import Plan
    from loyalty_research.stats.spending import Spending

__all__ = ["DesignCard", "Look", "card_of_plan", "planned_shares"]

_NEAR = 0.02
"""Cards may fall short of the plan by this share without being called a deviation."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the data of a registered experiment.

    Attributes:
        number: Which look, from 1.
        fraction: Share of the planned cards that is known.
        z: Bound on the absolute statistic.
        level: Level that an interval needs at this look, one minus the nominal p-value.
    """

    number: int
    fraction: float
    z: float
    level: float


@dataclass(frozen=True, repr=False)
class DesignCard(Registration):
    """What was laid down before the first card was handed out: one page, kept as JSON.

    Attributes:
        title: What is asked.
        control: Name of the control arm.
        arms: Arm to (stamps a reward takes, stamps given), control first.
        allocation: Arm to its share of the cards.
        cards: Arm to the cards planned.
        primary: Metric that decides.
        horizon_days: Days from issue by which a card must be full.
        contrasts: Name of a contrast to its weights by arm.
        baseline: Completion rate expected of the control.
        uplift: Increase worth finding, a difference of fractions.
        power: Chance planned of finding it.
        level: One minus the two-sided error over all looks.
        looks: Share of the cards at each look.
        spending: How error is spent over the looks.
        cluster: Column of what is drawn at random; None for single cards.
        cluster_size: Cards per cluster.
        icc: Intraclass correlation planned for.
        registered_on: Day of registration as ISO date, or None.
        notes: What else is laid down.
    """

    title: str
    control: str
    arms: dict[str, tuple[int, int]]
    allocation: dict[str, float]
    cards: dict[str, int]
    primary: str
    horizon_days: int
    contrasts: dict[str, dict[str, float]]
    baseline: float
    uplift: float
    power: float
    level: float
    looks: tuple[float, ...]
    spending: Spending
    cluster: str | None = None
    cluster_size: int = 1
    icc: float = 0.0
    registered_on: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def _revived(cls, fields: dict[str, Any]) -> dict[str, Any]:
        fields["arms"] = {a: (int(r), int(g)) for a, (r, g) in fields["arms"].items()}
        fields["looks"], fields["notes"] = tuple(fields["looks"]), tuple(fields["notes"])
        return fields

    @property
    def ratio(self) -> dict[str, float]:
        """Planned shares of the arms, for the sample-ratio check."""
        return dict(self.allocation)

    def look(self, which: int | None = None, *, judged: int) -> Look:
        """Return a look with its bound for the cards there are.

        Error is spent by the cards that are judged and not by those planned, so a look that came
        early or late keeps the error in all (Lan and DeMets 1983). At the last look all is spent.

        Args:
            which: Look, from 1; the last when None.
            judged: Cards followed to the horizon.

        Raises:
            ArgumentError: When there is no such look.
        """
        last = len(self.looks)
        k = last if which is None else which
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= last:
            raise ArgumentError(f"look must be a whole number from 1 to {last}; got {which!r}")
        before = self.looks[: k - 1]
        known = judged / sum(self.cards.values())
        at = 1.0 if k == last else min(max(known, (before[-1] if before else 0.0) + 1e-6), 1.0)
        bounds = group_sequential_bounds([*before, at], level=self.level, spending=self.spending)
        return Look(k, at, bounds.z[-1], 1 - bounds.nominal_p[-1])

    def lines(self) -> list[tuple[str, str]]:
        """Return what the page says: heading and words."""
        arms = "; ".join(
            message(
                "{arm}: {cards} cards that ask for {required} stamps, {given} given",
                arm=a,
                cards=f"{self.cards[a]:,}",
                required=r,
                given=g,
            )
            for a, (r, g) in self.arms.items()
        )
        shares = ", ".join(f"{a} {percent(w, digits=0)}" for a, w in self.allocation.items())
        z = group_sequential_bounds(self.looks, level=self.level, spending=self.spending).z
        looks = ", ".join(
            message("{share} (z {bound})", share=percent(t, digits=0), bound=number(b, digits=2))
            for t, b in zip(self.looks, z, strict=True)
        )
        unit = (
            message("single cards")
            if self.cluster is None
            else message(
                "{column}, about {size} cards each, intraclass correlation {icc}",
                column=self.cluster,
                size=self.cluster_size,
                icc=number(self.icc),
            )
        )
        return [
            (message("Question"), self.title or message("Does the head start get more cards completed?")),
            (message("Arms"), arms),
            (message("Allocation"), shares),
            (message("Drawn at random"), unit),
            (
                message("Primary metric"),
                message("share of cards completed within {days} days", days=self.horizon_days),
            ),
            (message("Control"), self.control),
            (
                message("Contrasts"),
                "; ".join(
                    f"{name}: " + ", ".join(f"{a} {number(w, signed=True)}" for a, w in weights.items())
                    for name, weights in self.contrasts.items()
                ),
            ),
            (
                message("Sized for"),
                message(
                    "{uplift} points over {baseline}, found with a chance of {power}",
                    uplift=number(100 * self.uplift, digits=1),
                    baseline=percent(self.baseline),
                    power=percent(self.power, digits=0),
                ),
            ),
            (
                message("Looks"),
                message(
                    "{looks}; two-sided error {error} in all, {spending} spending",
                    looks=looks,
                    error=percent(1 - self.level),
                    spending=self.spending,
                ),
            ),
            *((message("Note"), note) for note in self.notes),
            (message("Registered"), self.registered_on or message("not dated")),
            (message("Fingerprint"), self.fingerprint),
        ]

    def compare_design(
        self,
        *,
        arms: Sequence[str],
        stamps: Mapping[str, tuple[int, int]] | None,
        ratio: Mapping[str, float] | None,
        cluster: str | None,
        level: float,
    ) -> tuple[Check, ...]:
        """Compare an experiment's design with what was registered, one check each.

        Args:
            arms: Arms of the data, control first.
            stamps: Arm to (required, given) as the cards say; None where they differ or are not known.
            ratio: Planned shares the analyst gave; None to use the registered ones.
            cluster: Column the analyst named.
            level: Level the analyst chose.
        """
        alike = tuple(arms) == tuple(self.arms)
        checks = [kept_check(message("arms as registered"), alike, ", ".join(self.arms), ", ".join(arms))]
        if stamps is None:
            checks.append(
                Check(
                    message("cards as registered"),
                    "not measurable",
                    message("the data do not tell one card size per arm"),
                )
            )
        else:
            same = all(stamps.get(a) == s for a, s in self.arms.items())
            checks.append(kept_check(message("cards as registered"), same, _sizes(self.arms), _sizes(stamps)))
        total = sum(self.allocation.values())
        planned = {a: w / total for a, w in self.allocation.items()}
        used = planned if ratio is None else {str(a): w / sum(ratio.values()) for a, w in ratio.items()}
        same = used.keys() == planned.keys() and all(
            math.isclose(used[a], planned[a], rel_tol=1e-6) for a in planned
        )
        checks.append(kept_check(message("allocation as registered"), same, _shares(planned), _shares(used)))
        single = message("single cards")
        checks.append(
            kept_check(
                message("drawn as registered"),
                cluster == self.cluster,
                self.cluster or single,
                cluster or single,
            )
        )
        same = math.isclose(level, self.level)
        checks.append(kept_check(message("level as registered"), same, percent(self.level), percent(level)))
        return tuple(checks)

    def compare_analysis(
        self, *, metric: str, by_day: int | None, judged: int | None, look: Look | None
    ) -> tuple[Check, ...]:
        """Compare one analysis with what was registered.

        Args:
            metric: Metric that was analysed.
            by_day: Days from issue by which cards were judged; None where counts do not tell.
            judged: Cards judged; None where it does not matter.
            look: Look that was made.
        """
        if metric != self.primary:
            return (
                Check(
                    message("primary metric"),
                    "warning",
                    message(
                        "{metric} is not the registered metric ({primary}): read it as secondary",
                        metric=metric,
                        primary=self.primary,
                    ),
                ),
            )
        asked, name = message("{days} days", days=self.horizon_days), message("horizon as registered")
        checks = [kept_check(message("primary metric"), kept=True, planned=self.primary, found=metric)]
        if by_day is None:
            detail = message("registered: {days} days; counts do not tell", days=self.horizon_days)
            checks.append(Check(name, "not measurable", detail))
        else:
            got = message("{days} days", days=by_day)
            checks.append(kept_check(name, by_day == self.horizon_days, asked, got))
        if look is not None and judged is not None:
            checks.extend(self._size_checks(judged, look))
        return tuple(checks)

    def _size_checks(self, judged: int, look: Look) -> list[Check]:
        planned = math.ceil(sum(self.cards.values()) * self.looks[look.number - 1] - 1e-9)
        enough = judged >= (1 - _NEAR) * planned
        checks = [
            Check(
                message("cards as planned"),
                "passed" if enough else "failed",
                message(
                    "{judged} cards judged, {planned} planned", judged=f"{judged:,}", planned=f"{planned:,}"
                ),
            )
        ]
        if len(self.looks) > 1:
            checks.append(
                Check(
                    message("look"),
                    "passed",
                    message(
                        "look {number} of {looks}: the bound is z = {z}, so intervals have a level of {level}",
                        number=look.number,
                        looks=len(self.looks),
                        z=number(look.z, digits=3),
                        level=percent(look.level, digits=2),
                    ),
                )
            )
        return checks


def _sizes(stamps: Mapping[str, tuple[int, int]]) -> str:
    return "; ".join(
        message("{arm}: {required} stamps, {given} given", arm=a, required=r, given=g)
        for a, (r, g) in stamps.items()
    )


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{a} {percent(w)}" for a, w in shares.items())


def planned_shares(
    arms: Sequence[str], ratio: Mapping[str, float] | None, registered: DesignCard | None
) -> tuple[float, ...]:
    """Return the share of units the design gives each arm: as asked, as registered, or equal.

    Raises:
        ArgumentError: When ``registered`` is no card.
        DesignError: When the ratio misses an arm, names one without cards, or is not positive.
    """
    if registered is not None and not isinstance(registered, DesignCard):
        raise ArgumentError(f"registered takes a DesignCard; got a {type(registered).__name__}")
    if ratio is None and registered is not None and set(registered.allocation) == set(arms):
        ratio = registered.allocation
    return shares(arms, ratio)


def card_of_plan(
    plan: Plan,
    *,
    title: str,
    control: str,
    treated: str,
    cluster: str | None,
    registered_on: dt.date | str | None,
    notes: Sequence[str],
) -> DesignCard:
    """Return the page of a plan with two arms.

    Args:
        plan: The plan, with card and horizon.
        title: What is asked.
        control: Name of the control arm.
        treated: Name of the arm with the head start.
        cluster: Column of what is drawn at random.
        registered_on: Day of registration.
        notes: What else is laid down.

    Raises:
        ArgumentError: When the plan lacks the card or the horizon, clusters have no column, or
            both arms have one name.
    """
    if plan.required is None or plan.given is None or plan.horizon_days is None:
        raise ArgumentError("a design card needs a plan with required=, given= and horizon_days=")
    if str(control) == str(treated):
        raise ArgumentError(f"control and treated need two names; both are {control!r}")
    if plan.cluster_size > 1 and cluster is None:
        raise ArgumentError("the plan draws clusters; name their column with cluster=")
    control, treated = str(control), str(treated)
    return DesignCard(
        title=title,
        control=control,
        arms={control: (plan.required - plan.given, 0), treated: (plan.required, plan.given)},
        allocation={control: 0.5, treated: 0.5},
        cards={control: plan.cards, treated: plan.cards},
        primary="completion",
        horizon_days=plan.horizon_days,
        contrasts={f"{treated} less {control}": {treated: 1.0, control: -1.0}},
        baseline=plan.baseline,
        uplift=plan.uplift,
        power=plan.power,
        level=plan.level,
        looks=plan.bounds.fractions,
        spending=plan.bounds.spending,
        cluster=cluster,
        cluster_size=plan.cluster_size,
        icc=plan.icc,
        registered_on=iso_date(registered_on),
        notes=tuple(str(n) for n in notes),
    )
