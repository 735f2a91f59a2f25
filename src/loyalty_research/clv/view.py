"""The programme's view of a valued customer base: every question it asks, or why it has no answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from loyalty_research.clv.payback import acquisition_payback
from loyalty_research.clv.programme import check_cost, members_lost, value_at_churn
from loyalty_research.clv.retention import retention_sensitivity
from loyalty_research.clv.segments import split_value
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Finding, Result
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from loyalty_research.clv._shares import SegmentValue
    from loyalty_research.clv.payback import AcquisitionPayback
    from loyalty_research.clv.programme import MembersLost, ValueAtChurn
    from loyalty_research.clv.retention import RetentionSensitivity
    from loyalty_research.clv.value import LifetimeValue
    from loyalty_research.estimates import Row

__all__ = ["ProgrammeView", "programme_view"]


@dataclass(frozen=True, repr=False, eq=False)
class ProgrammeView(Result):
    """Value as a programme looks at it; a part that the data cannot give is None.

    Attributes:
        by_membership: Value of members, former members and others.
        by_tier: Value by tier.
        at_churn: Value by the chance of still being a customer.
        lost: Cost of members lost.
        retention: What a rise in retention would be worth.
        payback: When a new customer has paid for being won.
        reasons: Why each missing part is missing, one sentence each.
    """

    title: ClassVar[str] = "Value as a programme looks at it"

    by_membership: SegmentValue | None
    by_tier: SegmentValue | None
    at_churn: ValueAtChurn
    lost: MembersLost | None
    retention: RetentionSensitivity | None
    payback: AcquisitionPayback | None
    reasons: tuple[str, ...]

    def parts(self) -> tuple[Result, ...]:
        """Return the parts that have an answer, in order."""
        known: tuple[Result | None, ...] = (
            self.by_membership,
            self.by_tier,
            self.at_churn,
            self.lost,
            self.retention,
            self.payback,
        )
        return tuple(part for part in known if part is not None)

    def _rows(self) -> Iterable[Row]:
        for part in self.parts():
            yield from part._rows()  # noqa: SLF001  # parts are results like this one

    def _verdict(self) -> str:
        return " ".join(part.verdict() for part in self.parts())

    def findings(self) -> tuple[Finding, ...]:
        """Return what the index of a site shows of the programme's view."""
        section = message("The answer")
        found = []
        if self.by_membership is not None and self.by_membership.segments:
            _, _, mean = max(self.by_membership.segments, key=lambda segment: segment[1].value)
            words = message(
                "{said} Members chose to join, so a gap between them and others is no effect of the programme.",
                said=self.by_membership.verdict(),
            )
            found.append(Finding("value-by-membership", words, mean, "finding", section))
        if self.retention is not None:
            found.append(
                Finding("retention-gain", self.retention.verdict(), self.retention.gain, "caution", section)
            )
        if self.payback is not None:
            found.append(Finding("payback", self.payback.verdict(), self.payback.payback, "finding", section))
        return tuple(found)


def programme_view(
    value: LifetimeValue,
    *,
    customers: pd.DataFrame | None = None,
    memberships: pd.DataFrame | None = None,
    acquisition_cost: float | None = None,
    points: float = 0.05,
    days: int = 365,
) -> ProgrammeView:
    """Answer what a programme asks of lifetime value, and say what the data do not let it answer.

    Args:
        value: What :func:`customer_lifetime_value` returned.
        customers: The customers table, whose columns ``membership`` and ``tier`` are used where it
            has them.
        memberships: The memberships table, or None.
        acquisition_cost: Cost of winning one customer, or None.
        points: Rise in retention to price.
        days: How far back members who left are looked for.

    Raises:
        ArgumentError: When ``acquisition_cost``, ``points`` or ``days`` is out of range.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.clv import BetaGeoNBD, GammaGamma, customer_lifetime_value
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4] * 2,
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20] * 2,
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33] * 2,
        ...     "monetary_value": [0, 20, 35, 0, 28, 40, 0, 22, 0, 31] * 2,
        ... })
        >>> value = customer_lifetime_value(
        ...     BetaGeoNBD(penalizer=0.1).fit(summary, unit="W"), GammaGamma(penalizer=0.1).fit(summary),
        ...     summary, horizon=52, annual_discount_rate=0.1)
        >>> for reason in programme_view(value).reasons:
        ...     print(reason)
        Value is not split by membership: there is no memberships table.
        Value is not split by tier: there is no memberships table.
        The cost of members lost is left out: there is no memberships table.
        Payback of acquisition is left out: the cost of winning a customer is not given.
    """
    if acquisition_cost is not None:
        check_cost(acquisition_cost)
    if not 0 < points < 1:
        raise ArgumentError(f"points must be a share between 0 and 1, such as 0.05; got {points!r}")
    by_membership, no_membership = split_value(
        value, "membership", customers=customers, memberships=memberships
    )
    by_tier, no_tier = split_value(value, "tier", customers=customers, memberships=memberships)
    reasons = [no_membership, no_tier]
    lost, payback = None, None
    try:
        lost = members_lost(value, memberships, days=days, acquisition_cost=acquisition_cost)
    except (ContractError, DesignError) as reason:
        reasons.append(message("The cost of members lost is left out: {reason}.", reason=reason))
    retention, why = _asked(lambda: retention_sensitivity(value, points=points))
    if retention is None:
        reasons.append(message("A rise in retention is not priced: {reason}.", reason=why))
    if acquisition_cost is None:
        reasons.append(
            message("Payback of acquisition is left out: the cost of winning a customer is not given.")
        )
    else:
        payback, why = _asked(lambda: acquisition_payback(value, acquisition_cost=acquisition_cost))
        if payback is None:
            reasons.append(message("Payback of acquisition is left out: {reason}.", reason=why))
    return ProgrammeView(
        by_membership=by_membership,
        by_tier=by_tier,
        at_churn=value_at_churn(value),
        lost=lost,
        retention=retention,
        payback=payback,
        reasons=tuple(reason for reason in reasons if reason),
    )


def _asked(question: Callable[[], Any]) -> tuple[Any, str]:
    """Return an answer, or None and why the model has none."""
    try:
        return question(), ""
    except (ArgumentError, DesignError) as reason:
        return None, str(reason)
