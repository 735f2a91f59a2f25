"""Customers of a shop and what they buy, before any programme."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from loyalty_research.simulate._keys import constant, labelled, numbered, numbered_rows
from loyalty_research.simulate._truth import number, stream, whole

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Text = pd.arrays.ArrowExtensionArray

__all__ = ["Orders", "Population", "PopulationTruth", "draw_population"]

FIRST_DAY = dt.date(2023, 1, 1)
LAST_DAY = dt.date(2024, 12, 31)
HORIZON = (LAST_DAY - FIRST_DAY).days + 1
MOST_YEARS = 10
LAUNCH = (dt.date(2024, 1, 1) - FIRST_DAY).days
ACQUISITION_DAYS = 270
REGIONS = ("north", "south", "east", "west")
CHANNELS = ("store", "web", "referral")
ZONE = "Europe/Madrid"
CURRENCY = "EUR"


@dataclass(frozen=True, kw_only=True)
class PopulationTruth:
    """Parameters of the customers, time in days and money in EUR.

    Attributes:
        r: Shape of the gamma distribution of purchase rates.
        alpha: Its rate: the mean purchase rate is ``r / alpha`` a day.
        s: Shape of the gamma distribution of dropout hazards.
        beta: Its rate: half of the customers are gone after ``beta * (2 ** (1 / s) - 1)`` days.
        p: Shape of the gamma distribution of one customer's order values.
        q: Shape of the gamma distribution of the customers' value rates.
        v: Its rate: the mean order value is ``p * v / (q - 1)``.
        engagement_rate: Correlation (normal copula) of latent engagement with the purchase rate.
        engagement_stay: Correlation (normal copula) of latent engagement with staying, that is
            with a low dropout hazard; 0 makes rate and lifetime independent, as the Pareto/NBD
            model has them.
        stores: Number of shops; each customer has one home shop.
        store_sd: Standard deviation of a shop's effect on the log purchase rate.
    """

    r: float = number(0.9, 0, 100, open_low=True)
    alpha: float = number(25.0, 0, 10_000, open_low=True)
    s: float = number(1.1, 0, 100, open_low=True)
    beta: float = number(500.0, 0, 100_000, open_low=True)
    p: float = number(5.0, 0, 1000, open_low=True)
    q: float = number(4.0, 1, 1000, open_low=True)
    v: float = number(24.0, 0, 100_000, open_low=True)
    engagement_rate: float = number(0.8, -1, 1)
    engagement_stay: float = number(0.3, -1, 1)
    stores: int = whole(40, 4, 10_000)
    store_sd: float = number(0.0, 0, 2)


@dataclass(frozen=True)
class Population:
    """Customers; arrays have one entry per customer.

    Attributes:
        engagement: Latent, standard normal; no table shows it.
        rate: Orders a day while active and no member.
        hazard: Dropout hazard a day while no member.
        value_rate: Rate of the gamma distribution of order values.
        born: Moment of the first order, days since the first day.
        gone: Moment of dropout without a programme, days since the first day.
        store: Home shop, 0-based.
        region: Index into ``REGIONS``.
        age: Years.
        channel: Index into ``CHANNELS``.
    """

    engagement: Floats
    rate: Floats
    hazard: Floats
    value_rate: Floats
    born: Floats
    gone: Floats
    store: Ints
    region: Ints
    age: Ints
    channel: Ints

    @property
    def size(self) -> int:
        """How many customers."""
        return len(self.rate)

    def keys(self, customer: Ints) -> Text:
        """Return the keys of customers."""
        return numbered("c", customer + 1)

    @property
    def ids(self) -> Text:
        """Keys of all of them."""
        return self.keys(np.arange(self.size))

    def stores(self, customer: Ints | slice = slice(None)) -> Text:
        """Return the keys of customers' home shops."""
        return labelled(self.store[customer], [f"s{i:03d}" for i in range(1, int(self.store.max()) + 2)])


