"""What a comparison by lot allows beyond its estimates: segments, a certificate, who was moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals as nw

from loyalty_research.comparison.certificate import a_a_certificate
from loyalty_research.comparison.compliers import complier_profile
from loyalty_research.comparison.design import Comparison
from loyalty_research.comparison.segments import effects_by_segment
from loyalty_research.errors import DesignError
from loyalty_research.summaries import group_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.comparison.certificate import Certificate
    from loyalty_research.comparison.compliers import ComplierProfile
    from loyalty_research.comparison.segments import SegmentResult

__all__ = ["by_segment", "certificate_of", "compliers_of"]


def by_segment(lots: Comparison | None, table: Any, segments: Sequence[str]) -> tuple[SegmentResult, ...]:
    """Show effects of assignment by each column; joining by choice has none to show."""
    if not segments:
        return ()
    if lots is None:
        raise DesignError("segments= shows effects of assignment by lot; these groups were chosen")
    plan = _assignment_only(lots)
    return tuple(
        effects_by_segment(plan, table, by=by, arm=arm) for by in segments for arm in _arms(lots, table)
    )


def _arms(lots: Comparison, table: Any) -> list[str]:
    seen = nw.from_native(table).lazy().select(lots.assignment).unique().collect()[lots.assignment].to_list()
    return sorted({group_label(v) for v in seen if v is not None} - {group_label(lots.control)})


def _assignment_only(lots: Comparison) -> Comparison:
    """Return the comparison of the arms as they were drawn, whoever joined."""
    return Comparison(
        lots.metrics,
        design="randomised",
        assignment=lots.assignment,
        control=lots.control,
        covariates=lots.covariates,
        cluster=lots.cluster,
        level=lots.level,
    )


def certificate_of(lots: Comparison | None, table: Any, *, splits: int, seed: int) -> Certificate | None:
    """Draw the arms again; None without lots, or where units cannot be told apart."""
    if lots is None or not splits or (lots.unit is None and lots.cluster is None):
        return None
    return a_a_certificate(lots, table, splits=splits, seed=seed)


def compliers_of(lots: Comparison | None, table: Any, covariates: Sequence[str]) -> ComplierProfile | None:
    """Describe those whom the invitation moved; None without an invitation or with several."""
    numbers = [c for c in covariates if c.startswith("pre_")]
    if lots is None or lots.design != "encouragement" or not numbers or len(_arms(lots, table)) > 1:
        return None
    return complier_profile(lots, table, covariates=numbers)
