"""Models of repeat buying without a contract: who is still a customer, and how often they buy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from loyalty_research.clv import _beta_geometric, _pareto
from loyalty_research.clv._covariates import Design, design, objective, row_parameters
from loyalty_research.clv._discount import PERIODS, Discounting, discounting
from loyalty_research.clv._fitted import FittedModel
from loyalty_research.clv._frames import check_weights, count_rows, fingerprint, histories_of, unit_of
from loyalty_research.errors import ArgumentError, ContractError, listed
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._core import Core, Parameters
    from loyalty_research.clv._discount import Convention

    DropoutForm = Literal["odds", "both", "separate"]

    Array = NDArray[Any]

__all__ = ["BetaGeoNBD", "ModifiedBetaGeoNBD", "ParetoNBD", "TransactionModel"]

# what a dropout coefficient adds to log r, log alpha, log a and log b, one row for each set of them
_FORMS: dict[str, tuple[tuple[float, ...], ...]] = {
    "odds": ((0.0, 0.0, 1.0, 0.0),),
    "both": ((0.0, 0.0, 1.0, 1.0),),
    "separate": ((0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
}


def _times(t: ArrayLike, name: str = "t") -> Array:
    values = np.asarray(t, dtype=float)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError(f"{name} must hold finite lengths of time of 0 or more, in the model's unit")
    return values


class TransactionModel(FittedModel):
    """Base of the models that read frequency, recency and T.

    Args:
        penalizer: Strength of a penalty on the squared log parameters, with time in units of the
            mean T: a log-normal prior around 1 with standard deviation ``1/sqrt(2 penalizer)``.
            0 gives maximum likelihood.

    Attributes:
        unit_: Time unit of the data, ``"D"``, ``"W"`` or None when it was not declared.
        mean_alive_: Mean P(alive) of the customers fitted.
        one_time_: Customers fitted without a repeat purchase.
        design_: How the covariates are coded; None without covariates.
        yearly_: With covariates, mean expected repeat purchases in a year over the customers fitted.
    """

    core: ClassVar[Core]
    units: ClassVar[tuple[str, ...]] = ("D", "W")
    unit_: str | None
    mean_alive_: float
    one_time_: float
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
        return (*rows, *(self.design_.encode(df) if self.design_ else ()))

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

    @property
    def _year(self) -> float:
        return PERIODS[str(self.unit_)]

    def _sentence(self) -> str:
        if self.unit_ in PERIODS:
            repeat = self.expected_purchases(self._year) if self.yearly_ is None else self.yearly_
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


class _BetaGeometric(TransactionModel):
    """What BG/NBD and MBG/NBD share: how covariates act on the dropout probability.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.
        dropout_form: How a dropout covariate z moves p ~ Beta(a, b): ``"odds"`` multiplies a by
            exp(g z), so that the odds a/b of leaving after a purchase are multiplied; ``"both"``
            multiplies a and b alike, which leaves the mean of p as it is and moves only how much
            customers differ (the form of CLVTools); ``"separate"`` gives a and b a coefficient
            each.
    """

    def __init__(self, *, penalizer: float = 0.0, dropout_form: DropoutForm = "odds") -> None:
        super().__init__(penalizer=penalizer)
        if dropout_form not in _FORMS:
            raise ArgumentError(f"dropout_form must be one of {', '.join(_FORMS)}; got {dropout_form!r}")
        self.dropout_form = dropout_form

    def _loads_purchase(self) -> Sequence[float]:
        return 0.0, -1.0, 0.0, 0.0

    def _loads_dropout(self) -> Sequence[Sequence[float]]:
        return _FORMS[self.dropout_form]

    def _extra(self) -> dict[str, Any]:
        return super()._extra() | ({"dropout_form": self.dropout_form} if self.design_ else {})

    def _restore(self, extra: dict[str, Any]) -> None:
        super()._restore(extra)
        self.dropout_form = extra.get("dropout_form", "odds")


class BetaGeoNBD(_BetaGeometric):
    """BG/NBD: customers buy at their own rate and may leave after any repeat purchase.

    Purchases arrive at rate lambda ~ Gamma(r, rate alpha); after each repeat purchase the
    customer leaves with probability p ~ Beta(a, b). Nobody can leave before the first repeat
    purchase, so every one-time buyer has P(alive) = 1: the checks say how many that concerns,
    and :class:`ModifiedBetaGeoNBD` lifts the restriction.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.
        dropout_form: How a dropout covariate moves the odds of leaving: ``"odds"``, ``"both"`` or
            ``"separate"``, as :class:`ModifiedBetaGeoNBD` has it.

    Examples:
        >>> import pandas as pd
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ... })
        >>> model = BetaGeoNBD(penalizer=0.1).fit(summary, unit="W")
        >>> round(model.expected_purchases(52), 1)
        2.4
        >>> model.probability_alive(summary).round(2).tolist()[:3]
        [1.0, 0.43, 0.83]

    References:
        Fader, Hardie and Lee (2005), "Counting your customers" the easy way: an alternative to the
        Pareto/NBD model, Marketing Science 24(2), equations 3 to 10.
    """

    title: ClassVar[str] = "BG/NBD"
    core: ClassVar[Core] = _beta_geometric.core(0)
    names = core.names

    def _checks(self) -> tuple[Check, ...]:
        name = message("One-time buyers counted as active")
        if not self.one_time_:
            return (Check(name, "passed", message("every customer bought again")),)
        detail = message(
            "{count} of {n} customers ({share}) bought once, and BG/NBD gives each of them P(alive) = 1 "
            "because it lets nobody leave before a repeat purchase; where such customers do leave, the "
            "share still buying comes out too high, so compare MBG/NBD",
            count=f"{round(self.one_time_):,}",
            n=f"{round(self.n_customers_):,}",
            share=percent(self.one_time_ / self.n_customers_),
        )
        return (Check(name, "warning", detail),)


class ModifiedBetaGeoNBD(_BetaGeometric):
    """MBG/NBD: as BG/NBD, but a customer may also leave right after the first purchase.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.
        dropout_form: How a dropout covariate z moves p ~ Beta(a, b): ``"odds"`` multiplies a by
            exp(g z), and with it the odds a/b of leaving after a purchase; ``"both"`` multiplies a
            and b alike, which leaves the mean of p as it is and moves only how much customers
            differ (the form of CLVTools); ``"separate"`` gives a and b a coefficient each (Fader
            and Hardie, 2007).

    Examples:
        >>> import pandas as pd
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ... })
        >>> model = ModifiedBetaGeoNBD(penalizer=0.1).fit(summary, unit="W")
        >>> model.probability_alive(summary).round(2).tolist()[:3]
        [0.05, 0.15, 0.75]

    References:
        Batislam, Denizel and Filiztekin (2007), Empirical validation and comparison of models for
        customer base analysis, International Journal of Research in Marketing 24(3), equations 3
        to 8; Hoppe and Wagner (2007), Customer base analysis: the case for a central variant of
        the Betageometric/NBD model, Marketing - Journal of Research and Management 3(2).
    """

    title: ClassVar[str] = "MBG/NBD"
    core: ClassVar[Core] = _beta_geometric.core(1)
    names = core.names


class ParetoNBD(TransactionModel):
    """Pareto/NBD: customers buy at their own rate until a lifetime of their own ends.

    Purchases arrive at rate lambda ~ Gamma(r, rate alpha); the lifetime, from the first purchase
    on, is exponential with rate mu ~ Gamma(s, rate beta). A customer may leave at any moment, so
    silence lowers P(alive) for one-time buyers too. The pair (s, beta) is often weakly
    determined; predictions are not.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.

    Examples:
        >>> import pandas as pd
        >>> summary = pd.DataFrame({
        ...     "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
        ...     "recency": [0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
        ...     "T": [38, 38, 35, 30, 38, 38, 25, 30, 20, 33],
        ... })
        >>> model = ParetoNBD(penalizer=0.1).fit(summary, unit="W")
        >>> model.probability_alive(summary).round(2).tolist()[:3]
        [0.08, 0.21, 0.88]

    References:
        Schmittlein, Morrison and Colombo (1987), Counting Your Customers: Who Are They and What
        Will They Do Next?, Management Science 33(1); Fader and Hardie (2005), A Note on Deriving
        the Pareto/NBD Model and Related Expressions, brucehardie.com/notes/009.
    """

    title: ClassVar[str] = "Pareto/NBD"
    core: ClassVar[Core] = _pareto.CORE
    names = core.names

    def _loads_purchase(self) -> Sequence[float]:
        return 0.0, -1.0, 0.0, 0.0

    def _loads_dropout(self) -> Sequence[Sequence[float]]:
        return ((0.0, 0.0, 0.0, -1.0),)
