"""Cox regression for churn: what shifts the rate of leaving, with errors that fit the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

from loyalty_research.churn import cox_core as core
from loyalty_research.churn import cox_exact, cox_newton, risk_sets
from loyalty_research.churn import design as coding
from loyalty_research.churn.clusters import cluster_codes, cluster_sums
from loyalty_research.churn.cox_firth import Firth
from loyalty_research.churn.cox_predict import expected_remaining, predict_survival
from loyalty_research.churn.cox_state import State
from loyalty_research.churn.cox_verdict import cox_verdict
from loyalty_research.churn.followup import strata_of
from loyalty_research.churn.intervals import require_events
from loyalty_research.churn.proportional_hazards import ph_check
from loyalty_research.churn.words import term_words
from loyalty_research.errors import ArgumentError, ContractError, ConvergenceError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.churn.data import ChurnData
    from loyalty_research.stats.survival import Interval

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["CoxFit", "CoxPH"]

_MOST_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class CoxPH:
    """Cox proportional-hazards regression.

    Args:
        ties: How simultaneous leavers are treated: ``"efron"`` (R's default), ``"breslow"``, or
            ``"exact"`` for the conditional likelihood of truly discrete times (R's
            ``ties="exact"``: no weights, no clusters; slow with many tied leavers).
        strata: Column or columns within which the baseline hazard may differ.
        cluster: Column of clusters (or ``"customer"``) for robust errors after Lin and Wei. By
            default the data's own clusters, if any.
        penalizer: L2 penalty as in lifelines: ``penalizer * n / 2`` times the sum of squared
            coefficients of standardised columns is taken off the log likelihood.
        penalty: ``"firth"`` adds Firth's penalty, which keeps estimates finite where nobody (or
            everybody) with some value left, and takes the leading bias off small samples; its
            intervals come from the profile of the penalised likelihood.
        intervals: ``"wald"``, or ``"profile"`` for profile-likelihood intervals of every term.
            Terms without a finite estimate have a profile interval either way.
        level: Confidence level.
        horizon: Day to which mean times are compared where hazards are not proportional; name
            it before looking. By default the last day on which every group is still watched.

    Raises:
        ArgumentError: When an option is not one of the above.

    Examples:
        >>> from lifelines.datasets import load_rossi
        >>> from loyalty_research.churn import ChurnData
        >>> data = ChurnData.from_durations(load_rossi(), duration="week", event="arrest", unit="weeks")
        >>> model = CoxPH().fit(data, covariates=["fin", "age", "prio"])
        >>> model.params_.round(4).to_dict()
        {'fin': -0.347, 'age': -0.0671, 'prio': 0.0969}

    References:
        Cox (1972), JRSS B 34; Efron (1977), JASA 72; Lin, Wei (1989), JASA 84. Case weights
        under Efron ties follow R: a tied death counts its mean weight, so weight 2 is not quite
        two copies; under Breslow it is. Gail, Lubin, Rubinstein (1981), Biometrika 68 (exact ties);
        Heinze, Schemper (2001), Biometrics 57 (Firth's penalty).
    """

    ties: Literal["efron", "breslow", "exact"] = field(default="efron", kw_only=True)
    strata: str | tuple[str, ...] | list[str] | None = field(default=None, kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    penalizer: float = field(default=0.0, kw_only=True)
    penalty: Literal["firth"] | None = field(default=None, kw_only=True)
    intervals: Literal["wald", "profile"] = field(default="wald", kw_only=True)
    level: float = field(default=0.95, kw_only=True)
    horizon: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.ties not in ("efron", "breslow", "exact"):
            raise ArgumentError(f"ties must be 'efron', 'breslow' or 'exact'; got {self.ties!r}")
        if self.penalty not in (None, "firth"):
            raise ArgumentError(f"penalty must be 'firth' or None; got {self.penalty!r}")
        if self.intervals not in ("wald", "profile"):
            raise ArgumentError(f"intervals must be 'wald' or 'profile'; got {self.intervals!r}")
        if not (math.isfinite(self.penalizer) and self.penalizer >= 0):
            raise ArgumentError(f"penalizer must be 0 or more; got {self.penalizer!r}")
        if self.penalty == "firth" and (self.penalizer or self.ties == "exact"):
            raise ArgumentError(
                "Firth's penalty goes with ties 'efron' or 'breslow' and without another penalizer; drop one"
            )
        if self.ties == "exact" and self.penalizer:
            raise ArgumentError("ties='exact' takes no penalizer; use ties='efron' with it")
        check_level(self.level)

    def fit(
        self, data: ChurnData, *, formula: str | None = None, covariates: Sequence[str] | None = None
    ) -> CoxFit:
        """Fit the model.

        Args:
            data: Follow-up of customers.
            formula: Right-hand side, such as ``"region + log(first_amount)"``.
            covariates: Columns instead of a formula; categories are coded against their first
                level.

        Raises:
            ArgumentError: When neither or both of ``formula`` and ``covariates`` are given.
            ContractError: When nobody left, or a covariate is missing, has gaps, one level only,
                or is a combination of others.
            DesignError: When the risk sets do not identify the coefficients.
            ConvergenceError: When the likelihood cannot be maximised.
        """
        if (formula is None) == (covariates is None):
            raise ArgumentError("give either formula or covariates")
        require_events(data)
        _check_combination(self, data)
        strata, labels, layers = _strata(data, self.strata)
        if formula is not None:
            design = coding.from_formula(data.covariates, formula)
        else:
            design = coding.from_columns(data.covariates, list(covariates or ()))
        clash = set(design.inputs) & set(layers)
        if clash:
            raise ContractError(f"{', '.join(sorted(clash))} cannot be both a stratum and a covariate")
        encoded = coding.encode(design, data.covariates)
        return _fit(self, data, design, encoded, strata, labels, layers)


def _strata(
    data: ChurnData, option: str | tuple[str, ...] | list[str] | None
) -> tuple[Ints | None, tuple[Any, ...], tuple[str, ...]]:
    if option is None:
        return data.strata, data.strata_labels, data.strata_names
    if data.strata is not None:
        raise ArgumentError("the data are stratified already; leave strata out of CoxPH")
    layers = (option,) if isinstance(option, str) else tuple(option)
    codes, labels = strata_of(data.covariates, layers, "covariates")
    return codes, labels, layers


def _check_combination(options: CoxPH, data: ChurnData) -> None:
    """Refuse what has no sound answer; R refuses weights and robust errors with exact ties too."""
    clustered = options.cluster is not None or data.cluster is not None
    if options.ties == "exact" and (clustered or data.weights is not None):
        what = "robust errors by cluster" if clustered else "case weights"
        raise ArgumentError(f"ties='exact' has no {what}; use ties='efron', or leave them out of the data")
    if clustered and (options.penalty == "firth" or options.intervals == "profile"):
        what = "Firth's penalty" if options.penalty == "firth" else "a profile likelihood"
        raise ArgumentError(
            f"{what} takes customers as independent and has no errors by cluster; leave cluster out, or drop it"
        )


def _fit(
    options: CoxPH,
    data: ChurnData,
    design: coding.Design,
    encoded: coding.Encoded,
    strata: Ints | None,
    labels: tuple[Any, ...],
    layers: tuple[str, ...],
) -> CoxFit:
    n = len(data.stop)
    scale = coding.standardise(design, encoded, n)
    start = None if not data.start.any() else data.start
    events, slots = risk_sets.locate(
        start, data.stop, data.event, data.weights, strata, efron=options.ties == "efron"
    )
    carrier: risk_sets.Carrier
    pattern, k = encoded.pattern, len(events.times)
    if pattern is not None and len(encoded.z) * k <= min(_MOST_CELLS, 1000 + 8 * n):
        small = (encoded.z - scale.mean) / scale.spread
        carrier = risk_sets.cells(pattern, small, slots, k, data.weights)
    else:
        small, pattern = encoded.rows(scale.mean, scale.spread), None
        carrier = risk_sets.rows(small, slots, k, data.weights)
    # lifelines standardises with the sample standard deviation, these columns have the plain one
    ridge = np.full(small.shape[1], options.penalizer * n * n / (n - 1)) if options.penalizer else None
    objective = _objective(options, carrier, events, slots, small, pattern, ridge)
    found = cox_newton.maximise(objective)
    at = core.point(carrier, events, found.beta)
    if at is None:
        raise ConvergenceError("the hazard overflows at the optimum; rescale the covariates")
    free = ~found.running
    naive = np.full((len(free), len(free)), np.nan)
    inside = np.ix_(free, free)
    naive[inside] = np.linalg.inv(found.information[inside])
    cluster = cluster_codes(data, options.cluster)
    covariance = naive
    if cluster is not None:
        score = core.score_residuals(at, events, slots, small, data.weights, pattern=pattern)[:, free]
        influence = score @ naive[inside]
        covariance = np.full_like(naive, np.nan)
        covariance[inside] = cluster_sums(cluster, influence)
    state = State(
        options=options,
        data=data,
        design=design,
        carrier=carrier,
        events=events,
        strata=strata,
        strata_labels=labels,
        layers=layers,
        mean=scale.mean,
        spread=scale.spread,
        at=at,
        covariance=covariance,
        running=found.running,
        ridge=ridge,
        clusters=None if cluster is None else int(cluster.max()) + 1,
    )
    return _report(state, objective, found, naive)


def _objective(
    options: CoxPH,
    carrier: risk_sets.Carrier,
    events: risk_sets.Events,
    slots: risk_sets.Slots,
    z: Floats,
    pattern: Ints | None,
    ridge: Floats | None,
) -> cox_newton.Objective:
    if options.penalty == "firth":
        return Firth(carrier, events)
    # where nobody leaves together all three are the same
    if options.ties == "exact" and (events.deaths > 1).any():
        rows = z if pattern is None else z[pattern]
        cox_exact.check_work(slots, events, rows.shape[1])
        return cox_exact.Exact(np.ascontiguousarray(rows), slots, events)
    return cox_newton.Partial(carrier, events, ridge)


def _report(state: State, objective: cox_newton.Objective, found: cox_newton.Fit, naive: Floats) -> CoxFit:
    terms = list(state.design.terms)
    coef = found.beta / state.spread
    coef = np.where(found.running, np.sign(coef) * np.inf, coef)
    both = np.outer(state.spread, state.spread)
    model = CoxFit(
        params_=pd.Series(coef, index=pd.Index(terms, name="covariate"), name="coef"),
        covariance_=pd.DataFrame(state.covariance / both, index=terms, columns=terms),
        naive_standard_errors_=pd.Series(
            np.sqrt(np.diag(naive)) / state.spread, index=pd.Index(terms, name="covariate"), name="se(coef)"
        ),
        log_likelihood_=_plain_value(state, found),
        null_log_likelihood_=found.null + _scale_part(state),
        iterations_=found.iterations,
        limits_=_limits(state, objective, found, coef),
        state=state,
        checks=state.data.checks,
    )
    added = [_separation_check(model)] if found.running.any() else [ph_check(state)]
    if state.options.penalty == "firth":
        added.append(_firth_check())
    if state.clusters is not None and state.clusters < 30:
        added.append(
            Check(
                message("Number of clusters"),
                "warning",
                message(
                    "{count} clusters are few for robust errors, which then tend to be too small.",
                    count=state.clusters,
                ),
            )
        )
    object.__setattr__(model, "checks", (*state.data.checks, *added))
    return model


def _separation_check(model: CoxFit) -> Check:
    names = ", ".join(term_words(model.state.design, t) for t in model.separated_)
    return Check(
        message("Separation"),
        "warning",
        message(
            "{names}: nobody (or everybody) with that value left, so the ratio has no finite estimate; its "
            "interval comes from the profile likelihood. The test of proportional hazards is not measurable then.",
            names=names,
        ),
    )


def _firth_check() -> Check:
    return Check(
        message("Firth's penalty"),
        "passed",
        message(
            "Ratios are Firth's, drawn a little towards 1 and finite even where nobody left; intervals and "
            "p-values come from the profile of the penalised likelihood."
        ),
    )


def _scale_part(state: State) -> float:
    """Return what standardising the columns takes off half the log determinant of the information."""
    return float(np.log(state.spread).sum()) if state.options.penalty == "firth" else 0.0


def _plain_value(state: State, found: cox_newton.Fit) -> float:
    """Return the log likelihood at the fit without an L2 penalty, with Firth's in the data's units."""
    if state.ridge is None:
        return found.value + _scale_part(state)
    return found.value + 0.5 * float(state.ridge @ found.beta**2)


def _limits(
    state: State, objective: cox_newton.Objective, found: cox_newton.Fit, coef: Floats
) -> pd.DataFrame:
    """Return per term the limits of the coefficient, its p-value and the method."""
    from scipy.special import chdtrc, ndtr, ndtri

    z = float(ndtri(0.5 + state.options.level / 2))
    error = np.sqrt(np.diag(state.covariance)) / state.spread
    method = message("robust Wald") if state.clusters is not None else "Wald"
    with np.errstate(invalid="ignore"):
        frame = pd.DataFrame(
            {
                "low": coef - z * error,
                "high": coef + z * error,
                "p": 2 * ndtr(-np.abs(coef / error)),
                "method": method,
            },
            index=list(state.design.terms),
        )
    firth = state.options.penalty == "firth"
    everyone = firth or state.options.intervals == "profile"
    name = message("profile penalised likelihood") if firth else message("profile likelihood")
    for j in range(len(coef)) if everyone else np.flatnonzero(found.running):
        low, high, without = cox_newton.profile_limits(objective, found, int(j), level=state.options.level)
        frame.loc[state.design.terms[j], ["low", "high"]] = np.array([low, high]) / state.spread[j]
        frame.loc[state.design.terms[j], "p"] = float(chdtrc(1, max(2 * (found.value - without), 0.0)))
        frame.loc[state.design.terms[j], "method"] = name
    return frame


@dataclass(frozen=True, repr=False)
class CoxFit(Result):
    """A fitted Cox model.

    Attributes:
        params_: Log hazard ratio per term; infinite where the data separate.
        covariance_: Their covariance (robust where clusters were named); NaN for separated terms.
        naive_standard_errors_: Standard errors from the information alone.
        log_likelihood_: Log partial likelihood at the fit, without any penalty.
            Under Firth's penalty it is the penalised one.
        null_log_likelihood_: The same with all coefficients 0.
        iterations_: Newton steps taken.
        limits_: Per term ``low``, ``high`` (of the coefficient), ``p`` and the interval's method.
        state: Internals that predictions and tests use.
    """

    title: ClassVar[str] = "Cox model"

    params_: pd.Series[float]
    covariance_: pd.DataFrame
    naive_standard_errors_: pd.Series[float]
    log_likelihood_: float
    null_log_likelihood_: float
    iterations_: int
    limits_: pd.DataFrame
    state: State

    @property
    def standard_errors_(self) -> pd.Series[float]:
        """Standard error per term, robust where clusters were named; NaN for separated terms."""
        return pd.Series(
            np.sqrt(np.diag(self.covariance_.to_numpy())), index=self.params_.index, name="se(coef)"
        )

    @property
    def separated_(self) -> list[str]:
        """Terms without a finite estimate; the test of proportional hazards needs none."""
        return [t for t, r in zip(self.params_.index, self.state.running, strict=True) if r]

    @property
    def summary(self) -> pd.DataFrame:
        """Coefficients and hazard ratios per term, in lifelines' columns."""
        level = percent(self.state.options.level, digits=0)
        frame = pd.DataFrame(
            {
                "coef": self.params_,
                "exp(coef)": np.exp(self.params_),
                "se(coef)": self.standard_errors_,
                f"coef lower {level}": self.limits_["low"].to_numpy(),
                f"coef upper {level}": self.limits_["high"].to_numpy(),
                f"exp(coef) lower {level}": np.exp(self.limits_["low"].to_numpy()),
                f"exp(coef) upper {level}": np.exp(self.limits_["high"].to_numpy()),
                "z": (self.params_ / self.standard_errors_).replace([np.inf, -np.inf], np.nan),
                "p": self.limits_["p"].to_numpy(),
                "interval": self.limits_["method"].to_numpy(),
            }
        )
        frame.index.name = "covariate"
        return frame

    @property
    def baseline_cumulative_hazard_(self) -> pd.DataFrame:
        """Cumulative baseline hazard, all covariates at 0: ``stratum, time, hazard``."""
        state = self.state
        steps = core.hazard_steps(state.at)
        at_zero = math.exp(-float(np.where(state.running, 0, state.at.beta) @ (state.mean / state.spread)))
        frame = pd.DataFrame(
            {
                "stratum": [self._stratum_label(int(s)) for s in state.events.stratum],
                "time": state.events.times,
                "step": steps.hazard * at_zero,
            }
        )
        frame["hazard"] = frame.groupby(state.events.stratum)["step"].cumsum()
        return frame.drop(columns="step")

    def _stratum_label(self, code: int) -> Any:
        return self.state.strata_labels[code] if self.state.strata_labels else "all"

    def _rows(self) -> Iterable[Row]:
        n = self.state.data.n_customers
        for term in self.params_.index:
            limits = self.limits_.loc[term]
            yield Row(
                "hazard ratio",
                Estimate(
                    float(np.exp(self.params_[term])),
                    float(np.exp(limits["low"])),
                    float(np.exp(limits["high"])),
                    self.state.options.level,
                    message(
                        "Cox ({ties} ties), {method}", ties=self.state.options.ties, method=limits["method"]
                    ),
                    n,
                    p_value=float(limits["p"]),
                ),
                group=term_words(self.state.design, str(term)),
                estimand=message("ratio of leaving rates, other covariates equal"),
            )

    def _verdict(self) -> str:
        return cox_verdict(self.state, self.params_, self.limits_, self.checks)

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
            df: One row per customer with the model's covariates (and strata columns).
            times: Days on the customers' clocks.
            alive_at: Day on which each is known to be still there (one number, or one per row);
                survival is conditional on it, and 1 up to it.
            level: Confidence level; the model's by default.
            interval: Kind of interval, as for :class:`KaplanMeier`.

        Returns:
            One row per customer and time: ``row`` (its place in ``df``'s index), ``time,
            estimate, low, high, reason``. Beyond the last day observed the estimate is NaN and
            ``reason`` says so. The interval is NaN too where a separated term is involved.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` or a time is negative.
        """
        return predict_survival(
            self.state,
            df,
            times=times,
            alive_at=alive_at,
            level=self.state.options.level if level is None else check_level(level),
            interval=interval,
        )

    def expected_remaining(
        self, df: pd.DataFrame, *, alive_at: ArrayLike = 0, horizon: float, level: float | None = None
    ) -> pd.DataFrame:
        """Return how long customers are expected to stay yet, counting ``horizon`` days ahead at most.

        Args:
            df: One row per customer with the model's covariates (and strata columns).
            alive_at: Day on which each is known to be still there (one number, or one per row).
            horizon: Days ahead that count; nobody can stay longer than this.
            level: Confidence level; the model's by default.

        Returns:
            One row per customer: ``row, alive_at, horizon, estimate, low, high, reason``. The
            interval comes from the delta method. Where ``alive_at + horizon`` is beyond the last
            day observed the estimate is NaN and ``reason`` says so.

        Raises:
            ContractError: When a covariate is missing, has gaps or unknown levels.
            ArgumentError: When ``alive_at`` is negative or ``horizon`` not above 0.
        """
        return expected_remaining(
            self.state,
            df,
            alive_at=alive_at,
            horizon=horizon,
            level=self.state.options.level if level is None else check_level(level),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the hazard ratios with their intervals."""
        from loyalty_research.plots.survival import forest

        frame = pd.DataFrame(
            {
                "term": [term_words(self.state.design, str(t)) for t in self.params_.index],
                "estimate": np.exp(self.params_.to_numpy()),
                "low": np.exp(self.limits_["low"].to_numpy()),
                "high": np.exp(self.limits_["high"].to_numpy()),
            }
        )
        return forest(
            frame, ax=ax, label=message("Hazard ratio: below 1 stays longer, above 1 leaves sooner")
        )
