"""Parametric models of the time to leaving, in lifelines' names and parametrisation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import aft_core as core
from loyalty_research.churn import aft_predict as predict
from loyalty_research.churn import design as coding
from loyalty_research.churn.aft_families import GeneralisedGamma, LocationScale, Spline
from loyalty_research.churn.clusters import cluster_codes, cluster_sums
from loyalty_research.churn.cox_verdict import caveat
from loyalty_research.churn.intervals import require_events, where
from loyalty_research.churn.words import term_words
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Estimate, Result, Row, check_level
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.aft_families import Family
    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["AFTFit", "ParametricAFT"]

Distribution = Literal["exponential", "weibull", "log-normal", "log-logistic", "generalised-gamma", "spline"]
_NAMES: dict[str, Distribution] = {
    "exponential": "exponential",
    "weibull": "weibull",
    "lognormal": "log-normal",
    "loglogistic": "log-logistic",
    "generalisedgamma": "generalised-gamma",
    "generalizedgamma": "generalised-gamma",
    "spline": "spline",
}


@dataclass(frozen=True, slots=True)
class ParametricAFT:
    """Accelerated failure time model: covariates stretch or shrink the time until customers leave.

    The exponential and Weibull likelihoods are maximised here, on grouped whole-day durations.
    For the log-normal, log-logistic, generalised gamma and spline models lifelines finds the
    optimum, and Newton steps on the same likelihood then check that it is one and finish it; a
    model that does not converge raises. A share of customers who never leave is modelled by
    lifelines' ``MixtureCureFitter``, which takes ``stop`` and ``event`` of
    :meth:`ChurnData.to_lifelines`. Late entry, weights and intervals that are cut where
    covariates change enter as ``log S(stop) - log S(start)``.

    Args:
        distribution: ``"exponential"``, ``"weibull"``, ``"log-normal"``, ``"log-logistic"``,
            ``"generalised-gamma"`` or ``"spline"`` (log cumulative hazard as a natural cubic
            spline of log time); lifelines' and R's spellings are understood.
        knots: Knots of the spline, at evenly spread quantiles (5% to 95%) of the times of leaving.
        cluster: Column of clusters (or ``"customer"``) for robust errors. By default the data's own
            clusters, if any.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is not one of the above.

    Examples:
        >>> from lifelines.datasets import load_rossi
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")
        >>> model = ParametricAFT("weibull").fit(data, covariates=["fin", "age", "prio"])
        >>> model.params_["lambda_"].round(3).to_dict()
        {'fin': 0.25, 'age': 0.048, 'prio': -0.07, 'Intercept': 3.774}

    References:
        Kalbfleisch, Prentice (2002), chapter 3; R's ``survreg``; lifelines' ``WeibullAFTFitter``,
        ``LogNormalAFTFitter``, ``LogLogisticAFTFitter``, ``GeneralizedGammaRegressionFitter`` and
        ``CRCSplineFitter``.
    """

    distribution: str
    knots: int = field(default=3, kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    level: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        key = re.sub(r"[^a-z]", "", str(self.distribution).lower())
        if key not in _NAMES:
            raise ArgumentError(
                f"distribution must be one of {', '.join(dict.fromkeys(_NAMES.values()))}; "
                f"got {self.distribution!r}"
            )
        object.__setattr__(self, "distribution", _NAMES[key])
        if not (isinstance(self.knots, int) and 2 <= self.knots <= 10):
            raise ArgumentError(f"knots must be a whole number from 2 to 10; got {self.knots!r}")
        check_level(self.level)

    def fit(
        self, data: ChurnData, *, formula: str | None = None, covariates: Sequence[str] | None = None
    ) -> AFTFit:
        """Fit the model.

        Args:
            data: Follow-up of customers.
            formula: Right-hand side, such as ``"region + log(first_amount)"``.
            covariates: Columns instead of a formula; with neither, one curve for everybody.

        Raises:
            ArgumentError: When both ``formula`` and ``covariates`` are given, or the data are
                stratified.
            ContractError: When nobody left, somebody leaves at time 0, or a covariate is missing,
                has gaps, one level only, or is a combination of others.
            DesignError: When nobody (or everybody) with some value left.
            ConvergenceError: When the likelihood cannot be maximised.
        """
        if formula is not None and covariates is not None:
            raise ArgumentError("give either formula or covariates")
        if data.strata is not None:
            raise ArgumentError(
                "the data are stratified, and a parametric model has no strata; name the column as a covariate"
            )
        require_events(data)
        none = data.stop <= 0
        if none.any():
            raise ContractError(
                f"intervals end at time 0 in {where(none)}, and its logarithm is not finite; leave those out, or "
                "count the first day as day 1"
            )
        if formula is not None:
            design = coding.from_formula(data.covariates, formula)
        elif covariates:
            design = coding.from_columns(data.covariates, list(covariates))
        else:
            design = coding.Design((), (), {})
        return _fit(self, data, design)


def _family(options: ParametricAFT, data: ChurnData) -> Family:
    if options.distribution == "generalised-gamma":
        return GeneralisedGamma()
    if options.distribution == "spline":
        left = np.log(data.stop[data.event].astype(np.float64))
        knots = np.percentile(left, np.linspace(5, 95, options.knots))
        if len(np.unique(knots)) < options.knots:
            raise ArgumentError(
                f"{options.knots} knots need as many different times of leaving; take fewer knots"
            )
        return Spline(tuple(float(k) for k in knots))
    kinds: dict[str, Any] = {"log-normal": "lognormal", "log-logistic": "loglogistic"}
    return LocationScale(kinds.get(options.distribution, options.distribution))


def _start(options: ParametricAFT, family: Family, cells: core.AFTCells) -> Floats:
    """Return lifelines' optimum, where Newton begins."""
    import lifelines

    if isinstance(family, LocationScale):
        fitters = {"lognormal": lifelines.LogNormalAFTFitter, "loglogistic": lifelines.LogLogisticAFTFitter}
        return core.lifelines_start(fitters[family.kind](), family, cells)
    if isinstance(family, Spline):
        weibull = LocationScale("weibull")
        plain = core.maximise(weibull, cells, core.plain_start(weibull, cells)).beta
        point = core.spline_start(plain, options.knots)
        if not cells.z.shape[1]:
            return np.concatenate(list(point.values()))
        fitter = lifelines.CRCSplineFitter(knots=list(family.knots))
        return core.lifelines_start(fitter, family, cells, first_point=point)
    return core.lifelines_start(lifelines.GeneralizedGammaRegressionFitter(), family, cells)


