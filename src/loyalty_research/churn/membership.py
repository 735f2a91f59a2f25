"""Members and non-members: from the day of joining, and what the shortcut would say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.cox import CoxPH
from loyalty_research.churn.curves import KaplanMeier
from loyalty_research.churn.means import common_horizon
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.churn.cox import CoxFit
    from loyalty_research.churn.curves import SurvivalCurves
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.estimates import Estimate

__all__ = ["MemberComparison", "compare_members"]

FEWEST = 5


@dataclass(frozen=True, repr=False)
class MemberComparison(Result):
    """How the rate of leaving differs between members and non-members.

    Attributes:
        ratio: Hazard ratio, membership counted from the day of joining.
        at_landmark: Hazard ratio by status on the landmark day, among those still there; None
            where too few are members by then.
        naive: Hazard ratio by whether somebody ever joined, counted from day 0: biased by
            immortal time, shown for contrast only.
        landmark: The landmark day.
        curves: Survival from the landmark day by status on that day, or None likewise.
        covariate: The membership covariate.
    """

    title: ClassVar[str] = "Members and non-members"

    ratio: Estimate
    at_landmark: Estimate | None
    naive: Estimate
    landmark: float
    curves: SurvivalCurves | None
    covariate: str

    def _lines(self) -> list[tuple[str, Estimate, bool]]:
        lines = [(message("member from the day of joining"), self.ratio, False)]
        if self.at_landmark is not None:
            day = number(self.landmark, digits=0)
            name = message("member on day {day}, among those still there", day=day)
            lines.append((name, self.at_landmark, False))
        return [*lines, (message("ever joined, counted from day 0 (biased)"), self.naive, True)]

    def _rows(self) -> Iterable[Row]:
        for name, estimate, biased in self._lines():
            yield Row(
                "hazard ratio",
                estimate,
                group=name,
                estimand=message("ratio of leaving rates, members to non-members"),
                extra={"biased": biased},
            )

    @property
    def headline(self) -> str:
        """What was found, in one or two sentences, with its limit."""
        return message(
            "{lead} Customers choose to join, so this is not the effect of the programme.", lead=self._lead()
        )

    def _verdict(self) -> str:
        return message(
            "{lead} Flagging whoever ever joined would give a ratio of {naive}, an artefact: those who leave early "
            "have no time to join. Customers choose to join, so this compares people, and is not the effect of "
            "the programme.",
            lead=self._lead(),
            naive=number(self.naive.value, digits=2),
        )

    def _lead(self) -> str:
        level = percent(self.ratio.level, digits=0)
        found = message(
            "ratio {ratio}, {level} interval {low} to {high}",
            ratio=number(self.ratio.value, digits=2),
            level=level,
            low=number(self.ratio.low, digits=2),
            high=number(self.ratio.high, digits=2),
        )
        if self.ratio.low <= 1 <= self.ratio.high:
            return message(
                "Counted from the day they joined, members leave at about the same rate as non-members ({found}).",
                found=found,
            )
        if self.ratio.value < 1:
            return message(
                "Counted from the day they joined, members leave at a rate {share} lower than non-members ({found}).",
                share=percent(1 - self.ratio.value, digits=0),
                found=found,
            )
        return message(
            "Counted from the day they joined, members leave at a rate {share} higher than non-members ({found}).",
            share=percent(self.ratio.value - 1, digits=0),
            found=found,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the three ratios."""
        from loyalty_research.plots.survival import forest

        lines = self._lines()
        frame = pd.DataFrame(
            {
                "term": [name for name, _, _ in lines],
                "estimate": [e.value for _, e, _ in lines],
                "low": [e.low for _, e, _ in lines],
                "high": [e.high for _, e, _ in lines],
            }
        )
        return forest(frame, ax=ax, label=message("Hazard ratio: below 1 members stay longer"))


