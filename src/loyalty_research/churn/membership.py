"""Members and non-members: from the day of joining, and what the shortcut would say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.churn.cox import CoxPH
from loyalty_research.churn.curves import KaplanMeier
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

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
        at_landmark: Hazard ratio by status on the landmark day, among those still there.
        naive: Hazard ratio by whether somebody ever joined, counted from day 0: biased by
            immortal time, shown for contrast only.
        landmark: The landmark day.
        curves: Survival from the landmark day by status on that day.
        covariate: The membership covariate.
    """

    title: ClassVar[str] = "Members and non-members"

    ratio: Estimate
    at_landmark: Estimate
    naive: Estimate
    landmark: float
    curves: SurvivalCurves
    covariate: str

    def _lines(self) -> list[tuple[str, Estimate, bool]]:
        return [
            (message("member from the day of joining"), self.ratio, False),
            (
                message("member on day {day}, among those still there", day=number(self.landmark, digits=0)),
                self.at_landmark,
                False,
            ),
            (message("ever joined, counted from day 0 (biased)"), self.naive, True),
        ]

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
    data: ChurnData, *, landmark: float, covariate: str = "is_member", level: float = 0.95
) -> MemberComparison:
    """Compare members with non-members without immortal time.

    Args:
        data: Follow-up split where memberships begin and end (``members=`` of
            :meth:`ChurnData.from_transactions`, or :meth:`ChurnData.time_varying`).
        landmark: Day, named before looking, whose status the sensitivity check uses.
        covariate: The membership covariate, True while somebody is a member.
        level: Confidence level.

    Raises:
        ContractError: When the covariate is missing or not a yes or no.
        DesignError: When fewer than five members or non-members are followed, on the whole or
            after the landmark.

    References:
        Suissa (2008), American Journal of Epidemiology 167 (immortal time); Anderson, Cain,
        Gelber (1983), Journal of Clinical Oncology 1 (landmark).
    """
    if covariate not in data.covariates.columns or data.covariates[covariate].dtype != bool:
        raise ContractError(
            f"the data have no yes-or-no covariate {covariate}; split them with members= or time_varying()"
        )
    _enough(data, covariate, message("while followed"))
    landed = data.landmark(landmark)
    _enough(landed, covariate, message("on day {day}", day=number(landmark, digits=0)))
    model = CoxPH(level=level)
    varying = model.fit(data, covariates=[covariate])
    ever = np.zeros(data.n_customers, dtype=bool)
    ever[data.customer[data.covariates[covariate].to_numpy()]] = True
    flagged = replace(data, covariates=data.covariates.assign(**{covariate: ever[data.customer]}))
    return MemberComparison(
        ratio=_ratio(varying),
        at_landmark=_ratio(model.fit(landed, covariates=[covariate])),
        naive=_ratio(model.fit(flagged, covariates=[covariate])),
        landmark=float(landmark),
        curves=KaplanMeier(level=level).fit(landed, by=covariate),
        covariate=covariate,
        checks=(*varying.checks, _self_selection(covariate)),
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


def _enough(data: ChurnData, covariate: str, when: str) -> None:
    flag = data.covariates[covariate].to_numpy()
    for status, name in ((True, message("members")), (False, message("non-members"))):
        count = len(np.unique(data.customer[flag == status]))
        if count < FEWEST or not data.event[flag == status].any():
            raise DesignError(
                f"too few {name} {when} to compare: the comparison needs at least {FEWEST}, some of whom leave"
            )


def _ratio(model: CoxFit) -> Estimate:
    row = next(iter(model._rows()))  # noqa: SLF001 - the same package
    return row.estimate
