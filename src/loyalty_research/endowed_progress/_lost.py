"""What a difference in completion becomes when lost cards are treated otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty_research.endowed_progress._clusters import cluster_contrast
from loyalty_research.estimates import Row
from loyalty_research.i18n import message
from loyalty_research.stats.proportions import difference_in_proportions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loyalty_research.endowed_progress._clusters import ClusteredCards
    from loyalty_research.endowed_progress.completion import Outcomes
    from loyalty_research.estimates import Estimate
    from loyalty_research.stats.proportions import DifferenceMethod

__all__ = ["lost_card_rows"]


def _lost_cases() -> tuple[str, str, str]:
    return (
        message("lost cards left out"),
        message("had every lost card of the arm been completed, and none of the control"),
        message("had every lost card of the control been completed, and none of the arm"),
    )


def lost_card_rows(outcomes: Outcomes, method: DifferenceMethod, level: float) -> Iterator[Row]:
    """Differences had lost cards been left out, or all gone one way or the other."""
    if outcomes.lost is None or not any(outcomes.lost):
        return
    for a in range(1, len(outcomes.arms)):
        if outcomes.clustered is not None:
            found = _lost_in_clusters(outcomes.clustered, a, level)
        else:
            found = _lost_in_counts(outcomes, a, method, level)
        for said, difference in zip(_lost_cases(), found, strict=True):
            if difference is not None:
                yield Row(message("difference"), difference, group=outcomes.arms[a], estimand=said)


def _lost_in_counts(
    outcomes: Outcomes, a: int, method: DifferenceMethod, level: float
) -> Iterator[Estimate | None]:
    lost = outcomes.lost or (0,) * len(outcomes.arms)
    (x0, x1), (n0, n1) = ((values[0], values[a]) for values in (outcomes.completed, outcomes.n))
    for table in (
        (x1, n1 - lost[a], x0, n0 - lost[0]),
        (x1 + lost[a], n1, x0, n0),
        (x1, n1, x0 + lost[0], n0),
    ):
        whole = table[1] > 0 and table[3] > 0
        yield difference_in_proportions(*table, method=method, level=level) if whole else None


def _lost_in_clusters(cards: ClusteredCards, a: int, level: float) -> Iterator[Estimate | None]:
    treated, control = cards.arm_of == a, cards.arm_of == 0
    for done, kept in (
        (cards.done, (treated | control) & ~cards.lost),
        (cards.done | (cards.lost & treated), treated | control),
        (cards.done | (cards.lost & control), treated | control),
    ):
        whole = (kept & treated).any() and (kept & control).any()
        yield (
            cluster_contrast(done[kept], treated[kept], cards.cluster[kept], level).difference
            if whole
            else None
        )