def _maximise(
    options: ParametricAFT, family: Family, data: ChurnData, z: Floats, pattern: Ints | None
) -> core.AFTFound:
    if isinstance(family, LocationScale) and family.kind in ("exponential", "weibull"):
        cells = core.grid_of(data, z, pattern) or core.cells_of(data, z, pattern)
        return core.maximise(family, cells, core.plain_start(family, cells))
    rows = core.cells_of(data, z, pattern)
    return core.maximise(family, rows, _start(options, family, rows))


def _fit(options: ParametricAFT, data: ChurnData, design: coding.Design) -> AFTFit:
    n = len(data.stop)
    if design.terms:
        encoded = coding.encode(design, data.covariates)
        scale = coding.standardise(design, encoded, n)
        pattern = encoded.pattern
        mean, spread = scale.mean, scale.spread
        if options.distribution == "spline":
            # its knots are days of leaving, so they are laid for the average leaver
            rows = np.flatnonzero(data.event) if pattern is None else pattern[data.event]
            mean = encoded.z[rows].mean(axis=0)
        z = (encoded.z - mean) / spread
    else:
        pattern, z = np.zeros(n, dtype=np.int64), np.zeros((1, 0))
        mean, spread = np.zeros(0), np.ones(0)
    family = _family(options, data)
    found = _maximise(options, family, data, z, pattern)
    if found.running.any():
        names = [t for t, r in zip(design.terms, found.running, strict=False) if r]
        raise DesignError(
            f"{', '.join(names) or 'the shape'}: nobody (or everybody) with that value left, so it has no finite "
            "estimate; leave it out, merge levels, or fit CoxPH(penalty='firth')"
        )
    covariance: Floats = np.linalg.inv(found.information).astype(np.float64)
    codes = cluster_codes(data, options.cluster)
    if codes is not None:
        cells = core.cells_of(data, z, pattern)
        influence = core.row_scores(family, cells, found.beta, data.weights) @ covariance
        covariance = cluster_sums(codes, influence)
    turn = _to_lifelines(family, mean, spread)
    coef = turn @ found.beta
    index = pd.MultiIndex.from_tuples(_labels(family, design), names=["param", "covariate"])
    state = AFTState(
        options, data, design, family, mean, spread, found.beta, covariance, clustered=codes is not None
    )
    fitted = AFTFit(
        params_=pd.Series(coef, index=index, name="coef"),
        covariance_=pd.DataFrame(turn @ covariance @ turn.T, index=index, columns=index),
        log_likelihood_=found.value,
        iterations_=found.iterations,
        state=state,
        checks=data.checks,
    )
    shape = predict.shape_check(state, z, pattern)
    object.__setattr__(fitted, "checks", (*data.checks, *shape))
    return fitted


