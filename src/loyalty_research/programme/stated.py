"""What customers say they do against what they are seen to do: 'I buy more often since I joined'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, messages, percent
from loyalty_research.programme._by_customer import (
    day_numbers,
    mean_estimate,
    purchases_between,
    read_rows,
)
from loyalty_research.programme._contact_rows import refuse
from loyalty_research.programme._survey_rows import last_answers
from loyalty_research.programme._windows import purchase_days
from loyalty_research.stats.proportions import difference_in_proportions, proportion
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from loyalty_research.estimates import Estimate

__all__ = ["StatedAndRevealed", "stated_and_revealed"]

FEWEST = 5
PUBLISHED = 0.78


@dataclass(frozen=True, repr=False, eq=False)
class StatedAndRevealed(Result):
    """Customers who say that they buy more often since they joined, and those seen to.

    Attributes:
        stated: Share who say so.
        seen: Share, of the same customers, who bought on more days after joining than before.
        gap: Stated less seen share, of the same customers.
        of_sayers: Share seen to, of those who say so; None with fewer than five of them.
        of_others: Share seen to, of those who do not; None with fewer than five of them.
        difference: The first less the second; None without both.
        change: Purchase days after joining less before, mean of those who say so; None with fewer than five.
        window: Days before and after joining.
        left_out: Customers who answered and joined, without both windows observed.
    """

    title: ClassVar[str] = "Stated and revealed"

    stated: Estimate
    seen: Estimate
    gap: Estimate
    of_sayers: Estimate | None
    of_others: Estimate | None
    difference: Estimate | None
    change: Estimate | None
    window: int
    left_out: int

    def _rows(self) -> Iterable[Row]:
        of = message("members who answered and were seen for both windows")
        more = message("bought on more days than before")
        for name, group, estimate, estimand in (
            (message("say they buy more often"), "all", self.stated, of),
            (more, "all", self.seen, of),
            (message("stated less seen share"), "all", self.gap, of),
            (more, message("those who say so"), self.of_sayers, message("those who say so")),
            (more, message("the others"), self.of_others, message("the others")),
            (message("difference in buying more"), "all", self.difference, message("say so less the others")),
            (
                message("purchase days after less before"),
                message("those who say so"),
                self.change,
                message("mean of those who say so"),
            ),
        ):
            if estimate is not None:
                yield Row(name, estimate, group=group, estimand=estimand)

    def _verdict(self) -> str:
        values = {
            "stated": self.stated.format(),
            "seen": self.seen.format(),
            "n": f"{self.stated.n:,}",
            "days": f"{self.window:,}",
            "gap": self.gap.format(signed=True),
            "interval": self.gap.interval(signed=True),
        }
        said = message(
            "{stated} of {n} members say they buy more often; {seen} bought on more days in the {days} days after joining "
            "than in the {days} before. The gap is {gap} ({interval}).",
            **values,
        )
        if self.of_sayers is not None and self.of_others is not None:
            said = message(
                "{said} Of those who say so {yes} did, of the others {no}.",
                said=said,
                yes=self.of_sayers.format(),
                no=self.of_others.format(),
            )
        return message(
            "{said} Customers join when they buy much, so neither figure is what joining did.", said=said
        )

    def claim_verdict(self, share: float = PUBLISHED) -> str:
        """Hold a published stated share against what these customers say and do.

        Args:
            share: The published share, a fraction; 78% of members asked in Asia-Pacific by default.

        Raises:
            ArgumentError: When ``share`` is no fraction.
        """
        if not 0 < share < 1:
            raise ArgumentError(f"share is a fraction between 0 and 1; got {share!r}")
        values = {
            "claim": percent(share, digits=0),
            "seen": self.seen.format(),
            "interval": self.seen.interval(),
        }
        if self.seen.high < share:
            return message(
                "“{claim} buy more often” is an answer to a question. Seen to buy on more days are fewer here: {seen} "
                "({interval}).",
                **values,
            )
        if self.seen.low > share:
            return message(
                "More than the published {claim} are seen to buy on more days: {seen} ({interval}).", **values
            )
        return message(
            "The published {claim} lies within the interval of those seen to buy on more days: {seen} ({interval}).",
            **values,
        )


def stated_and_revealed(
    surveys: Any,
    transactions: Any,
    memberships: Any,
    *,
    cut: float,
    instrument: str = "buy_more_often",
    item: str | None = None,
    window: int = 180,
    as_of: dt.date | str | None = None,
    level: float = 0.95,
) -> StatedAndRevealed:
    """Compare who says that they buy more often since joining with who does.

    Purchase days are counted in two windows of one length, before and after the day of joining; that day
    itself belongs to neither, since joining comes with a purchase.

    Args:
        surveys: ``customer_id``, ``answered_date`` or ``answered_at``, ``instrument``, ``value``; the last
            answer of each customer counts.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        memberships: ``customer_id``, ``valid_from_date`` or ``valid_from``; the first one counts.
        cut: Answers from here on say "more often".
        instrument: Questionnaire that asks, in any case.
        item: Its question, where it has several.
        window: Days before and after.
        as_of: Last day observed; by default the last day of ``transactions``.
        level: Confidence level.

    Returns:
        Shares with Wilson's interval, the difference with Newcombe's, the gap within customers with t.

    Raises:
        ArgumentError: On a wrong option.
        ContractError: When a column is missing or a cell is wrong.
        DesignError: When nobody answered, or fewer than five members were seen for both windows.

    Examples:
        >>> who = [f"c{i}" for i in range(20)]
        >>> asked = pd.DataFrame({"customer_id": who, "answered_at": pd.Timestamp("2024-12-01"),
        ...     "instrument": "buy_more_often", "value": [1] * 14 + [0] * 6})
        >>> joined = pd.DataFrame({"customer_id": who, "valid_from": pd.Timestamp("2024-06-01")})
        >>> orders = pd.DataFrame({"customer_id": ["old", *who[:8]], "amount": 10.0,
        ...     "transacted_at": pd.to_datetime(["2023-01-01"] + ["2024-07-01"] * 8)})
        >>> found = stated_and_revealed(asked, orders, joined, cut=1, window=90, as_of="2024-12-31")
        >>> found.stated.value, found.seen.value, round(found.gap.value, 2)
        (0.7, 0.4, 0.3)

    References:
        Newcombe (1998), Statistics in Medicine 17, method 10; Morwitz, Steckel and Gupta (2007),
        International Journal of Forecasting 23, 347-364, on stated and actual purchases.
    """
    level, window = check_level(level), positive_days(window, "window")
    if isinstance(cut, bool) or not math.isfinite(cut):
        raise ArgumentError(f"cut must be a finite number; got {cut!r}")
    record = purchase_days(transactions, as_of)
    answers, _ = last_answers(surveys, instrument, item, 0, record.end)
    joined = _joined(memberships)
    both = answers.index.intersection(joined.index)
    start = joined.loc[both].to_numpy(dtype=float)
    seen = (start - window >= record.begin) & (start + window <= record.end)
    if seen.sum() < FEWEST:
        raise DesignError(
            message(
                "fewer than {fewest} members answered and were seen for {days} days before and after joining",
                fewest=FEWEST,
                days=f"{window:,}",
            )
        )
    who, start = pd.Series(both[seen]), start[seen]
    says = answers.loc[both].to_numpy(dtype=float)[seen] >= cut
    after = purchases_between(record, who, start, start + window)
    before = purchases_between(record, who, start - window - 1, start - 1)
    more = after > before
    sayers, others = int(says.sum()), int((~says).sum())
    known = min(sayers, others) >= FEWEST
    counts = int(more[says].sum()), sayers, int(more[~says].sum()), others
    return StatedAndRevealed(
        proportion(sayers, len(says), level=level),
        seen=proportion(int(more.sum()), len(more), level=level),
        gap=mean_estimate(says.astype(float) - more.astype(float), level=level, unit="fraction"),
        of_sayers=proportion(*counts[:2], level=level) if sayers >= FEWEST else None,
        of_others=proportion(*counts[2:], level=level) if others >= FEWEST else None,
        difference=difference_in_proportions(*counts, level=level) if known else None,
        change=mean_estimate((after - before)[says].astype(float), level=level) if sayers >= FEWEST else None,
        window=window,
        left_out=int((~seen).sum()),
        checks=(
            _chance_check(before, after),
            _left_check(int((~seen).sum())),
        ),
    )


def _joined(memberships: Any) -> pd.Series[float]:
    """Return the day number of each customer's first membership."""
    name = "memberships"
    frame = read_rows(memberships, name, ("customer_id", "valid_from"), ("valid_from_date",))
    refuse(
        frame["customer_id"].isna().to_numpy(), f"{name}.customer_id is null", "fill it or leave the row out"
    )
    frame = frame.rename(columns={"valid_from": "valid_from_at"})
    days = pd.Series(day_numbers(frame, "valid_from", name), index=pd.Index(frame["customer_id"]))
    found: pd.Series[float] = days.groupby(level=0).min()
    return found


def _chance_check(before: Any, after: Any) -> Check:
    """Say how many buy on more days for no reason: as many as buy on fewer, if nothing changed."""
    fewer = float(np.mean(after < before))
    return Check(
        message("Ups and downs"),
        "passed" if fewer < 0.05 else "warning",
        message(
            "{fewer} bought on fewer days than before. Where nothing changes, about as many go up as down, so the share "
            "that went up is not the share that was moved.",
            fewer=percent(fewer),
        ),
    )


def _left_check(left: int) -> Check:
    name = message("Members left out")
    if not left:
        return Check(name, "passed", message("All members who answered were seen for both windows."))
    said = messages(
        "{count} member who answered was not seen for both windows.",
        "{count} members who answered were not seen for both windows.",
        left,
    )
    return Check(name, "warning", said)
