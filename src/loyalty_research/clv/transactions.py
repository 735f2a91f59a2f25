"""Models of repeat buying without a contract: who is still a customer, and how often they buy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from loyalty_research.clv import _beta_geometric, _pareto
from loyalty_research.clv._discount import YEAR, Discounting, discounting
from loyalty_research.clv._fitted import FittedModel
from loyalty_research.clv._frames import check_weights, count_rows, fingerprint, histories_of, unit_of
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._core import Core
    from loyalty_research.clv._discount import Convention

    Array = NDArray[Any]

__all__ = ["BetaGeoNBD", "ModifiedBetaGeoNBD", "ParetoNBD", "TransactionModel"]


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
    """

    core: ClassVar[Core]
    unit_: str | None
    mean_alive_: float
    one_time_: float

    def fit(
        self, df: pd.DataFrame, *, weights: str | ArrayLike | None = None, unit: str | None = None
    ) -> Self:
        """Fit by maximum likelihood.

        Equal rows are counted once, time is scaled by its mean, and Newton's method with the
        exact Hessian climbs in log parameters until the Newton decrement says it has arrived.

        Args:
            df: One row per customer: ``frequency`` (repeat purchase days), ``recency`` (first to
                last purchase) and ``T`` (first purchase to the end of observation), both in one
                time unit; as ``summaries.purchases`` returns it.
            weights: A column, or one number per row: how many customers a row stands for.
            unit: ``"D"`` or ``"W"``; by default what ``df.attrs["unit"]`` declares. It is needed
                only where an annual rate is turned into the data's unit.

        Returns:
            The fitted model.

        Raises:
            ContractError: When a row cannot be a purchase history, or nobody ever bought again.
            ArgumentError: When ``unit`` is unknown or contradicts what the summary declares.
            ConvergenceError: When the likelihood has no inner maximum that can be reached.
        """
        if unit is not None and unit not in YEAR:
            raise ArgumentError(f"unit must be one of {', '.join(map(repr, YEAR))}; got {unit!r}")
        x, recency, T = histories_of(df, unit=unit)
        weight = check_weights(weights, df)
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
        (x, recency, T), counts = count_rows(weight, x, recency, T)
        self.unit_ = unit or unit_of(df)
        self.n_customers_, self.n_rows_ = float(counts.sum()), len(counts)
        self.fingerprint_ = fingerprint(x, recency, T, counts)
        self.one_time_ = float(counts[x == 0].sum())
        scale = float(counts @ T / counts.sum())
        units = np.ones(len(self.names))
        units[list(self.core.times)] = scale
        self._climb(
            self.core.objective(x, recency / scale, T / scale, counts),
            self.core.start(x, T / scale, counts),
            units=units,
            shift=-math.log(scale) * float(counts @ x),
        )
        alive = self.core.alive(self.params_.to_numpy(), x, recency, T)
        self.mean_alive_ = float(counts @ alive / counts.sum())
        return self

    def expected_purchases(self, t: ArrayLike) -> Any:
        """Return E[X(t)], the repeat purchases of a new customer in time t after the first one.

        Args:
            t: One length of time or an array of them, in the model's unit.

        Returns:
            A float, or an array of the shape of ``t``.

        Raises:
            ArgumentError: When a length is negative or not finite, or the model is not fitted.
        """
        parameters = self.require_fitted().params_.to_numpy()
        times = _times(t)
        out = self.core.expected(parameters, times.ravel()).reshape(times.shape)
        return float(out) if times.ndim == 0 else out

    def purchase_count_pmf(self, n: ArrayLike, t: ArrayLike) -> Any:
        """Return P(X(t) = n), the chance that a new customer makes n repeat purchases in time t.

        Args:
            n: One count or an array of them.
            t: One length of time or an array of them, in the model's unit; broadcast with ``n``.

        Returns:
            A float, or an array of the broadcast shape.

        Raises:
            ArgumentError: When a count is no whole number of 0 or more, or a length is negative.
        """
        parameters = self.require_fitted().params_.to_numpy()
        counts = np.asarray(n, dtype=float)
        if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.rint(counts)).all()):
            raise ArgumentError("n must hold whole numbers of purchases of 0 or more")
        counts, times = np.broadcast_arrays(counts, _times(t))
        out = self.core.pmf(parameters, counts.ravel(), times.ravel()).reshape(counts.shape)
        return float(out) if counts.ndim == 0 else out

    def probability_alive(self, df: pd.DataFrame) -> pd.Series[float]:
        """Return each customer's probability of still being a customer at T.

        Args:
            df: frequency, recency, T in the model's unit.

        Returns:
            Fractions on ``df.index``.

        Raises:
            ContractError: When a row cannot be a purchase history.
        """
        parameters = self.require_fitted().params_.to_numpy()
        x, recency, T = histories_of(df, unit=self.unit_)
        alive = self.core.alive(parameters, x, recency, T)
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
        parameters = self.require_fitted().params_.to_numpy()
        panels = Discounting((0.0, float(_times(t))), np.ones(1), 0.0)
        out = self.core.conditional(parameters, *histories_of(df, unit=self.unit_), panels)
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
        parameters = self.require_fitted().params_.to_numpy()
        panels = discounting(
            annual_discount_rate=annual_discount_rate,
            horizon=horizon,
            convention=convention,
            periods_per_year=periods_per_year,
            unit=self.unit_,
        )
        out = self.core.conditional(parameters, *histories_of(df, unit=self.unit_), panels)
        return pd.Series(out, index=df.index, name="discounted_expected_transactions")

    def activity(self, T: float, *, most: int = 15, steps: int = 60) -> pd.DataFrame:
        """Return P(alive) at T for each number of repeat purchases and time of the last one.

        Args:
            T: Time since the first purchase, in the model's unit.
            most: Largest number of repeat purchases.
            steps: Times of the last purchase, evenly spaced on (0, T].

        Returns:
            Index: repeat purchases 1 to ``most``; columns: recency.

        Raises:
            ArgumentError: When ``T`` is not a positive length or ``most`` is below 2.
        """
        parameters = self.require_fitted().params_.to_numpy()
        if not (math.isfinite(T) and T > 0 and most >= 2 and steps >= 2):
            raise ArgumentError("activity needs T above 0, most of at least 2 and steps of at least 2")
        x, recency = np.arange(1.0, most + 1), np.linspace(T / steps, T, steps)
        grid = np.broadcast_arrays(x[:, None], recency[None, :], float(T))
        alive = self.core.alive(parameters, *(part.ravel() for part in grid))
        index = pd.Index(x.astype(int), name="frequency")
        return pd.DataFrame(
            alive.reshape(most, steps), index=index, columns=pd.Index(recency, name="recency")
        )

    def plot_activity(self, T: float, *, most: int = 15, ax: Axes | None = None) -> Axes:
        """Draw P(alive) at T by recency and frequency."""
        from loyalty_research.plots.clv import activity_map

        words = {"W": message("weeks"), "D": message("days")}
        return activity_map(self.activity(T, most=most), ax=ax, unit=words.get(self.unit_ or "", ""))

    def _sentence(self) -> str:
        if self.unit_ in YEAR:
            repeat = self.expected_purchases(YEAR[self.unit_])
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
        return {"unit": self.unit_, "mean_alive": self.mean_alive_, "one_time": self.one_time_}

    def _restore(self, extra: dict[str, Any]) -> None:
        self.unit_ = extra["unit"]
        self.mean_alive_, self.one_time_ = float(extra["mean_alive"]), float(extra["one_time"])


class BetaGeoNBD(TransactionModel):
    """BG/NBD: customers buy at their own rate and may leave after any repeat purchase.

    Purchases arrive at rate lambda ~ Gamma(r, rate alpha); after each repeat purchase the
    customer leaves with probability p ~ Beta(a, b). Nobody can leave before the first repeat
    purchase, so every one-time buyer has P(alive) = 1: the checks say how many that concerns,
    and :class:`ModifiedBetaGeoNBD` lifts the restriction.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.

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
    names: ClassVar[tuple[str, ...]] = core.names

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


class ModifiedBetaGeoNBD(TransactionModel):
    """MBG/NBD: as BG/NBD, but a customer may also leave right after the first purchase.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.

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
    names: ClassVar[tuple[str, ...]] = core.names


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
    names: ClassVar[tuple[str, ...]] = core.names