def _labels(family: Family, design: coding.Design) -> list[tuple[str, str]]:
    first = [*design.terms, *(["Intercept"] if family.intercept else [])]
    return [(family.names[0], t) for t in first] + [(name, "Intercept") for name in family.names[1:]]


def _to_lifelines(family: Family, mean: Floats, spread: Floats) -> Floats:
    """Return the matrix from coefficients of standardised columns to lifelines' parameters."""
    p = len(mean)
    size = p + int(family.intercept) + len(family.names) - 1
    turn = np.eye(size)
    turn[:p, :p] = np.diag(1 / spread)
    if family.intercept:
        turn[p, :p] = -mean / spread
    if family.names[1:] in (("rho_",), ("beta_",)):
        turn[-1, -1] = -1.0
    return turn


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AFTState:
    """Internals of a fit; coefficients are those of standardised columns, then an intercept.

    Attributes:
        options: The model's options.
        data: The follow-up it was fitted on.
        design: How covariates become columns.
        family: The distribution.
        mean: Mean of each column.
        spread: Standard deviation of each column.
        beta: Coefficients, an intercept if the family has one, then its constants.
        covariance: Their covariance.
        clustered: Whether it is robust.
    """

    options: ParametricAFT
    data: ChurnData
    design: coding.Design
    family: Family
    mean: Floats
    spread: Floats
    beta: Floats
    covariance: Floats
    clustered: bool


