"""The model of repeat buying at discrete opportunities: who is still there, and how often they buy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.clv import _beta_binomial
from loyalty_research.clv._frames import histories_of, refuse_rows
from loyalty_research.clv.transactions import TransactionModel
from loyalty_research.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from loyalty_research.clv._core import Core

    Array = NDArray[Any]

__all__ = ["BetaGeoBetaBinomial"]


class BetaGeoBetaBinomial(TransactionModel):
    """BG/BB: at each opportunity a customer who is still there buys, or does not.

    For purchases that can happen once a period: a yearly donation, a monthly delivery, attendance at
    a conference. The chance of buying is p ~ Beta(alpha, beta) over customers, and before each
    opportunity a customer leaves for good with chance theta ~ Beta(gamma, delta).

    Its summary counts opportunities: ``frequency`` is at how many the customer bought, ``recency``
    the number of the last of them (0 for none) and ``T`` how many there were (``n_periods`` in
    lifetimes). An opportunity at which the customer was acquired is not among them. Patterns that
    many customers share may be given once, with ``weights=``.

    P(alive) is the chance of being there for the next opportunity, T + 1. All lengths of time are
    whole numbers of opportunities, and the k-th opportunity ahead is discounted k times.

    Args:
        penalizer: Strength of the penalty on log parameters; 0 gives maximum likelihood.

    Examples:
        >>> import pandas as pd
        >>> donors = pd.DataFrame({"frequency": [0, 1, 1, 2, 3, 3], "recency": [0, 1, 3, 3, 3, 3],
        ...                        "T": 3, "donors": [60, 15, 10, 12, 20, 8]})
        >>> model = BetaGeoBetaBinomial(penalizer=0.1).fit(donors, weights="donors", unit="Y")
        >>> model.conditional_expected_purchases(5, donors).round(2).tolist()
        [0.24, 0.82, 1.66, 2.82, 3.98, 3.98]
        >>> model.discounted_expected_transactions(donors, annual_discount_rate=0.1).round(1).tolist()
        [0.4, 1.5, 3.0, 5.1, 7.2, 7.2]

    References:
        Fader, Hardie and Shang (2010), Customer-Base Analysis in a Discrete-Time Noncontractual
        Setting, Marketing Science 29(6), equations 4 to 14.
    """

    title: ClassVar[str] = "BG/BB"
    core: ClassVar[Core] = _beta_binomial.CORE
    names = core.names
    units: ClassVar[tuple[str, ...]] = ("D", "W", "M", "Q", "Y")

    def _histories(self, df: pd.DataFrame, unit: str | None) -> tuple[Array, Array, Array]:
        x, recency, T = histories_of(df, unit=unit)
        for name, column in (("recency", recency), ("T", T)):
            refuse_rows(
                column != np.rint(column),
                column=name,
                rule="values that are not whole numbers of opportunities",
                mend="BG/BB counts opportunities such as years or months; number them, or use a model in "
                "continuous time such as BetaGeoNBD",
            )
        refuse_rows(
            x > recency,
            column="frequency",
            rule="more purchases than opportunities up to the last one",
            mend="a customer buys at most once at each opportunity; merge purchases of one period",
        )
        return x, recency, T

    def _times(self, t: ArrayLike) -> Array:
        times = super()._times(t)
        if not (times == np.rint(times)).all():
            raise ArgumentError("t must hold whole numbers of opportunities for BG/BB")
        return times

    @property
    def _year(self) -> float:
        return float(round(super()._year))

    def activity(self, T: float, *, most: int = 15, steps: int = 60) -> pd.DataFrame:
        """Return P(alive) for each number of purchases and opportunity of the last one.

        Args:
            T: Opportunities so far, a whole number.
            most: Largest number of purchases.
            steps: Most opportunities shown, the last ones.

        Returns:
            Index: purchases from 1; columns: recency; NaN where there were more purchases than
            opportunities up to the last one.

        Raises:
            ArgumentError: When ``T`` is no whole number of 2 or more, or ``most`` is below 2.
        """
        self.require_fitted()
        if not (math.isfinite(T) and round(T) == T and T >= 2 and most >= 2 and steps >= 2):
            raise ArgumentError(
                "activity needs T a whole number of 2 or more, most of at least 2 and steps of at least 2"
            )
        x = np.arange(1.0, min(most, int(T)) + 1)
        recency = np.arange(max(1.0, T - steps + 1), T + 1)
        rows, last, end = (
            part.ravel() for part in np.broadcast_arrays(x[:, None], recency[None, :], float(T))
        )
        known = rows <= last
        alive = np.full(len(rows), np.nan)
        alive[known] = self.core.alive(self._natural, rows[known], last[known], end[known])
        return pd.DataFrame(
            alive.reshape(len(x), len(recency)),
            index=pd.Index(x.astype(int), name="frequency"),
            columns=pd.Index(recency, name="recency"),
        )
