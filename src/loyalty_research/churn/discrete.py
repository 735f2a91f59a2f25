"""Discrete-time hazards: the chance of leaving per day or period, on grouped counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import design as coding
from loyalty_research.churn import discrete_core as core
from loyalty_research.churn import discrete_predict as predict
from loyalty_research.churn.clusters import cluster_codes
from loyalty_research.churn.cox_verdict import caveat
from loyalty_research.churn.intervals import require_events
from loyalty_research.churn.words import term_words
from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["DiscreteFit", "DiscreteHazard"]


@dataclass(frozen=True, slots=True)
class DiscreteHazard:
    """Regression for the chance of leaving in a period, given still there when it began.

    Equal to a binomial regression on person-period data, which is never written out: customers
    are counted by period and covariate pattern.

    Args:
        link: ``"cloglog"``, whose coefficients are log hazard ratios as in Cox's model, or
            ``"logit"``, whose coefficients are log odds ratios.
        width: Length of a period in the data's unit (1: day by day). Covariates that change
            count from the next period on; somebody censored within a period does not count in it.
        baseline: How the hazard runs over tenure: ``"period"`` (each period its own),
            ``"polynomial"`` or ``"spline"`` (natural cubic) of tenure.
        degrees: Degree of the polynomial, or columns of the spline.
        cluster: Column of clusters (or ``"customer"``) for robust errors. By default the data's own
            clusters, if any.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is not one of the above.

    Examples:
        >>> from lifelines.datasets import load_rossi
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")
        >>> model = DiscreteHazard(link="cloglog").fit(data, covariates=["fin", "age", "prio"])
        >>> model.params_.round(3).to_dict()
        {'fin': -0.348, 'age': -0.067, 'prio': 0.097}

    References:
        Prentice, Gloeckler (1978), Biometrics 34 (grouped proportional hazards); Allison (1982),
        Sociological Methodology 13.
    """

    link: Literal["cloglog", "logit"] = field(default="cloglog", kw_only=True)
    width: float = field(default=1, kw_only=True)
    baseline: Literal["period", "polynomial", "spline"] = field(default="period", kw_only=True)
    degrees: int = field(default=4, kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    level: float = field(default=0.95, kw_only=True)

    def __post_init__(self) -> None:
        if self.link not in ("cloglog", "logit"):
            raise ArgumentError(f"link must be 'cloglog' or 'logit'; got {self.link!r}")
        if not (np.isfinite(self.width) and self.width > 0):
            raise ArgumentError(f"width must be a length of time above 0; got {self.width!r}")
        if self.baseline not in ("period", "polynomial", "spline"):
            raise ArgumentError(f"baseline must be 'period', 'polynomial' or 'spline'; got {self.baseline!r}")
        if not (isinstance(self.degrees, int) and 1 <= self.degrees <= 10):
            raise ArgumentError(f"degrees must be a whole number from 1 to 10; got {self.degrees!r}")
        check_level(self.level)

    def fit(
        self, data: ChurnData, *, formula: str | None = None, covariates: Sequence[str] | None = None
    ) -> DiscreteFit:
        """Fit the model.

        Args:
            data: Follow-up of customers, in whole units (or a ``width`` that groups them).
            formula: Right-hand side, such as ``"region + log(first_amount)"``.
            covariates: Columns instead of a formula; with neither, the baseline alone.

        Raises:
            ArgumentError: When both ``formula`` and ``covariates`` are given, the data are
                stratified, or times are not whole and ``width`` is 1.
            ContractError: When nobody left, or a covariate is missing, has gaps, one level only,
                or is a combination of others.
            DesignError: When nobody (or everybody) with some value left.
            ConvergenceError: When the likelihood cannot be maximised.
        """
        if formula is not None and covariates is not None:
            raise ArgumentError("give either formula or covariates")
        if data.strata is not None:
            raise ArgumentError(
                "the data are stratified, and this model has no strata; name the column as a covariate"
            )
        if self.width == 1 and data.stop.dtype.kind == "f":
            raise ArgumentError(
                f"times are not whole {data.unit}, so periods of 1 would hold few customers; choose a width"
            )
        require_events(data)
        if formula is not None:
            design = coding.from_formula(data.covariates, formula)
        elif covariates:
            design = coding.from_columns(data.covariates, list(covariates))
        else:
            design = coding.Design((), (), {})
        return _fit(self, data, design)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DiscreteState:
    """Internals of a fit; coefficients are those of the baseline, then of standardised columns.

    Attributes:
        options: The model's options.
        data: The follow-up it was fitted on.
        design: How covariates become columns.
        table: Counts and baseline columns.
        mean: Mean of each column.
        spread: Standard deviation of each column.
        beta: Coefficients.
        covariance: Their covariance.
        at_risk: Weighted number at risk in each period from 0 on.
        events: Weighted number who left in each.
        clustered: Whether the covariance is robust.
    """

    options: DiscreteHazard
    data: ChurnData
    design: coding.Design
    table: core.Table
    mean: Floats
    spread: Floats
    beta: Floats
    covariance: Floats
    at_risk: Floats
    events: Floats
    clustered: bool


def _fit(options: DiscreteHazard, data: ChurnData, design: coding.Design) -> DiscreteFit:
    n = len(data.stop)
    pattern: Ints | None
    if design.terms:
        encoded = coding.encode(design, data.covariates)
        scale = coding.standardise(design, encoded, n)
        pattern, mean, spread = encoded.pattern, scale.mean, scale.spread
        z = (encoded.z - mean) / spread
    else:
        pattern, z, mean, spread = np.zeros(n, dtype=np.int64), np.zeros((1, 0)), np.zeros(0), np.ones(0)
    rows = core.periods_of(data, options.width)
    whole = np.zeros(n, dtype=np.int64)
    at_risk, events = (part[:, 0] for part in core.counts(rows, whole, 1, data.weights))
    kept, base = _baseline(options, at_risk, events)
    table = core.table_of(data, rows, z, pattern, kept=kept, base=base)
    found = core.maximise(options.link, table, _start(options.link, table, at_risk, events))
    moving = [t for t, r in zip(design.terms, found.running[table.q :], strict=True) if r]
    if found.running.any():
        raise DesignError(
            f"{', '.join(moving) or 'the baseline'}: nobody (or everybody) with that value left, so it has no "
            "finite estimate; leave it out, merge levels or periods, or fit CoxPH(penalty='firth')"
        )
    covariance: Floats = np.linalg.inv(found.information).astype(np.float64)
    codes = cluster_codes(data, options.cluster)
    if codes is not None:
        covariance = core.robust(options.link, table, found, z, pattern, codes)
    state = DiscreteState(
        options=options,
        data=data,
        design=design,
        table=table,
        mean=mean,
        spread=spread,
        beta=found.beta,
        covariance=covariance,
        at_risk=at_risk,
        events=events,
        clustered=codes is not None,
    )
    inner = covariance[table.q :, table.q :] / np.outer(spread, spread)
    terms = list(design.terms)
    return DiscreteFit(
        params_=pd.Series(
            found.beta[table.q :] / spread, index=pd.Index(terms, name="covariate"), name="coef"
        ),
        covariance_=pd.DataFrame(inner, index=terms, columns=terms),
        log_likelihood_=found.value,
        iterations_=found.iterations,
        state=state,
        checks=(*data.checks, *_lost_check(rows.lost)),
    )


def _lost_check(lost: int) -> tuple[Check, ...]:
    if not lost:
        return ()
    return (
        Check(
            message("Leavers within their first period"),
            "warning",
            messages(
                "{count} customer came under watch within a period and left before it ended, and does not count.",
                "{count} customers came under watch within a period and left before it ended, and do not count.",
                lost,
            ),
        ),
    )


def _baseline(options: DiscreteHazard, at_risk: Floats, events: Floats) -> tuple[Ints, Floats | None]:
    """Return the periods used and the baseline's columns there."""
    if options.baseline == "period":
        # a period in which nobody (or everybody) left has hazard 0 (or 1) and no coefficient
        return np.flatnonzero((events > 0) & (events < at_risk)), None
    kept = np.flatnonzero(at_risk > 0)
    return kept, predict.baseline_columns(options.baseline, options.degrees, kept, int(kept.max()))


