"""Share of wallet: what part of their spending in a category customers bring, as told and as measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError, at_rows
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, messages, percent
from loyalty_research.programme._by_customer import mean_estimate, share_of_sums
from loyalty_research.programme._survey_rows import SHARE_ITEMS, read_answers
from loyalty_research.programme._windows import PurchaseDays, purchase_days
from loyalty_research.programme.surveys import response_check
from loyalty_research.summaries._frames import as_ordinal, positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate

    Array = NDArray[Any]

__all__ = ["ShareOfWallet", "share_of_wallet"]

SPEND, HELD = "category_spend", "programmes_held"
FEWEST = 5


@dataclass(frozen=True, repr=False, eq=False)
class ShareOfWallet(Result):
    """What part of their spending in the category customers bring.

    Attributes:
        stated: Mean share that customers state; None where it was not asked.
        measured: Own revenue as a share of the category spend stated, all money together; None where
            spend was not asked or there are no purchases to hold against it.
        measured_mean: Mean over customers of the same share of each.
        gap: Mean of stated less measured share, of customers with both; None without five of them.
        several: Share of customers who hold a card of more than one programme; None where not asked.
        programmes: Mean number of programmes held.
        below_own: Customers who state less category spend than they spent here.
        no_wallet: Customers who neither state category spend nor bought.
        not_covered: Customers whose spend window begins before the record of purchases.
        window: Days of spending that were asked about.
        influence: How much each customer moves the share that :attr:`headline` returns.
    """

    title: ClassVar[str] = "Share of wallet"

    stated: Estimate | None
    measured: Estimate | None
    measured_mean: Estimate | None
    gap: Estimate | None
    several: Estimate | None
    programmes: Estimate | None
    below_own: int
    no_wallet: int
    not_covered: int
    window: int
    influence: pd.Series[float]

    @property
    def headline(self) -> Estimate | None:
        """The measured share of all money where there is one, otherwise the stated mean."""
        return self.measured or self.stated

    def _rows(self) -> Iterable[Row]:
        share = message("share of wallet")
        for name, estimate, of in (
            (share, self.measured, message("own revenue over category spend stated, sums")),
            (share, self.measured_mean, message("own revenue over category spend stated, mean of customers")),
            (share, self.stated, message("as stated, mean of customers")),
            (message("stated less measured share"), self.gap, message("customers with both")),
            (message("holds several programmes"), self.several, message("customers who were asked")),
            (message("programmes held"), self.programmes, message("mean of customers")),
        ):
            if estimate is not None:
                yield Row(name, estimate, estimand=of)

    def _verdict(self) -> str:
        said = []
        if self.measured is not None and self.measured_mean is not None:
            said.append(
                message(
                    "Of what {n} customers say they spend in the category, {share} is spent here ({interval}); of the "
                    "average customer's spending it is {mean}.",
                    n=f"{self.measured.n:,}",
                    share=self.measured.format(),
                    interval=self.measured.interval(),
                    mean=self.measured_mean.format(),
                )
            )
        if self.stated is not None:
            said.append(
                message(
                    "Asked for the share itself, {n} customers name {share} on average ({interval}).",
                    n=f"{self.stated.n:,}",
                    share=self.stated.format(),
                    interval=self.stated.interval(),
                )
            )
        if self.several is not None:
            said.append(
                message(
                    "{share} hold a card of more than one programme ({interval}).",
                    share=self.several.format(),
                    interval=self.several.interval(),
                )
            )
        said.append(message("All of this holds for those who answered, as they remember it."))
        return " ".join(said)


def share_of_wallet(
    surveys: Any,
    *,
    transactions: Any = None,
    window: int = 365,
    instrument: str = "share_of_wallet",
    as_of: dt.date | str | None = None,
    since: dt.date | str | None = None,
    weights: pd.Series[float] | None = None,
    invited: int | None = None,
    level: float = 0.95,
) -> ShareOfWallet:
    """Return the share of customers' spending in the category that is spent here.

    The survey may ask for the share itself (item ``share`` or none, on a scale from 0 to 100 or 0 to 1),
    for all spending in the category during the window (item ``category_spend``, in the dataset's
    currency), which is held against the customer's own purchases in the same days, and for the number of
    programmes the customer belongs to (item ``programmes_held``). The last answer of each customer to
    each item counts.

    Nobody spends more here than in all: where the stated spend is below the customer's own purchases, it
    is raised to them, and such customers are counted.

    Args:
        surveys: ``customer_id``, ``answered_date`` or ``answered_at``, ``instrument``, ``value``,
            ``scale_min``, ``scale_max`` and, where there are several questions, ``item``. Rows without a
            value are customers who were asked and did not answer.
        transactions: ``customer_id``, ``transacted_date`` or ``transacted_at``, ``amount``.
        window: Days up to the answer that category spend was asked for.
        instrument: Name of the questionnaire, in any case.
        as_of: Last day of answers and purchases; by default the last of each.
        since: First day of answers.
        weights: One positive weight a customer, indexed by customer, such as one over the chance to respond.
        invited: Customers who were asked, where rows without a value do not say so.
        level: Confidence level.

    Returns:
        Means with t intervals; the share of sums by the delta method over customers.

    Raises:
        ArgumentError: On a wrong option, or a customer without a weight.
        ContractError: When a column is missing, scales are mixed or not declared, or an answer is off them.
        DesignError: When nobody answered.

    Examples:
        >>> who, day = [f"c{i}" for i in range(8)], pd.Timestamp("2024-12-31")
        >>> asked = pd.DataFrame({"customer_id": who, "answered_at": day, "instrument": "share_of_wallet",
        ...     "item": "category_spend", "value": [100.0, 200, 100, 400, 300, 100, 200, 600]})
        >>> orders = pd.DataFrame({"customer_id": ["old", *who], "amount": [1.0, 50, 60, 30, 90, 60, 40, 80, 90],
        ...     "transacted_at": pd.to_datetime(["2023-01-01"] + ["2024-06-01"] * 8)})
        >>> found = share_of_wallet(asked, transactions=orders, as_of="2024-12-31")
        >>> found.measured
        25.0% (95% interval 16.7% to 35.6%; linearised by customer, wilson; n = 8)
        >>> round(found.measured_mean.value, 3)
        0.309

    References:
        Cooil, Keiningham, Aksoy and Hsu (2007), Journal of Marketing 71(1), 67-83; Cochran (1977), Sampling
        Techniques, sections 6.2 and 6.4, the two means of a ratio.
    """
    level = check_level(level)
    window = positive_days(window, "window")
    last = None if as_of is None else as_ordinal(as_of, "as_of")
    frame, asked = _answers(surveys, instrument, None if since is None else as_ordinal(since, "since"), last)
    stated = _stated(frame[frame["kind"] == "share"])
    spend, held = frame[frame["kind"] == SPEND], _whole(frame[frame["kind"] == HELD])
    weight = _weights(weights, pd.Index(frame["customer_id"].unique()))
    own, out = _wallets(spend, transactions, as_of, window)
    money = own.to_numpy(dtype=float)
    measured = (
        share_of_sums(money[:, 0], money[:, 1], level=level, weights=_of(weight, own)) if len(own) else None
    )
    ratio = pd.Series(money[:, 0] / money[:, 1], index=own.index)
    top = measured or (None if stated.empty else _mean(stated, weight, level))
    many = (held > 1).astype(float)
    return ShareOfWallet(
        None if stated.empty else _mean(stated, weight, level),
        measured=measured,
        measured_mean=_mean(ratio, weight, level) if len(own) else None,
        gap=_gap(stated, ratio, weight, level),
        several=None
        if held.empty
        else share_of_sums(many.to_numpy(), np.ones(len(many)), level=level, weights=_of(weight, many)),
        programmes=None if held.empty else _mean(held, weight, level, unit=None),
        below_own=out["below"],
        no_wallet=out["nothing"],
        not_covered=out["early"],
        window=window,
        influence=_influence(own, stated, weight, measured is not None),
        checks=(
            *_response(
                int(frame["customer_id"].nunique()),
                asked if invited is None else invited,
                top,
                weighted=weights is not None,
            ),
            *_spend_checks(len(spend), out, transactions is None),
        ),
    )


# --- reading -------------------------------------------------------------------------------------


def _answers(
    surveys: Any, instrument: str, since: int | None, last: int | None
) -> tuple[pd.DataFrame, int | None]:
    """Return the last answer of each customer to each kind of question, and how many were asked."""
    frame = read_answers(surveys, instrument)
    frame = frame[frame["day"].isna() | ((frame["day"] <= (last or np.inf)) & (frame["day"] >= (since or 0)))]
    given = frame["value"].notna() & frame["day"].notna()
    asked = None if given.all() else int(frame["customer_id"].nunique())
    item = frame["item"]
    kind = item.where(item.isin([SPEND, HELD]), "other")
    kind = kind.mask(item.isna() | item.isin(SHARE_ITEMS), "share")
    frame = frame.assign(kind=kind, position=frame.index)[given]
    frame = frame[frame["kind"] != "other"].sort_values("day", kind="stable")
    if frame.empty:
        raise DesignError(message("nobody answered the instrument {name}", name=instrument))
    return frame.drop_duplicates(["customer_id", "kind"], keep="last"), asked


def _stated(frame: pd.DataFrame) -> pd.Series[float]:
    """Return stated shares as fractions, by customer."""
    if frame.empty:
        return pd.Series(dtype=float)
    if not {"scale_min", "scale_max"} <= set(frame.columns):
        raise ContractError(
            "surveys does not say the scale of the stated share; fill scale_min with 0 and scale_max with 100 or 1"
        )
    ends = frame[["scale_min", "scale_max"]].to_numpy(dtype=float)
    wrong = (ends[:, 0] != 0) | ~np.isin(ends[:, 1], [1.0, 100.0]) | (ends != ends[0]).any(axis=1)
    if wrong.any():
        rows = at_rows(sorted(frame.loc[wrong, "position"].tolist()))
        raise ContractError(
            f"surveys states shares on a scale that is not 0 to 100 or 0 to 1, or on two scales, at {rows}; keep the "
            "answers of one scale"
        )
    share = frame["value"].to_numpy(dtype=float) / ends[:, 1]
    off = (share < 0) | (share > 1)
    if off.any():
        rows = at_rows(sorted(frame.loc[off, "position"].tolist()))
        raise ContractError(
            f"surveys.value lies off the scale 0 to {ends[0, 1]:g} at {rows}; mend the answers"
        )
    return pd.Series(share, index=pd.Index(frame["customer_id"]))


def _whole(frame: pd.DataFrame) -> pd.Series[float]:
    """Return programmes held, by customer."""
    value = frame["value"].to_numpy(dtype=float)
    odd = (value < 0) | (value != np.round(value))
    if odd.any():
        rows = at_rows(sorted(frame.loc[odd, "position"].tolist()))
        raise ContractError(
            f"surveys.value of programmes_held is no whole number from 0 at {rows}; mend the answers"
        )
    return pd.Series(value, index=pd.Index(frame["customer_id"]))


def _weights(weights: pd.Series[float] | None, who: pd.Index[Any]) -> pd.Series[float] | None:
    if weights is None:
        return None
    if weights.index.has_duplicates:
        raise ArgumentError("weights names a customer more than once")
    found = weights.reindex(who).astype(float)
    bad = int((~(np.isfinite(found) & (found > 0))).sum())
    if bad:
        raise ArgumentError(
            f"weights must be above 0 for every customer who answered; {bad:,} of {len(who):,} have none"
        )
    return found


def _of(weight: pd.Series[float] | None, values: Any) -> Array | None:
    return None if weight is None else weight.reindex(values.index).to_numpy(dtype=float)


# --- measuring -----------------------------------------------------------------------------------


def _wallets(
    spend: pd.DataFrame, transactions: Any, as_of: dt.date | str | None, window: int
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return own revenue and category spend by customer, and how many are mended or left out."""
    out = {"below": 0, "nothing": 0, "early": 0}
    if spend.empty or transactions is None:
        return pd.DataFrame(columns=["own", "all"], dtype=float), out
    low = spend["value"].to_numpy(dtype=float) < 0
    if low.any():
        rows = at_rows(sorted(spend.loc[low, "position"].tolist()))
        raise ContractError(f"surveys.value of category_spend is below 0 at {rows}; mend the answers")
    record = transactions if isinstance(transactions, PurchaseDays) else purchase_days(transactions, as_of)
    day = spend["day"].to_numpy(dtype=float)
    inside = (day - window >= record.begin - 1) & (day <= record.end)
    out["early"] = int((~inside).sum())
    spend, day = spend[inside], day[inside]
    own = _revenue(record, spend["customer_id"], day - window, day)
    told = spend["value"].to_numpy(dtype=float)
    some = (own > 0) | (told > 0)
    out["nothing"], out["below"] = int((~some).sum()), int((told < own).sum())
    frame = pd.DataFrame({"own": own, "all": np.maximum(own, told)}, index=pd.Index(spend["customer_id"]))
    return frame[some], out


