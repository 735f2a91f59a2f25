"""What every design with random assignment shares: arms, ratios, weights, gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from scipy import stats

from loyalty_research.comparison.sample_ratio import sample_ratio_test
from loyalty_research.errors import ContractError, DesignError, listed
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number
from loyalty_research.summaries import group_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.summaries import ArmMoments, MetricMoments

__all__ = [
    "cluster_check",
    "missing_checks",
    "planned_ratio",
    "sample_ratio_check",
    "stratum_weights",
    "treated_arms",
]

Status = Literal["passed", "warning", "failed", "not measurable"]
_ALPHA = 0.001
_FEW_CLUSTERS = 20


def p_text(p_value: float) -> str:
    """Format a p-value for a sentence."""
    return "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.4f}"


def arm_counts(moments: ArmMoments) -> dict[str, int]:
    """Return units per arm, missing outcomes included."""
    sizes = dict.fromkeys(moments.arms, 0)
    for (arm, _), count in moments.units.items():
        sizes[arm] += count
    return sizes


def treated_arms(moments: ArmMoments, control: object, assignment: str) -> tuple[str, tuple[str, ...]]:
    """Return the control's label and the labels of the other arms.

    Raises:
        ContractError: When the control is not among the arms, or is alone.
    """
    label = group_label(control)
    counts = listed(f"{arm} ({count:,})" for arm, count in arm_counts(moments).items())
    if label not in moments.arms:
        raise ContractError(f"units.{assignment} has no control {label!r}; it holds {counts}")
    others = tuple(a for a in moments.arms if a != label)
    if not others:
        raise ContractError(f"units.{assignment} holds only {counts}: there is nobody to compare with")
    return label, others


def planned_ratio(
    ratio: float | Sequence[float] | Mapping[str, float] | None,
    control: str,
    others: tuple[str, ...],
    sizes: Mapping[str, int],
) -> dict[str, float] | None:
    """Return planned weights by arm, or None when the plan is not known; one weight is everybody's.

    Raises:
        ContractError: When the data hold an arm that the plan does not name.
        DesignError: When a sequence has another length than there are arms.
    """
    if ratio is None:
        return None
    arms = (control, *others)
    if not isinstance(ratio, Mapping):
        given = [float(ratio)] if isinstance(ratio, (int, float)) else list(ratio)
        weights = given * (len(arms) if len(given) == 1 else 1)
        if len(weights) != len(arms):
            raise DesignError(
                f"ratio has {len(weights)} weights for {len(arms)} arms; their order is {listed(arms)}"
            )
        return dict(zip(arms, weights, strict=True))
    planned = {group_label(arm): weight for arm, weight in ratio.items()}
    unknown = [f"{arm} ({sizes[arm]:,} units)" for arm in arms if arm not in planned]
    if unknown:
        raise ContractError(f"arms that ratio= does not name: {listed(unknown)}; it names {listed(planned)}")
    return planned


def sample_ratio_check(moments: ArmMoments, planned: Mapping[str, float] | None) -> Check:
    """Return the gate: sizes of the arms against the plan, by clusters where those were assigned."""
    name = message("sample ratio")
    if planned is None:
        return Check(
            name,
            "not measurable",
            message("the planned ratio of the arms was not given, so lost units would go unnoticed"),
            gate=True,
        )
    counts = {arm: moments.arm_size(arm) for arm in planned}
    test = sample_ratio_test(counts, ratio=planned)
    whole = sum(test.observed)
    seen = ", ".join(
        message(
            "{arm} {count} ({share} planned {plan})",
            arm=arm,
            count=f"{n:,}",
            share=f"{n / whole:.2%}",
            plan=f"{e / whole:.2%}",
        )
        for arm, n, e in zip(planned, test.observed, test.expected, strict=True)
    )
    status: Status = "failed" if test.p_value < _ALPHA else "passed"
    return Check(name, status, f"{seen}; {p_text(test.p_value)}", gate=True, p_value=test.p_value)


def missing_checks(moments: ArmMoments) -> list[Check]:
    """Return one check per metric with missing outcomes: are they missing alike in all arms?"""
    out = []
    for label, metric in moments.metrics.items():
        nulls = dict.fromkeys(moments.arms, 0)
        present = dict.fromkeys(moments.arms, 0)
        for (arm, _), cell in metric.cells.items():
            nulls[arm] += cell.nulls
            present[arm] += cell.n
        if not sum(nulls.values()):
            continue
        table = [[nulls[a], present[a]] for a in moments.arms]
        p_value = (
            float(stats.chi2_contingency(table, correction=False).pvalue) if sum(present.values()) else 1.0
        )
        seen = ", ".join(f"{a} {nulls[a]:,} of {nulls[a] + present[a]:,}" for a in moments.arms)
        out.append(
            Check(
                message("missing values of {metric}", metric=label),
                "warning" if p_value < _ALPHA else "passed",
                message("left out: {seen}; equal shares {p}", seen=seen, p=p_text(p_value)),
                p_value=p_value,
            )
        )
    return out


def cluster_check(moments: ArmMoments) -> list[Check]:
    """Return a check of the number of clusters, where there are clusters.

    Raises:
        DesignError: When an arm has fewer than two.
    """
    if moments.clusters is None:
        return []
    sizes = {arm: moments.arm_size(arm) for arm in moments.arms}
    lone = [f"{arm} ({count})" for arm, count in sizes.items() if count < 2]
    if lone:
        raise DesignError(
            f"fewer than two clusters in arm {', '.join(lone)}: how clusters vary cannot be seen"
        )
    least = min(sizes.values())
    return [
        Check(
            message("number of clusters"),
            "warning" if least < _FEW_CLUSTERS else "passed",
            message(
                "{seen}; with fewer than {few} in an arm intervals are approximate",
                seen=", ".join(f"{a} {number(c, digits=0)}" for a, c in sizes.items()),
                few=_FEW_CLUSTERS,
            ),
        )
    ]


def stratum_weights(moments: MetricMoments) -> dict[str, float]:
    """Return each stratum's share of the units with a value, all arms together."""
    sizes: dict[str, int] = {}
    for (_, stratum), cell in moments.cells.items():
        sizes[stratum] = sizes.get(stratum, 0) + cell.n
    total = sum(sizes.values())
    if not total:
        raise ContractError(f"{moments.label} has no value in any unit: there is nothing to compare")
    return {stratum: n / total for stratum, n in sorted(sizes.items()) if n}
