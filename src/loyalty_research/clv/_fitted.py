"""What every fitted likelihood model of this package carries, and how it is saved."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from loyalty_research.clv._newton import in_logs, less_penalty, maximise
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.provenance import versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.clv._core import Derivatives
    from loyalty_research.clv._newton import Optimum

    Array = NDArray[Any]

__all__ = ["DELTA_LOG", "FitResult", "FittedModel", "check_penalizer", "delta_limits", "log_interval"]

DELTA_LOG = "delta method, log scale"
_FORMAT = 1
_LOOSE = 1.0  # standard error of a log parameter from which its interval spans a factor of fifty


def log_interval(value: float, error: float, level: float) -> tuple[float, float]:
    """Return the Wald interval of a positive quantity, made on the log scale.

    Examples:
        >>> low, high = log_interval(100.0, 10.0, 0.95)
        >>> round(low, 1), round(high, 1)
        (82.2, 121.7)
    """
    from scipy.special import ndtri

    if not (value > 0 and math.isfinite(error)):
        return math.nan, math.nan
    reach = float(ndtri((1 + level) / 2)) * error / value
    return value * math.exp(-reach), value * math.exp(min(reach, 700.0))


def delta_limits(values: Array, slopes: Array, covariance: Array, level: float) -> tuple[Array, Array, Array]:
    """Return positive quantities with their limits by the delta method on the log scale.

    Args:
        values: Quantities, shape (n,).
        slopes: Their derivatives in the log parameters, shape (n, k).
        covariance: Of the log parameters, shape (k, k).
        level: Coverage the limits aim at.

    Returns:
        Values, lower and upper limits, each of shape (n,); a quantity of 0 has the limits 0.
    """
    from scipy.special import ndtri

    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, covariance, slopes), 0.0))
    ratio = np.divide(errors, values, out=np.zeros_like(values), where=values > 0)
    reach = float(ndtri((1 + check_level(level)) / 2)) * ratio
    return values, values * np.exp(-reach), values * np.exp(np.minimum(reach, 700.0))


def _coefficient(value: float, error: float, level: float, n: int) -> Estimate:
    """Return a coefficient with its Wald interval and the p-value of no effect."""
    from scipy.special import ndtr, ndtri

    reach = float(ndtri((1 + level) / 2)) * error
    p_value = 2 * float(ndtr(-abs(value) / error)) if error > 0 else math.nan
    return Estimate(value, value - reach, value + reach, level, "Wald", n, p_value=p_value)


def check_penalizer(penalizer: float) -> float:
    """Return the strength of the penalty, or raise.

    Raises:
        ArgumentError: When it is negative or not finite.
    """
    if not (math.isfinite(penalizer) and penalizer >= 0):
        raise ArgumentError(f"penalizer must be 0 or more, such as 0.01; got {penalizer!r}")
    return float(penalizer)


@dataclass(frozen=True, repr=False, eq=False)
class FitResult(Result):
    """Parameters of a fitted model with their intervals, its checks and its verdict.

    Attributes:
        estimates: One row per parameter.
        sentence: The verdict.
    """

    title: ClassVar[str] = "Fitted parameters"

    estimates: tuple[Row, ...]
    sentence: str

    def _rows(self) -> Iterable[Row]:
        return self.estimates

    def _verdict(self) -> str:
        return self.sentence


class FittedModel:
    """Base of the models of this package: maximum likelihood in log parameters.

    Attributes:
        params_: Estimates in the data's units, by name.
        standard_errors_: Their standard errors, by name.
        covariance_: Their covariance matrix, from the exact Hessian.
        log_likelihood_: Unpenalised log-likelihood in the data's units.
        converged_: True; a fit that does not converge raises instead.
        iterations_: Newton steps taken.
        route_: ``"newton"``, or ``"bfgs"`` when the fallback was needed.
        n_customers_: Customers behind the fit (the sum of weights).
        n_rows_: Distinct rows the likelihood was evaluated on.
        fingerprint_: Content hash of the data fitted.
        AIC_: Akaike's information criterion.
        BIC_: Bayesian (Schwarz) information criterion, with n the number of customers.
    """

    title: ClassVar[str] = ""
    names: tuple[str, ...] = ()

    params_: pd.Series[float]
    standard_errors_: pd.Series[float]
    covariance_: pd.DataFrame
    log_likelihood_: float
    converged_: bool
    iterations_: int
    route_: str
    n_customers_: float
    n_rows_: int
    fingerprint_: str
    AIC_: float
    BIC_: float

    def __init__(self, *, penalizer: float = 0.0) -> None:
        self.penalizer = check_penalizer(penalizer)

    def _climb(self, derivatives: Derivatives, start: Array, *, units: Array, shift: float) -> None:
        """Maximise a log-likelihood given in scaled units and keep the answer in the data's.

        Args:
            derivatives: Natural scaled parameters to value, gradient, Hessian.
            start: Natural scaled parameters to start from.
            units: Factor from scaled to natural parameters, shape (k,).
            shift: What the change of units adds to the log-likelihood.
        """
        best = self._climb_log(in_logs(derivatives), np.log(start))
        covariance = np.linalg.inv(best.information)
        self._keep(best.theta + np.log(units), covariance, self._plain(best) + shift)

    def _climb_log(self, objective: Derivatives, start: Array) -> Optimum:
        """Maximise a function of log parameters less the penalty, and note how it went."""
        objective = less_penalty(objective, self.penalizer)
        best = maximise(objective, start, names=self.names, model=type(self).__name__)
        self.iterations_, self.route_ = best.iterations, best.route
        return best

    def _plain(self, best: Optimum) -> float:
        """Return the log-likelihood at an optimum without the penalty."""
        return best.value + self.penalizer * float(best.theta @ best.theta)

    def _forget(self) -> None:
        """Drop an earlier fit, so that a failed one leaves no answer."""
        vars(self).pop("params_", None)
        vars(self).pop("names", None)

    @property
    def _own(self) -> int:
        """How many parameters are the model's own, and positive; coefficients of covariates follow."""
        return len(type(self).names)

    def _keep(self, theta: Array, log_covariance: Array, log_likelihood: float) -> None:
        """Store log parameters in the data's units and everything that follows from them.

        Args:
            theta: Logs of the model's own parameters, then coefficients of covariates.
            log_covariance: Covariance of ``theta``.
            log_likelihood: Unpenalised, in the data's units.
        """
        values = np.concatenate([np.exp(theta[: self._own]), theta[self._own :]])
        slopes = np.concatenate([values[: self._own], np.ones(len(theta) - self._own)])
        covariance = np.outer(slopes, slopes) * log_covariance
        labels = list(self.names)
        self._theta, self._log_covariance = theta, log_covariance
        self.params_ = pd.Series(values, index=labels, name="params")
        self.covariance_ = pd.DataFrame(covariance, index=labels, columns=labels)
        self.standard_errors_ = pd.Series(np.sqrt(np.diag(covariance)), index=labels, name="standard_error")
        self.log_likelihood_ = float(log_likelihood)
        self.converged_ = True
        self.AIC_ = 2 * len(labels) - 2 * self.log_likelihood_
        self.BIC_ = len(labels) * math.log(self.n_customers_) - 2 * self.log_likelihood_

    def require_fitted(self) -> Self:
        """Return the model when it is fitted, or raise.

        Raises:
            ArgumentError: When ``fit`` has not been called.
        """
        if not hasattr(self, "params_"):
            raise ArgumentError(f"this {type(self).__name__} is not fitted yet: call .fit(df) first")
        return self

    @property
    def log_params(self) -> Array:
        """Log parameters in the data's units, then coefficients of covariates, shape (k,)."""
        self.require_fitted()
        return self._theta

    @property
    def log_covariance(self) -> Array:
        """Covariance matrix of ``log_params``, shape (k, k)."""
        self.require_fitted()
        return self._log_covariance

    @property
    def summary(self) -> pd.DataFrame:
        """Parameters with standard errors and 95% Wald intervals.

        Intervals of parameters, which are positive, are made on the log scale; those of coefficients
        of covariates are not, and come with a p-value for no effect.
        """
        frame = self.result_.to_frame().set_index("metric")
        frame.index.name = "parameter"
        frame["standard_error"] = self.standard_errors_
        columns = ["estimate", "standard_error", "low", "high", "level", "method", "n"]
        return frame[columns + ["p_value"] * (len(frame) > self._own)]

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was looked at, with its outcome."""
        return self.result_.checks

    @property
    def result_(self) -> FitResult:
        """The fit as a result: parameters, checks, verdict."""
        self.require_fitted()
        level, rows = 0.95, []
        for place, name in enumerate(self.names):
            value, error = float(self.params_[name]), float(self.standard_errors_[name])
            n = round(self.n_customers_)
            if place < self._own:
                low, high = log_interval(value, error, level)
                estimate = Estimate(value, low, high, level, "Wald, log scale", n)
                rows.append(Row(name, estimate, estimand=message("model parameter")))
            else:
                estimate = _coefficient(value, error, level, n)
                rows.append(Row(name, estimate, estimand=message("coefficient of a covariate")))
        found = (self._convergence(), self._determination(), *self._checks())
        return FitResult(tuple(rows), self._sentence(), checks=found)

    def _convergence(self) -> Check:
        detail = messages(
            "maximum reached in {count} Newton step",
            "maximum reached in {count} Newton steps",
            self.iterations_,
        )
        return Check(message("Convergence of {model}", model=self.title), "passed", detail)

    def _determination(self) -> Check:
        errors = np.sqrt(np.diag(self._log_covariance))
        loose = [n for n, e in zip(self.names[: self._own], errors[: self._own], strict=True) if e > _LOOSE]
        name = message("Parameters of {model} determined", model=self.title)
        if not loose:
            return Check(name, "passed", message("every parameter has a usable interval"))
        detail = message(
            "{names}: the data say little, and the interval spans orders of magnitude; "
            "read predictions with their intervals, not the parameters",
            names=", ".join(loose),
        )
        return Check(name, "warning", detail)

    def _checks(self) -> tuple[Check, ...]:
        return ()

    def _sentence(self) -> str:
        raise TypeError(f"{type(self).__name__} defines no verdict")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per parameter with the shared result columns."""
        return self.result_.to_frame()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dictionary of parameters, checks and verdict."""
        return self.result_.to_dict()

    def verdict(self) -> str:
        """Return what the fit says, in one or two plain sentences."""
        return self.result_.verdict()

    def __repr__(self) -> str:
        if not hasattr(self, "params_"):
            return f"{type(self).__name__}(penalizer={self.penalizer:g})"
        return f"{type(self).__name__} ({self.title}), fitted\n{self.result_!r}"

    def _repr_html_(self) -> str | None:
        return self.result_._repr_html_() if hasattr(self, "params_") else None

    def _extra(self) -> dict[str, Any]:
        """Fitted attributes of the subclass that are saved as well; all JSON-safe."""
        return {}

    def _restore(self, extra: dict[str, Any]) -> None:
        """Take back what ``_extra`` gave."""

    def to_json(self) -> str:
        """Return the fitted model as JSON: parameters, covariance, data fingerprint, versions.

        No customer's data are in it.
        """
        self.require_fitted()
        return json.dumps(
            {
                "format": _FORMAT,
                "model": type(self).__name__,
                "penalizer": self.penalizer,
                "params": {name: float(value) for name, value in self.params_.items()},
                "log_covariance": self._log_covariance.tolist(),
                "log_likelihood": self.log_likelihood_,
                "iterations": self.iterations_,
                "route": self.route_,
                "n_customers": self.n_customers_,
                "n_rows": self.n_rows_,
                "fingerprint": self.fingerprint_,
                "extra": self._extra(),
                "versions": versions(),
            },
            allow_nan=False,
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the fitted model that :meth:`to_json` wrote.

        Raises:
            ContractError: When the text is no such model, is of another class, or was written in a
                format whose numbers mean something else.
        """
        try:
            saved = json.loads(text)
        except json.JSONDecodeError as cause:
            raise ContractError(f"the saved model is not JSON: {cause}") from cause
        if not isinstance(saved, dict) or "format" not in saved:
            raise ContractError("the saved model has no field 'format'; it was not written by to_json()")
        if saved["format"] != _FORMAT:
            raise ContractError(
                f"the saved model has format {saved['format']!r} and this version reads {_FORMAT}: "
                "its numbers may mean something else; fit the model again"
            )
        if saved.get("model") != cls.__name__:
            raise ContractError(f"the saved model is a {saved.get('model')}; load it with that class")
        wanted = {"params", "log_covariance", "log_likelihood", "n_customers", "extra", "penalizer"}
        missing = sorted(wanted - set(saved))
        model = cls(penalizer=saved.get("penalizer", 0.0))
        if not missing:
            model._restore(saved["extra"])
        if missing or sorted(saved["params"]) != sorted(model.names):
            raise ContractError(
                f"the saved {cls.__name__} is incomplete (missing {', '.join(missing) or 'parameters'}); save it again"
            )
        model.n_customers_, model.n_rows_ = float(saved["n_customers"]), int(saved["n_rows"])
        model.iterations_, model.route_ = int(saved["iterations"]), str(saved["route"])
        model.fingerprint_ = str(saved["fingerprint"])
        values = np.array([saved["params"][name] for name in model.names], dtype=float)
        theta = np.concatenate([np.log(values[: model._own]), values[model._own :]])
        model._keep(theta, np.array(saved["log_covariance"], dtype=float), saved["log_likelihood"])
        return model
