"""Questions put to several arms: named contrasts of completion, adjusted for their number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._clusters import cluster_variances
from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.endowed_progress._words import points, points_interval
from loyalty_research.endowed_progress.designs import Contrast, Design
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Row
from loyalty_research.i18n import message
from loyalty_research.stats.contrasts import contrast_of_proportions, trend_test, trend_weights
from loyalty_research.stats.multiplicity import adjust_p_values
from loyalty_research.stats.proportions import difference_in_proportions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from loyalty_research.endowed_progress._clusters import ClusteredCards
    from loyalty_research.endowed_progress.completion import Outcomes
    from loyalty_research.endowed_progress.registration import DesignCard
    from loyalty_research.estimates import Check

__all__ = ["ContrastsResult", "answer_contrasts", "contrasts_of", "contrasts_of_card"]


def contrasts_of(asked: Design | Mapping[str, Mapping[str, float]]) -> tuple[Contrast, ...]:
    """Return the contrasts of a design, or of a mapping from name to weights by arm.

    Raises:
        ArgumentError: When there is none, or they are no weights by arm.
    """
    if isinstance(asked, Design):
        return asked.contrasts
    try:
        found = tuple(
            Contrast(str(name), {str(a): float(w) for a, w in weights.items()})
            for name, weights in asked.items()
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ArgumentError(
            "contrasts takes a design, or name to weights by arm such as {'gain': {'endowed': 1, 'control': -1}}"
        ) from error
    if not found:
        raise ArgumentError("contrasts needs at least one named contrast")
    return found


def contrasts_of_card(card: DesignCard) -> tuple[Contrast, ...]:
    """Return the registered contrasts; one that is linear in the stamps given is a trend."""
    arms = list(card.arms)
    given = np.array([card.arms[a][1] for a in arms], dtype=float)
    found = []
    for name, weights in card.contrasts.items():
        w = np.array([weights.get(a, 0.0) for a in arms])
        off = given - given.mean()
        linear = len(arms) > 2 and off.any() and np.allclose(w, off * (w @ off) / (off @ off), atol=1e-9)
        scores = dict(zip(arms, given.tolist(), strict=True)) if linear else None
        found.append(Contrast(name, dict(weights), scores))
    return tuple(found)


def _check(contrast: Contrast, arms: tuple[str, ...]) -> None:
    named = set(contrast.weights) | set(contrast.scores or {})
    unknown = sorted(named - set(arms))
    if unknown:
        raise DesignError(
            f"the contrast {contrast.name!r} names arms the data lack: {', '.join(unknown)}; "
            f"the arms are {', '.join(arms)}"
        )
    w = np.array(contrast.vector(arms))
    if not np.isfinite(w).all() or not w.any():
        raise ArgumentError(f"the weights of {contrast.name!r} must be finite and not all zero")
    if abs(w.sum()) > 1e-9 * np.abs(w).sum():
        raise ArgumentError(
            f"the weights of {contrast.name!r} sum to {w.sum():.3g}; a contrast's sum to zero, or arms that "
            "do not differ would show one"
        )


def _of_counts(contrast: Contrast, outcomes: Outcomes, level: float) -> Estimate:
    arms, x, n = outcomes.arms, outcomes.completed, outcomes.n
    if contrast.pair is not None:
        a, b = (arms.index(name) for name in contrast.pair)
        return difference_in_proportions(x[a], n[a], x[b], n[b], level=level)
    if contrast.scores is None:
        return contrast_of_proportions(x, n, contrast.vector(arms), level=level)
    at = [i for i, a in enumerate(arms) if a in contrast.scores]
    scores, xs, ns = [contrast.scores[arms[i]] for i in at], [x[i] for i in at], [n[i] for i in at]
    slope = contrast_of_proportions(xs, ns, trend_weights(scores, ns).tolist(), level=level)
    _, p_value = trend_test(xs, ns, scores)
    return Estimate(
        slope.value,
        slope.low,
        slope.high,
        level,
        message("mover-wilson, Cochran-Armitage"),
        slope.n,
        "fraction",
        p_value,
    )


def _of_clusters(contrast: Contrast, arms: tuple[str, ...], cards: ClusteredCards, level: float) -> Estimate:
    used = [i for i, a in enumerate(arms) if contrast.weights.get(a, 0.0) or a in (contrast.scores or {})]
    kept = np.isin(cards.arm_of, used)
    place = np.full(len(arms), -1)
    place[used] = np.arange(len(used))
    arm_of, done = place[cards.arm_of[kept]], cards.done[kept].astype(float)
    n = np.bincount(arm_of, minlength=len(used))
    w = np.array(contrast.vector(arms))[used]
    if contrast.scores is not None:
        w = trend_weights([contrast.scores[arms[i]] for i in used], n.tolist())
    covariance, held = cluster_variances(done, arm_of, cards.cluster[kept], len(used))
    total = len(np.unique(cards.cluster[kept]))
    degrees = max(total - (len(used) if int(held.sum()) == total else 1), 1)
    value = float(w @ (np.bincount(arm_of, weights=done, minlength=len(used)) / n))
    se = math.sqrt(max(float(w @ covariance @ w), 0.0))
    half = float(stats.t.isf((1 - level) / 2, degrees)) * se
    p_value = float(2 * stats.t.sf(abs(value) / se, degrees)) if se > 0 else math.nan
    name = message("cluster-robust t, {clusters} clusters", clusters=total)
    return Estimate(value, value - half, value + half, level, name, int(n.sum()), "fraction", p_value)


@dataclass(frozen=True, repr=False)
class ContrastsResult(CardResult):
    """Contrasts of completion rates between several arms.

    Attributes:
        arms: Arm names, control first.
        horizon: By when, in words.
        level: Level of every interval, each taken by itself.
        rates: Completion rate per arm.
        contrasts: What was asked.
        estimates: The answer to each.
        p_adjusted: P-values adjusted for their number (Holm).
        stamps: Arm to (stamps a reward takes, stamps given), where every card of an arm is alike.
    """

    title: ClassVar[str] = "Contrasts between arms"
    finding: ClassVar[str] = "contrasts"

    arms: tuple[str, ...]
    horizon: str
    level: float
    rates: tuple[Estimate, ...]
    contrasts: tuple[Contrast, ...]
    estimates: tuple[Estimate, ...]
    p_adjusted: tuple[float, ...]
    stamps: Mapping[str, tuple[int, int]] | None = None

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of the contrast ``name``."""
        for contrast, estimate in zip(self.contrasts, self.estimates, strict=True):
            if contrast.name == name:
                return estimate
        raise ArgumentError(f"no contrast {name!r}; there are {', '.join(c.name for c in self.contrasts)}")

    def established(self, name: str) -> bool:
        """Return whether a contrast differs from nothing once their number is allowed for.

        Args:
            name: Name of the contrast.
        """
        for contrast, p in zip(self.contrasts, self.p_adjusted, strict=True):
            if contrast.name == name:
                return p <= 1 - self.level
        raise ArgumentError(f"no contrast {name!r}; there are {', '.join(c.name for c in self.contrasts)}")

    def _headline(self) -> Estimate | None:
        return self.estimates[0]

    def _rows(self) -> Iterable[Row]:
        for arm, rate in zip(self.arms, self.rates, strict=True):
            yield Row(message("completion rate"), rate, arm, self.horizon)
        for c, estimate, p in zip(self.contrasts, self.estimates, self.p_adjusted, strict=True):
            weights = {f"weight {a}": w for a, w in zip(self.arms, c.vector(self.arms), strict=True)}
            yield Row(message("contrast"), estimate, None, c.name, {"p_adjusted": p, **weights})

    def _verdict(self) -> str:
        return " ".join(
            self._sentence(c, e, p)
            for c, e, p in zip(self.contrasts, self.estimates, self.p_adjusted, strict=True)
        )

    def _sentence(self, contrast: Contrast, estimate: Estimate, p_adjusted: float) -> str:
        said = message(
            "{name}: {points} ({interval})",
            name=contrast.name[:1].upper() + contrast.name[1:],
            points=points(estimate.value),
            interval=points_interval(estimate),
        )
        if p_adjusted <= 1 - self.level:
            return message("{said}, established given cards handed out at random.", said=said)
        if estimate.p_value is not None and estimate.p_value <= 1 - self.level:
            return message(
                "{said}, not established once {count} questions are allowed for.",
                said=said,
                count=len(self.contrasts),
            )
        return message("{said}, compatible with no effect.", said=said)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the contrasts with their intervals, those that are established filled."""
        import pandas as pd

        from loyalty_research.plots.planning import contrast_forest

        rows = [
            (c.name, e.value, e.low, e.high, p <= 1 - self.level)
            for c, e, p in zip(self.contrasts, self.estimates, self.p_adjusted, strict=True)
        ]
        columns = ["contrast", "estimate", "low", "high", "established"]
        return contrast_forest(pd.DataFrame(rows, columns=columns), ax=ax)

    def dose_frame(self) -> pd.DataFrame:
        """Return arm, given, estimate, low and high, one row per arm.

        Raises:
            DesignError: When the cards of an arm differ, or were not told.
        """
        import pandas as pd

        if self.stamps is None:
            raise DesignError("the stamps given are not known for each arm")
        rows = [
            (a, self.stamps[a][1], r.value, r.low, r.high) for a, r in zip(self.arms, self.rates, strict=True)
        ]
        return pd.DataFrame(rows, columns=["arm", "given", "estimate", "low", "high"])

    def plot_doses(self, ax: Axes | None = None) -> Axes:
        """Draw completion by the number of stamps given.

        Raises:
            DesignError: When the stamps given are not known for each arm.
        """
        from loyalty_research.plots.planning import dose_response

        return dose_response(self.dose_frame(), ax=ax)


def answer_contrasts(
    contrasts: tuple[Contrast, ...],
    outcomes: Outcomes,
    *,
    rates: tuple[Estimate, ...],
    horizon: str,
    level: float,
    checks: tuple[Check, ...] = (),
) -> ContrastsResult:
    """Answer the questions put to several arms.

    A difference of two arms has Newcombe's interval and Pearson's p-value; a trend the slope with
    recovered variances and the Cochran-Armitage test; any other contrast recovered variances. With
    clusters all are cluster-robust.

    Args:
        contrasts: What is asked.
        outcomes: Counts per arm, and cards with clusters where there are some.
        rates: Completion rate per arm.
        horizon: By when, in words.
        level: Level of every interval, each taken by itself.
        checks: Checks already made.

    Raises:
        ArgumentError: When weights do not sum to zero.
        DesignError: When a contrast names an arm the data lack.
    """
    for contrast in contrasts:
        _check(contrast, outcomes.arms)
    cards = outcomes.clustered
    estimates = tuple(
        _of_counts(c, outcomes, level) if cards is None else _of_clusters(c, outcomes.arms, cards, level)
        for c in contrasts
    )
    p_values = [1.0 if e.p_value is None or math.isnan(e.p_value) else e.p_value for e in estimates]
    return ContrastsResult(
        arms=outcomes.arms,
        horizon=horizon,
        level=level,
        rates=rates,
        contrasts=contrasts,
        estimates=estimates,
        p_adjusted=tuple(adjust_p_values(p_values).tolist()),
        stamps=outcomes.stamps,
        checks=checks,
    )
