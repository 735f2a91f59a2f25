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
from loyalty_research.simulate._benefit import BenefitTruth
from loyalty_research.simulate._card_truth import CardTruth
from loyalty_research.simulate._coalition import CoalitionTruth
from loyalty_research.simulate._kinds import KINDS, make
from loyalty_research.simulate._members import MemberTruth
from loyalty_research.simulate._paid import PaidTruth
from loyalty_research.simulate._points import PointsTruth
from loyalty_research.simulate._population import PopulationTruth
from loyalty_research.simulate._sweepstakes import SweepstakesTruth
from loyalty_research.simulate._tiers import TiersTruth
from loyalty_research.simulate._year import ProgrammeYear, programme_year, read_population

if TYPE_CHECKING:
    from loyalty_research.data import Dataset
    from loyalty_research.mechanisms import Mechanism

__all__ = [
    "KINDS",
    "BenefitTruth",
    "CardTruth",
    "CoalitionTruth",
    "MemberTruth",
    "PaidTruth",
    "PointsTruth",
    "PopulationTruth",
    "ProgrammeYear",
    "SweepstakesTruth",
    "TiersTruth",
    "programme_year",
    "read_population",
    "simulate",
]


def simulate(
    kind: str, *, customers: int, seed: int, mechanism: Mechanism | None = None, **truth: Any
) -> Dataset:
    """Simulate a programme with known truth.

    The same arguments give the same rows on every machine with the same numpy. Kinds with members
    share one population: customers differ in a latent engagement, which drives how often they buy,
    how long they stay and whether they join, so members bought more before they joined. The
    programme is launched with the second year. Invitations are drawn at random, so that its effect
    can be found in spite of that. Where nothing has an effect, all of them have the same orders.

    - ``"points"``: points per order and a reward whenever there are enough; points lapse where
      nothing is bought.
    - ``"tiers"``: three years with tiers; losing one and the pull of a line have effects of their own.
    - ``"paid"``: three years with an annual fee; who expects to use the benefit joins, and decides
      anew after each year.
    - ``"coalition"``: orders at several partners, points earned at each and used at any.
    - ``"sweepstakes"``: every so many orders earn a play; winning is drawn, and changes the rate of
      ordering for a while. The first plays are an experiment of their own in ``assignments``.
    - ``"non-monetary"``: a benefit without money's worth, which keeps members longer.
    - ``"stamp-card"``: an experiment with stamp cards, some of which come with stamps already
      given. Tables ``customers`` and ``card_events``.
    - ``"none"``: the same customers (for the same seed) in a shop without a programme. Tables
      ``customers`` and ``transactions``.

    Kinds with members have the tables ``customers``, ``transactions``, ``assignments``,
    ``memberships``, ``contacts``, ``costs``, a ready ``units``, ``surveys`` (NPS, CSAT, CES, share of
    wallet; the satisfied answer more often), ``tickets``, ``referrals``, ``carts`` and, where there
    are points or plays, ``points_ledger``.

    Args:
        kind: One of ``KINDS``.
        customers: How many customers, at least 20.
        seed: Seed of the random numbers, a whole number from 0.
        mechanism: Rules to play by, of the same kind, such as
            ``loyalty_research.mechanisms.mechanism("tiers", ...)``; by default rules of the kind,
            which ``truth["mechanism"]`` states.
        **truth: Parameters of the kind that differ from their defaults; the classes ``PointsTruth``,
            ``TiersTruth``, ``PaidTruth``, ``CoalitionTruth``, ``SweepstakesTruth``, ``BenefitTruth``,
            ``PopulationTruth`` and ``CardTruth`` list them with their meaning.

    Returns:
        A dataset of the kind ``"simulated"``. ``truth`` has every parameter and, computed from the
        same people in both worlds (potential outcomes), the true effects. Kinds with members:
        ``itt``, ``complier_share``, ``effect_per_member``, ``att``, ``ate``, ``naive_gap`` of spend in
        the window (and ``..._orders``, ``..._converted``), ``naive_ratio`` and ``true_ratio`` of
        members' spend, ``att_active`` (still buying at the end) and ``hazard_ratio``; of each survey
        (``survey_waves``) the scores of all who still buy beside those of who answered; for points and
        tiers ``points_given``, ``points_used``, ``points_lapsed``, ``points_open`` and what the rules
        promise a customer with average rates who never leaves (``days_to_...``, ``reach_...``); for
        tiers the first losses of a tier (``demoted``, with ``demotion_orders`` and
        ``demotion_spend``, the change per loss in the ``demotion_days`` after it) and those who
        ``pulled`` themselves over a line; for paid ``fee_revenue``, ``benefit_cost``, ``surplus`` and
        ``renewal_rate``; for the coalition ``flows`` (points by where earned and where used, the
        oldest used first) and ``clearing`` (who owes whom); for the game ``plays``, ``wins`` and
        ``win_effect_orders`` (what winning the first play changes). For cards ``completion_control``, ``completion_endowed``,
        ``completion_difference`` (exact), ``hazards_control``, ``hazards_endowed``,
        ``card_visits_difference`` (on first cards, exact), ``mean_days_difference`` (days not completed
        up to expiry, exact, lost cards as if kept) and ``visits_difference`` (over all cards of these
        people).

    Raises:
        ArgumentError: When the kind or a parameter is unknown (the message lists the known ones), a
            value is out of its range, or the mechanism is of another kind.

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
    for name, value, least in (("customers", customers, 20), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ArgumentError(f"{name} must be a whole number, at least {least}; got {value!r}")
    return make(kind, customers=int(customers), seed=int(seed), rules=mechanism, given=truth)


class _CallableModule(ModuleType):
    """This module, called like its function.

    Importing a submodule puts the module in the place of ``loyalty_research.simulate``, the
    function; so that ``lr.simulate(...)`` works in either case, the module can be called.
    """

    def __call__(self, kind: str, **options: Any) -> Dataset:
        return simulate(kind, **options)


sys.modules[__name__].__class__ = _CallableModule
