"""Whether two groups overlap, and for whom they can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from loyalty_research.comparison._propensity import NoOverlapError, fit_propensity
from loyalty_research.comparison._weights import balancing_weights
from loyalty_research.comparison.balance import balance_of
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loyalty_research.comparison._arms import Status
    from loyalty_research.comparison._observed import Sample
    from loyalty_research.comparison._propensity import Propensity
    from loyalty_research.comparison.balance import BalanceResult

    Array = NDArray[np.float64]

__all__ = ["Group", "Overlap", "look_at_overlap"]

_LEAST_SHARE = 0.1
_THIN_SHARE = 0.4
_LEAST_EFFECTIVE = 30


@dataclass(frozen=True, slots=True)
class Group:
    """One group against control.

    Attributes:
        name: Label of the group.
        balance: Covariates before and after inverse probability weighting; None without overlap.
        balance_overlap: The same for overlap weights.
        propensity: Fitted chance of being in the group; empty without overlap.
        treated: 1 for the group, 0 for control, in the order of ``propensity``.
        everybody: Whether an average over everybody (ATE) can be estimated.
    """

    name: str
    balance: BalanceResult | None
    balance_overlap: BalanceResult | None
    propensity: Array
    treated: Array
    everybody: bool

    @property
    def shown_balance(self) -> BalanceResult | None:
        """Balance under the weights that the main estimate rests on."""
        return self.balance if self.everybody else self.balance_overlap


@dataclass(frozen=True, slots=True)
class Overlap:
    """A fitted propensity model with what it says about comparability.

    Attributes:
        model: None when the covariates separate the groups.
        group: What is shown of it.
        checks: The gate first, then overlap for everybody and balance.
    """

    model: Propensity | None
    group: Group
    checks: tuple[Check, ...]


def look_at_overlap(sample: Sample, arm: str, control: str) -> Overlap:
    """Fit the propensity model and judge for whom the groups can be compared.

    The gate fails when even the overlap weights, which look for comparable units, find fewer than
    30 effective ones in a group. The average over everybody is given up when inverse weights
    leave a group less than a tenth of its size.

    References:
        Li, Morgan and Zaslavsky (2018), JASA 113, 390-400, section 3.
    """
    name = message("overlap of “{arm}” and “{control}”", arm=arm, control=control)
    try:
        model = fit_propensity(sample.design.matrix, sample.treated)
    except NoOverlapError as problem:
        nobody = Group(arm, None, None, np.empty(0), sample.treated, everybody=False)
        return Overlap(None, nobody, (Check(name, "failed", str(problem), gate=True),))
    inverse, overlap = (
        balance_of(
            sample.design, sample.treated, balancing_weights(model.probability, sample.treated, estimand)
        )
        for estimand in ("ATE", "ATO")
    )
    share = min(e / n for e, n in zip(inverse.effective, inverse.units, strict=True))
    everybody = share >= _LEAST_SHARE
    status: Status = "failed" if not everybody else "warning" if share < _THIN_SHARE else "passed"
    outside = float(np.mean((model.probability < 0.1) | (model.probability > 0.9)))
    detail = _effective(inverse, arm, control) + "; "
    detail += message(
        "{share} of units have a chance of being in “{arm}” below 10% or above 90%",
        share=percent(outside),
        arm=arm,
    )
    if not everybody:
        detail += "; " + message("so only those who could be in either group are compared (ATO)")
    gate = Check(
        name,
        "passed" if min(overlap.effective) >= _LEAST_EFFECTIVE else "failed",
        _effective(overlap, arm, control),
        gate=True,
    )
    whole = Check(message("overlap for everybody, “{arm}”", arm=arm), status, detail)
    group = Group(arm, inverse, overlap, model.probability, sample.treated, everybody=everybody)
    return Overlap(model, group, (gate, whole, *_balance_checks(group)))


def _effective(balance: BalanceResult, arm: str, control: str) -> str:
    return message(
        "weighting leaves {treated} effective units of {treated_all} in “{arm}” and {control} of {control_all} in "
        "“{base}”",
        treated=number(balance.effective[0], digits=0),
        treated_all=f"{balance.units[0]:,}",
        control=number(balance.effective[1], digits=0),
        control_all=f"{balance.units[1]:,}",
        arm=arm,
        base=control,
    )


def _balance_checks(group: Group) -> list[Check]:
    pairs = [(group.balance_overlap, message("overlap weights"))]
    if group.everybody:
        pairs.insert(0, (group.balance, message("inverse probability weights")))
    checks = [(balance.checks[0], words) for balance, words in pairs if balance is not None]
    return [replace(check, name=f"{check.name}, “{group.name}”, {words}") for check, words in checks]
