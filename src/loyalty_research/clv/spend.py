"""Spend per purchase: the Gamma-Gamma model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from loyalty_research.clv import _gamma_gamma
from loyalty_research.clv._fitted import FittedModel
from loyalty_research.clv._frames import check_weights, columns, count_rows, fingerprint, refuse_rows
from loyalty_research.errors import ContractError, DesignError, at_rows
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, messages, number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

__all__ = ["GammaGamma", "spend_of"]

_INDEPENDENT = 0.1  # correlation up to which spend and frequency are treated as unrelated


def spend_of(df: pd.DataFrame) -> tuple[Array, Array]:
    """Return checked frequency and mean spend of a summary, each of shape (n,).

    Mean spend is 0 where there is no repeat purchase.

    Raises:
        ContractError: When a column is missing or a row contradicts itself.
    """
    x, mean = columns(df, ("frequency", "monetary_value"))
    refuse_rows(
        ~(np.isfinite(x) & (x >= 0) & (x == np.rint(x))),
        column="frequency",
        rule="values that are not counts of 0 or more",
        mend="frequency counts repeat purchase days",
    )
    mean = np.where((x == 0) & np.isnan(mean), 0.0, mean)
    refuse_rows(
        ~np.isfinite(mean),
        column="monetary_value",
        rule="missing or infinite spend with repeat purchases",
        mend="give the mean spend per repeat purchase day or leave those customers out",
    )
    refuse_rows(
        mean < 0,
        column="monetary_value",
        rule="negative spend",
        mend="refunds are no purchases: leave them out before taking means, as summaries.purchases does",
    )
    refuse_rows(
        (x == 0) & (mean > 0),
        column="monetary_value",
        rule="spend without a repeat purchase",
        mend="monetary_value is the mean over repeat purchases, without the first, so it is 0 or empty "
        "where frequency is 0",
    )
    return x, mean


class GammaGamma(FittedModel):
    """Gamma-Gamma: what a purchase is worth, shrunk from each customer's mean towards everybody's.

    Purchases of a customer are Gamma(p, rate nu) distributed with nu ~ Gamma(q, rate v). The model
    holds where spend and frequency are unrelated; the checks give their correlation.

    Only customers with a repeat purchase and a positive mean are fitted; ``dropped_`` counts the
    others.

    Args:
        penalizer: Strength of the penalty on log parameters, with spend in units of its mean; 0
            gives maximum likelihood.

    Attributes:
        dropped_: Reason to customers left out of the fit.
        correlation_: Pearson correlation of frequency and mean spend among those fitted.

    Examples:
        >>> import pandas as pd
        >>> summary = pd.DataFrame({"frequency": [2, 1, 4, 0, 3, 7, 1, 2],
        ...                         "monetary_value": [22.4, 11.8, 35.0, 0, 28.0, 73.7, 11.8, 25.6]})
        >>> model = GammaGamma(penalizer=0.01).fit(summary)
        >>> model.dropped_
        {'no repeat purchase': 1, 'mean spend of 0': 0}
        >>> model.conditional_expected_spend(summary).round(0).tolist()[:4]
        [26.0, 22.0, 35.0, 33.0]

    References:
        Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value, note 025,
        brucehardie.com/notes/025, equations 1a to 5.
    """

    title: ClassVar[str] = "Gamma-Gamma"
    names = _gamma_gamma.NAMES

    dropped_: dict[str, int]
    correlation_: float

    def fit(self, df: pd.DataFrame, *, weights: str | ArrayLike | None = None) -> Self:
        """Fit by maximum likelihood.

        Args:
            df: One row per customer: ``frequency`` (repeat purchase days) and ``monetary_value``
                (mean spend per repeat purchase day, the first day excluded).
            weights: A column, or one number per row: how many customers a row stands for.

        Returns:
            The fitted model.

        Raises:
            ContractError: When a row contradicts itself or fewer than two customers remain.
            ConvergenceError: When the likelihood has no inner maximum that can be reached.
        """
        x, mean = spend_of(df)
        weight = check_weights(weights, df)
        repeat = x > 0
        kept = repeat & (mean > 0)
        self.dropped_ = {
            "no repeat purchase": int((~repeat).sum()),
            "mean spend of 0": int((repeat & ~kept).sum()),
        }
        if kept.sum() < 2:
            raise ContractError(
                f"customer summary: {int(kept.sum())} of {len(x):,} customers bought again and spent something; "
                "a distribution of spend needs at least two"
            )
        x, mean = x[kept], mean[kept]
        weight = None if weight is None else weight[kept]
        self.correlation_ = _correlation(x, mean, weight)
        (x, mean), counts = count_rows(weight, x, mean)
        self.n_customers_, self.n_rows_ = float(counts.sum()), len(counts)
        self.fingerprint_ = fingerprint(x, mean, counts)
        scale = float(counts @ mean / counts.sum())
        self._climb(
            _gamma_gamma.objective(x, mean / scale, counts),
            np.array([2.0, 3.0, 1.0]),
            units=np.array([1.0, 1.0, scale]),
            shift=-math.log(scale) * float(counts.sum()),
        )
        return self

    @property
    def mean_spend_(self) -> float:
        """Mean spend per purchase over all customers, p v / (q - 1); infinite where q <= 1."""
        p, q, v = (float(self.params_[name]) for name in self.names)
        return p * v / (q - 1) if q > 1 else math.inf

    def conditional_expected_spend(self, df: pd.DataFrame) -> pd.Series[float]:
        """Return what each customer's next purchase is expected to be worth.

        Args:
            df: ``frequency`` and ``monetary_value``; a customer without repeat purchase gets the
                mean over all customers.

        Returns:
            Money per purchase on ``df.index``.

        Raises:
            ContractError: When a row contradicts itself.
            DesignError: When the fitted distribution has no finite mean for some rows.
        """
        parameters = self.require_fitted().params_.to_numpy()
        x, mean = spend_of(df)
        out = _gamma_gamma.conditional_mean(parameters, x, mean)
        endless = ~np.isfinite(out)
        if endless.any():
            raise DesignError(
                f"the fitted spend distribution has no finite mean (q = {self.params_['q']:.3g}) for "
                f"{at_rows(np.flatnonzero(endless).tolist())}: a few purchases dominate the data; cap them "
                "with a stated rule, or set penalizer= to a small value such as 0.01"
            )
        return pd.Series(out, index=df.index, name="conditional_expected_spend")

    def _checks(self) -> tuple[Check, ...]:
        return self._independence(), self._mean_exists(), self._refused()

    def _independence(self) -> Check:
        name = message("Spend unrelated to frequency")
        if math.isnan(self.correlation_):
            return Check(name, "not measurable", message("frequency or spend does not vary"))
        fine = abs(self.correlation_) <= _INDEPENDENT
        r = number(self.correlation_, digits=2, signed=True)
        if fine:
            return Check(name, "passed", message("correlation {r}", r=r))
        detail = message(
            "correlation {r}: customers who buy more often also spend {more} per purchase, which the model "
            "does not know; look at the holdout revenue",
            r=r,
            more=message("more") if self.correlation_ > 0 else message("less"),
        )
        return Check(name, "warning", detail)

    def _mean_exists(self) -> Check:
        name = message("Mean spend exists")
        q = number(float(self.params_["q"]), digits=2)
        if self.params_["q"] > 1:
            return Check(name, "passed", message("q = {q} is above 1", q=q))
        return Check(
            name, "failed", message("q = {q} is not above 1: no finite mean over customers", q=q), gate=True
        )

    def _refused(self) -> Check:
        count = self.dropped_["mean spend of 0"]
        detail = messages(
            "{count} repeat buyer spent nothing and is left out of the spend model",
            "{count} repeat buyers spent nothing and are left out of the spend model",
            count,
        )
        return Check(message("Spend above 0"), "warning" if count else "passed", detail)

    def _sentence(self) -> str:
        return message(
            "A purchase is worth {mean} on average over customers; {n} repeat buyers show how much customers differ.",
            mean=number(self.mean_spend_),
            n=f"{round(self.n_customers_):,}",
        )

    def _extra(self) -> dict[str, Any]:
        known = not math.isnan(self.correlation_)
        return {"dropped": self.dropped_, "correlation": self.correlation_ if known else None}

    def _restore(self, extra: dict[str, Any]) -> None:
        self.dropped_ = {str(k): int(v) for k, v in extra["dropped"].items()}
        self.correlation_ = math.nan if extra["correlation"] is None else float(extra["correlation"])


def _correlation(x: Array, mean: Array, weight: Array | None) -> float:
    """Return the weighted Pearson correlation, NaN where a column does not vary."""
    if np.ptp(x) == 0 or np.ptp(mean) == 0:
        return math.nan
    table = np.cov(x, mean, aweights=weight)
    return float(table[0, 1] / math.sqrt(table[0, 0] * table[1, 1]))
