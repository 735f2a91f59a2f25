"""How the models of repeat buying are fitted, with or without covariates, and what a fit keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from loyalty_research.clv._covariates import Design, design, objective, row_parameters
from loyalty_research.clv._discount import PERIODS
from loyalty_research.clv._fitted import FittedModel
from loyalty_research.clv._frames import check_weights, count_rows, fingerprint, histories_of, unit_of
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._core import Core, Parameters

    Array = NDArray[Any]

__all__ = ["TransactionFit"]

_FAR = 5.0  # days for weeks makes times seven times as long


class TransactionFit(FittedModel):
    """Fits of the models that read frequency, recency and T.

    Args:
        penalizer: Strength of a penalty on the squared log parameters, with time in units of the
            mean T: a log-normal prior around 1 with standard deviation ``1/sqrt(2 penalizer)``.
            0 gives maximum likelihood.

    Attributes:
        unit_: Time unit of the data, ``"D"``, ``"W"`` or None when it was not declared.
        mean_alive_: Mean P(alive) of the customers fitted.
        one_time_: Customers fitted without a repeat purchase.
        mean_observed_: Mean time observed of the customers fitted.
        design_: How the covariates are coded; None without covariates.
        yearly_: With covariates, mean expected repeat purchases in a year over the customers fitted.
    """

    core: ClassVar[Core]
    units: ClassVar[tuple[str, ...]] = ("D", "W")
    unit_: str | None
    mean_alive_: float
    one_time_: float
    mean_observed_: float | None
    design_: Design | None
    yearly_: float | None

    def fit(
        self,
        df: pd.DataFrame,
        *,
        weights: str | ArrayLike | None = None,
        unit: str | None = None,
        purchase_covariates: Sequence[str] = (),
        dropout_covariates: Sequence[str] = (),
    ) -> Self:
        """Fit by maximum likelihood.

        Equal rows are counted once, time is scaled by its mean, and Newton's method with the
        exact Hessian climbs in log parameters until the Newton decrement says it has arrived.

        Covariates are traits of a customer that do not change, such as the channel of the first
        purchase. A coefficient g of a purchase covariate makes customers buy exp(g) times as often
        for each unit of it; a positive coefficient of a dropout covariate makes them leave sooner.
        Columns of numbers enter as they are; any other column is categorical, one coefficient for
        each level but the first (in sorted order, or the order of the category).

        Args:
            df: One row per customer: ``frequency`` (repeat purchase days), ``recency`` (first to
                last purchase) and ``T`` (first purchase to the end of observation), both in one
                time unit; as ``summaries.purchases`` returns it.
            weights: A column, or one number per row: how many customers a row stands for.
            unit: ``"D"`` or ``"W"``; by default what ``df.attrs["unit"]`` declares. It is needed
                only where an annual rate is turned into the data's unit.
            purchase_covariates: Columns that act on how often customers buy.
            dropout_covariates: Columns that act on how soon they leave.

        Returns:
            The fitted model.

        Raises:
            ContractError: When a row cannot be a purchase history, nobody ever bought again, or a
                covariate is missing, has gaps, does not vary or repeats others.
            ArgumentError: When ``unit`` is unknown or contradicts what the summary declares.
            ConvergenceError: When the likelihood has no inner maximum that can be reached.
        """
        self._forget()
        if unit is not None and unit not in self.units:
            raise ArgumentError(f"unit must be one of {', '.join(map(repr, self.units))}; got {unit!r}")
        rows: Sequence[Array] = self._histories(df, unit)
        weight = check_weights(weights, df)
        _refuse_silence(rows)
        columns: list[Array] = []
        self.design_ = None
        if len(purchase_covariates) or len(dropout_covariates):
            self.design_, columns = design(
                df,
                purchase=purchase_covariates,
                dropout=dropout_covariates,
                loads_purchase=self._loads_purchase(),
                loads_dropout=self._loads_dropout(),
                histories=rows,
                weight=weight,
            )
            self.names = type(self).names + self.design_.names
        self._observe(rows, weight, unit or unit_of(df))
        if self.design_ is None:
            self._fit_plain(rows, weight)
        else:
            self._fit_covariates(rows, columns, weight, self.design_)
        return self

    def _histories(self, df: pd.DataFrame, unit: str | None) -> tuple[Array, Array, Array]:
        return histories_of(df, unit=unit)

    def _loads_purchase(self) -> Sequence[float]:
        raise ArgumentError(f"{type(self).__name__} takes no covariates")

    def _loads_dropout(self) -> Sequence[Sequence[float]]:
        raise ArgumentError(f"{type(self).__name__} takes no covariates")

    def _observe(self, rows: Sequence[Array], weight: Array | None, unit: str | None) -> None:
        x = rows[0]
        self.unit_ = unit
        self.n_customers_ = float(len(x) if weight is None else weight.sum())
        self.mean_observed_ = float(np.average(rows[2], weights=weight))
        self.one_time_ = float((x == 0).sum() if weight is None else weight[x == 0].sum())

    def _scaled(self, rows: Sequence[Array], counts: Array) -> tuple[list[Array], Array, float]:
        """Return rows with time in units of mean T, the parameters' units, and what that adds."""
        x, recency, T = rows
        units = np.ones(len(type(self).names))
        if not self.core.times:
            return [x, recency, T], units, 0.0
        scale = float(counts @ T / counts.sum())
        units[list(self.core.times)] = scale
        return [x, recency / scale, T / scale], units, -math.log(scale) * float(counts @ x)

    def _fit_plain(self, rows: Sequence[Array], weight: Array | None) -> None:
        rows, counts = count_rows(weight, *rows)
        self.n_rows_, self.fingerprint_ = len(counts), fingerprint(*rows, counts)
        scaled, units, shift = self._scaled(rows, counts)
        self._climb(
            self.core.objective(scaled[0], scaled[1], scaled[2], counts),
            self.core.start(scaled[0], scaled[2], counts),
            units=units,
            shift=shift,
        )
        alive = self.core.alive(self._natural, *rows)
        self.mean_alive_ = float(counts @ alive / counts.sum())
        self.yearly_ = None

    def _fit_covariates(
        self, rows: Sequence[Array], columns: Sequence[Array], weight: Array | None, found: Design
    ) -> None:
        plain, counts = count_rows(weight, *rows)
        self.fingerprint_ = fingerprint(*plain, counts)
        rows, counts = count_rows(weight, *rows, *columns)
        self.n_rows_ = len(counts)
        z = found.per_coefficient(rows[3:])
        x, recency, T = rows[:3]
        scaled, units, shift = self._scaled((x, recency, T), counts)
        own, more = len(units), len(z)
        standard = [(c - m) / s for c, m, s in zip(z, found.means, found.scales, strict=True)]
        best = self._climb_log(
            objective(self.core, scaled, counts, found.loadings, standard),
            np.concatenate([np.log(self.core.start(scaled[0], scaled[2], counts)), np.zeros(more)]),
        )
        # back from standardised covariates and scaled time
        back = np.eye(own + more)
        back[own:, own:] /= found.scales
        back[:own, own:] = -found.loadings * found.means / found.scales
        theta = back @ best.theta + np.concatenate([np.log(units), np.zeros(more)])
        covariance = back @ np.linalg.inv(best.information) @ back.T
        self._keep(theta, covariance, self._plain(best) + shift)
        parameters = row_parameters(self._natural, found.loadings, z)
        share = counts / counts.sum()
        self.mean_alive_ = float(share @ self.core.alive(parameters, x, recency, T))
        self.yearly_ = None
        if self.unit_ in PERIODS:
            year = np.full(len(share), self._year)
            self.yearly_ = float(share @ self.core.expected(parameters, year))

    @property
    def _natural(self) -> Array:
        """Exponentials of ``log_params``: the model's own parameters, then exp(coefficient), shape (k,)."""
        return np.exp(self.log_params)

    def histories(self, df: pd.DataFrame) -> tuple[Array, ...]:
        """Return the checked columns of a summary that predictions rest on, each of shape (n,).

        Args:
            df: frequency, recency, T in the model's unit, and the covariates fitted.

        Returns:
            frequency, recency, T, then the coded columns of covariates.

        Raises:
            ContractError: When a row cannot be a purchase history, or a covariate is missing, has
                gaps, or has a level the model was not fitted on.
        """
        self.require_fitted()
        rows = self._histories(df, self.unit_)
        if unit_of(df) is None:
            self._refuse_other_unit(rows[2])
        return (*rows, *(self.design_.encode(df) if self.design_ else ()))

    def _refuse_other_unit(self, T: Array) -> None:
        """Raise when times that declare no unit look like those of another one."""
        ratio = float(T.mean()) / self.mean_observed_ if self.mean_observed_ else 1.0
        weeks = self.unit_ == "D" and ratio < 1 / _FAR and bool((np.rint(T) != T).any())
        if ratio > _FAR or weeks:
            raise ArgumentError(
                f"T of these {len(T):,} customers is {ratio:.2g} times as long on average as that of the customers "
                f"fitted, and the table declares no unit: if days and weeks are mixed, make the summary with "
                f"summaries.purchases(..., unit={self.unit_ or 'D'!r}); if not, say so with "
                f"df.attrs['unit'] = {self.unit_ or 'D'!r}"
            )

    def row_parameters(self, parameters: Array, columns: Sequence[Array]) -> Parameters:
        """Return the model's own parameters for each row.

        Args:
            parameters: ``exp(log_params)`` or other values of it, shape (k,).
            columns: Coded columns of covariates, as :meth:`histories` returns them after T.

        Returns:
            ``parameters`` itself without covariates; otherwise one number or array of shape (n,) per
            parameter.
        """
        if self.design_ is None:
            return parameters
        return row_parameters(parameters, self.design_.loadings, self.design_.per_coefficient(columns))

    @property
    def _year(self) -> float:
        return PERIODS[str(self.unit_)]

    def _in_a_year(self) -> float:
        """Return the repeat purchases of a new customer in a year, without covariates."""
        return float(self.core.expected(self._natural, np.array([self._year]))[0])

    def _sentence(self) -> str:
        if self.unit_ in PERIODS:
            repeat = self._in_a_year() if self.yearly_ is None else self.yearly_
            return message(
                "A new customer is expected to buy {repeat} more times within a year. Of {n} customers, "
                "{alive} are expected to be still buying.",
                repeat=number(repeat),
                n=f"{round(self.n_customers_):,}",
                alive=percent(self.mean_alive_),
            )
        return message(
            "Of {n} customers, {alive} are expected to be still buying.",
            n=f"{round(self.n_customers_):,}",
            alive=percent(self.mean_alive_),
        )

    def _extra(self) -> dict[str, Any]:
        extra: dict[str, Any] = {
            "unit": self.unit_,
            "mean_alive": self.mean_alive_,
            "one_time": self.one_time_,
        }
        if self.design_:
            extra |= {"covariates": self.design_.to_dict(), "yearly": self.yearly_}
        return extra

    def _restore(self, extra: dict[str, Any]) -> None:
        self.unit_ = extra["unit"]
        self.mean_alive_, self.one_time_ = float(extra["mean_alive"]), float(extra["one_time"])
        self.mean_observed_ = extra.get("mean_observed")
        self.design_, self.yearly_ = None, extra.get("yearly")
        if "covariates" in extra:
            self.design_ = Design.from_dict(extra["covariates"])
            self.names = type(self).names + self.design_.names


def _refuse_silence(rows: Sequence[Array]) -> None:
    """Raise when no customer was observed for any time, or none bought again."""
    x, _, T = rows
    if not (T > 0).any():
        raise ContractError(
            f"customer summary, column T: 0 for all {len(T):,} customers; observe them for some time "
            "after their first purchase"
        )
    if not (x > 0).any():
        raise ContractError(
            f"customer summary, column frequency: 0 for all {len(x):,} customers; without a repeat "
            "purchase there is nothing to learn about buying again"
        )
