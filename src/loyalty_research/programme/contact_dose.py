"""How margin and opting out go with the number of messages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Estimate, Result, Row, check_level
from loyalty_research.i18n import message
from loyalty_research.programme._contact_rows import (
    SMALLEST,
    as_moment,
    check_consent,
    clustered_proportion,
    gate_consent,
    not_measurable,
    read_contacts,
    refuse,
    shielded,
)
from loyalty_research.stats.arm_contrasts import means_of_rows
from loyalty_research.stats.contrasts import contrast_of_proportions, trend_weights
from loyalty_research.stats.proportions import proportion

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from loyalty_research.programme._contact_rows import Consent

    Floats = NDArray[np.float64]

__all__ = [
    "ContactDoseResponse",
    "clustered_slope",
    "contact_dose_response",
    "margins",
    "mean_estimate",
    "robust_slope",
    "window_sums",
]


def mean_estimate(values: Floats, *, level: float, unit: str | None = None) -> Estimate:
    """Return a mean with its t interval; without limits where a single value is all there is.

    Examples:
        >>> mean_estimate(np.array([1.0, 2.0, 3.0]), level=0.95)
        2.00 (95% interval −0.4841 to 4.48; t; n = 3)
    """
    n, mean = len(values), float(np.mean(values))
    half = math.nan
    if n > 1:
        half = float(stats.t.isf((1 - level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, level, "t", n, unit)


def robust_slope(dose: Floats, outcome: Floats, *, level: float, unit: str | None = None) -> Estimate:
    """Return the least-squares slope with a variance that allows each dose its own spread (HC3).

    Args:
        dose: Number of contacts per customer, shape ``(n,)``.
        outcome: Outcome per customer, shape ``(n,)``.
        level: Coverage aimed at.
        unit: Unit of the outcome.

    Returns:
        Slope per contact; without limits where one customer alone fixes the line.

    Raises:
        DesignError: When all doses are equal or fewer than three customers are there.

    Examples:
        >>> robust_slope(np.array([0.0, 0, 1, 1]), np.array([1.0, 3, 4, 6]), level=0.95).value
        3.0

    References:
        MacKinnon and White (1985), Journal of Econometrics 29, 305-325, HC3.
    """
    off = dose - dose.mean()
    spread = float(off @ off)
    if not spread > 0 or len(dose) < 3:
        raise DesignError("a trend needs at least three customers and two different numbers of contacts")
    slope = float(off @ outcome / spread)
    leverage = 1 / len(dose) + off**2 / spread
    if leverage.max() > 1 - 1e-9:
        return Estimate(slope, math.nan, math.nan, level, "least squares, HC3", len(dose), unit)
    residual = (outcome - outcome.mean() - slope * off) / (1 - leverage)
    error = math.sqrt(float(((off * residual) ** 2).sum())) / spread
    half = float(stats.t.isf((1 - level) / 2, len(dose) - 2)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, len(dose) - 2)) if error > 0 else None
    return Estimate(slope, slope - half, slope + half, level, "least squares, HC3", len(dose), unit, p)


def clustered_slope(
    dose: Floats, outcome: Floats, clusters: NDArray[np.int64], *, level: float, unit: str | None = None
) -> Estimate:
    """Return the least-squares slope where whole clusters were given one dose, by leaving each out.

    Args:
        dose: Number of contacts per customer, shape ``(n,)``.
        outcome: Outcome per customer, shape ``(n,)``.
        clusters: Cluster of each customer as a code from 0.
        level: Coverage aimed at.
        unit: Unit of the outcome.

    Returns:
        Slope per contact with the cluster jackknife's error and t of one less than the clusters.

    Raises:
        DesignError: When all doses are equal, or without one of the clusters they are.

    Examples:
        >>> clusters = np.repeat(np.arange(6), 2)
        >>> dose = np.repeat([0.0, 0, 0, 1, 1, 1], 2)
        >>> found = clustered_slope(dose, 3 * dose + np.tile([0.0, 1], 6), clusters, level=0.95)
        >>> round(found.value, 6), found.method
        (3.0, 'least squares, clusters left out one by one')

    References:
        MacKinnon, Nielsen and Webb (2023), Journal of Econometrics 232, 272-299, CV3.
    """
    x, y = dose - dose.mean(), outcome - outcome.mean()
    columns = (np.ones(len(x)), x, y, x * x, x * y)
    groups = int(clusters.max()) + 1
    sums = np.stack([np.bincount(clusters, weights=c, minlength=groups) for c in columns])
    total = sums.sum(axis=1)[:, None]

    def slope(n: Floats, sx: Floats, sy: Floats, sxx: Floats, sxy: Floats) -> Floats:
        spread = sxx - sx**2 / n
        if not (spread > 1e-9 * max(float(total[3, 0]), 1e-300)).all():
            raise DesignError("without one of the clusters all doses are equal, so no trend can be judged")
        return np.asarray((sxy - sx * sy / n) / spread)

    if groups < 3:
        raise DesignError("a trend over clusters needs at least three of them")
    value = float(slope(*total)[0])
    left_out = slope(*(total - sums))
    error = math.sqrt(float((groups - 1) / groups * ((left_out - value) ** 2).sum()))
    half = float(stats.t.isf((1 - level) / 2, groups - 1)) * error
    method = "least squares, clusters left out one by one"
    p = float(2 * stats.t.sf(abs(value) / error, groups - 1)) if error > 0 else None
    return Estimate(value, value - half, value + half, level, method, len(dose), unit, p)


def margins(transactions: pd.DataFrame, margin: float | None) -> pd.DataFrame:
    """Return ``customer_id, transacted_at, margin`` of every row with a customer, refunds included.

    Args:
        transactions: ``customer_id, transacted_at, amount`` and, without ``margin``, ``cost_of_goods``.
        margin: Share of the amount that is margin, a fraction; None takes amount less cost of goods.

    Raises:
        ArgumentError: When ``margin`` is not in (0, 1].
        ContractError: When a column is missing, a cell is not finite or currencies are mixed.

    Examples:
        >>> orders = pd.DataFrame({"customer_id": ["a"], "transacted_at": [pd.Timestamp("2024-05-01")],
        ...                        "amount": [20.0]})
        >>> margins(orders, 0.3)["margin"].tolist()
        [6.0]
    """
    if margin is not None and not 0 < margin <= 1:
        raise ArgumentError(f"margin must be a fraction above 0 and up to 1; got {margin!r}")
    wanted = ["customer_id", "transacted_at", "amount", *([] if margin is not None else ["cost_of_goods"])]
    missing = [c for c in wanted if c not in transactions.columns]
    if missing:
        raise ContractError(
            f"transactions lacks {', '.join(missing)}; add it, or name margin= as a share of the amount"
        )
    if "currency" in transactions.columns and len(transactions["currency"].dropna().unique()) > 1:
        raise ContractError("transactions.currency holds several currencies; convert them to one first")
    known = transactions[transactions["customer_id"].notna()]
    numbers = known[[c for c in wanted if c not in {"customer_id", "transacted_at"}]].astype(float)
    refuse(
        ~np.isfinite(numbers.to_numpy()).all(axis=1),
        "transactions holds amounts or costs that are not finite",
        "give each row its amount",
    )
    refuse(
        known["transacted_at"].isna().to_numpy(),
        "transactions.transacted_at is null",
        "give each row its time",
    )
    gain = numbers["amount"] * margin if margin is not None else numbers["amount"] - numbers["cost_of_goods"]
    return known[["customer_id", "transacted_at"]].assign(margin=gain)


def window_sums(gains: pd.DataFrame, customers: pd.Index, start: pd.Timestamp, end: pd.Timestamp) -> Floats:
    """Return each customer's margin in ``[start, end)``, 0 for those without an order.

    Examples:
        >>> gains = pd.DataFrame({"customer_id": ["a"], "transacted_at": [pd.Timestamp("2024-05-01")],
        ...                       "margin": [6.0]})
        >>> window_sums(gains, pd.Index(["a", "b"]), pd.Timestamp("2024-05-01"), pd.Timestamp("2024-06-01"))
        array([6., 0.])
    """
    inside = gains[(gains["transacted_at"] >= start) & (gains["transacted_at"] < end)]
    sums = inside.groupby("customer_id")["margin"].sum()
    return np.asarray(sums.reindex(customers).fillna(0.0).to_numpy(dtype=float))


@dataclass(frozen=True, repr=False)
class ContactDoseResponse(Result):
    """Margin and opting out by number of contacts.

    Attributes:
        randomised: Whether the number was assigned by lot; otherwise it was chosen.
        by_dose: One row per number of contacts: ``dose, customers, margin, opt_out``, the last two
            estimates, or None where fewer than five customers stand behind them.
        margin_trend: Margin per further contact.
        opt_out_trend: Change in the share opting out per further contact, or None.
    """

    title: ClassVar[str] = "Contacts, margin and opting out"

    randomised: bool
    by_dose: pd.DataFrame
    margin_trend: Estimate
    opt_out_trend: Estimate | None

    def _rows(self) -> Iterable[Row]:
        design = message("effect of assignment") if self.randomised else message("association, chosen dose")
        for row in self.by_dose.to_dict("records"):
            group = message("contacts: {dose}", dose=f"{row['dose']:g}")
            for name, found in (
                (message("margin per customer"), row["margin"]),
                (message("opted out"), row["opt_out"]),
            ):
                if found is not None:
                    shown, reason = shielded(found) if found.unit == "fraction" else (found, "")
                    extra = {"reason": reason}
                    yield Row(name, shown, group=group, estimand=message("level at this dose"), extra=extra)
        yield Row(message("margin per further contact"), self.margin_trend, group="trend", estimand=design)
        if self.opt_out_trend is not None:
            yield Row(
                message("opted out per further contact"), self.opt_out_trend, group="trend", estimand=design
            )

    def _verdict(self) -> str:
        found = self.margin_trend
        shown = {"slope": found.format(signed=True), "interval": found.interval(signed=True)}
        if self.randomised:
            first = message(
                "Each further assigned contact changes margin per customer by {slope} ({interval}).", **shown
            )
        else:
            first = message(
                "Margin goes with {slope} per further contact ({interval}), but who was contacted how often was "
                "chosen, so this is no effect of contacting.",
                **shown,
            )
        if self.opt_out_trend is None:
            return first
        return (
            first
            + " "
            + message(
                "The share opting out goes with {slope} per further contact ({interval}).",
                slope=self.opt_out_trend.format(signed=True),
                interval=self.opt_out_trend.interval(signed=True),
            )
        )


def contact_dose_response(
    contacts: Any,
    customers: pd.DataFrame,
    transactions: pd.DataFrame,
    *,
    start: dt.date | str,
    end: dt.date | str,
    assigned: str | None = None,
    margin: float | None = None,
    doses: Mapping[str, float] | None = None,
    cluster: str | None = None,
    top: int | None = None,
    without_consent: Consent = "error",
    currency: str | None = None,
    level: float = 0.95,
) -> ContactDoseResponse:
    """Return margin and opting out by number of contacts, and the trend of each.

    With ``assigned`` the number drawn for the customer is the dose, whatever was sent in the end,
    and the trend is an effect of assignment. Without it the messages sent in the window are
    counted, and the result says that the dose was chosen: good customers are written to more
    often, and who opts out gets no further message.

    Args:
        contacts: Contact events; anything narwhals reads.
        customers: ``customer_id``, one row per customer who could have been contacted, and the
            column ``assigned`` names.
        transactions: ``customer_id, transacted_at, amount`` and ``cost_of_goods`` or ``margin``.
        start: First moment of the window, naive UTC.
        end: First moment after it.
        assigned: Column of ``customers`` with the number of contacts drawn by lot, or with the arm.
        margin: Share of the amount that is margin, a fraction.
        doses: Arm to its number of contacts, such as ``{"none": 0, "monthly": 1, "weekly": 4}``, where
            ``assigned`` names a column of arms, as a table of assignments has.
        cluster: Column of ``customers`` with what was given one number as a whole, such as the shop.
        top: Doses from this on are taken together as this many.
        without_consent: ``"error"`` refuses messages sent without consent, ``"leave-out"`` drops them with
            all they led to, ``"count"`` keeps them; the last two count them in a check.
        currency: Code of the margin's currency, for display.
        level: Confidence level.

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing or a row is bad.
        DesignError: When all customers have one dose, or a cluster has several.

    Examples:
        >>> customers = pd.DataFrame({"customer_id": list("abcdefghijkl"), "dose": [0, 1, 2] * 4})
        >>> contacts = pd.DataFrame({"customer_id": list("bcc"), "event": "sent",
        ...                          "sent_at": pd.Timestamp("2024-05-02")})
        >>> orders = pd.DataFrame({"customer_id": list("bcef"), "amount": [10.0, 20, 10, 20],
        ...                        "transacted_at": pd.Timestamp("2024-05-03")})
        >>> found = contact_dose_response(contacts, customers, orders, start="2024-05-01",
        ...     end="2024-06-01", assigned="dose", margin=0.5)
        >>> found.margin_trend.value
        2.5

    References:
        MacKinnon and White (1985), HC3; Zou, Huang and Zhang (2009) for the trend of shares; MacKinnon,
        Nielsen and Webb (2023) for clusters.
    """
    check_level(level)
    first, last = as_moment(start, "start"), as_moment(end, "end")
    if not first < last:
        raise ArgumentError("start must come before end")
    if top is not None and (isinstance(top, bool) or top < 1):
        raise ArgumentError(f"top must be at least 1; got {top!r}")
    check_consent(without_consent)
    customers = _dosed(customers, assigned, doses)
    people = _people(customers, assigned)
    rows, consent = gate_consent(read_contacts(contacts), without_consent)
    rows = rows[(rows["sent_at"] >= first) & (rows["sent_at"] < last)]
    sent = rows[rows["event"] == "sent"].groupby("customer_id").size().reindex(people, fill_value=0)
    received: Floats = np.asarray(sent, dtype=np.float64)
    dose: Floats = received if assigned is None else np.asarray(customers[assigned], dtype=np.float64)
    if top is not None:
        dose = np.minimum(dose, top)
    gain = window_sums(margins(transactions, margin), people, first, last)
    recorded = bool((rows["event"] == "opt_out").any())
    left = people.isin(rows.loc[rows["event"] == "opt_out", "customer_id"])
    groups = _clusters(customers, cluster, dose, assigned)
    trend = (
        robust_slope(dose, gain, level=level, unit=currency)
        if groups is None
        else clustered_slope(dose, gain, groups, level=level, unit=currency)
    )
    return ContactDoseResponse(
        randomised=assigned is not None,
        by_dose=_by_dose(dose, gain, left if recorded else None, groups, level, currency),
        margin_trend=trend,
        opt_out_trend=_share_trend(dose, left, groups, level) if recorded else None,
        checks=(*_checks(assigned, dose, received, recorded=recorded, top=top), consent),
    )


def _dosed(customers: pd.DataFrame, assigned: str | None, doses: Mapping[str, float] | None) -> pd.DataFrame:
    """Put the number of contacts in the place of the arm, where arms are named."""
    if doses is None or (assigned is not None and assigned not in customers.columns):
        return customers
    if assigned is None:
        raise ArgumentError("doses= says what the arms of assigned= stand for, so name that column too")
    if any(not (math.isfinite(d) and d >= 0) for d in doses.values()):
        raise ArgumentError(f"doses must be numbers of contacts from 0; got {dict(doses)!r}")
    known = customers[assigned].isin(list(doses)).to_numpy()
    refuse(
        ~known, f"customers.{assigned} holds an arm that doses= does not name", "name its number of contacts"
    )
    return customers.assign(**{assigned: customers[assigned].map(dict(doses)).astype(float)})


def _people(customers: pd.DataFrame, assigned: str | None) -> pd.Index:
    wanted = ["customer_id", *([] if assigned is None else [assigned])]
    missing = [c for c in wanted if c not in customers.columns]
    if missing:
        raise ContractError(f"customers lacks the column {', '.join(missing)}")
    for column in wanted:
        refuse(
            customers[column].isna().to_numpy(), f"customers.{column} is null", "fill it or leave the row out"
        )
    refuse(
        customers["customer_id"].duplicated().to_numpy(), "customers.customer_id repeats", "keep one row each"
    )
    if assigned is not None:
        if not pd.api.types.is_numeric_dtype(customers[assigned]):
            raise ContractError(f"customers.{assigned} must hold the number of contacts drawn")
        refuse(
            (customers[assigned] < 0).to_numpy(), f"customers.{assigned} is negative", "mend the assignment"
        )
    people: pd.Index = pd.Index(customers["customer_id"])
    return people


def _clusters(
    customers: pd.DataFrame, cluster: str | None, dose: Floats, assigned: str | None
) -> NDArray[np.int64] | None:
    """Return the cluster of each customer as a code from 0."""
    if cluster is None:
        return None
    if assigned is None:
        raise ArgumentError(
            "cluster= says what was drawn as a whole, so name the column of the lots in assigned="
        )
    if cluster not in customers.columns:
        raise ContractError(f"customers lacks the column {cluster}, the unit that was assigned as a whole")
    refuse(
        customers[cluster].isna().to_numpy(), f"customers.{cluster} is null", "name each customer's cluster"
    )
    codes = pd.factorize(customers[cluster])[0]
    doses = pd.Series(dose).groupby(codes).agg(["min", "max"])
    several = int((doses["min"] < doses["max"]).sum())
    if several:
        raise DesignError(
            f"{several} clusters of customers.{cluster} hold several doses, so they were not assigned as a whole: leave "
            "cluster= out, or mend the lots"
        )
    return np.asarray(codes, dtype=np.int64)


def _mean(values: Floats, clusters: NDArray[np.int64] | None, level: float, unit: str | None) -> Estimate:
    """Return a mean, of clusters where those were assigned."""
    if clusters is None:
        return mean_estimate(values, level=level, unit=unit)
    codes = np.asarray(np.unique(clusters, return_inverse=True)[1], dtype=np.int64)
    if codes.max() < 1:
        value = float(values.mean())
        return Estimate(value, math.nan, math.nan, level, "t, clusters", len(values), unit)
    found = means_of_rows(values[:, None], codes)
    value, (covariance, dof) = float(found.mean[0]), found.pieces[0]
    half = float(stats.t.isf((1 - level) / 2, dof)) * math.sqrt(float(covariance[0, 0]))
    return Estimate(value, value - half, value + half, level, "t, clusters", len(values), unit)


def _by_dose(
    dose: Floats,
    gain: Floats,
    left: NDArray[np.bool_] | None,
    groups: NDArray[np.int64] | None,
    level: float,
    currency: str | None,
) -> pd.DataFrame:
    lines = []
    for value in np.unique(dose):
        here = dose == value
        n = int(here.sum())
        shown = n >= SMALLEST
        lines.append(
            {
                "dose": float(value),
                "customers": n if shown else None,
                "margin": _mean(gain[here], None if groups is None else groups[here], level, currency)
                if shown
                else None,
                "opt_out": None
                if not shown
                else not_measurable(level=level)
                if left is None
                else proportion(int(left[here].sum()), n, level=level)
                if groups is None
                else clustered_proportion(left[here].astype(float), groups[here], level=level),
            }
        )
    return pd.DataFrame(lines)


def _share_trend(
    dose: Floats, left: NDArray[np.bool_], groups: NDArray[np.int64] | None, level: float
) -> Estimate:
    if groups is not None:
        return clustered_slope(dose, left.astype(float), groups, level=level, unit="fraction")
    values, codes = np.unique(dose, return_inverse=True)
    sizes = np.bincount(codes)
    hits = np.bincount(codes, weights=left).astype(int)
    weights = trend_weights(values.tolist(), sizes.tolist())
    return contrast_of_proportions(hits.tolist(), sizes.tolist(), weights.tolist(), level=level)


def _checks(
    assigned: str | None, dose: Floats, received: Floats, *, recorded: bool, top: int | None
) -> Iterable[Check]:
    name = message("How the number of contacts came about")
    if assigned is None:
        yield Check(
            name,
            "warning",
            message(
                "It was chosen, not drawn: customers differ between doses, and opting out ends the messages."
            ),
        )
    else:
        held = received if top is None else np.minimum(received, top)
        agreed = float(np.mean(held == dose))
        yield Check(
            name,
            "passed",
            message(
                "Drawn by lot; {share} of customers were sent exactly the number drawn.",
                share=proportion(round(agreed * len(dose)), len(dose)).format(),
            ),
        )
    if not recorded:
        yield Check(
            message("Opting out"),
            "not measurable",
            message("The table records no event 'opt_out' in the window."),
        )
