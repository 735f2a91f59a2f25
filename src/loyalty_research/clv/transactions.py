"""Models of repeat buying without a contract: who is still a customer, and how often they buy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from loyalty_research.clv import _beta_geometric, _pareto
from loyalty_research.clv._transaction_model import TransactionModel
from loyalty_research.errors import ArgumentError
from loyalty_research.estimates import Check
from loyalty_research.i18n import message, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty_research.clv._core import Core

    DropoutForm = Literal["odds", "both", "separate"]

__all__ = ["BetaGeoNBD", "ModifiedBetaGeoNBD", "ParetoNBD", "TransactionModel"]

# what a dropout coefficient adds to log r, log alpha, log a and log b, one row for each set of them
_FORMS: dict[str, tuple[tuple[float, ...], ...]] = {
    "odds": ((0.0, 0.0, 1.0, 0.0),),
    "both": ((0.0, 0.0, 1.0, 1.0),),
    "separate": ((0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
}


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
