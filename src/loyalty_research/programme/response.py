"""Who answers a survey: response by group, and weights that let those who answer stand for those asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, number, percent
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loyalty_research.estimates import Estimate

__all__ = ["ResponseWeights", "response_weights"]

FEWEST = 5


@dataclass(frozen=True, repr=False, eq=False)
class ResponseWeights(Result):
    """Response by group, and the weights that follow from it.

    Attributes:
        weights: One weight for each customer who answered, with mean 1; for ``weights=`` of the survey
            measures.
        rate: Share of those asked who answered.
        by_group: Group to its share who answered.
        effective: How many unweighted answers the weighted ones are worth (Kish).
    """

    title: ClassVar[str] = "Who answered"

    weights: pd.Series[float]
    rate: Estimate
    by_group: dict[str, Estimate]
    effective: float

    def _rows(self) -> Iterable[Row]:
        name, of = message("answered"), message("customers asked")
        yield Row(name, self.rate, group="all", estimand=of)
        for group, share in self.by_group.items():
            yield Row(name, share, group=group, estimand=of)

    def _verdict(self) -> str:
        ends = sorted(self.by_group.items(), key=lambda item: item[1].value)
        (least, low), (most, high) = ends[0], ends[-1]
        return message(
            "{rate} of {n} customers who were asked answered ({interval}): from {low} of the group {least} to {high} of "
            "the group {most}. Weights even out these groups; within a group, the silent may still think otherwise.",
            rate=self.rate.format(),
            n=f"{self.rate.n:,}",
            interval=self.rate.interval(),
            low=low.format(),
            least=least,
            high=high.format(),
            most=most,
        )


def response_weights(groups: pd.Series[Any], answered: Any, *, level: float = 0.95) -> ResponseWeights:
    """Return weights with which those who answered have the groups of those who were asked.

    Every group's answers are weighted by one over its response rate (post-stratification). What groups do
    not show, such as anger, stays as it is.

    Args:
        groups: Group of each customer who was asked, known before they answered, such as a band of
            purchase frequency; index the customer.
        answered: Customers who answered, each once, all of them asked.
        level: Confidence level.

    Returns:
        Weights by customer, in the order of ``answered``, and response by group with Wilson's interval.

    Raises:
        ArgumentError: When somebody answered who was not asked, or twice.
        ContractError: When a customer has no group or is named twice.
        DesignError: When fewer than five customers of a group answered.

    Examples:
        >>> groups = pd.Series(["often"] * 40 + ["seldom"] * 60, index=[f"c{i}" for i in range(100)])
        >>> found = response_weights(groups, [f"c{i}" for i in range(55)])
        >>> found.weights.iloc[[0, -1]].tolist(), round(found.effective, 1)
        ([0.55, 2.2], 35.7)

    References:
        Holt and Smith (1979), JRSS A 142(1), 33-46; Kish (1965), Survey Sampling, section 11.7.
    """
    level = check_level(level)
    refuse(groups.isna().to_numpy(), "groups is null", "give each customer one, such as 'not known'")
    if groups.index.has_duplicates:
        raise ContractError("groups names a customer twice; keep one row each")
    who = pd.Index(answered)
    unasked = int((~who.isin(groups.index)).sum())
    if unasked or who.has_duplicates:
        raise ArgumentError(
            f"answered holds {unasked:,} customers who are not in groups and {int(who.duplicated().sum()):,} repeats; "
            "keep one answer of each customer who was asked"
        )
    label = groups.astype(str)
    own = label.loc[who]
    asked, back = label.value_counts().sort_index(), own.value_counts()
    back = back.reindex(asked.index, fill_value=0)
    few = int((back < FEWEST).sum())
    if few:
        raise DesignError(
            message(
                "{count} of {n} groups have fewer than {fewest} customers who answered; take wider groups",
                count=few,
                n=len(asked),
                fewest=FEWEST,
            )
        )
    weight = (asked / back).loc[own].to_numpy(dtype=float)
    weight *= len(who) / weight.sum()
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    return ResponseWeights(
        pd.Series(weight, index=who),
        rate=proportion(len(who), len(groups), level=level),
        by_group={str(g): proportion(int(back[g]), int(asked[g]), level=level) for g in asked.index},
        effective=effective,
        checks=(_spread_check(effective, len(who)),),
    )


def _spread_check(effective: float, n: int) -> Check:
    said = message(
        "The weighted answers are worth {effective} of {n} unweighted ones ({share}).",
        effective=number(effective, digits=0),
        n=f"{n:,}",
        share=percent(effective / n),
    )
    return Check(message("Price of the weights"), "passed" if effective > n / 2 else "warning", said)
