"""Completion of cards by arm: rates, differences, ratios, exact tests and a posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from loyalty_research.endowed_progress._clusters import cluster_contrast, cluster_ratio, cluster_variances
from loyalty_research.endowed_progress._lost import lost_card_rows
from loyalty_research.endowed_progress._outcome import CardResult, NotAvailable
from loyalty_research.endowed_progress._words import chance_words, points, points_interval
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Estimate, Finding, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.effect_sizes import chi_squared_test, cohen_h, e_value, phi
from loyalty_research.stats.multiplicity import adjust_p_values
from loyalty_research.stats.proportions import (
    beta_binomial_difference,
    difference_in_proportions,
    exact_test,
    number_needed_to_treat,
    odds_ratio,
    proportion,
    risk_ratio,
    wilson_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.endowed_progress._clusters import ClusteredCards
    from loyalty_research.endowed_progress.planning import Plan
    from loyalty_research.estimates import Check
    from loyalty_research.stats.proportions import DifferenceMethod, ExactTest, PosteriorDifference

__all__ = ["ArmComparison", "CompletionResult", "Outcomes", "arm_rates", "compare_arms"]

FEW = 5
"""Cells of fewer cards are not told."""

_ENUMERATE_MOST = 100_000
"""Largest n1 x n2 for which Boschloo's and Barnard's tests take about a second."""


@dataclass(frozen=True)
class Outcomes:
    """What became of the cards that are compared.

    Attributes:
        arms: Arm names, control first.
        completed: Completed cards per arm.
        n: Cards per arm.
        lost: Cards per arm that were lost before completion; None where it is not known.
        clustered: The cards themselves where they were assigned in clusters.
        stamps: Arm to (stamps a reward takes, stamps given), where every card of an arm is alike.
    """

    arms: tuple[str, ...]
    completed: tuple[int, ...]
    n: tuple[int, ...]
    lost: tuple[int, ...] | None = None
    clustered: ClusteredCards | None = None
    stamps: Mapping[str, tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """One arm against the control.

    Attributes:
        arm: The arm.
        difference: Rate of the arm less that of the control.
        risk_ratio: Rate of the arm over that of the control.
        odds_ratio: Odds ratio; None with clusters.
        odds_ratio_exact: Conditional odds ratio with exact limits; None with clusters.
        number_needed: Cards for one more completion.
        tests: Exact tests; empty with clusters, since they suppose independent cards.
        posterior: Posterior of the difference; None with clusters.
        p_adjusted: P-value of the difference adjusted for the number of arms compared (Holm); its
            own where one arm is compared.
    """

    arm: str
    difference: Estimate
    risk_ratio: Estimate
    odds_ratio: Estimate | None
    odds_ratio_exact: Estimate | None
    number_needed: Estimate
    tests: tuple[ExactTest, ...]
    posterior: PosteriorDifference | None
    p_adjusted: float = math.nan


def _from_counts(
    arm: str, table: tuple[int, int, int, int], method: DifferenceMethod, level: float
) -> ArmComparison:
    small = table[1] * table[3] <= _ENUMERATE_MOST
    kinds: tuple[str, ...] = ("fisher", "boschloo", "barnard") if small else ("fisher",)
    return ArmComparison(
        arm=arm,
        difference=difference_in_proportions(*table, method=method, level=level),
        risk_ratio=risk_ratio(*table, level=level),
        odds_ratio=odds_ratio(*table, level=level),
        odds_ratio_exact=odds_ratio(*table, method="exact-conditional", level=level),
        number_needed=number_needed_to_treat(*table, method=method, level=level),
        tests=tuple(exact_test(*table, kind=kind) for kind in kinds),  # type: ignore[arg-type]
        posterior=beta_binomial_difference(*table, level=level),
    )


def _inverted(difference: Estimate) -> Estimate:
    """Number needed from a difference; no limits where the difference may be zero."""
    d, sure = difference, difference.low > 0 or difference.high < 0
    return Estimate(
        math.inf if d.value == 0 else 1 / d.value,
        1 / d.high if sure else math.nan,
        1 / d.low if sure else math.nan,
        d.level,
        message("{method}, limits inverted", method=d.method),
        d.n,
    )


def _from_clusters(cards: ClusteredCards, position: int, arm: str, level: float) -> ArmComparison:
    kept = np.isin(cards.arm_of, (0, position))
    treated = cards.arm_of[kept] == position
    contrast = cluster_contrast(cards.done[kept], treated, cards.cluster[kept], level)
    return ArmComparison(
        arm=arm,
        difference=contrast.difference,
        risk_ratio=cluster_ratio(contrast),
        odds_ratio=None,
        odds_ratio_exact=None,
        number_needed=_inverted(contrast.difference),
        tests=(),
        posterior=None,
    )


def arm_rates(outcomes: Outcomes, level: float) -> tuple[Estimate, ...]:
    """Return the completion rate of each arm: Wilson's interval, with clusters on effective counts."""
    plain = tuple(proportion(x, n, level=level) for x, n in zip(outcomes.completed, outcomes.n, strict=True))
    cards = outcomes.clustered
    if cards is None:
        return plain
    covariance, _ = cluster_variances(cards.done.astype(float), cards.arm_of, cards.cluster, len(plain))
    rates = []
    for a, rate in enumerate(plain):
        free = rate.value * (1 - rate.value) / rate.n
        effect = max(float(covariance[a, a]) / free, 1.0) if free > 0 else 1.0
        low, high = wilson_interval(rate.value * rate.n / effect, rate.n / effect, level=level)
        name = message("wilson, design effect {effect}", effect=number(effect))
        rates.append(Estimate(rate.value, float(low), float(high), level, name, rate.n, "fraction"))
    return tuple(rates)


