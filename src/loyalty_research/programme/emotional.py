"""Emotional and functional loyalty: what customers feel against what they do, and what becomes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from loyalty_research.data.privacy import suppress_small_cells
from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message, messages
from loyalty_research.programme._by_customer import mean_estimate
from loyalty_research.programme._survey_rows import SHARE_ITEMS, last_answers, read_answers
from loyalty_research.programme._windows import PurchaseDays, date_of, purchase_days
from loyalty_research.programme.association import cramers_v
from loyalty_research.stats.proportions import (
    difference_in_proportions,
    odds_ratio,
    proportion,
    wilson_interval,
)
from loyalty_research.summaries._frames import as_ordinal, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["KINDS", "LoyaltyKinds", "emotional_and_functional_loyalty"]

KINDS = ("loyalty", "latent loyalty", "spurious loyalty", "no loyalty")
Behaviour = Literal["purchase days", "revenue", "share of wallet"]
FEWEST = 5
SIMULTANEOUS = "wilson, simultaneous over four (Bonferroni)"
HIDDEN = "hidden: fewer than five customers"


@dataclass(frozen=True, repr=False, eq=False)
class LoyaltyKinds(Result):
    """Customers by attitude and behaviour (Dick and Basu).

    Attributes:
        counts: ``kind, attitude, behaviour, customers``, small cells None.
        shares: Kind to its share of all customers placed; the four intervals hold together.
        association: Cramér's V of attitude and behaviour; None where one of them does not vary.
        odds: Odds of behaving loyally with a good attitude over those without; None likewise.
        retention: Kind to the share that bought in the later window; empty where it is not observed.
        spend: Kind to mean revenue of the later window.
        emotional_gain: Later retention of loyal customers less that of spuriously loyal ones.
        placed: The customers, their kind, by customer; for further analysis, never for display.
        on: Day on which customers are placed.
        attitude_cut: Answers from here on are a good attitude.
        behaviour: What is counted as behaviour.
        behaviour_cut: Behaviour from here on is loyal.
        before: Days of the window before.
        after: Days of the window after.
    """

    title: ClassVar[str] = "Emotional and functional loyalty"

    counts: pd.DataFrame
    shares: dict[str, Estimate]
    association: Estimate | None
    odds: Estimate | None
    retention: dict[str, Estimate]
    spend: dict[str, Estimate]
    emotional_gain: Estimate | None
    placed: pd.Series[str]
    on: dt.date
    attitude_cut: float
    behaviour: Behaviour
    behaviour_cut: float
    before: int
    after: int

    def _rows(self) -> Iterable[Row]:
        of = message("customers who answered")
        for kind, estimate in self.shares.items():
            yield Row(message("share of customers"), estimate, group=kind, estimand=of)
        for name, found in (
            (message("Cramér's V"), self.association),
            (message("odds ratio"), self.odds),
        ):
            if found is not None:
                yield Row(name, found, group="all", estimand=message("attitude and behaviour"))
        for kind, estimate in self.retention.items():
            bought = message("bought in the next {days} days", days=self.after)
            yield Row(bought, estimate, group=kind, estimand=message("customers of the kind"))
        for kind, estimate in self.spend.items():
            spent = message("revenue of the next {days} days", days=self.after)
            yield Row(spent, estimate, group=kind, estimand=message("mean of the kind's customers"))
        if self.emotional_gain is not None:
            yield Row(
                message("difference in buying again"),
                self.emotional_gain,
                group="all",
                estimand=message("loyalty less spurious loyalty"),
            )

    def _verdict(self) -> str:
        loyal, spurious = self.shares["loyalty"], self.shares["spurious loyalty"]
        if math.isnan(loyal.value) or math.isnan(spurious.value):
            return message("Too few customers are of some kinds to show how they divide.")
        said = message(
            "Of {n} customers who answered by {day}, {loyal} are loyal in attitude and behaviour ({interval}); "
            "{spurious} buy as much without the attitude.",
            n=f"{loyal.n:,}",
            day=self.on.isoformat(),
            loyal=loyal.format(),
            interval=loyal.interval(),
            spurious=spurious.format(),
        )
        gain = self.emotional_gain
        if gain is None:
            return said
        values = {
            "said": said,
            "gain": gain.format(signed=True),
            "interval": gain.interval(signed=True),
            "days": f"{self.after:,}",
        }
        if gain.low > 0:
            return message(
                "{said} Among those who bought alike before, the ones with the attitude bought again within {days} days "
                "more often, by {gain} ({interval}); that goes with the attitude and need not come from it.",
                **values,
            )
        return message(
            "{said} Whether the attitude goes with buying again within {days} days cannot be said: the difference is "
            "{gain} ({interval}).",
            **values,
        )


def emotional_and_functional_loyalty(
    surveys: Any,
    transactions: Any,
    *,
    on: dt.date | str,
    attitude_cut: float,
    behaviour_cut: float,
    instrument: str = "nps",
    item: str | None = None,
    behaviour: Behaviour = "purchase days",
    before: int = 365,
    after: int = 365,
    as_of: dt.date | str | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> LoyaltyKinds:
    """Place customers by what they answered and what they did, and follow the four kinds.

    A customer who answers ``attitude_cut`` or more has the attitude; one whose behaviour of the window
    before is ``behaviour_cut`` or more behaves loyally (a value on an edge belongs above it). Both are
    known on the day ``on``; what happens afterwards is only followed, so no kind is made of its outcome.

    Args:
        surveys: ``customer_id``, ``answered_date`` or ``answered_at``, ``instrument``, ``value`` and, where
            they are there, ``item``, ``scale_min``, ``scale_max``; anything that narwhals reads.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        on: Day on which customers are placed, by their last answer of the window before.
        attitude_cut: Lowest answer that counts as the attitude.
        behaviour_cut: Lowest behaviour that counts as loyal.
        instrument: Questionnaire that asks for the attitude, in any case.
        item: Its question, where it has several.
        behaviour: ``"purchase days"``, ``"revenue"``, or ``"share of wallet"`` as stated (a fraction).
        before: Days of the window before.
        after: Days of the window after.
        as_of: Last day observed; by default the last day of ``transactions``.
        currency: ISO 4217 code of the amounts, for sentences.
        level: Confidence level.

    Returns:
        Shares with simultaneous Wilson intervals, association, and later retention (Wilson) and spend (t).
        Kinds of fewer than five customers, and what would reveal them, are hidden.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing, a cell is wrong or scales are mixed.
        DesignError: When nobody answered in the window before, or the record begins within it.

    Examples:
        >>> who = [f"c{i}" for i in range(40)]
        >>> answers = pd.DataFrame({"customer_id": who, "answered_at": pd.Timestamp("2024-06-01"),
        ...     "instrument": "nps", "value": [10] * 20 + [5] * 20})
        >>> day = pd.to_datetime(["2023-01-01", "2024-05-01", "2024-08-01"])
        >>> orders = pd.concat([pd.DataFrame({"customer_id": who, "transacted_at": day[0], "amount": 1.0}),
        ...     pd.DataFrame({"customer_id": who[10:30], "transacted_at": day[1], "amount": 20.0}),
        ...     pd.DataFrame({"customer_id": who[10:25], "transacted_at": day[2], "amount": 20.0})])
        >>> found = emotional_and_functional_loyalty(answers, orders, on="2024-06-30", attitude_cut=9,
        ...     behaviour_cut=1, before=180, after=60, as_of="2024-12-31")
        >>> found.shares["loyalty"]
        25.0% (95% interval 12.1% to 44.6%; wilson, simultaneous over four (Bonferroni); n = 40)
        >>> found.retention["loyalty"].value, found.retention["spurious loyalty"].value
        (1.0, 0.5)

    References:
        Dick and Basu (1994), Journal of the Academy of Marketing Science 22(2), 99-113, figure 2; Goodman
        (1965), Technometrics 7(2), 247-254, simultaneous intervals of shares.
    """
    level = check_level(level)
    if behaviour not in get_args(Behaviour):
        raise ArgumentError(
            f"behaviour must be one of {', '.join(map(repr, get_args(Behaviour)))}; got {behaviour!r}"
        )
    cuts = {"attitude_cut": attitude_cut, "behaviour_cut": behaviour_cut}
    for name, cut in cuts.items():
        if isinstance(cut, bool) or not math.isfinite(cut):
            raise ArgumentError(f"{name} must be a finite number; got {cut!r}")
    before, after, day = positive_days(before, "before"), positive_days(after, "after"), as_ordinal(on, "on")
    record = transactions if isinstance(transactions, PurchaseDays) else purchase_days(transactions, as_of)
    if day - before < record.begin - 1 and behaviour != "share of wallet":
        raise DesignError(
            message(
                "transactions begin on {date}, within the {days} days before",
                date=date_of(record.begin).isoformat(),
                days=f"{before:,}",
            )
        )
    answers, _ = last_answers(surveys, instrument, item, day - before, day)
    acted = (
        _wallet(surveys, day - before, day)
        if behaviour == "share of wallet"
        else _behaviour(record, answers.index, day - before, day, money=behaviour == "revenue")
    )
    both = answers.index.intersection(acted.index)
    if not len(both):
        raise DesignError(message("nobody has both an answer and a behaviour in the window before"))
    feels, does = answers.loc[both] >= attitude_cut, acted.loc[both] >= behaviour_cut
    placed = pd.Series(np.array(KINDS)[2 * (1 - feels.astype(int)) + 1 - does.astype(int)], index=both)
    # latent loyalty is the attitude without the behaviour, spurious loyalty the reverse
    seen = day + after <= record.end
    return _assemble(
        placed,
        _behaviour(record, both, day, day + after, money=False) > 0 if seen else None,
        _behaviour(record, both, day, day + after, money=True) if seen else None,
        dropped=len(answers) - len(both),
        on=date_of(day),
        cuts=(float(attitude_cut), float(behaviour_cut)),
        behaviour=behaviour,
        windows=(before, after),
        currency=currency,
        level=level,
    )


def _wallet(surveys: Any, after: int, until: int) -> pd.Series[float]:
    """Return stated shares of wallet as fractions, by customer."""
    frame = read_answers(surveys, "share_of_wallet")
    frame = frame[(frame["item"].isna() | frame["item"].isin(SHARE_ITEMS)).to_numpy(dtype=bool)]
    if frame.empty:
        raise DesignError(message("surveys have no answers to the instrument {name}", name="share_of_wallet"))
    found, scale = last_answers(frame.assign(item="share"), "share_of_wallet", None, after, until)
    if scale is None or scale[0] != 0:
        raise ContractError(
            "surveys does not say the scale of the stated share from 0; fill scale_min with 0 and scale_max with 100 or 1"
        )
    return found / scale[1]


def _behaviour(
    record: PurchaseDays, customers: pd.Index[Any], after: int, until: int, *, money: bool
) -> pd.Series[float]:
    """Return purchase days or revenue of customers after one day and up to another; 0 for who did not buy."""
    inside = (record.day > after) & (record.day <= until)
    found = np.bincount(
        record.code[inside],
        weights=record.amount[inside] if money else None,
        minlength=len(record.customers),
    )
    return pd.Series(found.astype(float).round(2), index=record.customers).reindex(customers).fillna(0.0)


# --- putting together ----------------------------------------------------------------------------


def _assemble(
    placed: pd.Series[str],
    back: pd.Series[bool] | None,
    spent: pd.Series[float] | None,
    *,
    dropped: int,
    on: dt.date,
    cuts: tuple[float, float],
    behaviour: Behaviour,
    windows: tuple[int, int],
    currency: str | None,
    level: float,
) -> LoyaltyKinds:
    table = placed.value_counts().reindex(list(KINDS), fill_value=0).to_numpy().reshape(2, 2)
    cells = suppress_small_cells(
        pd.DataFrame(
            {
                "kind": KINDS,
                "attitude": ["yes", "yes", "no", "no"],
                "behaviour": ["yes", "no", "yes", "no"],
                "customers": table.ravel(),
            }
        ),
        count="customers",
        by=["attitude", "behaviour"],
    )
    shown = {k: c for k, c in zip(KINDS, cells["customers"], strict=True) if c is not None}
    varies = bool((table.sum(axis=0) > 0).all() and (table.sum(axis=1) > 0).all()) and len(shown) == len(
        KINDS
    )
    retention, spend = {}, {}
    if back is not None and spent is not None:
        for kind, count in shown.items():
            if not count:
                continue
            own = (placed == kind).to_numpy()
            retention[kind] = proportion(int(back[own].sum()), int(own.sum()), level=level)
            spend[kind] = mean_estimate(spent[own].to_numpy(), level=level, unit=currency)
    return LoyaltyKinds(
        counts=cells,
        shares=_shares(table.ravel(), shown, level),
        association=cramers_v(table.astype(float), level=level) if varies else None,
        odds=odds_ratio(
            int(table[0, 0]), int(table[0].sum()), int(table[1, 0]), int(table[1].sum()), level=level
        )
        if varies
        else None,
        retention=retention,
        spend=spend,
        emotional_gain=_gain(placed, back, shown, level),
        placed=placed,
        on=on,
        attitude_cut=cuts[0],
        behaviour=behaviour,
        behaviour_cut=cuts[1],
        before=windows[0],
        after=windows[1],
        checks=(
            _hidden_check(cells.attrs["suppressed"]),
            _later_check(windows[1], seen=back is not None),
            *_dropped_check(dropped),
        ),
    )


def _shares(counts: Array, shown: dict[str, int], level: float) -> dict[str, Estimate]:
    """Return shares whose intervals hold the truth together with the stated confidence."""
    n = int(counts.sum())
    low, high = wilson_interval(counts, n, level=1 - (1 - level) / len(counts))
    found = {}
    for i, kind in enumerate(KINDS):
        if kind not in shown:
            found[kind] = Estimate(math.nan, math.nan, math.nan, level, HIDDEN, 0, "fraction")
            continue
        share = float(counts[i]) / n
        found[kind] = Estimate(share, float(low[i]), float(high[i]), level, SIMULTANEOUS, n, "fraction")
    return found


def _gain(
    placed: pd.Series[str], back: pd.Series[bool] | None, shown: dict[str, int], level: float
) -> Estimate | None:
    one, two = KINDS[0], KINDS[2]
    if back is None or min(shown.get(one, 0), shown.get(two, 0)) == 0:
        return None
    loyal, spurious = (placed == one).to_numpy(), (placed == two).to_numpy()
    return difference_in_proportions(
        int(back[loyal].sum()), int(loyal.sum()), int(back[spurious].sum()), int(spurious.sum()), level=level
    )


def _hidden_check(hidden: int) -> Check:
    name = message("Small kinds")
    if not hidden:
        return Check(name, "passed", message("No kind rests on fewer than five customers."))
    said = messages(
        "{count} kind is hidden, since it or another rests on fewer than five customers.",
        "{count} kinds are hidden, since they or another rest on fewer than five customers.",
        hidden,
    )
    return Check(name, "warning", said)


def _later_check(after: int, *, seen: bool) -> Check:
    name = message("Window after")
    if seen:
        return Check(
            name, "passed", message("All customers were followed for {days} days.", days=f"{after:,}")
        )
    said = message(
        "The record ends before {days} days are over, so what became of the kinds is not measurable yet.",
        days=f"{after:,}",
    )
    return Check(name, "not measurable", said)


def _dropped_check(dropped: int) -> list[Check]:
    if not dropped:
        return []
    said = messages(
        "{count} customer answered on the attitude but not on the share of wallet and is left out.",
        "{count} customers answered on the attitude but not on the share of wallet and are left out.",
        dropped,
    )
    return [Check(message("Customers without a behaviour"), "warning", said)]
