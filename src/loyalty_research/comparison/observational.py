"""Groups that chose themselves: comparison among units alike in what was measured before."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.comparison._observed import (
    collect_units,
    group_labels,
    in_both_groups,
    nearer_ratio_limit,
    regression_t,
    sample_of,
    within_spread,
)
from loyalty_research.comparison._overlap import Group, look_at_overlap
from loyalty_research.comparison._propensity import NoOverlapError, covariate_matrix
from loyalty_research.comparison._weights import (
    Potential,
    augmented,
    difference_limits,
    entropy_balanced,
    hajek,
    ratio_of,
)
from loyalty_research.comparison.matching import METHOD as MATCHED
from loyalty_research.comparison.matching import match
from loyalty_research.comparison.metrics import Mean, Proportion
from loyalty_research.comparison.pairs import bias_borne, pair_up
from loyalty_research.comparison.result import (
    NOT_AN_EFFECT,
    WAS_THERE_BEFORE,
    ComparisonResult,
    Statement,
    capital,
    change,
    change_interval,
    shown,
    slug,
)
from loyalty_research.comparison.sensitivity import e_value, risk_ratio_of_means, robustness_value
from loyalty_research.errors import ContractError
from loyalty_research.estimates import Check, Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.summaries import group_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.comparison._observed import Sample
    from loyalty_research.comparison._overlap import Overlap
    from loyalty_research.comparison.design import Comparison
    from loyalty_research.comparison.metrics import Metric

    Array = NDArray[np.float64]

__all__ = ["Group", "ObservationalResult", "analyse_observational"]

AUGMENTED = "augmented inverse probability weights, M-estimated"
OVERLAP = "overlap weights, M-estimated"
INVERSE = "inverse probability weights, M-estimated"
ENTROPY = "entropy balancing, M-estimated"
PLACEBO = "placebo (before)"
_MOST_MATCHED = 20_000
_M = ", M-estimated"


@dataclass(frozen=True, repr=False)
class ObservationalResult(ComparisonResult):
    """A comparison without chance: estimates, balance, overlap, and what could explain them away.

    Attributes:
        groups: One entry per group compared with control.
    """

    groups: tuple[Group, ...] = ()

    def group(self, name: str | None = None) -> Group:
        """Return a group by its label; the first when None."""
        chosen = [g for g in self.groups if name in (None, g.name)]
        if not chosen:
            raise ContractError(
                f"there is no group {name!r}; there is {', '.join(g.name for g in self.groups)}"
            )
        return chosen[0]

    def plot_balance(self, ax: Axes | None = None, *, group: str | None = None) -> Axes:
        """Draw the love plot: covariates as they are and under the weights of the main estimate.

        Args:
            ax: Axes to draw on; new ones when None.
            group: Label of the group; the first when None.

        Raises:
            ContractError: When the groups do not overlap.
        """
        chosen = self.group(group)
        if chosen.shown_balance is None:
            raise ContractError(f"“{chosen.name}” does not overlap with control: there is no balance to draw")
        return chosen.shown_balance.plot(ax)

    def plot_overlap(self, ax: Axes | None = None, *, group: str | None = None) -> Axes:
        """Draw how the chance of being in the group spreads in both groups.

        Args:
            ax: Axes to draw on; new ones when None.
            group: Label of the group; the first when None.

        Raises:
            ContractError: When the groups do not overlap.
        """
        from loyalty_research.plots.comparison import overlap

        chosen = self.group(group)
        if not len(chosen.propensity):
            raise ContractError(f"“{chosen.name}” does not overlap with control: nothing was estimated")
        return overlap(chosen.propensity, chosen.treated, labels=(chosen.name, self.control), ax=ax)


def _naive_of(treated: Array, outcome: Array) -> Potential:
    """Compare plain means, with influences so that parts of the gap have intervals."""
    means, influences = [], []
    for group in (1.0, 0.0):
        member = (treated == group).astype(float)
        mean = float(member @ outcome / member.sum())
        means.append(mean)
        influences.append(member * (outcome - mean) / member.mean())
    return Potential(means[0], means[1], influences[0], influences[1])


def _apply(sample: Sample, estimator: Any) -> Potential:
    """Run an estimator on the outcome; on both parts of a ratio."""
    parts = [estimator(outcome) for outcome in sample.outcomes]
    return ratio_of(parts[0], parts[1]) if len(parts) == 2 else parts[0]


def _estimators(sample: Sample, overlap: Overlap) -> dict[tuple[str, str], Any]:
    """Return the estimators that the overlap allows, the default ones first."""
    x, a, model = sample.design.matrix, sample.treated, overlap.model
    if model is None:
        return {}
    by_overlap = {("ATO", OVERLAP): lambda y: hajek(x, a, y, model, estimand="ATO")}
    if not overlap.group.everybody:
        return by_overlap
    return {
        ("ATE", AUGMENTED): lambda y: augmented(x, a, y, model),
        **by_overlap,
        ("ATE", INVERSE): lambda y: hajek(x, a, y, model, estimand="ATE"),
        ("ATE", ENTROPY): lambda y: entropy_balanced(x, a, y, estimand="ATE")[0],
    }


def _estimate(potential: Potential, sample: Sample, metric: Metric, method: str, level: float) -> Estimate:
    _, low, high, p_value = difference_limits(
        potential.difference, potential.influence, sample.clusters, level
    )
    n = len(sample.treated)
    return Estimate(potential.difference, low, high, level, method, n, metric.shown_unit, p_value)


@dataclass(frozen=True, slots=True)
class _Found:
    """Everything estimated for one metric and group."""

    metric: Metric
    arm: str
    naive: Estimate
    levels: tuple[float, float]
    selection: Estimate | None
    adjusted: dict[tuple[str, str], tuple[Estimate, Potential]]
    failed: tuple[str, ...]
    dropped: int

    @property
    def best(self) -> tuple[Estimate, Potential]:
        """The augmented estimate; by overlap weights where not everybody can be compared."""
        return self.adjusted.get(("ATE", AUGMENTED)) or self.adjusted["ATO", OVERLAP]

    @property
    def headline(self) -> Estimate:
        """The estimate the verdict speaks of."""
        return self.best[0]


def _analyse_metric(
    sample: Sample, overlap: Overlap, metric: Metric, arm: str, level: float, dropped: int
) -> _Found:
    raw = _apply(sample, lambda y: _naive_of(sample.treated, y))
    naive = _estimate(raw, sample, metric, "raw gap", level)
    adjusted: dict[tuple[str, str], tuple[Estimate, Potential]] = {}
    failed = []
    for key, estimator in _estimators(sample, overlap).items():
        try:
            potential = _apply(sample, estimator)
        except NoOverlapError:
            failed.append(key[1])
            continue
        adjusted[key] = (_estimate(potential, sample, metric, key[1], level), potential)
    if overlap.group.everybody and _can_match(sample):
        adjusted["ATE", MATCHED] = _matched(sample, metric, level)
    found = _Found(metric, arm, naive, (raw.treated, raw.control), None, adjusted, tuple(failed), dropped)
    if not adjusted:
        return found
    best = found.best[1]
    part = Potential(raw.difference, best.difference, raw.influence, best.influence)
    return replace(
        found, selection=_estimate(part, sample, metric, "raw gap less the adjusted difference", level)
    )


def _can_match(sample: Sample) -> bool:
    """Whether matching serves as a check: for plain outcomes, without clusters, of not too many units."""
    return len(sample.outcomes) == 1 and sample.clusters is None and len(sample.treated) <= _MOST_MATCHED


def _matched(sample: Sample, metric: Metric, level: float) -> tuple[Estimate, Potential]:
    found = match(sample.design.matrix[:, 1:], sample.treated, sample.outcomes[0], estimand="ATE")
    estimate = found.estimate(level=level, n=len(sample.treated), unit=metric.shown_unit)
    none = np.empty(0)
    return estimate, Potential(found.treated, found.control, none, none)


def _rows(found: _Found, control: str) -> list[Row]:
    label, group, role = found.metric.label, f"{found.arm} v {control}", found.metric.role
    levels = {"treated": found.levels[0], "control": found.levels[1], "nulls": found.dropped}
    rows = [Row(label, found.naive, group, NOT_AN_EFFECT, {"role": role, **levels})]
    if found.selection is not None:
        rows.append(Row(label, found.selection, group, WAS_THERE_BEFORE, {"role": role}))
    for (estimand, _), (estimate, potential) in found.adjusted.items():
        extra = {"role": role, "treated": potential.treated, "control": potential.control}
        rows.append(Row(label, estimate, group, estimand, extra))
    return rows


def _agreement_check(found: _Found) -> Check:
    estimates = {name: e.value for (_, name), (e, _) in found.adjusted.items()}
    spread = max(estimates.values()) - min(estimates.values())
    width = found.headline.high - found.headline.low
    listed = ", ".join(f"{name.removesuffix(_M)} {change(e)}" for (_, name), (e, _) in found.adjusted.items())
    if found.failed:
        listed += "; " + message("not possible: {methods}", methods=", ".join(found.failed))
    if len(estimates) == 1:
        listed += "; " + message("nothing to hold beside it, since not everybody can be compared")
    return Check(
        message("estimators agree on {metric}, “{arm}”", metric=found.metric.label, arm=found.arm),
        "not measurable"
        if len(estimates) == 1
        else "warning"
        if spread > width or found.failed
        else "passed",
        listed,
    )


def _pairs_borne(found: _Found, sample: Sample, overlap: Overlap) -> str:
    """Say how uneven hidden odds within matched pairs would have to be (Rosenbaum's gamma)."""
    if overlap.model is None or len(sample.outcomes) != 1:
        return ""
    chance = np.clip(overlap.model.probability, 1e-12, 1 - 1e-12)
    ones, zeros = pair_up(np.log(chance / (1 - chance)), sample.treated)
    differences = sample.outcomes[0][ones] - sample.outcomes[0][zeros]
    if found.headline.value < 0:
        differences = -differences
    if not differences.any():
        return ""
    gamma = bias_borne(differences, alpha=1 - found.headline.level)
    if gamma <= 1:
        return "; " + message(
            "{pairs} matched pairs do not differ clearly even without one (Rosenbaum bounds)",
            pairs=f"{len(ones):,}",
        )
    return "; " + message(
        "{pairs} matched pairs differ unless it changes the odds of membership within a pair by a factor of {gamma} "
        "(Rosenbaum bounds)",
        pairs=f"{len(ones):,}",
        gamma=number(gamma, digits=2) if math.isfinite(gamma) else message("over a thousand"),
    )


def _hidden_cause_check(found: _Found, sample: Sample, overlap: Overlap) -> Check:
    """Say how strong a hidden cause would have to be; this is shown for every metric."""
    e, best = found.best
    if isinstance(found.metric, Proportion):
        ratio = best.treated / best.control if best.control > 0 and best.treated > 0 else math.nan
        near = nearer_ratio_limit(best, sample, e.level)
    else:
        spread = within_spread(sample)
        ratio = risk_ratio_of_means(e.value, spread)
        limit = e.low if e.value > 0 else e.high
        near = risk_ratio_of_means(limit, spread) if limit * e.value > 0 else 1.0
    t, dof = regression_t(sample)
    detail = message(
        "a hidden cause tied to the group and to {metric} by a risk ratio of {value} each, beyond what was measured, "
        "would explain the difference away ({limit} for its interval); as a share of what is left unexplained, "
        "{share} of both (robustness value; {share_limit} for the interval)",
        metric=found.metric.label,
        value="–" if math.isnan(ratio) else number(e_value(ratio), digits=2),
        limit="–" if math.isnan(near) else number(e_value(near), digits=2),
        share=percent(robustness_value(t, degrees_of_freedom=dof)),
        share_limit=percent(robustness_value(t, degrees_of_freedom=dof, level=e.level)),
    )
    detail += _pairs_borne(found, sample, overlap)
    name = message("hidden causes of {metric}, “{arm}” (E-value)", metric=found.metric.label, arm=found.arm)
    return Check(name, "not measurable", detail)


def _placebo(
    frame: pd.DataFrame, treated: Array, plan: Comparison, arm: str
) -> tuple[list[Row], list[Check]]:
    """Run the default estimators on an outcome from before, which nothing later can have moved."""
    if plan.placebo is None:
        return [], []
    covariates = [c for c in plan.covariates if c != plan.placebo]
    if not covariates:
        raise ContractError(
            f"placebo={plan.placebo!r} is the only covariate: without another, the placebo run has none to adjust for"
        )
    metric, control = Mean(plan.placebo), group_label(plan.control)
    sample = sample_of(frame, treated, metric, covariates, plan.cluster)
    name = message("placebo: {column} before, “{arm}”", column=plan.placebo, arm=arm)
    overlap = look_at_overlap(sample, arm, control)
    if overlap.checks[0].status == "failed":
        return [], [Check(name, "not measurable", overlap.checks[0].detail)]
    rows, clear, said = [], False, []
    for (_, method), estimator in _estimators(sample, overlap).items():
        if method not in (AUGMENTED, OVERLAP):
            continue
        potential = _apply(sample, estimator)
        estimate = _estimate(potential, sample, metric, method, plan.level)
        clear = clear or not estimate.low <= 0 <= estimate.high
        said.append(
            f"{change(estimate, signed=True)} ({estimate.interval(signed=True)}; {method.removesuffix(_M)})"
        )
        extra = {"role": "placebo", "treated": potential.treated, "control": potential.control}
        rows.append(Row(plan.placebo, estimate, f"{arm} v {control}", PLACEBO, extra))
    if clear:
        detail = message(
            "the same method finds a difference where there can be none, so what is measured does not make the groups "
            "alike: {differences}",
            differences="; ".join(said),
        )
    else:
        detail = message(
            "the same method finds no clear difference where there can be none: {differences}",
            differences="; ".join(said),
        )
    return rows, [Check(name, "warning" if clear else "passed", detail)]


def _statements(compared: _Compared, control: str) -> list[Statement]:
    """Return what is consistent with the data, what the raw gap is, and what the placebo says."""
    arm = compared.group.name
    out: list[Statement] = []
    for one in compared.found:
        if one.adjusted and one.metric.role == "primary":
            name = slug(f"{one.metric.label} {arm}")
            out += [
                Statement(name, _adjusted_sentence(one, control), one.headline, caution=True),
                Statement(f"{name}-raw-gap", _gap_sentence(one, control), one.naive, caution=True),
            ]
    if out and compared.placebo_failed:
        sentence = message(
            "The same method finds a difference before anything could have caused one, so part of what it finds "
            "after is still who is in “{arm}”.",
            arm=arm,
        )
        out.append(Statement(slug(f"placebo {arm}"), sentence, caution=True))
    return out


def _adjusted_sentence(found: _Found, control: str) -> str:
    e = found.headline
    plain = {
        "metric": capital(found.metric.label),
        "arm": found.arm,
        "control": control,
        "difference": change(e, signed=True),
        "interval": change_interval(e),
    }
    if e.low <= 0 <= e.high:
        text = message(
            "{metric}: among alike units in “{arm}” and “{control}” the data are consistent with no difference at all, "
            "and with one of {difference} ({interval}).",
            **plain,
        )
    else:
        text = message(
            "{metric}: among alike units in “{arm}” and “{control}” the data are consistent with a difference of "
            "{difference} ({interval}), if nothing else that was not measured sets the groups apart.",
            **plain,
        )
    if ("ATE", AUGMENTED) not in found.adjusted:
        text += " " + message(
            "The groups overlap in part only, so only those who could be in either are compared."
        )
    return text


def _gap_sentence(found: _Found, control: str) -> str:
    gap = found.naive
    return message(
        "The raw gap in {metric}, {treated} in “{arm}” against {base} in “{control}”, is {gap} and not an effect: "
        "differences that were there before account for {before}.",
        metric=found.metric.label,
        arm=found.arm,
        control=control,
        treated=shown(found.levels[0], gap.unit),
        base=shown(found.levels[1], gap.unit),
        gap=change(gap, signed=True),
        before=change(found.selection or gap, signed=True),
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Everything about one group."""

    group: Group
    found: tuple[_Found, ...]
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]
    placebo_failed: bool


def _group(frame: pd.DataFrame, treated: Array, plan: Comparison, arm: str, control: str) -> _Compared:
    found: list[_Found] = []
    rows: list[Row] = []
    checks: list[Check] = []
    fitted: dict[tuple[str, ...], Overlap] = {}
    for metric in plan.metrics:
        covariates = list(dict.fromkeys([*plan.covariates, *metric.covariates]))
        sample = sample_of(frame, treated, metric, covariates, plan.cluster)
        dropped = len(frame) - len(sample.treated)
        # one model serves every metric with the same units and covariates
        key = (*covariates, "/", *(metric.outcomes if dropped else ()))
        if key not in fitted:
            fitted[key] = look_at_overlap(sample, arm, control)
        one = _analyse_metric(sample, fitted[key], metric, arm, plan.level, dropped)
        found.append(one)
        rows += _rows(one, control)
        if one.adjusted:
            checks += [_agreement_check(one), _hidden_cause_check(one, sample, fitted[key])]
    overlaps = [check for overlap in fitted.values() for check in overlap.checks]
    placebo_rows, placebo_checks = _placebo(frame, treated, plan, arm)
    return _Compared(
        group=next(iter(fitted.values())).group,
        found=tuple(found),
        rows=(*rows, *placebo_rows),
        checks=(*dict.fromkeys(overlaps), *placebo_checks, *checks),
        placebo_failed=any(c.status == "warning" for c in placebo_checks),
    )


def _no_chance_check() -> Check:
    return Check(
        message("nobody drew lots"),
        "not measurable",
        message(
            "who is in which group was chosen, so the verdict never says more than “consistent with”, however "
            "well the groups are balanced"
        ),
    )


def _left_out_check(arm: str, control: str, share: float) -> Check:
    return Check(
        message("categories of “{arm}” and “{control}”", arm=arm, control=control),
        "warning",
        message(
            "{share} of units are left out: nobody in the other group shares their category, so nothing can be said "
            "about them",
            share=percent(share),
        ),
    )


def analyse_observational(plan: Comparison, table: Any) -> ObservationalResult:
    """Compare groups that chose themselves; see :class:`loyalty_research.comparison.Comparison`."""
    frame = collect_units(table, plan)
    labels, control, counts = group_labels(frame, plan)
    arms = tuple(name for name in counts if name != control)
    # covariates are checked over all units before anything is estimated
    for metric in plan.metrics:
        covariate_matrix(frame, list(dict.fromkeys([*plan.covariates, *metric.covariates])))
    groups: list[Group] = []
    rows: list[Row] = []
    checks: list[Check] = [_no_chance_check()]
    statements: list[Statement] = []
    dropped: dict[str, int] = {}
    for arm in arms:
        here = (labels == arm) | (labels == control)
        part = frame.loc[here].reset_index(drop=True)
        treated = (labels[here] == arm).astype(float)
        kept = in_both_groups(part, treated, plan.covariates)
        if not kept.all():
            name = message(
                "units of categories that only one of “{arm}” and “{control}” has", arm=arm, control=control
            )
            dropped[name] = int((~kept).sum())
            part, treated = part.loc[kept].reset_index(drop=True), treated[kept]
            checks.append(_left_out_check(arm, control, float(np.mean(~kept))))
        compared = _group(part, treated, plan, arm, control)
        groups.append(compared.group)
        rows += compared.rows
        checks += compared.checks
        statements += _statements(compared, control)
    for metric in plan.metrics:
        name = message("units without {metric}", metric=metric.label)
        dropped[name] = int(frame[list(metric.outcomes)].isna().any(axis=1).sum())
    return ObservationalResult(
        design="observational",
        estimand=message(
            "difference among alike units: average over everybody (ATE) and over those who could be in either group (ATO)"
        ),
        control=control,
        arms=arms,
        level=plan.level,
        metrics=plan.metrics,
        rows=tuple(rows),
        sizes={name: counts[name] for name in (control, *arms)},
        statements=tuple(statements),
        dropped=dropped,
        checks=tuple(checks),
        groups=tuple(groups),
    )
