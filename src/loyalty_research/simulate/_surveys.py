"""What customers feel and say: satisfaction, and the answers of those who answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from loyalty_research.simulate._keys import labelled, numbered_rows
from loyalty_research.simulate._population import FIRST_DAY, moments, year_starts
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    import pandas as pd

    from loyalty_research.simulate._members import MemberTruth
    from loyalty_research.simulate._population import Bools, Floats, Ints
    from loyalty_research.simulate._scheme import Shop

__all__ = ["surveys_table"]

WAVES = 150, 305  # days of a year
INSTRUMENTS = ("nps", "csat", "ces", "share_of_wallet", "share_of_wallet")
ITEMS = ("recommend", "satisfied", "easy", "share", "category_spend")
# lowest and highest answer, answer of the average customer, and its change per unit of feeling
SCALES = ((0, 10, 7.5, 1.8), (1, 5, 3.7, 0.8), (1, 7, 5.0, 1.1))


@dataclass(frozen=True)
class _Wave:
    """One wave of a survey; arrays have one entry per customer.

    Attributes:
        day: Day of the invitation.
        here: Who still buys.
        asked: Who is invited.
        answers: Who answers.
        said: What each would answer, one row per question.
    """

    day: int
    here: Bools
    asked: Bools
    answers: Bools
    said: Floats

    def facts(self) -> dict[str, Any]:
        """Return the scores of all who still buy and of those who answer."""
        facts: dict[str, Any] = {
            "day": str(np.datetime64(FIRST_DAY) + self.day),
            "invited": int(self.asked.sum()),
            "answered": int(self.answers.sum()),
        }
        for end, who in (("all", self.here), ("responders", self.answers)):
            nps, csat, ces, share, _ = self.said[:, who]
            facts |= {
                f"nps_{end}": 100 * (_share(nps >= 9) - _share(nps <= 6)),
                f"csat_{end}": _share(csat >= 4),
                f"ces_{end}": float(ces.mean()) if len(ces) else float("nan"),
                f"share_of_wallet_{end}": float(share.mean()) / 100 if len(share) else float("nan"),
            }
        return facts


def surveys_table(shop: Shop[Any], truth: MemberTruth, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the answers of two waves a year from the launch on, and the truth about each wave.

    Everybody who still buys is as likely to be invited, but the satisfied answer more often, so that
    their scores are above those of all customers. Who does not answer leaves no row.
    """
    import pandas as pd

    starts = year_starts(truth.years)[1:-1]
    waves = [_wave(shop, truth, begin + day, seed) for begin in starts for day in WAVES]
    parts = [_rows(wave, seed) for wave in waves]
    who, question, value, sent, back = (np.concatenate(column) for column in zip(*parts, strict=True))
    low, high = (np.array([*(scale[i] for scale in SCALES), (0, 100)[i], np.nan]) for i in (0, 1))
    table = pd.DataFrame(
        {
            "response_id": numbered_rows("r", len(who)),
            "customer_id": shop.people.keys(who),
            "answered_at": moments(back),
            "invited_at": moments(sent),
            "instrument": labelled(question, INSTRUMENTS),
            "item": labelled(question, ITEMS),
            "value": value,
            "scale_min": low[question],
            "scale_max": high[question],
        }
    )
    return table, {"survey_waves": [wave.facts() for wave in waves]}


def _wave(shop: Shop[Any], truth: MemberTruth, day: int, seed: int) -> _Wave:
    people, size = shop.people, shop.people.size
    lasting, rng = stream(seed, "satisfaction"), stream(seed, f"survey {day}")
    tie = truth.satisfaction_engagement
    satisfied = tie * people.engagement + np.sqrt(1 - tie**2) * lasting.standard_normal(size)
    share = 100 * special.expit(0.3 + 0.6 * people.engagement + 0.6 * lasting.standard_normal(size))
    here = (people.born < day) & (shop.course.gone > day)
    asked = here & (rng.random(size) < truth.survey_share)
    odds = special.logit(truth.answer_share) + truth.answer_satisfaction * satisfied
    answers = asked & (rng.random(size) < special.expit(odds))
    felt = satisfied + 0.6 * rng.standard_normal((len(SCALES), size))
    values = [
        np.clip(np.rint(middle + slope * feeling), low, high)
        for (low, high, middle, slope), feeling in zip(SCALES, felt, strict=True)
    ]
    orders = shop.course.orders
    # the days that the question names: the year up to the invitation
    inside = orders.between(day - 365, day)
    own = np.bincount(orders.customer[inside], weights=orders.amount[inside], minlength=size)
    share = np.rint(share.clip(1, 100))
    return _Wave(day, here, asked, answers, np.array([*values, share, np.round(own / share * 100, 2)]))


def _rows(wave: _Wave, seed: int) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Return customer, question, value, invitation and answer, a row per answer."""
    who = np.flatnonzero(wave.answers)
    delay = stream(seed, f"answering {wave.day}").exponential(2.0, len(wave.answers))[who]
    count = len(ITEMS)
    sent = np.full(len(who), wave.day + 0.0)
    back = np.minimum(wave.day + 0.1 + delay, wave.day + 20.0)
    return (
        np.repeat(who, count),
        np.tile(np.arange(count), len(who)),
        wave.said[:, who].T.ravel(),
        np.repeat(sent, count),
        np.repeat(back, count),
    )


def _share(flags: Bools) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
