"""Estimates set beside the truth of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty_research.endowed_progress._outcome import NotAvailable
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from loyalty_research.endowed_progress.completion import CompletionResult
    from loyalty_research.endowed_progress.gradient import GoalGradientResult
    from loyalty_research.endowed_progress.visits import VisitsResult
    from loyalty_research.estimates import Estimate

__all__ = ["beside_truth"]


def _pairs(
    completion: CompletionResult,
    visits: VisitsResult | NotAvailable,
    gradient: GoalGradientResult | NotAvailable,
) -> Iterator[tuple[str, str, Estimate]]:
    for arm, rate in zip(completion.outcomes.arms, completion.rates, strict=True):
        yield f"completion_{arm}", message("completed, {arm}", arm=arm), rate
    single = len(completion.comparisons) == 1
    if single:
        yield (
            "completion_difference",
            message("difference in completion"),
            completion.comparisons[0].difference,
        )
    if single and not isinstance(visits, NotAvailable):
        yield "visits_difference", message("difference in visits"), visits.differences[0]
    if not isinstance(gradient, NotAvailable) and gradient.progress == "share" and gradient.link == "logit":
        yield "slope", message("slope within cards"), gradient.slope
        yield "slope", message("pooled slope"), gradient.pooled
        if single and gradient.arm_shifts:
            yield "level", message("level of the arm"), gradient.arm_shifts[0]


def beside_truth(
    truth: Mapping[str, Any],
    *,
    completion: CompletionResult,
    visits: VisitsResult | NotAvailable,
    gradient: GoalGradientResult | NotAvailable,
) -> pd.DataFrame:
    """Return estimates beside what is true in simulated cards.

    Args:
        truth: The truth of a dataset made by ``simulate("stamp-card", ...)``.
        completion: Completion before expiry.
        visits: Visits before expiry.
        gradient: The goal gradient in share of the card, logit link, with an arm level.

    Returns:
        quantity, truth, estimate, low, high, covered (does the interval hold the truth?), one row
        per quantity that the truth tells.
    """
    import pandas as pd

    rows = [
        (said, float(truth[key]), e.value, e.low, e.high, bool(e.low <= truth[key] <= e.high))
        for key, said, e in _pairs(completion, visits, gradient)
        if truth.get(key) is not None
    ]
    return pd.DataFrame(rows, columns=["quantity", "truth", "estimate", "low", "high", "covered"])