def compare_members(
    data: ChurnData, *, landmark: float | None = None, covariate: str = "is_member", level: float = 0.95
) -> MemberComparison:
    """Compare members with non-members without immortal time.

    Args:
        data: Follow-up split where memberships begin and end (``members=`` of
            :meth:`ChurnData.from_transactions`, or :meth:`ChurnData.time_varying`).
        landmark: Day whose status the sensitivity check uses; by default the median day of
            joining, which looks at joining but not at leaving.
        covariate: The membership covariate, True while somebody is a member.
        level: Confidence level.

    Raises:
        ContractError: When the covariate is missing or not a yes or no.
        DesignError: When fewer than five members or non-members are followed, or none of them
            leaves.

    References:
        Suissa (2008), American Journal of Epidemiology 167 (immortal time); Anderson, Cain,
        Gelber (1983), Journal of Clinical Oncology 1 (landmark).
    """
    if covariate not in data.covariates.columns or data.covariates[covariate].dtype != bool:
        raise ContractError(
            f"the data have no yes-or-no covariate {covariate}; split them with members= or time_varying()"
        )
    problem = _too_few(data, covariate)
    if problem:
        raise DesignError(problem)
    model = CoxPH(level=level)
    varying = model.fit(data, covariates=[covariate])
    flag = data.covariates[covariate].to_numpy()
    ever = np.zeros(data.n_customers, dtype=bool)
    ever[data.customer[flag]] = True
    flagged = replace(data, covariates=data.covariates.assign(**{covariate: ever[data.customer]}))
    day = _median_joining(data, flag) if landmark is None else float(landmark)
    landed = data.landmark(day)
    obstacle = _too_few(landed, covariate)
    return MemberComparison(
        ratio=_ratio(varying),
        at_landmark=None if obstacle else _ratio(model.fit(landed, covariates=[covariate])),
        naive=_ratio(model.fit(flagged, covariates=[covariate])),
        landmark=day,
        curves=None if obstacle else _landmark_curves(landed, covariate, day, level),
        covariate=covariate,
        checks=(*varying.checks, _self_selection(covariate), _landmark_check(day, obstacle)),
    )


def _landmark_curves(landed: ChurnData, covariate: str, day: float, level: float) -> SurvivalCurves:
    # half a year on, or as far as both groups are followed
    horizon = min(day + 180.0, common_horizon(landed, covariate))
    return KaplanMeier(level=level, horizon=horizon).fit(landed, by=covariate)


def _median_joining(data: ChurnData, flag: NDArray[np.bool_]) -> float:
    """Return the day by which half of those who ever joined had joined."""
    days = pd.Series(data.start[flag]).groupby(data.customer[flag]).min().to_numpy()
    return float(np.quantile(days, 0.5, method="inverted_cdf"))


def _landmark_check(day: float, obstacle: str | None) -> Check:
    name = message("Landmark")
    if obstacle is None:
        return Check(
            name,
            "passed",
            message(
                "Status on day {day} among those still there gives a second answer.",
                day=number(day, digits=0),
            ),
        )
    return Check(
        name,
        "not measurable",
        message("On day {day}: {obstacle}.", day=number(day, digits=0), obstacle=obstacle),
    )


def _self_selection(covariate: str) -> Check:
    return Check(
        message("Self-selection"),
        "warning",
        message(
            "Who is a {name} is chosen by the customer; loyal customers join sooner, and no splitting of time "
            "removes that.",
            name=covariate_words(covariate),
        ),
    )


def _too_few(data: ChurnData, covariate: str) -> str | None:
    """Say why members and non-members cannot be compared, or nothing."""
    flag = data.covariates[covariate].to_numpy()
    for status, name in ((True, message("members")), (False, message("non-members"))):
        count = len(np.unique(data.customer[flag == status]))
        if count < FEWEST or not data.event[flag == status].any():
            return message(
                "too few {name}: the comparison needs at least {fewest}, some of whom leave",
                name=name,
                fewest=FEWEST,
            )
    return None


def _ratio(model: CoxFit) -> Estimate:
    row = next(iter(model._rows()))  # noqa: SLF001 - the same package
    return row.estimate