@dataclass(frozen=True)
class Orders:
    """Orders sorted by customer and moment; arrays have one entry per order."""

    customer: Ints
    moment: Floats
    amount: Floats

    @property
    def day(self) -> Ints:
        """Day of the order, days since the first day."""
        return np.floor(self.moment).astype(np.int64)

    @cached_property
    def by_time(self) -> Ints:
        """Positions of the orders in the order of time, as the table ``transactions`` numbers them."""
        return stable_order(self.moment)

    def between(self, start: float, stop: float) -> Bools:
        """Return whether each order lies in days [start, stop)."""
        return (self.moment >= start) & (self.moment < stop)

    def keep(self, kept: Bools) -> Orders:
        """Return the orders where ``kept``."""
        return Orders(self.customer[kept], self.moment[kept], self.amount[kept])


def moments(days: Floats) -> NDArray[np.datetime64]:
    """Turn fractional days into local moments in opening hours, 9 to 21, in whole seconds."""
    whole_day = np.floor(days)
    seconds = np.floor((9 + 12 * (days - whole_day)) * 3600)
    since = (whole_day * 86_400 + seconds).astype("timedelta64[s]")
    return np.asarray(np.datetime64(FIRST_DAY, "us") + since)


def draw_population(truth: PopulationTruth, customers: int, seed: int) -> Population:
    """Draw the customers."""
    rng = stream(seed, "population")
    engagement = rng.standard_normal(customers)

    def tied(correlation: float) -> Floats:
        noise = rng.standard_normal(customers)
        mixed = correlation * engagement + np.sqrt(1 - correlation**2) * noise
        # away from 0 and 1, where a gamma quantile is 0 or infinite
        return np.asarray(np.clip(special.ndtr(mixed), 1e-12, 1 - 1e-12), dtype=float)

    store = rng.integers(0, truth.stores, customers)
    shift = truth.store_sd * rng.standard_normal(truth.stores) - truth.store_sd**2 / 2
    rate = stats.gamma.ppf(tied(truth.engagement_rate), truth.r, scale=1 / truth.alpha) * np.exp(shift[store])
    hazard = stats.gamma.ppf(tied(-truth.engagement_stay), truth.s, scale=1 / truth.beta)
    hazard = np.maximum(hazard, 1e-12)
    born = rng.integers(0, ACQUISITION_DAYS, customers) + rng.random(customers)
    preference = np.column_stack([np.full(customers, 1.0), np.full(customers, 0.3), 0.4 * engagement])
    gumbel = rng.gumbel(size=(customers, len(CHANNELS)))
    return Population(
        engagement=engagement,
        rate=rate,
        hazard=hazard,
        value_rate=rng.gamma(truth.q, 1 / truth.v, customers),
        born=born,
        gone=born + rng.exponential(size=customers) / hazard,
        store=store,
        region=store % len(REGIONS),
        age=np.clip(np.rint(44 + 4 * engagement + 13 * rng.standard_normal(customers)), 18, 90).astype(
            np.int64
        ),
        channel=np.argmax(preference + gumbel, axis=1).astype(np.int64),
    )


def draw_orders(
    population: Population,
    truth: PopulationTruth,
    rng: np.random.Generator,
    rate: Floats,
    since: Floats,
    until: int = HORIZON,
) -> Orders:
    """Draw a Poisson process per customer from ``since`` to the day ``until``, blind to dropout."""
    span = np.maximum(until - since, 0)
    counts = rng.poisson(rate * span)
    customer = np.repeat(np.arange(population.size), counts)
    moment = since[customer] + rng.random(len(customer)) * span[customer]
    amount = rng.gamma(truth.p, size=len(customer)) / population.value_rate[customer]
    order = by_customer(customer, moment)
    return Orders(customer[order], moment[order], amount[order])


def by_customer(customer: Ints, moment: Floats) -> Ints:
    """Return the order by customer, then moment; quick where the input is sorted in a few runs."""
    return np.argsort(customer * float(MOST_YEARS * 366) + moment, kind="stable")


def stable_order(values: Floats) -> Ints:
    """Return the stable order of values of which few are equal, by a sort that is quick but not stable."""
    order = np.argsort(values)
    ranked = values[order]
    ties = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(ties) > 1000:
        return np.argsort(values, kind="stable")
    for begin in ties[np.r_[True, np.diff(ties) > 1]] if len(ties) else ():
        end = int(np.searchsorted(ranked, ranked[begin], side="right"))
        order[begin:end] = np.sort(order[begin:end])
    return order


