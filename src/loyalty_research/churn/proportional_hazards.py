"""The test of proportional hazards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from loyalty_research.churn import cox_core as core
from loyalty_research.churn.words import covariate_words, term_words
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.stats.survival import kaplan_meier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
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
        residuals: Scaled Schoenfeld residuals averaged over the leavers of each time: ``term, time,
            x`` (time transformed), ``deaths, estimate``. Their mean at a time estimates the
            coefficient there.
        terms: Per term ``coef``, ``spread`` (standard deviation of one leaver's residual) and
            ``words``.
    """

    title: ClassVar[str] = "Proportional hazards"

    transform: str
    statistics: pd.DataFrame
    n: int
    level: float = 0.05
    residuals: pd.DataFrame = field(default_factory=pd.DataFrame)
    terms: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def p_value(self) -> float:
        """The p-value of the global test."""
        return float(self.statistics["p_value"].iloc[-1])

    def smooth(self, term: str, *, degrees: int = 4, level: float = 0.95) -> pd.DataFrame:
        """Return a term's coefficient over time as a natural spline through its residuals.

        Args:
            term: Model column, such as ``"region[T.north]"``.
            degrees: Columns of the spline, the constant included.
            level: Confidence level of the band.

        Returns:
            ``time, x, estimate, low, high`` at 40 even places of transformed time.

        Raises:
            ArgumentError: When the term is unknown.

        References:
            Grambsch, Therneau (1994), Biometrika 81, section 4; R's ``plot.cox.zph``.
        """
        part, spread = self._of(term), float(self.terms["spread"].to_dict()[term])
        return smoothed(part, spread, degrees=degrees, level=check_level(level))

    def _of(self, term: str) -> pd.DataFrame:
        if term not in self.terms.index:
            raise ArgumentError(f"term must be one of {', '.join(self.terms.index)}; got {term!r}")
        return self.residuals[self.residuals["term"] == term]

    def plot(self, ax: Axes | None = None, *, term: str | None = None) -> Axes:
        """Draw how a term's log hazard ratio runs over time, with the constant that was fitted.

        Args:
            ax: Axes to draw on.
            term: Model column; by default the first of the covariate that moves most.

        Raises:
            ArgumentError: When the term is unknown.
        """
        from loyalty_research.plots.hazards import coefficient_over_time

        if term is None:
            worst = self.statistics.iloc[:-1].nsmallest(1, "p_value")["covariate"].iloc[0]
            term = str(self.terms.index[self.terms["covariate"] == worst][0])
        part, row = self._of(term), self.terms.loc[term]
        return coefficient_over_time(
            part,
            self.smooth(term),
            constant=float(row["coef"]),
            name=str(row["words"]),
            ax=ax,
        )

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
        ArgumentError: When the transform is unknown, or ``"log"`` and somebody left at time 0.
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
    return _test(state, transform, residuals=True)


def _test(state: State, transform: Transform, *, residuals: bool = False) -> PHTest:
    from scipy.special import chdtrc

    x = _of_time(state, transform)
    data, at = state.carrier, state.at
    g = x - np.average(x, weights=state.events.deaths)
    sums = core.schoenfeld_sums(data, at)
    score = g @ sums
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
    found = PHTest(transform=transform, statistics=pd.DataFrame(rows), n=state.data.n_customers)
    if not residuals:
        return found
    tables = _residuals(state, x, sums, np.linalg.inv(plain).astype(np.float64))
    return replace(found, residuals=tables[0], terms=tables[1])


def _residuals(state: State, x: Floats, sums: Floats, inverse: Floats) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return scaled residuals per term and time, and what each term needs to be drawn."""
    events, terms = state.events, list(state.design.terms)
    total = float(events.deaths.sum())
    scaled = sums / events.deaths[:, None] @ inverse * total + state.at.beta
    frame = pd.DataFrame(
        {
            "term": np.repeat(terms, len(x)),
            "time": np.tile(events.times, len(terms)),
            "x": np.tile(x, len(terms)),
            "deaths": np.tile(events.deaths, len(terms)),
            "estimate": (scaled / state.spread).T.ravel(),
        }
    )
    each = pd.DataFrame(
        {
            "covariate": list(state.design.variables),
            "coef": state.at.beta / state.spread,
            "spread": np.sqrt(total * np.diag(inverse)) / state.spread,
            "words": [term_words(state.design, t) for t in terms],
        },
        index=pd.Index(terms, name="term"),
    )
    return frame, each


def smoothed(residuals: pd.DataFrame, spread: float, *, degrees: int, level: float) -> pd.DataFrame:
    """Return a natural cubic spline through residuals, weighted by deaths, with a pointwise band.

    Args:
        residuals: ``time, x, deaths, estimate`` of one term.
        spread: Standard deviation of one death's residual.
        degrees: Columns of the spline, the constant included.
        level: Confidence level.
    """
    from scipy.special import ndtri

    merged = residuals.groupby("x", as_index=False).agg(
        time=("time", "min"), deaths=("deaths", "sum"), estimate=("estimate", "mean")
    )
    if len(merged) < len(residuals):  # strata share times
        sums = residuals.assign(total=residuals["estimate"] * residuals["deaths"]).groupby("x")["total"].sum()
        merged["estimate"] = sums.to_numpy() / merged["deaths"]
    x, deaths = merged["x"].to_numpy(dtype=float), merged["deaths"].to_numpy(dtype=float)
    y = merged["estimate"].to_numpy(dtype=float)
    if len(x) <= degrees:
        raise ArgumentError(f"{len(x)} times of leaving are too few for a curve with {degrees} columns")
    grid = np.linspace(x[0], x[-1], 40)
    every = np.sort(np.concatenate([grid, np.repeat(x, deaths.astype(np.int64))]))
    knots = np.unique(np.quantile(every, np.linspace(0, 1, degrees)))
    here, there = _natural(x, knots), _natural(grid, knots)
    inner = np.linalg.inv((here * deaths[:, None]).T @ here)
    line = there @ (inner @ (here.T @ (deaths * y)))
    width = float(ndtri(0.5 + level / 2)) * spread * np.sqrt(((there @ inner) * there).sum(1))
    time = np.interp(grid, x, merged["time"].to_numpy(dtype=float))
    return pd.DataFrame(
        {"time": time, "x": grid, "estimate": line, "low": line - width, "high": line + width}
    )


def _natural(x: Floats, knots: Floats) -> Floats:
    """Return the columns of a natural cubic spline (Hastie, Tibshirani, Friedman 2009, eq. 5.4)."""
    last = knots[-1]
    unit = last - knots[0]

    def bend(knot: float) -> Floats:
        over = np.maximum(x - knot, 0.0) ** 3 - np.maximum(x - last, 0.0) ** 3
        kept: Floats = over / (last - knot) / unit**2
        return kept

    inner = [bend(float(k)) - bend(float(knots[-2])) for k in knots[:-2]]
    return np.column_stack([np.ones_like(x), (x - knots[0]) / unit, *inner])


def _of_time(state: State, transform: Transform) -> Floats:
    from scipy.stats import rankdata

    times, data = state.events.times, state.data
    if transform == "identity":
        return times
    if transform == "log":
        if times.min() <= 0:
            raise ArgumentError(
                "somebody left at time 0, which has no logarithm; use transform='km' or 'rank'"
            )
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
