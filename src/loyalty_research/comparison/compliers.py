"""Who joined because of the invitation: the profile of those it moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals as nw

from loyalty_research.comparison._arms import treated_arms
from loyalty_research.comparison.encouragement import Joined, effect_of_joining
from loyalty_research.comparison.metrics import Mean
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Result, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.summaries import arm_moments
from loyalty_research.summaries._frames import as_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loyalty_research.comparison.design import Comparison
    from loyalty_research.estimates import Estimate

__all__ = ["ComplierProfile", "complier_profile"]


@dataclass(frozen=True, repr=False)
class ComplierProfile(Result):
    """What those whom the invitation moved were like before it.

    Attributes:
        arm: The invited arm.
        share: Share of units that the invitation moved to join.
        means: Covariate to its mean among those moved.
        everybody: Covariate to its mean among all units.
    """

    title: ClassVar[str] = "Who joined because of the invitation"

    arm: str
    share: float
    means: dict[str, Estimate]
    everybody: dict[str, float]

    def _rows(self) -> Iterator[Row]:
        for name, estimate in self.means.items():
            yield Row(name, estimate, self.arm, "mean of those moved", {"everybody": self.everybody[name]})

    def _verdict(self) -> str:
        apart = [
            message(
                "{covariate} {mean} against {everybody}",
                covariate=name,
                mean=number(e.value),
                everybody=number(self.everybody[name]),
            )
            for name, e in self.means.items()
            if not e.low <= self.everybody[name] <= e.high
        ]
        if not apart:
            return message(
                "The invitation moved {share} to join; in what was measured they do not clearly differ from everybody.",
                share=percent(self.share),
            )
        return message(
            "The invitation moved {share} to join, and they are not like everybody: {differences}. The effect of joining "
            "is theirs.",
            share=percent(self.share),
            differences="; ".join(apart),
        )


def complier_profile(
    plan: Comparison, table: Any, *, covariates: Sequence[str] = (), arm: str | None = None
) -> ComplierProfile:
    """Describe those who joined because they were invited, whom nobody can point at one by one.

    The mean of a covariate among them is Wald's ratio with the covariate times joining in the place
    of the outcome.

    Args:
        plan: A comparison of design ``"encouragement"``.
        table: One row per unit, as for :meth:`Comparison.analyse`.
        covariates: Numeric columns measured before; those of the plan when empty.
        arm: Invited arm; the only one when None.

    Returns:
        Mean of every covariate among those moved, with its interval, beside everybody's.

    Raises:
        ArgumentError: When there is no covariate, or several arms and none is named.
        ContractError: When columns are absent or hold what they cannot.
        DesignError: When the design is not an encouragement.

    References:
        Abadie (2003), Journal of Econometrics 113, 231-263, theorem 3.1; Angrist and Pischke (2009),
        Mostly Harmless Econometrics, section 4.4.4.

    Examples:
        >>> import pandas as pd
        >>> from loyalty_research.comparison import Comparison, Mean
        >>> units = pd.DataFrame({"arm": ["control"] * 40 + ["invited"] * 40, "age": [30.0, 50.0] * 40})
        >>> units["joined"] = ((units["arm"] == "invited") & (units["age"] > 40)).astype(int)
        >>> units["spend"] = units["age"] + units.index % 7
        >>> plan = Comparison(Mean("spend"), design="encouragement", assignment="arm", control="control",
        ...                   received="joined", covariates=["age"])
        >>> complier_profile(plan, units).means["age"].value
        50.0
    """
    if plan.design != "encouragement" or plan.received is None:
        raise DesignError("a profile of those moved needs design='encouragement'")
    names = tuple(covariates) or tuple(
        dict.fromkeys([*plan.covariates, *(c for m in plan.metrics for c in m.covariates)])
    )
    if not names:
        raise ArgumentError("covariates= is empty: name the columns measured before")
    frame = as_lazy(table, "units")
    schema = frame.collect_schema()
    lacking = [c for c in (*names, plan.received) if c not in schema]
    if lacking:
        raise ContractError(
            f"units has no column {', '.join(map(repr, lacking))}; it has {', '.join(schema)}"
        )
    joining = _number(plan.received, schema)
    wide = frame.with_columns(*((_number(c, schema) * joining).alias(f"{c} × joined") for c in names))
    metrics = [Joined(Mean(f"{c} × joined"), plan.received) for c in names]
    moments = arm_moments(wide, metrics, arm=plan.assignment, strata=plan.strata, cluster=plan.cluster)
    control, arms = treated_arms(moments, plan.control, plan.assignment)
    if arm is None and len(arms) > 1:
        raise ArgumentError(f"arm= is needed: which of {', '.join(arms)}?")
    chosen = arms[0] if arm is None else arm
    if chosen not in arms:
        raise ArgumentError(f"there is no arm {chosen!r}; there is {', '.join(arms)}")
    means, share = {}, 0.0
    for name, metric in zip(names, metrics, strict=True):
        effect = effect_of_joining(metric.metric, moments, chosen, control, plan.received, plan.level)
        means[name] = replace(effect.wald, method="Wald, delta method", p_value=None)
        share = float(effect.both.difference[1])
    whole = frame.select(*(_number(c, schema).mean().alias(c) for c in names)).collect().rows(named=True)[0]
    return ComplierProfile(chosen, share, means, {c: float(whole[c]) for c in names})


def _number(name: str, schema: Any) -> nw.Expr:
    column = nw.col(name)
    if schema[name] == nw.Boolean:
        return nw.when(column).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
    if not schema[name].is_numeric():
        raise ContractError(f"units.{name} holds {schema[name]}, not numbers")
    return column.cast(nw.Float64)
