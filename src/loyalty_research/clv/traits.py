"""How customers of a shop differ: the figures from which customers like them can be made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty_research.clv._study import WEAK
from loyalty_research.clv.spend import GammaGamma
from loyalty_research.clv.transactions import ParetoNBD
from loyalty_research.errors import ConvergenceError, LoyaltyError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, number
from loyalty_research.summaries import purchases

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from loyalty_research.data import Dataset

__all__ = ["CustomerTraits", "customer_traits"]


@dataclass(frozen=True)
class CustomerTraits:
    """How often customers buy, how long they stay and what they spend, and how unlike they are.

    Attributes:
        parameters: ``r``, ``alpha``, ``s``, ``beta`` of the Pareto/NBD model in days and ``p``, ``q``,
            ``v`` of the gamma-gamma model, with ``engagement_stay`` 0, since the Pareto/NBD model has
            purchase rates and lifetimes independent; empty where they could not be fitted.
        customers: Customers behind them.
        check: What was fitted, or why nothing was.
    """

    parameters: Mapping[str, float]
    customers: int
    check: Check


def customer_traits(source: Dataset) -> CustomerTraits:
    """Fit how customers of a dataset differ in purchases, lifetime and order value.

    Args:
        source: A dataset, with a table ``transactions``.

    Returns:
        Parameters that ``simulate`` and ``programme.compare_mechanisms`` take as their population, or
        none and the reason.

    References:
        Schmittlein, Morrison and Colombo (1987), Management Science 33(1); Fader, Hardie and Lee
        (2005), Journal of Marketing Research 42(4), for spend.

    Examples:
        >>> import loyalty_research as lr
        >>> traits = customer_traits(lr.simulate("none", customers=1500, seed=1))
        >>> sorted(traits.parameters)
        ['alpha', 'beta', 'engagement_stay', 'p', 'q', 'r', 's', 'v']
    """
    name = message("Customers are like those in the data")
    needed = ("customer_id", "transacted_at", "amount")
    if not source.has("transactions", *needed):
        why = message("the data have no transactions with customer, time and amount")
        return CustomerTraits({}, 0, Check(name, "not measurable", why))
    try:
        summary = purchases(source.tables["transactions"], unit="D", observation_end=source.as_of)
        orders, penalised = _orders(summary)
        spend = GammaGamma().fit(summary)
    except LoyaltyError as error:
        return CustomerTraits({}, 0, Check(name, "not measurable", str(error)))
    if spend.params_["q"] <= 1:
        why = message("order values differ so much between customers that their mean is infinite")
        return CustomerTraits({}, 0, Check(name, "not measurable", why))
    found = {str(k): float(v) for k, v in {**orders.params_.to_dict(), **spend.params_.to_dict()}.items()}
    detail = message(
        "fitted to {count} customers: an order every {days} days while active, {value} an order, on average",
        count=f"{len(summary):,}",
        days=number(found["alpha"] / found["r"], digits=0),
        value=number(found["p"] * found["v"] / (found["q"] - 1)),
    )
    if penalised:
        detail += "; " + message(
            "hardly anybody was seen to leave, so how long they stay follows a weak prior more than the data"
        )
    status: Any = "warning" if penalised else "passed"
    return CustomerTraits({**found, "engagement_stay": 0.0}, len(summary), Check(name, status, detail))


def _orders(summary: pd.DataFrame) -> tuple[ParetoNBD, bool]:
    """Return the fitted model of purchases, and whether it needed a weak penalty."""
    try:
        return ParetoNBD().fit(summary), False
    except ConvergenceError:
        return ParetoNBD(penalizer=WEAK).fit(summary), True
