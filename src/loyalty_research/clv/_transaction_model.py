"""What every fitted model of repeat buying predicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.clv._core import jacobian
from loyalty_research.clv._covariates import row_parameters
from loyalty_research.clv._discount import Discounting, discounting
from loyalty_research.clv._fitted import DELTA_LOG, delta_limits
from loyalty_research.clv._frames import group_rows
from loyalty_research.clv._transaction_fit import TransactionFit
from loyalty_research.errors import ArgumentError, listed
from loyalty_research.estimates import Estimate
from loyalty_research.i18n import message

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._core import Parameters
    from loyalty_research.clv._discount import Convention

    Array = NDArray[Any]

__all__ = ["TransactionModel"]


def _times(t: ArrayLike, name: str = "t") -> Array:
    values = np.asarray(t, dtype=float)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError(f"{name} must hold finite lengths of time of 0 or more, in the model's unit")
    return values


class TransactionModel(TransactionFit):
    """Base of the models that read frequency, recency and T.

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

    def _new_customers(
        self, covariates: pd.DataFrame | None, *arguments: Array
    ) -> tuple[Parameters, list[Array]]:
        """Return parameters and arguments of new customers, one per row where covariates are given."""
        found = self.design_
        if covariates is None:
            if found is not None:
                raise ArgumentError(
                    "this model has covariates, so new customers differ: pass covariates=, a frame with "
                    f"{listed(found.columns)}"
                )
            return self._natural, [part.ravel() for part in np.broadcast_arrays(*arguments)]
        try:
            parts = [np.broadcast_to(part, (len(covariates),)) for part in arguments]
        except ValueError as cause:
            raise ArgumentError(
                f"with covariates= give one number, or one for each of its {len(covariates):,} rows"
            ) from cause
        return self.row_parameters(self._natural, found.encode(covariates) if found else []), parts

    def expected_purchases(self, t: ArrayLike, *, covariates: pd.DataFrame | None = None) -> Any:
        """Return E[X(t)], the repeat purchases of a new customer in time t after the first one.

        Args:
            t: One length of time or an array of them, in the model's unit.
            covariates: One row per new customer, where the model has covariates; ``t`` is then one
                number or one per row.

        Returns:
            A float, or an array of the shape of ``t``; with ``covariates`` an array with one number
            per row of it.

        Raises:
            ArgumentError: When a length is negative or not finite, the model is not fitted, or it
                has covariates and none are given.
            ContractError: When a covariate is missing, has gaps, or has an unknown level.
        """
        times = self._times(t)
        parameters, (each,) = self._new_customers(covariates, times)
        out = self.core.expected(parameters, each)
        if covariates is not None:
            return out
        return float(out[0]) if times.ndim == 0 else out.reshape(times.shape)

    def purchase_count_pmf(
        self, n: ArrayLike, t: ArrayLike, *, covariates: pd.DataFrame | None = None
    ) -> Any:
        """Return P(X(t) = n), the chance that a new customer makes n repeat purchases in time t.

        Args:
            n: One count or an array of them.
            t: One length of time or an array of them, in the model's unit; broadcast with ``n``.
            covariates: One row per new customer, where the model has covariates; ``n`` and ``t`` are
                then one number or one per row.

        Returns:
            A float, or an array of the broadcast shape; with ``covariates`` an array with one number
            per row of it.

        Raises:
            ArgumentError: When a count is no whole number of 0 or more, a length is negative, or the
                model has covariates and none are given.
        """
        counts = np.asarray(n, dtype=float)
        if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.rint(counts)).all()):
            raise ArgumentError("n must hold whole numbers of purchases of 0 or more")
        times = self._times(t)
        parameters, (each, lengths) = self._new_customers(covariates, counts, times)
        out = self.core.pmf(parameters, each, lengths)
        if covariates is not None:
            return out
        shape = np.broadcast_shapes(counts.shape, times.shape)
        return float(out[0]) if not shape else out.reshape(shape)

    def _times(self, t: ArrayLike) -> Array:
        self.require_fitted()
        return _times(t)

    def _each(self, df: pd.DataFrame) -> tuple[Parameters, tuple[Array, Array, Array]]:
        """Return the parameters and the histories of the rows of a summary."""
        x, recency, T, *columns = self.histories(df)
        return self.row_parameters(self._natural, columns), (x, recency, T)

    def probability_alive(self, df: pd.DataFrame) -> pd.Series[float]:
        """Return each customer's probability of still being a customer at T.

        Args:
            df: frequency, recency, T in the model's unit.

        Returns:
            Fractions on ``df.index``.

        Raises:
            ContractError: When a row cannot be a purchase history.
        """
        parameters, rows = self._each(df)
        alive = self.core.alive(parameters, *rows)
        return pd.Series(alive, index=df.index, name="probability_alive")

    def conditional_expected_purchases(self, t: float, df: pd.DataFrame) -> pd.Series[float]:
        """Return the purchases each customer is expected to make in (T, T + t].

        Args:
            t: Length of time ahead, in the model's unit.
            df: frequency, recency, T in the model's unit.

        Returns:
            Expected counts on ``df.index``.

        Raises:
            ContractError: When a row cannot be a purchase history.
            ArgumentError: When ``t`` is negative or not finite.
        """
        panels = Discounting((0.0, float(self._times(t))), np.ones(1), 0.0)
        parameters, rows = self._each(df)
        out = self.core.conditional(parameters, *rows, panels)
        return pd.Series(out, index=df.index, name="conditional_expected_purchases")

    def prediction_intervals(self, t: float, df: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
        """Return each customer's expected purchases in (T, T + t] with limits.

        The limits cover the uncertainty of the fitted parameters (delta method, log scale). What a
        customer will happen to do varies far more: it is often nothing.

        Args:
            t: Length of time ahead, in the model's unit.
            df: frequency, recency, T in the model's unit, and the covariates fitted.
            level: Coverage the limits aim at.

        Returns:
            Columns expected, low, high on ``df.index``.

        Raises:
            ContractError: When a row cannot be a purchase history.
            ArgumentError: When ``t`` is negative or not finite.
        """
        values, low, high = delta_limits(*self._ahead(t, df), self.log_covariance, level)
        return pd.DataFrame({"expected": values, "low": low, "high": high}, index=df.index)

    def total_expected_purchases(self, t: float, df: pd.DataFrame, *, level: float = 0.95) -> Estimate:
        """Return the purchases all customers together are expected to make in (T, T + t].

        Args:
            t: Length of time ahead, in the model's unit.
            df: frequency, recency, T in the model's unit, and the covariates fitted.
            level: Coverage the interval aims at; it covers the uncertainty of the fitted parameters
                (delta method, log scale), not chance and not a change in behaviour.

        Raises:
            ContractError: When a row cannot be a purchase history.
            ArgumentError: When ``t`` is negative or not finite.
        """
        values, slopes = self._ahead(t, df)
        total, low, high = (
            float(part[0])
            for part in delta_limits(
                values.sum(keepdims=True), slopes.sum(axis=0, keepdims=True), self.log_covariance, level
            )
        )
        return Estimate(total, low, high, level, DELTA_LOG, len(df))

    def _ahead(self, t: float, df: pd.DataFrame) -> tuple[Array, Array]:
        """Return expected purchases (n,) and their slopes in ``log_params`` (n, k)."""
        panels = Discounting((0.0, float(self._times(t))), np.ones(1), 0.0)
        rows = self.histories(df)
        first, where = group_rows(*rows)
        x, recency, T, *columns = (part[first] for part in rows)

        def ahead(parameters: Array) -> Array:
            own = self.row_parameters(parameters, columns)
            return self.core.conditional(own, x, recency, T, panels)

        return ahead(self._natural)[where], jacobian(ahead, self.log_params)[where]

    def discounted_expected_transactions(
        self,
        df: pd.DataFrame,
        *,
        annual_discount_rate: float,
        horizon: float | None = None,
        convention: Convention = "continuous",
        periods_per_year: int = 12,
    ) -> pd.Series[float]:
        """Return each customer's discounted expected purchases after T.

        Without a horizon this is the discounted expected residual transactions (DERT), the
        integral of exp(-v) CET(v/delta) over v, with delta = ln(1 + annual rate) / units in a
        year: 52 weeks (364 days, the literature's year) or 365.25 days.

        Args:
            df: frequency, recency, T in the model's unit.
            annual_discount_rate: Effective annual rate, a fraction of 0 or more.
            horizon: Length of time ahead in the model's unit; None for all the future.
            convention: ``"continuous"`` discounts each purchase at its own time;
                ``"end-of-period"`` at the end of its period.
            periods_per_year: Periods of the second convention, 12 for months.

        Returns:
            Discounted expected counts on ``df.index``.

        Raises:
            ContractError: When a row cannot be a purchase history.
            ArgumentError: When an option is out of range or the model's unit is not known.

        References:
            Fader, Hardie and Lee (2005), RFM and CLV, Journal of Marketing Research 42(4),
            equation 2, where the Pareto/NBD has a closed form; here any model, by quadrature.
        """
        self.require_fitted()
        panels = discounting(
            annual_discount_rate=annual_discount_rate,
            horizon=horizon,
            convention=convention,
            periods_per_year=periods_per_year,
            unit=self.unit_,
        )
        parameters, rows = self._each(df)
        out = self.core.conditional(parameters, *rows, panels)
        return pd.Series(out, index=df.index, name="discounted_expected_transactions")

    def activity(self, T: float, *, most: int = 15, steps: int = 60) -> pd.DataFrame:
        """Return P(alive) at T for each number of repeat purchases and time of the last one.

        With covariates this is for a customer at their means.

        Args:
            T: Time since the first purchase, in the model's unit.
            most: Largest number of repeat purchases.
            steps: Times of the last purchase, evenly spaced on (0, T].

        Returns:
            Index: repeat purchases 1 to ``most``; columns: recency.

        Raises:
            ArgumentError: When ``T`` is not a positive length or ``most`` is below 2.
        """
        self.require_fitted()
        if not (math.isfinite(T) and T > 0 and most >= 2 and steps >= 2):
            raise ArgumentError("activity needs T above 0, most of at least 2 and steps of at least 2")
        x, recency = np.arange(1.0, most + 1), np.linspace(T / steps, T, steps)
        grid = np.broadcast_arrays(x[:, None], recency[None, :], float(T))
        parameters: Parameters = self._natural
        if self.design_:
            parameters = row_parameters(self._natural, self.design_.loadings, self.design_.means)
        alive = self.core.alive(parameters, *(part.ravel() for part in grid))
        index = pd.Index(x.astype(int), name="frequency")
        return pd.DataFrame(
            alive.reshape(most, steps), index=index, columns=pd.Index(recency, name="recency")
        )

    def plot_activity(self, T: float, *, most: int = 15, ax: Axes | None = None) -> Axes:
        """Draw P(alive) at T by recency and frequency."""
        from loyalty_research.plots.clv import activity_map

        words = {
            "W": message("weeks"),
            "D": message("days"),
            "M": message("months"),
            "Q": message("quarters"),
            "Y": message("years"),
        }
        return activity_map(self.activity(T, most=most), ax=ax, unit=words.get(self.unit_ or "", ""))
