"""The test of proportional hazards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from loyalty_research.churn import cox_core as core
from loyalty_research.churn.words import covariate_words
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row
from loyalty_research.i18n import message
from loyalty_research.stats.survival import kaplan_meier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.churn.cox_state import State

    Floats = NDArray[np.float64]

__all__ = ["PHTest", "Transform", "ph_check", "ph_test"]

Transform = Literal["km", "rank", "identity", "log"]


class Fitted(Protocol):
    """A fitted Cox model."""

    @property
    def state(self) -> State:
        """Its internals."""


@dataclass(frozen=True, repr=False)
class PHTest(Result):
    """Score test of proportional hazards.

    Attributes:
        transform: Function of time the coefficients were tested against.
        statistics: One row per covariate and a last one ``GLOBAL``: ``covariate, statistic,
            degrees_of_freedom, p_value``.
        n: Customers.
        level: Share below which the verdict calls a p-value small.
    """

    title: ClassVar[str] = "Proportional hazards"

    transform: str
    statistics: pd.DataFrame
    n: int
    level: float = 0.05

    @property
    def p_value(self) -> float:
        """The p-value of the global test."""
        return float(self.statistics["p_value"].iloc[-1])

    def _rows(self) -> Iterable[Row]:
        for s in self.statistics.to_dict("records"):
            yield Row(
                "chi-square",
                Estimate(
                    s["statistic"],
                    float("nan"),
                    float("nan"),
                    0.95,
                    message("score test, {transform} of time", transform=self.transform),
                    self.n,
                    p_value=s["p_value"],
                ),
                group=str(s["covariate"]),
                extra={"degrees_of_freedom": int(s["degrees_of_freedom"])},
            )

    def _verdict(self) -> str:
        moving = self.statistics.iloc[:-1].query("p_value < @self.level")["covariate"]
        if self.p_value >= self.level:
            return message("The hazard ratios show no change over time (p {p}).", p=_p(self.p_value))
        if not len(moving):
            return message("Taken together the hazard ratios change over time (p {p}).", p=_p(self.p_value))
        return message(
            "Hazard ratios change over time (p {p}), above all for {names}: one ratio does not sum them up.",
            p=_p(self.p_value),
            names=", ".join(covariate_words(str(m)) for m in moving),
        )


def _p(value: float) -> str:
    return message("below 0.001") if value < 0.001 else f"= {value:.3f}"


def ph_test(model: Fitted, *, transform: Transform = "km") -> PHTest:
    """Test whether each covariate's hazard ratio is constant over time.

    Args:
        model: A fitted Cox model.
        transform: Function of time: one minus the Kaplan-Meier estimate just before it
            (``"km"``), its rank among all end times (``"rank"``), itself, or its ``"log"``.

    Returns:
        Chi-square per covariate (all its columns together) and for all of them, ``GLOBAL``.

    Raises:
        ArgumentError: When the transform is unknown.
        DesignError: When the model has separated terms, so that the test is not defined.

    Examples:
        >>> from lifelines.datasets import load_rossi
        >>> from loyalty_research.churn import ChurnData, CoxPH
        >>> data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest")
        >>> ph_test(CoxPH().fit(data, covariates=["fin", "age"])).statistics.round(3)
          covariate  statistic  degrees_of_freedom  p_value
        0       fin      0.024                   1    0.876
        1       age      6.091                   1    0.014
        2    GLOBAL      6.095                   2    0.047

    References:
        Grambsch, Therneau (1994), Biometrika 81; the exact score test of R's ``cox.zph`` since
        survival 3.0, not the older approximation.
    """
    if transform not in get_args(Transform):
        raise ArgumentError(f"transform must be 'km', 'rank', 'identity' or 'log'; got {transform!r}")
    state = model.state
    if state.running.any():
        raise DesignError(
            "terms without a finite estimate leave proportional hazards untestable; drop them first"
        )
    return _test(state, transform)


def _test(state: State, transform: Transform) -> PHTest:
    from scipy.special import chdtrc

    g = _of_time(state, transform)
    data, at = state.carrier, state.at
    g = g - np.average(g, weights=state.events.deaths)
    score = g @ core.schoenfeld_sums(data, at)
    plain, once, twice = (core.information(data, at, over_time=over) for over in (None, g, g**2))
    if state.ridge is not None:
        plain = plain + np.diag(state.ridge)
    # what is left of the information on a slope in g once the coefficients are estimated
    spare = twice - once @ np.linalg.solve(plain, once)
    names = np.array(state.design.variables)
    rows = []
    for name in [*state.design.names, None]:
        chosen = np.flatnonzero(names == name) if name is not None else np.arange(len(names))
        part = score[chosen]
        statistic = float(part @ np.linalg.solve(spare[np.ix_(chosen, chosen)], part))
        rows.append(
            {
                "covariate": "GLOBAL" if name is None else name,
                "statistic": statistic,
                "degrees_of_freedom": len(chosen),
                "p_value": float(chdtrc(len(chosen), max(statistic, 0.0))),
            }
        )
    return PHTest(transform=transform, statistics=pd.DataFrame(rows), n=state.data.n_customers)


def _of_time(state: State, transform: Transform) -> Floats:
    from scipy.stats import rankdata

    times, data = state.events.times, state.data
    if transform == "identity":
        return times
    if transform == "log":
        return np.log(times)
    if transform == "rank":
        stops, first = np.unique(data.stop.astype(np.float64), return_index=True)
        ranks: Floats = np.asarray(rankdata(data.stop, method="average"), dtype=np.float64)[first]
        return ranks[np.searchsorted(stops, times)]
    curve = kaplan_meier(data.stop, data.event, entry=data.start if data.start.any() else None)
    before = np.concatenate([[1.0], curve.survival[:-1]])
    return 1.0 - before[np.searchsorted(curve.times, times)]


def ph_check(state: State) -> Check:
    """Return the global test as a check."""
    found = _test(state, "km")
    return Check(
        message("Proportional hazards"),
        "warning" if found.p_value < found.level else "passed",
        found.verdict(),
        p_value=found.p_value,
    )
