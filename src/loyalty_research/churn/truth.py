"""What a simulation put in, beside what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty_research.churn.curves import SurvivalCurves
    from loyalty_research.churn.membership import MemberComparison

__all__ = ["beside_truth"]


def beside_truth(
    truth: Mapping[str, Any], *, overall: SurvivalCurves, comparison: MemberComparison | None = None
) -> list[str]:
    """Set answers beside the truth of simulated data, in sentences.

    Args:
        truth: A dataset's ``truth``: ``median_lifetime_days`` (when half have lost interest) and
            ``hazard_ratio`` (of members) are told where they are there.
        overall: The curve of all customers.
        comparison: Members against non-members.

    Returns:
        Sentences; none where nothing is known, as with real data.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.churn import ChurnData, KaplanMeier, beside_truth
        >>> data = ChurnData.from_durations(pd.DataFrame({"duration": [10, 20, 30, 40], "event": 1}))
        >>> beside_truth({"median_lifetime_days": 25.0}, overall=KaplanMeier().fit(data))[0][:61]
        'In this simulation half of the customers have lost interest b'
        >>> beside_truth({}, overall=KaplanMeier().fit(data))
        []
    """
    told = []
    if "median_lifetime_days" in truth:
        told.append(_lifetime(float(truth["median_lifetime_days"]), overall))
    if "hazard_ratio" in truth and comparison is not None:
        told.append(_ratio(float(truth["hazard_ratio"]), comparison))
    return told


def _lifetime(median: float, overall: SurvivalCurves) -> str:
    found = next(iter(overall.estimates_at(median).values()))
    if found.value != found.value:
        return message(
            "In this simulation half of the customers have lost interest by day {day}, later than these data reach.",
            day=number(median, digits=0),
        )
    return message(
        "In this simulation half of the customers have lost interest by day {day}; by the rule of silence {share} "
        "are gone by then. The rule is a definition: whoever buys rarely falls silent without having lost interest.",
        day=number(median, digits=0),
        share=percent(1 - found.value),
    )


def _ratio(truth: float, comparison: MemberComparison) -> str:
    ratio = comparison.ratio
    figures = {
        "truth": number(truth, digits=2),
        "found": number(ratio.value, digits=2),
        "naive": number(comparison.naive.value, digits=2),
    }
    if ratio.low <= truth <= ratio.high:
        return message(
            "Membership itself multiplies the rate at which interest is lost by {truth} in this simulation; the "
            "ratio found from the day of joining, {found}, agrees with it within chance, and the biased one says "
            "{naive}.",
            **figures,
        )
    return message(
        "Membership itself multiplies the rate at which interest is lost by {truth} in this simulation. Counting "
        "from the day of joining removes part of the error ({found} against a biased {naive}) and leaves the rest: "
        "customers who buy more join more, and fall silent less.",
        **figures,
    )