def _revenue(record: PurchaseDays, customers: pd.Series[Any], after: Array, until: Array) -> Array:
    """Return what each customer spent after one day and up to another; each customer once."""
    at = pd.Index(customers).get_indexer(record.customers)[record.code]
    known = at >= 0
    at, day, amount = at[known], record.day[known], record.amount[known]
    inside = (day > after[at]) & (day <= until[at])
    found: Array = np.bincount(at[inside], weights=amount[inside], minlength=len(customers)).round(2)
    return found


def _mean(
    values: pd.Series[float], weight: pd.Series[float] | None, level: float, unit: str | None = "fraction"
) -> Estimate:
    return mean_estimate(values.to_numpy(dtype=float), level=level, unit=unit, weights=_of(weight, values))


def _gap(
    stated: pd.Series[float], measured: pd.Series[float], weight: pd.Series[float] | None, level: float
) -> Estimate | None:
    both = stated.index.intersection(measured.index)
    if len(both) < FEWEST:
        return None
    return _mean(stated.loc[both] - measured.loc[both], weight, level)


def _influence(
    own: pd.DataFrame, stated: pd.Series[float], weight: pd.Series[float] | None, measured: bool
) -> pd.Series[float]:
    part = own["own"] if measured else stated
    whole = own["all"] if measured else pd.Series(1.0, index=stated.index)
    w = 1.0 if weight is None else weight.reindex(part.index)
    total = float((w * whole).sum())
    found: pd.Series[float] = (
        w * (part - float((w * part).sum()) / total * whole) / total if total else 0 * part
    )
    return found