def first_orders(population: Population, truth: PopulationTruth, seed: int) -> Orders:
    """Return the order that made each customer one."""
    amount = stream(seed, "first orders").gamma(truth.p, size=population.size) / population.value_rate
    return Orders(np.arange(population.size), population.born, amount)


def begin_with(first: Orders, later: Orders) -> Orders:
    """Put each customer's first order, one apiece, before the later ones, sorted by customer and moment."""
    size = len(first.customer)
    at = np.searchsorted(later.customer, np.arange(size)) + np.arange(size)
    rest = np.ones(size + len(later.customer), dtype=bool)
    rest[at] = False
    made = {}
    for name in ("customer", "moment", "amount"):
        values = np.empty(len(rest), dtype=getattr(first, name).dtype)
        values[at], values[rest] = getattr(first, name), getattr(later, name)
        made[name] = values
    return Orders(**made)


def merge_orders(*parts: tuple[Orders, NDArray[Any]]) -> tuple[Orders, NDArray[Any]]:
    """Put orders and a value of each together, sorted by customer and moment."""
    customer, moment, amount = (
        np.concatenate([getattr(orders, name) for orders, _ in parts])
        for name in ("customer", "moment", "amount")
    )
    order = by_customer(customer, moment)
    value = np.concatenate([values for _, values in parts])
    return Orders(customer[order], moment[order], amount[order]), value[order]


def customers_table(population: Population) -> pd.DataFrame:
    """Return the table ``customers``."""
    import pandas as pd

    return pd.DataFrame(
        {
            "customer_id": population.ids,
            "acquired_at": moments(population.born),
            "age": population.age.astype(float),
            "region": labelled(population.region, REGIONS),
            "acquisition_channel": labelled(population.channel, CHANNELS),
        }
    )


def transactions_table(population: Population, orders: Orders, **columns: Any) -> pd.DataFrame:
    """Return the table ``transactions``, in the order of time.

    Args:
        population: The customers.
        orders: Their orders.
        **columns: Further columns, a value per order.
    """
    import pandas as pd

    order = orders.by_time
    customer = orders.customer[order]
    return pd.DataFrame(
        {
            "transaction_id": numbered_rows("t", len(order)),
            "customer_id": population.keys(customer),
            "transacted_at": moments(orders.moment[order]),
            "amount": cents(orders.amount[order]),
            "type": constant("sale", len(order)),
            "store_id": population.stores(customer),
            **{name: values[order] for name, values in columns.items()},
        }
    )


def year_starts(years: int) -> list[int]:
    """Return the first days of the simulated years, and the day after the last, since the first day."""
    return [(dt.date(FIRST_DAY.year + i, 1, 1) - FIRST_DAY).days for i in range(years + 1)]


def cents(amount: Floats) -> Floats:
    """Round to cents, at least one."""
    return np.maximum(np.round(amount, 2), 0.01)


def expected_orders(truth: PopulationTruth, days: float) -> float:
    """Return the expected repeat orders of a new customer within some days.

    It holds where rate and lifetime are independent (``engagement_stay`` 0): Schmittlein, Morrison
    and Colombo (1987), equation 17.
    """
    reach = truth.beta + days
    if truth.s == 1:
        lived = truth.beta * np.log(reach / truth.beta)
    else:
        lived = truth.beta / (truth.s - 1) * (1 - (truth.beta / reach) ** (truth.s - 1))
    return float(truth.r / truth.alpha * lived)


def population_facts(truth: PopulationTruth) -> dict[str, Any]:
    """Return what follows from the parameters in closed form."""
    facts: dict[str, Any] = {
        "mean_orders_per_day": truth.r / truth.alpha,
        "mean_order_value": truth.p * truth.v / (truth.q - 1),
        "median_lifetime_days": truth.beta * (2 ** (1 / truth.s) - 1),
    }
    if truth.engagement_stay == 0 or truth.engagement_rate == 0:
        facts["expected_orders_365"] = expected_orders(truth, 365)
    return facts
