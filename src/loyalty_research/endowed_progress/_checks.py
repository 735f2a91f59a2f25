"""Checks an experiment on cards goes through before its numbers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from loyalty_research.errors import DesignError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from loyalty_research.endowed_progress._clusters import ClusteredCards

__all__ = [
    "clusters",
    "issue_dates",
    "limits",
    "losses",
    "open_cards",
    "paid_distance",
    "sample_ratio",
    "shares",
    "untold",
]

_GATE = 0.001
_FEW_CLUSTERS = 30
_FEW = 5


def shares(arms: Sequence[str], ratio: Mapping[str, float] | None) -> tuple[float, ...]:
    """Return the share of units the design gives each arm; equal ones by default.

    Raises:
        DesignError: When the ratio misses an arm, names one without cards, or is not positive.

    Examples:
        >>> shares(("plain", "endowed"), {"plain": 2, "endowed": 1})
        (0.6666666666666666, 0.3333333333333333)
    """
    if ratio is None:
        return (1 / len(arms),) * len(arms)
    planned = {str(a): float(w) for a, w in ratio.items()}
    if set(planned) != set(arms):
        odd = sorted(set(planned) ^ set(arms))
        raise DesignError(f"ratio and data disagree on the arms {', '.join(odd)}")
    if not all(w > 0 for w in planned.values()):
        raise DesignError("ratio gives an arm no positive weight; leave that arm out of the data")
    total = sum(planned.values())
    return tuple(planned[a] / total for a in arms)


def sample_ratio(arms: Sequence[str], counts: Sequence[int], planned: Sequence[float], *, unit: str) -> Check:
    """Compare the units per arm with the design: Pearson's chi-squared, a gate at p < .001.

    References:
        Fabijan et al. (2019), Diagnosing sample ratio mismatch.
    """
    observed, expected = np.asarray(counts, dtype=float), np.asarray(planned) * sum(counts)
    p_value = float(stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(arms) - 1))
    seen = ", ".join(f"{a} {n:,}" for a, n in zip(arms, counts, strict=True))
    return Check(
        message("sample ratio"),
        "failed" if p_value < _GATE else "passed",
        message(
            "{unit} per arm: {seen}; expected {expected}; p = {p}",
            unit=unit,
            seen=seen,
            expected=", ".join(number(e, digits=0) for e in expected),
            p=number(p_value, digits=4 if p_value < 0.01 else 2),
        ),
        gate=True,
        p_value=p_value,
    )


def paid_distance(first: pd.DataFrame, arms: Sequence[str]) -> Check:
    """See whether every arm asks for the same number of paid stamps."""
    distance = first["required"] - first["endowed"]
    seen = {a: sorted(distance[first["arm"] == a].unique().tolist()) for a in arms}
    equal = len({tuple(v) for v in seen.values()}) == 1 and len(seen[arms[0]]) == 1
    words = "; ".join(
        message(
            "{arm}: {required} stamps, {endowed} given",
            arm=a,
            required=_spread(first.loc[first["arm"] == a, "required"]),
            endowed=_spread(first.loc[first["arm"] == a, "endowed"]),
        )
        for a in arms
    )
    if equal:
        return Check(
            message("same paid distance"),
            "passed",
            message("{words}; {distance} to earn in every arm", words=words, distance=seen[arms[0]][0]),
        )
    return Check(
        message("same paid distance"),
        "warning",
        message("{words}; arms ask for different numbers of paid stamps, so effort differs too", words=words),
    )


def _spread(values: pd.Series[int]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}–{high}"


def issue_dates(first: pd.DataFrame, arms: Sequence[str]) -> Check:
    """Compare the days on which arms were issued (Kruskal-Wallis)."""
    name = message("arms issued over the same days")
    groups = [first.loc[first["arm"] == a, "issued"].to_numpy(dtype=float) for a in arms]
    if np.ptp(np.concatenate(groups)) == 0:
        return Check(name, "passed", message("all cards were issued on one day"))
    p_value = float(stats.kruskal(*groups).pvalue)
    medians = "; ".join(
        f"{a}: {np.datetime64(int(np.median(g)), 'D')}" for a, g in zip(arms, groups, strict=True)
    )
    return Check(
        name,
        "warning" if p_value < 0.01 else "passed",
        message("median issue day {medians}; p = {p}", medians=medians, p=number(p_value, digits=3)),
        p_value=p_value,
    )


def losses(arms: Sequence[str], lost: Sequence[int], n: Sequence[int]) -> Check:
    """Compare the share of cards lost before completion (chi-squared)."""
    name = message("cards lost alike")
    seen = "; ".join(
        f"{a}: {message('fewer than {count}', count=_FEW) if 0 < x < _FEW else percent(x / k)}"
        for a, x, k in zip(arms, lost, n, strict=True)
    )
    if not any(lost) or sum(lost) == sum(n):
        return Check(name, "passed", message("lost before completion: {seen}", seen=seen))
    table = np.array([lost, np.asarray(n) - np.asarray(lost)])
    p_value = float(stats.chi2_contingency(table, correction=False).pvalue)
    return Check(
        name,
        "warning" if p_value < 0.05 else "passed",
        message(
            "lost before completion: {seen}; p = {p}; a lost card counts as not completed",
            seen=seen,
            p=number(p_value, digits=3),
        ),
        p_value=p_value,
    )


def open_cards(still_open: int, too_young: int, n: int) -> Check:
    """Say how many cards could not be followed to the end."""
    name = message("followed to the end")
    if still_open:
        return Check(
            name,
            "warning",
            message(
                "{open} of {n} cards are still open, so rates are those reached so far",
                open=f"{still_open:,}",
                n=f"{n:,}",
            ),
        )
    if too_young:
        return Check(
            name,
            "passed",
            message(
                "{young} cards were issued too late to be followed that long and are left out of every arm",
                young=f"{too_young:,}",
            ),
        )
    return Check(name, "passed", message("every card was followed to the end"))


def clusters(cards: ClusteredCards, arms: int) -> Check:
    """Say how many clusters there are and how alike cards within them are (ANOVA estimator).

    References:
        Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials, eq. 1.4.
    """
    values, codes = cards.done.astype(float), np.unique(cards.cluster, return_inverse=True)[1]
    # arms set apart first, since their difference is no likeness within clusters
    cell = codes * arms + cards.arm_of
    cell = np.unique(cell, return_inverse=True)[1]
    k, n = int(cell.max()) + 1, len(values)
    size = np.bincount(cell)
    mean = np.bincount(cell, weights=values) / size
    arm_of_cell = np.zeros(k, dtype=np.int64)
    arm_of_cell[cell] = cards.arm_of
    arm_mean = np.bincount(cards.arm_of, weights=values) / np.bincount(cards.arm_of)
    within = float(((values - mean[cell]) ** 2).sum()) / max(n - k, 1)
    between = float((size * (mean - arm_mean[arm_of_cell]) ** 2).sum()) / max(k - arms, 1)
    typical = (
        n
        - float(sum((size[arm_of_cell == a] ** 2).sum() / size[arm_of_cell == a].sum() for a in range(arms)))
    ) / max(k - arms, 1)
    total = between + (typical - 1) * within
    icc = (between - within) / total if total > 0 else 0.0
    count = int(codes.max()) + 1
    few = count < _FEW_CLUSTERS
    detail = message(
        "{count} clusters of {size} cards on average; intraclass correlation {icc}",
        count=count,
        size=number(n / count, digits=1),
        icc=number(icc, digits=3),
    )
    if few:
        detail = message("{detail}; with so few clusters intervals tend to be too narrow", detail=detail)
    return Check(message("enough clusters"), "warning" if few else "passed", detail)


def untold() -> tuple[Check, ...]:
    """Name the checks that counts do not allow."""
    return (
        Check(
            message("arms issued over the same days"),
            "not measurable",
            message("counts do not tell when cards were issued"),
        ),
        Check(
            message("cards lost alike"),
            "not measurable",
            message("a lost card cannot be told from one that was not completed"),
        ),
        Check(
            message("cards drawn one by one"),
            "not measurable",
            message("counts do not tell whether days or cashiers were drawn instead"),
        ),
    )


def limits(*, has_cards: bool, clustered: bool) -> list[str]:
    """Return what the data leave open, as sentences for a page.

    Args:
        has_cards: Whether cards are known one by one.
        clustered: Whether intervals allow for clusters.
    """
    said = [
        message(
            "The comparison speaks of these customers, this reward and this time; another shop may differ."
        )
    ]
    if not has_cards:
        said.append(
            message(
                "Only counts are known: not when cards were completed, how often holders came, which cards were "
                "lost, nor what the extra visits earned."
            )
        )
    if not clustered:
        said.append(
            message(
                "Cards are taken as drawn one by one; had whole days or cashiers been drawn, the intervals would "
                "be wider."
            )
        )
    if has_cards:
        said.append(
            message(
                "Only the first gap and what is counted over all cards compares like with like; whoever holds "
                "many stamps chose to come often."
            )
        )
    return said