def _response(n: int, asked: int | None, top: Estimate | None, *, weighted: bool) -> list[Check]:
    return [] if top is None else [response_check(n, asked, 100 * top.value, 0.0, 100.0, weighted=weighted)]


def _spend_checks(asked: int, out: dict[str, int], without: bool) -> list[Check]:
    if not asked:
        return []
    name = message("Category spend and own purchases")
    if without:
        said = message("Category spend was asked, but no transactions were given to hold against it.")
        return [Check(name, "not measurable", said)]
    checks = []
    if out["below"]:
        said = messages(
            "{count} customer ({share}) states less category spend than was spent here, which was raised to it.",
            "{count} customers ({share}) state less category spend than was spent here, which was raised to it.",
            out["below"],
            share=percent(out["below"] / asked),
        )
        checks.append(Check(name, "warning", said))
    else:
        checks.append(
            Check(name, "passed", message("Nobody states less category spend than was spent here."))
        )
    if out["early"] or out["nothing"]:
        said = message(
            "Left out: {early} whose window the record of purchases does not cover, {nothing} who neither state "
            "category spend nor bought.",
            early=f"{out['early']:,}",
            nothing=f"{out['nothing']:,}",
        )
        checks.append(Check(message("Customers left out"), "warning", said))
    return checks
