"""Time to completion and to the first return, by arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy import stats

from loyalty_research.endowed_progress._outcome import CardResult
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Estimate, Row
from loyalty_research.i18n import message, number, percent
from loyalty_research.stats.logrank import logrank
from loyalty_research.stats.survival import (
    curve_at,
    curve_interval,
    kaplan_meier,
    restricted_mean,
    step_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.estimates import Check
    from loyalty_research.stats.survival import SurvivalCurve

    Floats = NDArray[np.float64]

__all__ = ["Spells", "TimingResult", "common_horizon", "compare_times", "restricted_mean_influence"]

What = Literal["completion", "first return"]


@dataclass(frozen=True)
class Spells:
    """Time until something happened, or until it could no longer be seen.

    Attributes:
        days: Days from issue, shape ``(cards,)``; half a day where both fall on one day.
        event: Whether it happened.
        arm_of: Arm position of each card.
        cluster: Cluster code of each card, or None.
    """

    days: Floats
    event: NDArray[np.bool_]
    arm_of: NDArray[np.int64]
    cluster: NDArray[np.int64] | None = None


def restricted_mean_influence(days: Floats, event: NDArray[np.bool_], tau: float) -> Floats:
    """Return each observation's influence on the restricted mean of its Kaplan-Meier curve.

    They sum to zero; the square root of their sum of squares is a robust standard error, which
    nears Greenwood's.

    Args:
        days: Times, shape ``(n,)``.
        event: Whether the event ended them.
        tau: Horizon.

    References:
        Andersen, Hansen and Klein (2004); the infinitesimal jackknife of the area under the curve.
    """
    curve = kaplan_meier(days, event)
    inside = curve.times < tau
    times, n, d = curve.times[inside], curve.at_risk[inside], curve.events[inside]
    steps, edges = curve.survival[inside], np.append(times, tau)
    beyond = np.cumsum((np.diff(edges) * steps)[::-1])[::-1]
    live = (d > 0) & (n > d)
    weight = np.where(live, beyond / np.where(live, n - d, 1.0), 0.0)
    hazard = np.concatenate([[0.0], np.cumsum(weight * d / n)])
    slot = np.searchsorted(times, days, side="right")
    own = np.zeros(len(days))
    ended = event & (days < tau)
    own[ended] = weight[slot[ended] - 1]
    influence: Floats = hazard[slot] - own
    return influence


def common_horizon(spells: Spells, arms: int, *, longest: float = math.inf) -> float:
    """Return the last day up to which every arm's curve is known.

    Args:
        spells: Times of all arms.
        arms: Number of arms.
        longest: A day not to go beyond, such as the life of a card.
    """
    known = []
    for a in range(arms):
        curve = kaplan_meier(spells.days[spells.arm_of == a], spells.event[spells.arm_of == a])
        known.append(curve.last if curve.survival[-1] > 0 else math.inf)
    horizon = min(*known, longest)
    return horizon if math.isfinite(horizon) else float(spells.days.max())


def _arm_covariance(spells: Spells, tau: float, arms: int) -> Floats:
    """Return the cluster-robust covariance of the arms' restricted means."""
    cluster = np.arange(len(spells.days)) if spells.cluster is None else spells.cluster
    codes = np.unique(cluster, return_inverse=True)[1]
    count = int(codes.max()) + 1
    score = np.zeros((count, arms))
    for a in range(arms):
        rows = spells.arm_of == a
        influence = restricted_mean_influence(spells.days[rows], spells.event[rows], tau)
        score[:, a] = np.bincount(codes[rows], weights=influence, minlength=count)
    covariance: Floats = score.T @ score * count / max(count - 1, 1)
    return covariance