@dataclass(frozen=True, repr=False)
class CompletionResult(CardResult):
    """Completion by arm.

    Attributes:
        outcomes: Counts per arm, control first.
        horizon: By when, in words.
        level: Level of every interval.
        rates: Completion rate per arm, control first.
        comparisons: Each other arm against the control.
        sensitivity: What the difference becomes when lost cards are treated otherwise.
    """

    title: ClassVar[str] = "Completion by arm"
    finding: ClassVar[str] = "completion"

    outcomes: Outcomes
    horizon: str
    level: float
    rates: tuple[Estimate, ...]
    comparisons: tuple[ArmComparison, ...]
    sensitivity: tuple[Row, ...] = ()

    def __getitem__(self, arm: str) -> ArmComparison:
        """Return the comparison of ``arm`` with the control."""
        for comparison in self.comparisons:
            if comparison.arm == arm:
                return comparison
        raise ArgumentError(
            f"no arm {arm!r} beside the control; there are {', '.join(c.arm for c in self.comparisons)}"
        )

    @property
    def control(self) -> str:
        """The control arm."""
        return self.outcomes.arms[0]

    def _rows(self) -> Iterable[Row]:
        by = self.horizon
        for arm, rate in zip(self.outcomes.arms, self.rates, strict=True):
            yield Row(message("completion rate"), rate, arm, by)
        for c in self.comparisons:
            against = message(
                "{arm} against {control}, {horizon}", arm=c.arm, control=self.control, horizon=by
            )
            several = {"p_adjusted": c.p_adjusted} if len(self.comparisons) > 1 else {}
            yield Row(message("difference"), c.difference, c.arm, against, several)
            yield Row(message("risk ratio"), c.risk_ratio, c.arm, against)
            if c.odds_ratio is not None:
                yield Row(message("odds ratio"), c.odds_ratio, c.arm, against)
            if c.odds_ratio_exact is not None:
                yield Row(message("odds ratio, conditional"), c.odds_ratio_exact, c.arm, against)
            yield Row(message("cards for one more completion"), c.number_needed, c.arm, against)
            if c.posterior is not None:
                yield Row(message("posterior mean difference"), c.posterior.estimate(), c.arm, against)
        yield from self.sensitivity

    def _verdict(self) -> str:
        return " ".join(self._sentence(c) for c in self.comparisons)

    def _sentence(self, c: ArmComparison) -> str:
        rate = self.rates[self.outcomes.arms.index(c.arm)]
        seen = message(
            "Of the {n} {arm} cards {rate} were completed {horizon}, of the {n0} {control} cards {base}.",
            arm=c.arm,
            rate=rate.format(),
            n=f"{rate.n:,}",
            horizon=self.horizon,
            base=self.rates[0].format(),
            n0=f"{self.rates[0].n:,}",
            control=self.control,
        )
        interval = points_interval(c.difference)
        if math.isnan(c.difference.low) or c.difference.low <= 0 <= c.difference.high:
            return message(
                "{seen} The difference of {difference} ({interval}) is compatible with no effect.",
                seen=seen,
                difference=points(c.difference.value),
                interval=interval,
            )
        if len(self.comparisons) > 1 and not c.p_adjusted <= 1 - self.level:
            return message(
                "{seen} The difference of {difference} ({interval}) is not established once {count} comparisons "
                "are allowed for.",
                seen=seen,
                difference=points(c.difference.value),
                interval=interval,
                count=len(self.comparisons),
            )
        if c.difference.low > 0:
            return message(
                "{seen} Given cards handed out at random, the head start raised completion by {difference} ({interval}): "
                "one more completed card for every {needed} handed out.",
                seen=seen,
                difference=points(c.difference.value),
                interval=interval,
                needed=number(c.number_needed.value, digits=1),
            )
        return message(
            "{seen} Given cards handed out at random, the head start lowered completion by {difference} ({interval}).",
            seen=seen,
            difference=points(-c.difference.value),
            interval=message(
                "{level} interval {low} to {high}",
                level=percent(self.level, digits=0),
                low=number(-100 * c.difference.high, digits=1),
                high=number(-100 * c.difference.low, digits=1),
            ),
        )

    def findings(self, *, section: str = "") -> list[Finding]:
        """Return what a page tells of completion: the difference of each arm, and how sure it is.

        Nothing is told when a gate failed, or when so few cards of an arm were completed, or
        left, that the rate would tell of single customers.

        Args:
            section: Heading the findings belong under.
        """
        few = any(
            0 < k < FEW
            for x, n in zip(self.outcomes.completed, self.outcomes.n, strict=True)
            for k in (x, n - x)
        )
        if self.failed_gates or few:
            said = (
                self.verdict()
                if self.failed_gates
                else message(
                    "No verdict: an arm has fewer than {count} cards completed, or not, too few to show.",
                    count=FEW,
                )
            )
            return [Finding("completion", said, None, "suppressed", section)]
        found = []
        for c in self.comparisons:
            suffix = "" if len(self.comparisons) == 1 else f"-{c.arm}"
            found.append(Finding(f"completion{suffix}", self._sentence(c), c.difference, "finding", section))
            if c.posterior is not None and len(self.comparisons) == 1:
                chance = message(
                    "The chance that {arm} cards are completed more often at all is {any}, and by five points or "
                    "more {five} (uniform priors).",
                    arm=c.arm,
                    any=chance_words(c.posterior.pr_above(0.0)),
                    five=chance_words(c.posterior.pr_above(0.05)),
                )
                found.append(Finding("chance-of-gain", chance, c.posterior.estimate(), "finding", section))
        return found

    def replication(
        self, arm: str | None = None, *, power: float = 0.8, **options: Any
    ) -> Plan | NotAvailable:
        """Return what it would take to find the difference seen, and half of it, again.

        Args:
            arm: The arm to repeat; the first beside the control by default.
            power: Chance to be had of finding it.
            **options: Further options of :func:`~loyalty_research.endowed_progress.plan`, such as
                ``horizon_days`` and ``looks``; the card is the arm's own where it is known.

        Returns:
            A plan, or the reason why none can be made.

        Raises:
            ArgumentError: When an option is out of range.
        """
        from loyalty_research.endowed_progress.planning import plan

        comparison = self.comparisons[0] if arm is None else self[arm]
        base, rate = (self.rates[i].value for i in (0, self.outcomes.arms.index(comparison.arm)))
        if base == rate or not (0 < base < 1 and 0 < rate < 1):
            return NotAvailable(
                message(
                    "rates of {base} and {rate} give no effect to plan for",
                    base=percent(base),
                    rate=percent(rate),
                )
            )
        required, given = (self.outcomes.stamps or {}).get(comparison.arm, (0, 0))
        if given > 0:
            options = {"required": required, "given": given, **options}
        chosen = {"level": self.level, **options}
        return plan(baseline=base, uplift=rate - base, power=power, **chosen)

    def tests_frame(self, *, approximate: bool = False) -> pd.DataFrame:
        """Return the tests of equal rates, two-sided: arm, test, statistic, p_value.

        Args:
            approximate: Whether Pearson's chi-squared, plain and with Yates' correction, stands
                beside the exact tests.
        """
        import pandas as pd

        rows = [(c.arm, t.kind, t.statistic, t.p_value) for c in self.comparisons for t in c.tests]
        if approximate and self.outcomes.clustered is None:
            for c in self.comparisons:
                for name, corrected in (("pearson", False), ("yates", True)):
                    rows.append((c.arm, name, *chi_squared_test(*self._table(c.arm), correction=corrected)))
        return pd.DataFrame(rows, columns=["arm", "test", "statistic", "p_value"])

    def _table(self, arm: str) -> tuple[int, int, int, int]:
        """Return completed and handed out of an arm and of the control."""
        at, x, n = self.outcomes.arms.index(arm), self.outcomes.completed, self.outcomes.n
        return x[at], n[at], x[0], n[0]

    def effect_sizes(self) -> pd.DataFrame:
        """Return the size of each difference on the scales of papers: arm, measure, value.

        Cohen's h; with single cards phi and the Bayes factor of two rates over one (uniform
        priors); the E-value of the risk ratio and of its limit nearer 1 (1 where the interval
        holds 1), which says how strong a hidden cause must be had the arms not been drawn at
        random.
        """
        import pandas as pd

        rows = []
        for c in self.comparisons:
            x1, n1, x0, n0 = table = self._table(c.arm)
            measures = {"cohen_h": cohen_h(x1 / n1, x0 / n0)}
            if c.posterior is not None:
                measures |= {"phi": phi(*table), "bayes_factor": c.posterior.bayes_factor}
            ratio = c.risk_ratio
            if 0 < ratio.value < math.inf:
                near = ratio.low if ratio.value > 1 else ratio.high
                crossed = not near > 0 or ratio.low <= 1 <= ratio.high
                measures |= {
                    "e_value": e_value(ratio.value),
                    "e_value_limit": 1.0 if crossed else e_value(near),
                }
            rows += [(c.arm, name, value) for name, value in measures.items()]
        return pd.DataFrame(rows, columns=["arm", "measure", "value"])

    def posterior_frame(
        self, *, margins: Iterable[float] = (0.0, 0.05, 0.1), prior: tuple[float, float] = (1.0, 1.0)
    ) -> pd.DataFrame:
        """Return Pr(difference > margin): arm, margin, probability.

        Args:
            margins: Differences of fractions that would be worth having.
            prior: Beta parameters of either rate before the data: (1, 1) is uniform, (.5, .5)
                Jeffreys'.
        """
        import pandas as pd

        wanted, rows = tuple(margins), []
        for c in self.comparisons:
            if c.posterior is None:
                continue
            believed = c.posterior
            if prior != (1.0, 1.0):
                believed = beta_binomial_difference(*self._table(c.arm), prior=prior, level=self.level)
            rows += [(c.arm, m, believed.pr_above(m)) for m in wanted]
        return pd.DataFrame(rows, columns=["arm", "margin", "probability"])

    def belief(self, margins: Iterable[float] = (0.0,)) -> str:
        """Return Pr(difference > margin) in words, for each margin and arm."""
        return " ".join(
            message(
                "{arm}: a difference above {margin} has a probability of {chance}.",
                arm=row["arm"],
                margin=points(row["margin"]),
                chance=chance_words(row["probability"]),
            )
            for row in self.posterior_frame(margins=margins).to_dict("records")
        )

    def rates_frame(self) -> pd.DataFrame:
        """Return one row per arm: arm, cards, completed, estimate, low, high."""
        import pandas as pd

        rows = [
            (arm, n, x, rate.value, rate.low, rate.high)
            for arm, n, x, rate in zip(
                self.outcomes.arms, self.outcomes.n, self.outcomes.completed, self.rates, strict=True
            )
        ]
        return pd.DataFrame(rows, columns=["arm", "cards", "completed", "estimate", "low", "high"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw completion by arm as progress bars with intervals, the card under its bar."""
        from loyalty_research.plots.progress import completion_bars

        frame = self.rates_frame()
        stamps = self.outcomes.stamps
        if stamps is not None:
            frame = frame.assign(
                required=[stamps[a][0] for a in frame["arm"]], endowed=[stamps[a][1] for a in frame["arm"]]
            )
        return completion_bars(frame, ax=ax)

    def plot_posterior(
        self, arm: str | None = None, *, margins: Iterable[float] = (0.0,), ax: Axes | None = None
    ) -> Axes:
        """Draw the posterior of the difference of one arm (the first by default).

        Raises:
            ArgumentError: When the arm is unknown, or cards come in clusters, for which no
                posterior is computed.
        """
        from loyalty_research.plots.progress import posterior_difference

        comparison = self.comparisons[0] if arm is None else self[arm]
        if comparison.posterior is None:
            raise ArgumentError("cards in clusters have no posterior here: it supposes independent cards")
        posterior = comparison.posterior
        spread = posterior.high - posterior.low
        grid = np.linspace(posterior.low - 0.6 * spread, posterior.high + 0.6 * spread, 201)
        grid = grid[(grid > -1) & (grid < 1)]
        return posterior_difference(
            grid,
            posterior.density(grid),
            low=posterior.low,
            high=posterior.high,
            margins=[(m, chance_words(posterior.pr_above(m))) for m in margins],
            ax=ax,
        )


def compare_arms(
    outcomes: Outcomes,
    *,
    horizon: str,
    method: DifferenceMethod,
    level: float,
    checks: tuple[Check, ...] = (),
) -> CompletionResult:
    """Compare completion of each arm with the control.

    Args:
        outcomes: Counts, and cards with clusters where there are some.
        horizon: By when, in words.
        method: Interval of the difference; with clusters it is cluster-robust whatever is asked.
        level: Level of every interval.
        checks: Checks already made.
    """
    comparisons = []
    for a in range(1, len(outcomes.arms)):
        if outcomes.clustered is not None:
            comparisons.append(_from_clusters(outcomes.clustered, a, outcomes.arms[a], level))
        else:
            table = (outcomes.completed[a], outcomes.n[a], outcomes.completed[0], outcomes.n[0])
            comparisons.append(_from_counts(outcomes.arms[a], table, method, level))
    p_values = [c.difference.p_value for c in comparisons]
    adjusted = adjust_p_values([1.0 if p is None or math.isnan(p) else p for p in p_values])
    comparisons = [replace(c, p_adjusted=float(p)) for c, p in zip(comparisons, adjusted, strict=True)]
    return CompletionResult(
        outcomes=outcomes,
        horizon=horizon,
        level=level,
        rates=arm_rates(outcomes, level),
        comparisons=tuple(comparisons),
        sensitivity=tuple(lost_card_rows(outcomes, method, level)),
        checks=checks,
    )
