"""Simulated loyalty programmes whose truth is known.

``simulate`` makes a dataset that follows the data contract, with every parameter and what follows
from it in ``Dataset.truth``, so that an estimator can be held against the answer.
"""

from __future__ import annotations

import sys
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any

from loyalty_research.errors import ArgumentError
from loyalty_research.simulate._card_truth import CardTruth, preset
from loyalty_research.simulate._cards import stamp_cards
from loyalty_research.simulate._points import PointsTruth, no_programme, points_programme
from loyalty_research.simulate._population import PopulationTruth
from loyalty_research.simulate._truth import read_truth
from loyalty_research.simulate._year import ProgrammeYear, programme_year, read_population

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty_research.data import Dataset

__all__ = [
    "KINDS",
    "CardTruth",
    "PointsTruth",
    "PopulationTruth",
    "ProgrammeYear",
    "programme_year",
    "read_population",
    "simulate",
]

_SCHEMES: dict[str, tuple[type[Any], Callable[..., Dataset]]] = {
    "points": (PointsTruth, points_programme),
    "none": (PopulationTruth, no_programme),
    "stamp-card": (CardTruth, stamp_cards),
}

KINDS = tuple(_SCHEMES)
"""Kinds of programme that :func:`simulate` can make."""


def simulate(kind: str, *, customers: int, seed: int, **truth: Any) -> Dataset:
    """Simulate a programme with known truth.

    The same arguments give the same rows on every machine with the same numpy.

    - ``"points"``: two years of a shop that launches a points programme after the first. Customers
      differ in a latent engagement, which drives how often they buy, how long they stay and
      whether they join: members bought more before they joined. Invitations are drawn at random,
      so the effect of the programme can be found in spite of that. Tables ``customers``,
      ``transactions``, ``assignments``, ``memberships``, ``contacts``, ``points_ledger``,
      ``costs`` and a ready ``units``.
    - ``"none"``: the same customers (for the same seed) in a shop without a programme. Tables
      ``customers`` and ``transactions``.
    - ``"stamp-card"``: an experiment with stamp cards, some of which come with stamps already
      given. Tables ``customers`` and ``card_events``.

    Args:
        kind: ``"points"``, ``"none"`` or ``"stamp-card"``.
        customers: How many customers, at least 20.
        seed: Seed of the random numbers, a whole number from 0.
        **truth: Parameters of the kind that differ from their defaults; the classes
            ``PointsTruth``, ``PopulationTruth`` and ``CardTruth`` list them with their meaning.

    Returns:
        A dataset of the kind ``"simulated"``. ``truth`` has every parameter and, computed from the
        same people in both worlds (potential outcomes), the true effects: for points ``itt``,
        ``complier_share``, ``effect_per_member``, ``att``, ``ate``, ``naive_gap`` of spend in the
        window (and ``..._orders``, ``..._converted``) and ``hazard_ratio``; for cards
        ``completion_control``, ``completion_endowed``, ``completion_difference`` (exact),
        ``hazards_control``, ``hazards_endowed``, ``card_visits_difference`` (on first cards, exact),
        ``mean_days_difference`` (days not completed up to expiry, exact, lost cards as if kept) and
        ``visits_difference`` (over all cards of these people).

    Raises:
        ArgumentError: When the kind or a parameter is unknown (the message lists the known ones),
            or a value is out of its range.

    Examples:
        >>> import loyalty_research as lr
        >>> shop = lr.simulate("points", customers=2000, seed=1)
        >>> units = shop.frame("units")
        >>> naive = units.groupby("is_member")["spend"].mean().diff().iloc[-1]
        >>> bool(naive > 3 * shop.truth["effect_per_member"])  # mostly selection
        True
        >>> cards = lr.simulate("stamp-card", customers=200, seed=1, scenario="null")
        >>> cards.truth["completion_difference"]
        0.0

    References:
        Schmittlein, Morrison and Colombo (1987), Management Science 33(1): Poisson purchases with
        gamma rates, exponential lifetimes with gamma hazards. Fader and Hardie (2013): gamma-gamma
        spend. Leenheer, van Heerde, Bijmolt and Smidts (2007), IJRM 24(1): self-selection into
        programmes. Kivetz, Urminsky and Zheng (2006), JMR 43(1); Nunes and Dreze (2006), JCR
        32(4): stamp cards.
    """
    if kind not in _SCHEMES:
        raise ArgumentError(f"there is no programme {kind!r} to simulate; there is {', '.join(KINDS)}")
    for name, value, least in (("customers", customers, 20), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ArgumentError(f"{name} must be a whole number, at least {least}; got {value!r}")
    parameters, make = _SCHEMES[kind]
    if parameters is CardTruth:
        truth = preset(truth)
    return make(read_truth(parameters, kind, truth), customers=int(customers), seed=int(seed))


class _CallableModule(ModuleType):
    """This module, called like its function.

    Importing a submodule puts the module in the place of ``loyalty_research.simulate``, the
    function; so that ``lr.simulate(...)`` works in either case, the module can be called.
    """

    def __call__(self, kind: str, *, customers: int, seed: int, **truth: Any) -> Dataset:
        return simulate(kind, customers=customers, seed=seed, **truth)


sys.modules[__name__].__class__ = _CallableModule