@dataclass(frozen=True, repr=False)
class TimingResult(CardResult):
    """Time to an event by arm: curves, restricted means and their differences.

    Attributes:
        what: ``"completion"`` or ``"first return"``.
        arms: Arm names, control first.
        tau: Horizon in days.
        level: Level of every interval.
        curves: Kaplan-Meier curve per arm.
        shares: Share with the event by ``tau``, one minus Kaplan-Meier, per arm.
        means: Mean days without the event up to ``tau``, per arm.
        differences: Mean of each other arm less that of the control.
        logrank_p: Log-rank p-value over all arms; None with clusters.
    """

    title: ClassVar[str] = "Time by arm"

    what: What
    arms: tuple[str, ...]
    tau: float
    level: float
    curves: tuple[SurvivalCurve, ...]
    shares: tuple[Estimate, ...]
    means: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    logrank_p: float | None

    def _finding_id(self) -> str:
        return "time-to-completion" if self.what == "completion" else "first-return"

    def _headline(self) -> Estimate | None:
        return self.differences[0] if len(self.differences) == 1 else None

    def _rows(self) -> Iterable[Row]:
        by = message("within {days} days", days=number(self.tau, digits=0))
        names = {
            "completion": (message("share completed"), message("mean days not completed")),
            "first return": (message("share returned"), message("mean days not returned")),
        }
        share_name, mean_name = names[self.what]
        for arm, share, mean in zip(self.arms, self.shares, self.means, strict=True):
            yield Row(share_name, share, arm, by)
            yield Row(mean_name, mean, arm, by)
        for arm, difference in zip(self.arms[1:], self.differences, strict=True):
            against = message("{arm} less {control}, {by}", arm=arm, control=self.arms[0], by=by)
            yield Row(message("difference in mean days"), difference, arm, against)

    def _verdict(self) -> str:
        return " ".join(
            self._sentence(arm, d) for arm, d in zip(self.arms[1:], self.differences, strict=True)
        )

    def _sentence(self, arm: str, d: Estimate) -> str:
        fields = {
            "arm": arm,
            "control": self.arms[0],
            "days": number(self.tau, digits=0),
            "difference": number(abs(d.value), digits=1),
            "interval": _sized(d),
        }
        if not (d.low > 0 or d.high < 0):
            if self.what == "completion":
                return message(
                    "Over {days} days {arm} and {control} are not told apart by the time to completion "
                    "(difference {signed}, {both}).",
                    signed=d.format(signed=True),
                    both=d.interval(),
                    **fields,
                )
            return message(
                "Over {days} days {arm} and {control} are not told apart by the time to the first return "
                "(difference {signed}, {both}).",
                signed=d.format(signed=True),
                both=d.interval(),
                **fields,
            )
        if self.what == "completion":
            if d.value < 0:
                return message(
                    "Over {days} days, cards of {arm} spent {difference} fewer days uncompleted than those of "
                    "{control} ({interval}).",
                    **fields,
                )
            return message(
                "Over {days} days, cards of {arm} spent {difference} more days uncompleted than those of "
                "{control} ({interval}).",
                **fields,
            )
        if d.value < 0:
            return message(
                "Within {days} days, holders of {arm} came back {difference} days sooner on average than those "
                "of {control} ({interval}).",
                **fields,
            )
        return message(
            "Within {days} days, holders of {arm} came back {difference} days later on average than those of "
            "{control} ({interval}).",
            **fields,
        )

    def curves_frame(self) -> pd.DataFrame:
        """Return the share with the event over time: group, time, estimate, low, high."""
        import pandas as pd

        frames = []
        for arm, curve in zip(self.arms, self.curves, strict=True):
            low, high = curve_interval(curve, level=self.level)
            inside = curve.times <= self.tau
            survival, low, high = (v[inside] for v in (curve.survival, low, high))
            low, high = (np.where(np.isnan(v), survival, v) for v in (low, high))
            done, least, most = (1 - np.append(1.0, v) for v in (survival, high, low))
            frames.append(
                pd.DataFrame(
                    {
                        "group": arm,
                        "time": np.concatenate([[0.0], curve.times[inside], [self.tau]]),
                        "estimate": np.append(done, done[-1]),
                        "low": np.append(least, least[-1]),
                        "high": np.append(most, most[-1]),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def at_risk_frame(self, times: Iterable[float] | None = None) -> pd.DataFrame:
        """Return the cards still followed: group, time, at_risk.

        Args:
            times: Days to read it at; about six round ones by default.
        """
        import pandas as pd

        asked = _round_days(self.tau) if times is None else np.asarray(list(times), dtype=float)
        rows = []
        for arm, curve in zip(self.arms, self.curves, strict=True):
            # those still there just before a time are those who end then or later
            ends = curve.events + curve.censored
            left = np.append(np.cumsum(ends[::-1])[::-1], 0.0)
            rows += [(arm, float(t), int(left[np.searchsorted(curve.times, t, side="left")])) for t in asked]
        return pd.DataFrame(rows, columns=["group", "time", "at_risk"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share with the event over time, with the cards still followed."""
        from loyalty_research.plots.progress import completion_curves

        if self.what == "completion":
            return completion_curves(self.curves_frame(), at_risk=self.at_risk_frame(), ax=ax)
        return completion_curves(
            self.curves_frame(),
            at_risk=self.at_risk_frame(),
            ylabel=message("share returned"),
            title=message("First return after the card was issued"),
            ax=ax,
        )


def _sized(d: Estimate) -> str:
    """Say the interval of a difference that is on one side of 0, by its size."""
    low, high = sorted((abs(d.low), abs(d.high)))
    return message(
        "{level} interval {low} to {high}",
        level=percent(d.level, digits=0),
        low=number(low, digits=1),
        high=number(high, digits=1),
    )


def _round_days(tau: float) -> Floats:
    """Return about six round days from 0 to ``tau``."""
    rough = tau / 6
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(k * size for k in (1, 2, 5, 10) if k * size >= rough)
    days: Floats = np.arange(0, tau + 1e-9, step)
    return days


def _normal(value: float, se: float, critical: float, level: float, method: str, n: int) -> Estimate:
    return Estimate(value, value - critical * se, value + critical * se, level, method, n, "days")


def compare_times(
    spells: Spells,
    *,
    arms: tuple[str, ...],
    what: What,
    tau: float | None,
    longest: float,
    level: float,
    checks: tuple[Check, ...] = (),
) -> TimingResult:
    """Compare times between arms by Kaplan-Meier and restricted means.

    Args:
        spells: Times of all arms.
        arms: Arm names, control first.
        what: What is waited for.
        tau: Horizon in days; the common follow-up, at most ``longest``, when None.
        longest: Life of a card in days, or infinity.
        level: Level of every interval.
        checks: Checks already made.

    Raises:
        ArgumentError: When ``tau`` lies beyond what some arm shows.
        DesignError: When nothing happened in any arm.
    """
    if not spells.event.any():
        raise DesignError(f"no card saw its {what}, so there is no time to compare")
    reach = common_horizon(spells, len(arms), longest=longest)
    if tau is not None and not 0 < tau <= reach:
        raise ArgumentError(
            f"tau must lie above 0 and up to {reach:g} days, the follow-up of every arm; got {tau!r}"
        )
    tau = reach if tau is None else float(tau)
    rows = [spells.arm_of == a for a in range(len(arms))]
    curves = tuple(kaplan_meier(spells.days[r], spells.event[r]) for r in rows)
    plain = [restricted_mean(curve, tau) for curve in curves]
    critical, method = float(stats.norm.isf((1 - level) / 2)), message("restricted mean, Greenwood")
    covariance = np.diag([se**2 for _, se in plain])
    if spells.cluster is not None:
        covariance = _arm_covariance(spells, tau, len(arms))
        clusters = len(np.unique(spells.cluster))
        critical = float(stats.t.isf((1 - level) / 2, max(clusters - len(arms), 1)))
        method = message("restricted mean, cluster-robust t, {clusters} clusters", clusters=clusters)
    means = tuple(
        _normal(value, math.sqrt(covariance[a, a]), critical, level, method, int(rows[a].sum()))
        for a, (value, _) in enumerate(plain)
    )
    differences = []
    for a in range(1, len(arms)):
        se = math.sqrt(max(covariance[a, a] + covariance[0, 0] - 2 * covariance[0, a], 0.0))
        n = int(rows[a].sum() + rows[0].sum())
        differences.append(_normal(plain[a][0] - plain[0][0], se, critical, level, method, n))
    return TimingResult(
        what=what,
        arms=arms,
        tau=tau,
        level=level,
        curves=curves,
        shares=tuple(_share(curve, tau, level) for curve in curves),
        means=means,
        differences=tuple(differences),
        logrank_p=None
        if spells.cluster is not None
        else logrank(spells.days, spells.event, spells.arm_of).p_value,
        checks=checks,
    )


def _share(curve: SurvivalCurve, tau: float, level: float) -> Estimate:
    at = min(tau, curve.last)
    survival = curve_at(curve, curve.survival, [at], before=1.0)
    spread = curve_at(curve, curve.log_variance, [at], before=0.0)
    low, high = step_interval(survival, spread, level=level)
    return Estimate(
        1 - float(survival[0]),
        1 - float(high[0]),
        1 - float(low[0]),
        level,
        message("Kaplan-Meier, log-log"),
        curve.n,
        "fraction",
    )