def _start(link: core.Link, table: core.Table, at_risk: Floats, events: Floats) -> Floats:
    """Return a model without covariates, or with a constant hazard."""
    start = np.zeros(table.q + table.z.shape[1])
    if table.base is None:
        chance = events[table.periods] / at_risk[table.periods]
    else:
        chance = np.array([events.sum() / at_risk.sum()])
    level = np.log(-np.log1p(-chance)) if link == "cloglog" else np.log(chance / (1 - chance))
    start[: len(level)] = level
    return start


@dataclass(frozen=True, repr=False)
class DiscreteFit(Result):
    """A fitted discrete-time model.

    Attributes:
        params_: Coefficient per term: log hazard ratios (cloglog) or log odds ratios (logit).
        covariance_: Their covariance, robust where clusters were named.
        log_likelihood_: Log likelihood of the person-periods.
        iterations_: Scoring steps taken.
        state: Internals that predictions use.
    """

    title: ClassVar[str] = "Chance of leaving per period"

    params_: pd.Series[float]
    covariance_: pd.DataFrame
    log_likelihood_: float
    iterations_: int
    state: DiscreteState

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Standard error per term, from the expected information as in a GLM."""
        errors = np.sqrt(np.diag(self.covariance_.to_numpy()))
        return pd.Series(errors, index=self.params_.index, name="se(coef)")

    @property
    def summary(self) -> pd.DataFrame:
        """Coefficients and ratios, in lifelines' columns."""
        from scipy.special import ndtr

        level = percent(self.state.options.level, digits=0)
        low, high = self._limits()
        return pd.DataFrame(
            {
                "coef": self.params_,
                "exp(coef)": np.exp(self.params_),
                "se(coef)": self.standard_errors_,
                f"coef lower {level}": low,
                f"coef upper {level}": high,
                f"exp(coef) lower {level}": np.exp(low),
                f"exp(coef) upper {level}": np.exp(high),
                "z": self.params_ / self.standard_errors_,
                "p": 2 * ndtr(-np.abs(self.params_ / self.standard_errors_)),
            }
        )

    def _limits(self) -> tuple[pd.Series[float], pd.Series[float]]:
        from scipy.special import ndtri

        width = float(ndtri(0.5 + self.state.options.level / 2)) * self.standard_errors_
        return self.params_ - width, self.params_ + width

    @property
    def baseline_(self) -> pd.DataFrame:
        """Hazard by tenure of a customer with average covariates.

        One row per period: ``start, stop, at_risk, events, hazard, low, high`` (interval on the
        scale of the link; NaN where nobody or everybody left).
        """
        return predict.baseline_frame(self.state)

    def _rows(self) -> Iterable[Row]:
        options = self.state.options
        kind = message("robust Wald") if self.state.clustered else "Wald"
        low, high = self._limits()
        chance = self.summary["p"]
        hazards = options.link == "cloglog"
        for term in self.state.design.terms:
            yield Row(
                "hazard ratio" if hazards else "odds ratio",
                Estimate(
                    float(np.exp(self.params_[term])),
                    float(np.exp(low[term])),
                    float(np.exp(high[term])),
                    options.level,
                    message("discrete-time {link}, {kind}", link=options.link, kind=kind),
                    self.state.data.n_customers,
                    p_value=float(chance[term]),
                ),
                group=term_words(self.state.design, term),
                estimand=message("ratio of leaving rates, other covariates equal")
                if hazards
                else message("ratio of the odds of leaving per period, other covariates equal"),
            )

    def _verdict(self) -> str:
        frame = self.to_frame()
        clear = frame[frame["p_value"] < 0.05].nsmallest(2, "p_value") if len(frame) else frame
        if not len(clear):
            return message("No covariate shifts the chance of leaving beyond chance.")
        said = []
        for row in clear.to_dict("records"):
            figures = {
                "term": row["group"],
                "ratio": number(row["estimate"], digits=2),
                "level": percent(row["level"], digits=0),
                "low": number(row["low"], digits=2),
                "high": number(row["high"], digits=2),
            }
            if self.state.options.link == "cloglog":
                said.append(
                    message(
                        "{term}: the rate of leaving is {ratio} times as high ({level} interval {low} to {high}).",
                        **figures,
                    )
                )
            else:
                said.append(
                    message(
                        "{term}: the odds of leaving are {ratio} times as high ({level} interval {low} to {high}).",
                        **figures,
                    )
                )
        return " ".join([*said, caveat(self.state.design.inputs, self.state.data.chosen)])

    def predict_survival(
        self,
        df: pd.DataFrame,
        *,
        times: ArrayLike,
        alive_at: ArrayLike = 0,
        level: float | None = None,
        interval: Interval = "log-log",
    ) -> pd.DataFrame:
        """Return survival curves of customers with given covariates.

        Args:
            df: One row per customer with the model's covariates.
            times: Days on the customers' clocks; within a period the rate is taken as constant.
            alive_at: Day on which each is known to be still there; survival is conditional on it.
            level: Confidence level; the model's by default.
            interval: Kind of interval, as for :class:`KaplanMeier`.

        Returns:
            One row per customer and time: ``row, time, estimate, low, high, reason``. Beyond the
            last day observed the estimate is NaN and ``reason`` says so.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` or a time is negative.
        """
        return predict.survival(
            self.state, df, times=times, alive_at=alive_at, level=self._level(level), interval=interval
        )

    def expected_remaining(
        self, df: pd.DataFrame, *, alive_at: ArrayLike = 0, horizon: float, level: float | None = None
    ) -> pd.DataFrame:
        """Return how long customers are expected to stay yet, counting ``horizon`` days ahead at most.

        Args:
            df: One row per customer with the model's covariates.
            alive_at: Day on which each is known to be still there.
            horizon: Days ahead that count; nobody can stay longer than this.
            level: Confidence level; the model's by default.

        Returns:
            One row per customer: ``row, alive_at, horizon, estimate, low, high, reason``, with
            leaving dated to whole days; by the delta method.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` is negative or ``horizon`` not above 0.
        """
        return predict.remaining(self.state, df, alive_at=alive_at, horizon=horizon, level=self._level(level))

    def _level(self, level: float | None) -> float:
        return self.state.options.level if level is None else check_level(level)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the ratios with their intervals."""
        from loyalty_research.plots.survival import forest

        frame = self.to_frame()
        if not len(frame):
            raise ArgumentError("the model has no covariates, so there are no ratios to draw")
        label = (
            message("Hazard ratio: below 1 stays longer, above 1 leaves sooner")
            if self.state.options.link == "cloglog"
            else message("Odds ratio of leaving: below 1 stays longer, above 1 leaves sooner")
        )
        columns = frame.rename(columns={"group": "term"})[["term", "estimate", "low", "high"]]
        return forest(columns, ax=ax, label=label)