@dataclass(frozen=True, repr=False)
class AFTFit(Result):
    """A fitted parametric model.

    Attributes:
        params_: Coefficients by lifelines' ``(param, covariate)``. Covariates act on the log of
            time: exp(coef) is a ratio of times. The constants of a spline are those of a customer
            with the average covariates of those who left.
        covariance_: Their covariance, robust where clusters were named.
        log_likelihood_: Log likelihood.
        iterations_: Newton steps taken.
        state: Internals that predictions use.
    """

    title: ClassVar[str] = "Time until leaving"

    params_: pd.Series[float]
    covariance_: pd.DataFrame
    log_likelihood_: float
    iterations_: int
    state: AFTState

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Standard error per parameter."""
        errors = np.sqrt(np.diag(self.covariance_.to_numpy()))
        return pd.Series(errors, index=self.params_.index, name="se(coef)")

    @property
    def scale_(self) -> float:
        """Sigma, the scale of log time as R's ``survreg`` gives it (1 for the exponential)."""
        family = self.state.family
        if isinstance(family, Spline):
            raise ArgumentError("a spline has no scale")
        return math.exp(self.state.beta[len(self.state.mean) + 1]) if len(family.names) > 1 else 1.0

    @property
    def AIC_(self) -> float:  # noqa: N802 - lifelines' name
        """Akaike's criterion: less is better between distributions on the same data."""
        return 2 * len(self.params_) - 2 * self.log_likelihood_

    @property
    def summary(self) -> pd.DataFrame:
        """Coefficients and time ratios, in lifelines' columns."""
        from scipy.special import ndtr

        level = percent(self.state.options.level, digits=0)
        coef, error = self.params_, self.standard_errors_
        low, high = self._limits()
        return pd.DataFrame(
            {
                "coef": coef,
                "exp(coef)": np.exp(coef),
                "se(coef)": error,
                f"coef lower {level}": low,
                f"coef upper {level}": high,
                f"exp(coef) lower {level}": np.exp(low),
                f"exp(coef) upper {level}": np.exp(high),
                "z": coef / error,
                "p": 2 * ndtr(-np.abs(coef / error)),
            }
        )

    def _limits(self) -> tuple[pd.Series[float], pd.Series[float]]:
        from scipy.special import ndtri

        width = float(ndtri(0.5 + self.state.options.level / 2)) * self.standard_errors_
        return self.params_ - width, self.params_ + width

    def _rows(self) -> Iterable[Row]:
        options, first = self.state.options, self.state.family.names[0]
        kind = message("robust Wald") if self.state.clustered else "Wald"
        low, high = self._limits()
        chance = self.summary["p"]
        for term in self.state.design.terms:
            key = (first, term)
            yield Row(
                "time ratio",
                Estimate(
                    float(np.exp(self.params_[key])),
                    float(np.exp(low[key])),
                    float(np.exp(high[key])),
                    options.level,
                    message("{distribution}, {kind}", distribution=options.distribution, kind=kind),
                    self.state.data.n_customers,
                    p_value=float(chance[key]),
                ),
                group=term_words(self.state.design, term),
                estimand=message("ratio of times until leaving, other covariates equal"),
            )

    def _verdict(self) -> str:
        frame = self.to_frame()
        clear = frame[frame["p_value"] < 0.05].nsmallest(2, "p_value") if len(frame) else frame
        if not len(clear):
            return message("No covariate shifts the time until leaving beyond chance.")
        said = [
            message(
                "{term}: customers stay {ratio} times as long ({level} interval {low} to {high}).",
                term=row["group"],
                ratio=number(row["estimate"], digits=2),
                level=percent(row["level"], digits=0),
                low=number(row["low"], digits=2),
                high=number(row["high"], digits=2),
            )
            for row in clear.to_dict("records")
        ]
        return " ".join([*said, caveat(self.state.design.inputs, self.state.data.chosen)])

    def predict_survival(
        self,
        df: pd.DataFrame,
        *,
        times: ArrayLike,
        alive_at: ArrayLike = 0,
        level: float | None = None,
        interval: Interval = "log-log",
        extrapolate: bool = False,
    ) -> pd.DataFrame:
        """Return survival curves of customers with given covariates.

        Args:
            df: One row per customer with the model's covariates.
            times: Days on the customers' clocks.
            alive_at: Day on which each is known to be still there; survival is conditional on it.
            level: Confidence level; the model's by default.
            interval: Kind of interval, as for :class:`KaplanMeier`.
            extrapolate: Let the distribution speak beyond the last day observed. It then rests on
                the distribution alone, which no data there have tested.

        Returns:
            One row per customer and time: ``row, time, estimate, low, high, reason``; beyond the
            last day observed NaN with a reason, unless ``extrapolate``.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` or a time is negative.
        """
        return predict.survival(
            self.state,
            df,
            times=times,
            alive_at=alive_at,
            level=self._level(level),
            interval=interval,
            extrapolate=extrapolate,
        )

    def predict_median(
        self,
        df: pd.DataFrame,
        *,
        alive_at: ArrayLike = 0,
        level: float | None = None,
        extrapolate: bool = False,
    ) -> pd.DataFrame:
        """Return the day by which half of such customers have left.

        Args:
            df: One row per customer with the model's covariates.
            alive_at: Day on which each is known to be still there.
            level: Confidence level; the model's by default.
            extrapolate: Let the distribution speak beyond the last day observed.

        Returns:
            One row per customer: ``row, alive_at, estimate, low, high, reason``, days on the
            clock; the interval is symmetric in log time (delta method).

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` is negative.
        """
        return predict.median(
            self.state, df, alive_at=alive_at, level=self._level(level), extrapolate=extrapolate
        )

    def expected_remaining(
        self,
        df: pd.DataFrame,
        *,
        alive_at: ArrayLike = 0,
        horizon: float,
        level: float | None = None,
        extrapolate: bool = False,
    ) -> pd.DataFrame:
        """Return how long customers are expected to stay yet, counting ``horizon`` days ahead at most.

        Args:
            df: One row per customer with the model's covariates.
            alive_at: Day on which each is known to be still there.
            horizon: Days ahead that count; nobody can stay longer than this.
            level: Confidence level; the model's by default.
            extrapolate: Let the distribution speak beyond the last day observed.

        Returns:
            One row per customer: ``row, alive_at, horizon, estimate, low, high, reason``, by the
            delta method.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` is negative or ``horizon`` not above 0.
        """
        return predict.remaining(
            self.state,
            df,
            alive_at=alive_at,
            horizon=horizon,
            level=self._level(level),
            extrapolate=extrapolate,
        )

    def _level(self, level: float | None) -> float:
        return self.state.options.level if level is None else check_level(level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the time ratios with their intervals."""
        from loyalty_research.plots.survival import forest

        frame = self.to_frame()
        if not len(frame):
            raise ArgumentError("the model has no covariates, so there are no ratios to draw")
        return forest(
            frame.rename(columns={"group": "term"})[["term", "estimate", "low", "high"]],
            ax=ax,
            label=message("Time ratio: above 1 stays longer, below 1 leaves sooner"),
        )
