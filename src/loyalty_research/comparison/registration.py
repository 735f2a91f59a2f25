"""A comparison laid down on one page before its data are seen, and what was done differently."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent
from loyalty_research.registration import Registration, iso_date, kept_check
from loyalty_research.stats.spending import information_fractions
from loyalty_research.summaries import group_label

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric

__all__ = ["ComparisonCard", "design_card"]

_NEAR = 0.02
"""Units may fall short of the plan by this share without being called a deviation."""


def _described(metric: Metric) -> dict[str, Any]:
    """Return everything a metric declares, by name."""
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(metric).items()}
    return {"kind": type(metric).__name__, **fields}


def _alike(one: dict[str, Any], two: dict[str, Any]) -> bool:
    # what a table calls a metric is no part of the design
    return {**one, "name": None, "unit": None} == {**two, "name": None, "unit": None}


@dataclass(frozen=True, repr=False)
class ComparisonCard(Registration):
    """What was laid down before the first unit was assigned: one page, kept as JSON.

    Attributes:
        title: What is asked.
        design: Design of the comparison.
        assignment: Column with the arm.
        control: Arm the others are compared with.
        units: Arm to the units planned.
        metrics: Label of each metric to its declaration.
        primary: Labels of the metrics that decide.
        horizon_days: Days of outcome from assignment.
        covariates: Columns adjusted for.
        strata: Columns within which chance decides.
        cluster: Column of what is drawn at random; None for single units.
        looks: Share of the units at each look.
        spending: How error is spent over the looks; None for one look.
        adjust: How p-values are adjusted for one another.
        level: One minus the two-sided error.
        detectable: Label of a metric to the smallest effect the sizes are for.
        registered_on: Day of registration as ISO date, or None.
        notes: What else is laid down.
    """

    title: str
    design: str
    assignment: str
    control: str
    units: dict[str, int]
    metrics: dict[str, dict[str, Any]]
    primary: tuple[str, ...]
    horizon_days: int
    covariates: tuple[str, ...]
    strata: tuple[str, ...]
    cluster: str | None
    looks: tuple[float, ...]
    spending: str | None
    adjust: str
    level: float
    detectable: dict[str, float]
    registered_on: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def _revived(cls, fields: dict[str, Any]) -> dict[str, Any]:
        for name in ("primary", "covariates", "strata", "looks", "notes"):
            fields[name] = tuple(fields[name])
        return fields

    def lines(self) -> list[tuple[str, str]]:
        """Return what the page says: heading and words."""
        drawn = self.cluster or message("single units")
        looks = ", ".join(percent(t, digits=0) for t in self.looks)
        if self.spending:
            looks = message("{looks} of the units, {spending} spending", looks=looks, spending=self.spending)
        nothing = message("none")
        return [
            (message("Question"), self.title),
            (message("Design"), self.design),
            (message("Control"), self.control),
            (message("Units planned"), ", ".join(f"{arm} {n:,}" for arm, n in self.units.items())),
            (message("Drawn at random"), drawn),
            (message("Strata"), ", ".join(self.strata) or nothing),
            (message("Primary metrics"), ", ".join(self.primary)),
            (
                message("Other metrics"),
                ", ".join(f"{m} ({d['role']})" for m, d in self.metrics.items() if m not in self.primary)
                or nothing,
            ),
            (message("Outcome over"), message("{days} days from assignment", days=self.horizon_days)),
            (message("Adjusted for"), ", ".join(self.covariates) or nothing),
            (
                message("Sized for"),
                ", ".join(f"{m} {number(v, signed=True)}" for m, v in self.detectable.items()) or nothing,
            ),
            (message("Looks"), looks),
            (
                message("Error"),
                message(
                    "{error} two-sided, {adjust} over the primary metrics",
                    error=percent(1 - self.level),
                    adjust=self.adjust,
                ),
            ),
            *((message("Note"), note) for note in self.notes),
            (message("Registered"), self.registered_on or message("not dated")),
            (message("Fingerprint"), self.fingerprint),
        ]

    def deviations(self, plan: Comparison, sizes: Mapping[str, int]) -> tuple[Check, ...]:
        """Compare an analysis with the card, one check each; deviations fail and say both sides.

        Args:
            plan: The comparison that was run.
            sizes: Arm to the units that were analysed.
        """
        given = _laid_down(plan)
        none = message("none")
        checks = [
            kept_check(message("design as registered"), plan.design == self.design, self.design, plan.design),
            kept_check(
                message("arms as registered"),
                set(sizes) == set(self.units) and group_label(plan.control) == self.control,
                _arms(self.units, self.control),
                _arms(sizes, group_label(plan.control)),
            ),
            kept_check(
                message("primary metrics as registered"),
                given["primary"] == self.primary
                and all(_alike(self.metrics[m], given["metrics"][m]) for m in self.primary),
                _metrics(self.metrics, self.primary),
                _metrics(given["metrics"], given["primary"]),
            ),
            kept_check(
                message("covariates and strata as registered"),
                (given["covariates"], given["strata"]) == (self.covariates, self.strata),
                ", ".join((*self.covariates, *self.strata)) or none,
                ", ".join((*given["covariates"], *given["strata"])) or none,
            ),
            kept_check(
                message("drawn as registered"),
                plan.cluster == self.cluster,
                self.cluster or message("single units"),
                plan.cluster or message("single units"),
            ),
            kept_check(
                message("error as registered"),
                math.isclose(plan.level, self.level) and plan.adjust == self.adjust,
                f"{percent(1 - self.level)}, {self.adjust}",
                f"{percent(1 - plan.level)}, {plan.adjust}",
            ),
            kept_check(
                message("looks as registered"),
                (given["looks"], given["spending"]) == (self.looks, self.spending),
                ", ".join(percent(t, digits=0) for t in self.looks),
                ", ".join(percent(t, digits=0) for t in given["looks"]),
            ),
            self._horizon_check(plan.horizon_days),
        ]
        return (*checks, self._size_check(sizes, given["share"]))

    def _horizon_check(self, days: int | None) -> Check:
        name, asked = (
            message("horizon as registered"),
            message("{days} days from assignment", days=self.horizon_days),
        )
        if days is None:
            return Check(
                name, "not measurable", message("registered: {planned}; the plan does not say", planned=asked)
            )
        found = message("{days} days from assignment", days=days)
        return kept_check(name, days == self.horizon_days, asked, found)

    def _size_check(self, sizes: Mapping[str, int], share: float) -> Check:
        planned = share * sum(self.units.values())
        seen = sum(sizes.values())
        return Check(
            message("units as planned"),
            "passed" if seen >= (1 - _NEAR) * planned else "failed",
            message(
                "{seen} units, {planned} planned by this look", seen=f"{seen:,}", planned=f"{planned:,.0f}"
            ),
        )


def _arms(sizes: Mapping[str, int], control: str) -> str:
    return ", ".join([control, *sorted(a for a in sizes if a != control)])


def _metrics(metrics: Mapping[str, dict[str, Any]], labels: Sequence[str]) -> str:
    said = []
    for label in labels:
        found = metrics[label]
        more = {k: v for k, v in found.items() if k in ("cap", "margin", "covariates", "q") and v}
        options = ", ".join(f"{k} {v}" for k, v in more.items())
        said.append(f"{label} ({found['kind']}{', ' if options else ''}{options})")
    return "; ".join(said)


def _laid_down(plan: Comparison) -> dict[str, Any]:
    """Return what a plan fixes beforehand, as the card keeps it."""
    from loyalty_research.comparison.looks import Looks

    looks: tuple[float, ...] = (1.0,)
    spending, share = None, 1.0
    if isinstance(plan.looks, Looks):
        looks, spending = information_fractions(plan.looks.at), str(plan.looks.spending)
        share = plan.looks.fractions[-1]
    strata = () if plan.strata is None else (plan.strata,) if isinstance(plan.strata, str) else plan.strata
    return {
        "metrics": {m.label: _described(m) for m in plan.metrics},
        "primary": tuple(m.label for m in plan.metrics if m.role == "primary"),
        "covariates": plan.covariates,
        "strata": tuple(strata),
        "looks": looks,
        "spending": spending,
        "share": share,
    }


def design_card(
    plan: Comparison,
    *,
    units: Mapping[str, int],
    title: str,
    detectable: Mapping[str, float] | None = None,
    registered_on: dt.date | str | None = None,
    notes: Sequence[str] = (),
) -> ComparisonCard:
    """Lay a comparison down on one page before its data are seen.

    Keep ``card.to_json()`` where nobody changes it, and give the card to the later analysis with
    ``Comparison(..., registered=card)``: every deviation then stands among its checks.

    Args:
        plan: The comparison as it will be run, of design ``"randomised"`` or ``"encouragement"``, with
            ``horizon_days=``.
        units: Arm to the units planned.
        title: What is asked.
        detectable: Label of a metric to the smallest effect the sizes are for, see
            :func:`minimal_detectable_effect`.
        registered_on: Day of registration.
        notes: What else is laid down.

    Returns:
        The card.

    Raises:
        ArgumentError: When the plan lacks the horizon, units lack the control, or a metric is unknown.
        DesignError: When the design draws no lots.

    Examples:
        >>> from loyalty_research.comparison import Comparison, Mean
        >>> plan = Comparison(Mean("spend"), design="randomised", assignment="arm", control="a", horizon_days=90)
        >>> card = design_card(plan, units={"a": 5000, "b": 5000}, title="Does the letter pay?")
        >>> ComparisonCard.from_json(card.to_json()) == card
        True

    References:
        Simmons, Nelson and Simonsohn (2021), Journal of Consumer Psychology 31, 151-162 (what to register).
    """
    if plan.design not in ("randomised", "encouragement"):
        raise DesignError(f"a design card lays down what is drawn by lot; got design={plan.design!r}")
    if plan.horizon_days is None:
        raise ArgumentError("the plan needs horizon_days=: over how many days outcomes are counted")
    sizes = {group_label(arm): int(n) for arm, n in units.items()}
    control = group_label(plan.control)
    if control not in sizes or len(sizes) < 2 or min(sizes.values()) < 1:
        raise ArgumentError(
            f"units gives the planned size of the control {control!r} and of every other arm; got {dict(units)!r}"
        )
    given = _laid_down(plan)
    unknown = sorted(set(detectable or {}) - set(given["metrics"]))
    if unknown:
        raise ArgumentError(f"detectable names {', '.join(unknown)}; there is {', '.join(given['metrics'])}")
    return ComparisonCard(
        title=title,
        design=plan.design,
        assignment=plan.assignment,
        control=control,
        units=sizes,
        metrics=given["metrics"],
        primary=given["primary"],
        horizon_days=plan.horizon_days,
        covariates=given["covariates"],
        strata=given["strata"],
        cluster=plan.cluster,
        looks=given["looks"],
        spending=given["spending"],
        adjust=plan.adjust,
        level=plan.level,
        detectable={k: float(v) for k, v in (detectable or {}).items()},
        registered_on=iso_date(registered_on),
        notes=tuple(str(n) for n in notes),
    )
