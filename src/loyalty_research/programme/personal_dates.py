"""Offers on customers' own dates: birthdays, and anniversaries of a first purchase or of joining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from loyalty_research.errors import ArgumentError, ContractError, DesignError
from loyalty_research.estimates import Check, Result, Row, check_level
from loyalty_research.i18n import message, messages, number, percent
from loyalty_research.programme._campaign_arms import ALARM, arm_masks, mean_difference, ratio_check
from loyalty_research.programme._contact_rows import as_moment, local_moments, refuse
from loyalty_research.programme._own_dates import WEEK, Windows, own_events, usual_by_day, values_around
from loyalty_research.programme.contact_dose import margins, mean_estimate
from loyalty_research.summaries._frames import positive_days

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from loyalty_research.estimates import Estimate

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["PersonalDateOffer", "personal_date_offer"]

Kind = Literal["birthday", "anniversary"]
Leap = Literal["before", "after"]

FILLER = 4  # times its fair share, from which on 1 January looks like a filler


@dataclass(frozen=True, repr=False)
class PersonalDateOffer(Result):
    """Margin per customer around the own date.

    Attributes:
        kind: ``"birthday"`` or ``"anniversary"``.
        held_out: Whether customers held out by lot were the comparison; otherwise other dates were.
        before: Difference before the offer; below 0 where customers waited for it.
        during: Difference while it lasted.
        after: Difference after it; below 0 where orders were only pulled forward.
        net: Difference over all three: what the offer, or the date, added.
        by_week: ``week, estimate, low, high`` of the difference per week around the date.
        windows: Days of the windows relative to the date.
        customers: Customers compared.
    """

    title: ClassVar[str] = "Offer on customers' own dates"

    kind: Kind
    held_out: bool
    before: Estimate
    during: Estimate
    after: Estimate
    net: Estimate
    by_week: pd.DataFrame
    windows: Windows
    customers: int

    def _rows(self) -> Iterable[Row]:
        estimand = (
            message("offered minus held out, all assigned")
            if self.held_out
            else message(
                "own date minus own other dates, less others on the same days; no effect of an offer"
            )
        )
        for group, estimate in (
            (message("before the offer"), self.before),
            (message("during the offer"), self.during),
            (message("after the offer"), self.after),
            (message("all together"), self.net),
        ):
            yield Row(message("margin per customer and date"), estimate, group=group, estimand=estimand)

    def _verdict(self) -> str:
        shown = {
            "net": self.net.format(signed=True),
            "interval": self.net.interval(signed=True),
            "days": str(self.windows.last - self.windows.first),
            "during": self.during.format(signed=True),
        }
        moved = self._moved()
        if self.held_out:
            first = message(
                "Against customers held out, the offer changed margin per customer and date by {net} over {days} days "
                "around it ({interval}).",
                **shown,
            )
            return f"{first} {moved}".strip()
        first = message(
            "Around their own date customers differ by {net} of margin over {days} days from their other dates, what "
            "others did on the same days taken off ({interval}).",
            **shown,
        )
        caution = (
            message(
                "A birthday has its own purchases, with an offer or without one; only a holdout tells them apart."
            )
            if self.kind == "birthday"
            else message(
                "Who buys at one time every year buys on the anniversary too; only a holdout tells that apart from the "
                "offer."
            )
        )
        return " ".join(part for part in (first, moved, caution) if part)

    def _moved(self) -> str:
        """Say whether orders were moved to the offer from the days around it."""
        waited, pulled = self.before.high < 0, self.after.high < 0
        if not (waited or pulled) or not self.during.low > 0:
            return ""
        shown = {
            "during": self.during.format(signed=True),
            "before": self.before.format(signed=True),
            "after": self.after.format(signed=True),
        }
        return message(
            "Part of it was moved from the days around the offer: {before} before, {during} during, {after} after.",
            **shown,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the difference by week around the date."""
        from loyalty_research.plots.campaigns import around_date

        return around_date(
            self.by_week,
            offer=(self.windows.start / WEEK, self.windows.stop / WEEK),
            title=message("Margin around customers' own dates"),
            xlabel=message("weeks from the date"),
            ylabel=message("difference in margin per customer and week"),
            ax=ax,
        )


def personal_date_offer(
    transactions: pd.DataFrame,
    dates: pd.DataFrame,
    *,
    kind: Kind,
    as_of: dt.date | str,
    date: str = "date",
    window: tuple[int, int] = (0, 14),
    before_days: int = 14,
    after_days: int = 28,
    start: dt.date | str | None = None,
    known_from: str | None = None,
    treated: str | None = None,
    control: str | None = None,
    arm: str = "arm",
    ratio: float | None = None,
    timezone: str = "UTC",
    leap_day: Leap = "before",
    margin: float | None = None,
    currency: str | None = None,
    level: float = 0.95,
) -> PersonalDateOffer:
    """Compare what customers spend around their own date, such as a birthday or an anniversary.

    With a holdout (``treated`` and ``control``) those offered are compared with those held out around
    their own dates. Without one, every customer's days around the date are compared with the
    same customer's days at other times of the year, and from both is taken what customers whose date
    lies elsewhere did on the same calendar days. That takes out seasons and how much each buys;
    what the date itself does stays in. Either way the days before show whether customers waited,
    the days after whether orders were only pulled forward.

    Every date counts that lies in the data with all its windows, whether the customer still buys or
    not, so nothing that happens later decides who is compared. An anniversary counts from the first
    year on: on the day itself everybody buys.

    Args:
        transactions: ``customer_id, transacted_at`` (naive UTC), ``amount`` and ``cost_of_goods`` or ``margin``.
        dates: ``customer_id``, one row each, the date, and with a holdout the arm.
        kind: ``"birthday"`` or ``"anniversary"`` (of the first purchase, or of joining).
        as_of: Last day observed, in local time.
        date: Column of the date of birth, of the first purchase or of joining.
        window: First day of the offer and first day after it, relative to the date.
        before_days: Days before the offer in which orders may be put off.
        after_days: Days after it in which orders may be missing.
        start: First day on which a date counts, such as when the offer began or the lots were drawn.
        known_from: Column of the first day from which a customer is observed; by default the start of
            the data, and for anniversaries the date itself.
        treated: Label of those offered.
        control: Label of those held out.
        arm: Column of the arm.
        ratio: Planned size of the treated over that of the control.
        timezone: Zone in which days are counted.
        leap_day: Where 29 February falls in other years: ``"before"`` on the 28th, ``"after"`` on 1 March.
        margin: Share of the amount that is margin, a fraction.
        currency: Code of the margin's currency.
        level: Confidence level.

    Returns:
        Differences with t intervals over customers (dates), or Welch's (holdout).

    Raises:
        ArgumentError: When an option is outside its range.
        ContractError: When a column is missing or a row is bad.
        DesignError: When no date lies in the data with its windows, or no other dates are left.

    Examples:
        >>> days = pd.date_range("2022-01-01", "2023-12-31", freq="7D")
        >>> who = [f"c{i}" for i in range(60)]
        >>> orders = pd.DataFrame([(c, d, 10.0) for c in who for d in days],
        ...                       columns=["customer_id", "transacted_at", "amount"])
        >>> births = pd.to_datetime("1990-01-01") + pd.to_timedelta([6 * i for i in range(60)], unit="D")
        >>> extra = pd.DataFrame({"customer_id": who, "amount": 30.0,
        ...     "transacted_at": [b.replace(year=2023) + pd.Timedelta(days=2) for b in births]})
        >>> found = personal_date_offer(pd.concat([orders, extra]),
        ...     pd.DataFrame({"customer_id": who, "date": births}), kind="birthday", as_of="2023-12-31",
        ...     margin=0.5, start="2023-01-01")
        >>> round(found.during.value, 1), round(found.net.value, 1)
        (15.0, 15.0)

    References:
        Hausman and Rapson (2018), Annual Review of Resource Economics 10, on discontinuity in time;
        Neslin (2002), Sales Promotion, chapter 3, on the dip before and after a promotion.
    """
    check_level(level)
    spans = _windows(window, before_days, after_days)
    if kind not in get_args(Kind):
        raise ArgumentError(f"kind must be birthday or anniversary; got {kind!r}")
    if leap_day not in get_args(Leap):
        raise ArgumentError(f"leap_day must be before or after; got {leap_day!r}")
    if (treated is None) != (control is None):
        raise ArgumentError("treated and control go together: name both arms, or neither")
    people = _people(dates, date, known_from)
    end = _day(as_of, "as_of") + 1
    code, day, gain, first = _orders(margins(transactions, margin), people["customer_id"], timezone, end)
    begins = _begins(people, first, end, kind)
    opened = first if start is None else _day(start, "start")
    who, when = _events(people["date"], begins, spans, max(opened, first), end, kind, leap_day)
    shifts = spans.shifts()
    own = (who, when + spans.first, when + spans.last)
    usual = usual_by_day(code, day, gain, begins, own, first, end - first)
    if np.isnan(usual).any():
        raise DesignError(
            f"on {int(np.isnan(usual).sum())} days all customers are near their own date, so nobody shows what is usual"
        )
    weeks = _weeks(spans)
    found = values_around((who, when), shifts, (*spans.parts, *weeks), (code, day, gain), usual, first)
    low, high = when[:, None] + shifts + spans.first, when[:, None] + shifts + spans.last
    seen = (low >= begins[who][:, None]) & (high <= end)
    seen[:, 0] = True
    parts = _Parts(people, who, found, seen, shifts)
    made = (
        _by_dates(parts, level, currency)
        if treated is None or control is None
        else _by_lot(parts, dates, arm, treated, control, ratio, level, currency)
    )
    estimates, checks, customers = made
    return PersonalDateOffer(
        kind=kind,
        held_out=treated is not None,
        before=estimates[0],
        during=estimates[1],
        after=estimates[2],
        net=estimates[3],
        by_week=_week_frame(weeks, estimates[4:]),
        windows=spans,
        customers=customers,
        checks=(
            *checks,
            _left_out(len(people), customers),
            *_filler(people["date"], kind),
            *_leap(people["date"], leap_day),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Values around every date: customer of each, values (dates, shifts, spans), which were observed."""

    people: pd.DataFrame
    who: Ints
    around: Floats
    seen: NDArray[np.bool_]
    shifts: Ints


def _windows(window: tuple[int, int], before_days: int, after_days: int) -> Windows:
    first, stop = window
    if isinstance(first, bool) or not (isinstance(first, int) and isinstance(stop, int) and first < stop):
        raise ArgumentError(f"window is the first day of the offer and the first after it; got {window!r}")
    made = Windows(
        first, stop, positive_days(before_days, "before_days"), positive_days(after_days, "after_days")
    )
    made.shifts()
    return made


def _day(value: dt.date | str, name: str) -> int:
    return int(as_moment(value, name).to_datetime64().astype("datetime64[D]").astype(np.int64))


def _people(dates: pd.DataFrame, date: str, known_from: str | None) -> pd.DataFrame:
    wanted = {"customer_id": "customer_id", date: "date", **({known_from: "begins"} if known_from else {})}
    missing = [c for c in wanted if c not in dates.columns]
    if missing:
        raise ContractError(f"dates lacks the column {', '.join(missing)}")
    refuse(dates["customer_id"].isna().to_numpy(), "dates.customer_id is null", "leave the row out")
    refuse(dates["customer_id"].duplicated().to_numpy(), "dates.customer_id repeats", "keep one row each")
    columns: dict[str, Any] = {"customer_id": dates["customer_id"].to_numpy()}
    for source, name in list(wanted.items())[1:]:
        given = pd.to_datetime(dates[source], errors="coerce")
        refuse(
            (given.isna() & dates[source].notna()).to_numpy(),
            f"dates.{source} holds what is no date",
            "mend it",
        )
        if given.dt.tz is not None:
            raise ContractError(f"dates.{source} carries a time zone; give local dates without one")
        columns[name] = given.to_numpy().astype("datetime64[D]")
    frame = pd.DataFrame(columns)
    known = frame["date"].notna().to_numpy()
    if not known.any():
        raise DesignError(f"dates.{date} is empty for every customer, so there is no own date")
    kept = frame[known].reset_index(drop=True)
    kept.attrs["rows"] = np.flatnonzero(known)
    return kept


def _orders(
    gains: pd.DataFrame, customers: pd.Series[Any], timezone: str, end: int
) -> tuple[Ints, Ints, Floats, int]:
    """Return customer, local day and margin of each order up to the end, sorted, and the first day."""
    local = (
        local_moments(gains["transacted_at"], timezone).to_numpy().astype("datetime64[D]").astype(np.int64)
    )
    if not len(local) or local.min() >= end:
        raise DesignError("transactions has no order up to the last day observed")
    first = int(local.min())
    code = pd.Index(customers).get_indexer(gains["customer_id"])
    keep = (code >= 0) & (local < end)
    code, local, gain = code[keep].astype(np.int64), local[keep], gains["margin"].to_numpy(dtype=float)[keep]
    order = np.lexsort((local, code))
    return code[order], local[order], gain[order], first


def _begins(people: pd.DataFrame, first: int, end: int, kind: Kind) -> Ints:
    """Return the day from which each customer is observed."""
    given = (
        people["begins"] if "begins" in people.columns else people["date"] if kind == "anniversary" else None
    )
    if given is None:
        return np.full(len(people), first, dtype=np.int64)
    day = given.to_numpy().astype("datetime64[D]")
    found = np.where(np.isnat(day), np.int64(end), day.astype(np.int64))
    # the first purchase itself is no ordinary day
    return np.asarray(np.maximum(found + (kind == "anniversary"), first), dtype=np.int64)


def _events(
    date: pd.Series[Any], begins: Ints, spans: Windows, opened: int, end: int, kind: Kind, leap_day: Leap
) -> tuple[Ints, Ints]:
    """Return customer and day of every own date whose windows were observed."""
    exact = date.to_numpy().astype("datetime64[D]")
    months = exact.astype("datetime64[M]").astype(np.int64)
    born = exact.astype("datetime64[Y]").astype(np.int64) + 1970
    years = range(_year(opened) - 1, _year(end) + 2)
    day = (exact - exact.astype("datetime64[M]")).astype(np.int64) + 1
    table = own_events(months % 12 + 1, day, years, leap_day=leap_day)
    later = (
        np.asarray(years)[None, :] > born[:, None]
        if kind == "anniversary"
        else np.ones(table.shape, dtype=bool)
    )
    fits = later & (table + spans.first >= np.maximum(begins, opened)[:, None]) & (table + spans.last <= end)
    who, year = np.nonzero(fits)
    if not len(who):
        raise DesignError(
            "no customer's date lies in the data with the days before and after it: watch for longer"
        )
    return who.astype(np.int64), table[who, year]


def _year(day: int) -> int:
    return int(np.int64(day).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)) + 1970


def _weeks(spans: Windows) -> tuple[tuple[int, int], ...]:
    low, high = spans.first // WEEK, -(-spans.last // WEEK)
    return tuple((WEEK * k, WEEK * (k + 1)) for k in range(low, high))


def _with_net(values: Floats) -> Floats:
    """Put the sum of before, during and after behind them."""
    return np.concatenate(
        [values[..., :3], values[..., :3].sum(axis=-1, keepdims=True), values[..., 3:]], axis=-1
    )


def _per_customer(who: Ints, values: Floats, customers: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return each customer's mean over dates, and who has any."""
    count = np.bincount(who, minlength=customers)
    has = count > 0
    sums = np.stack([np.bincount(who, weights=column, minlength=customers) for column in values.T], axis=1)
    return sums[has] / count[has][:, None], has


def _less_other_dates(values: Floats, seen: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return values at the first shift less the mean of the others observed, and which dates have any."""
    others = seen[:, 1:]
    count = others.sum(axis=1)
    mean = np.where(others[..., None], values[:, 1:], 0.0).sum(axis=1) / np.maximum(count, 1)[:, None]
    return values[:, 0] - mean, count > 0


def _by_dates(parts: _Parts, level: float, currency: str | None) -> tuple[list[Estimate], list[Check], int]:
    """Compare each customer's date with the customer's other dates."""
    gaps, has = _less_other_dates(_with_net(parts.around), parts.seen)
    if not has.any():
        raise DesignError("no customer was watched at another time of the year: watch for longer")
    each, _ = _per_customer(parts.who[has], gaps[has], len(parts.people))
    if len(each) < 2:
        raise DesignError("one customer's date alone lies in the data; at least two are needed")
    found = [mean_estimate(column, level=level, unit=currency) for column in each.T]
    design = Check(
        message("Design"),
        "warning",
        message(
            "A comparison of dates, not a holdout: what the date itself does is not separated from the offer."
        ),
    )
    return found, [design, _placebo(parts, level, currency)], len(each)


def _placebo(parts: _Parts, level: float, currency: str | None) -> Check:
    """Give each customer a false date, the farthest observed, and compare it with the remaining ones."""
    name = message("No difference at a false date")
    distance = np.where(parts.seen, np.abs(parts.shifts), -1)
    distance[:, 0] = -1
    false = distance.argmax(axis=1)
    rows = np.arange(len(false))
    order = np.concatenate(
        [false[:, None], np.arange(1, len(parts.shifts))[None, :].repeat(len(false), axis=0)], axis=1
    )
    seen = parts.seen[rows[:, None], order].copy()
    seen[:, 1:] &= order[:, 1:] != false[:, None]
    gaps, has = _less_other_dates(_with_net(parts.around[rows[:, None], order]), seen)
    has &= distance.max(axis=1) > 0
    each, _ = _per_customer(parts.who[has], gaps[has], len(parts.people))
    if len(each) < 3:
        return Check(
            name, "not measurable", message("Too few customers were watched at two other times of the year.")
        )
    p = _p_value(each[:, 3])
    net = mean_estimate(each[:, 3], level=level, unit=currency)
    return Check(
        name,
        "failed" if p < ALARM else "warning" if p < 0.05 else "passed",
        message(
            "Around a date up to half a year away: {gap} ({interval}; p = {p}).",
            gap=net.format(signed=True),
            interval=net.interval(signed=True),
            p=number(p),
        ),
        gate=True,
        p_value=p,
    )


def _p_value(values: Floats) -> float:
    from scipy import stats

    spread = float(np.std(values, ddof=1))
    if spread == 0:
        return 1.0
    return float(2 * stats.t.sf(abs(values.mean()) / spread * len(values) ** 0.5, len(values) - 1))


def _by_lot(
    parts: _Parts,
    dates: pd.DataFrame,
    arm: str,
    treated: str,
    control: str,
    ratio: float | None,
    level: float,
    currency: str | None,
) -> tuple[list[Estimate], list[Check], int]:
    """Compare those offered with those held out around their dates."""
    arm_masks(dates, arm, treated, control, "dates")
    each, has = _per_customer(parts.who, _with_net(parts.around[:, 0]), len(parts.people))
    shown = dates.iloc[parts.people.attrs["rows"]].reset_index(drop=True)[has].reset_index(drop=True)
    own, held = arm_masks(shown, arm, treated, control, "dates (of customers whose date lies in the data)")
    found = [mean_difference(column, own, held, level=level, unit=currency) for column in each.T]
    checks = [
        *ratio_check(int(own.sum()), int(held.sum()), ratio),
        *_alike_before(parts, has, own, held, level, currency),
    ]
    return found, checks, int(own.sum() + held.sum())


def _alike_before(
    parts: _Parts,
    has: NDArray[np.bool_],
    own: NDArray[np.bool_],
    held: NDArray[np.bool_],
    level: float,
    currency: str | None,
) -> list[Check]:
    """Compare the arms at the nearest earlier time of the year, before anybody could wait for the offer."""
    earlier = int(np.flatnonzero(parts.shifts < 0)[0])
    watched = parts.seen[:, earlier]
    at = np.full(len(parts.people), np.nan)
    if watched.any():
        each, rows = _per_customer(
            parts.who[watched], _with_net(parts.around[watched, earlier]), len(parts.people)
        )
        at[rows] = each[:, 3]
    at = at[has]
    known = np.isfinite(at)
    name = message("No difference well before the date")
    if min(int((known & m).sum()) for m in (own, held)) < 2:
        return [Check(name, "not measurable", message("Customers were not watched well before their dates."))]
    gap = mean_difference(at, own & known, held & known, level=level, unit=currency)
    p = 1.0 if gap.p_value is None else gap.p_value
    return [
        Check(
            name,
            "failed" if p < ALARM else "warning" if p < 0.05 else "passed",
            message(
                "Offered minus held out, {days} days earlier: {gap} (p = {p}).",
                days=str(-int(parts.shifts[earlier])),
                gap=gap.format(signed=True),
                p=number(p),
            ),
            gate=True,
            p_value=p,
        )
    ]


def _week_frame(weeks: tuple[tuple[int, int], ...], found: list[Estimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "week": [a // WEEK for a, _ in weeks],
            "estimate": [e.value for e in found],
            "low": [e.low for e in found],
            "high": [e.high for e in found],
        }
    )


def _left_out(known: int, compared: int) -> Check:
    return Check(
        message("Customers compared"),
        "passed",
        message(
            "{n} of {known} customers with a date were watched around it and at other times.",
            n=f"{compared:,}",
            known=f"{known:,}",
        ),
    )


def _filler(date: pd.Series[Any], kind: Kind) -> list[Check]:
    """Warn where 1 January is entered far too often to be true."""
    first = ((date.dt.month == 1) & (date.dt.day == 1)).to_numpy()
    if kind != "birthday" or first.mean() <= FILLER / 365 or first.sum() < 5:
        return []
    return [
        Check(
            message("Dates of birth"),
            "warning",
            message(
                "{share} were born on 1 January, as entered; such dates are often made up.",
                share=percent(first.mean()),
            ),
        )
    ]


def _leap(date: pd.Series[Any], leap_day: Leap) -> list[Check]:
    count = int(((date.dt.month == 2) & (date.dt.day == 29)).sum())
    if not count:
        return []
    where = message("28 February") if leap_day == "before" else message("1 March")
    return [
        Check(
            message("29 February"),
            "passed",
            messages(
                "{count} customer's date is 29 February; in other years it is taken as {where}.",
                "{count} customers' date is 29 February; in other years it is taken as {where}.",
                count,
                where=where,
            ),
        )
    ]
