"""What surrounds orders: service cases, referrals and carts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from loyalty_research.simulate._keys import constant, numbered, numbered_rows
from loyalty_research.simulate._population import CHANNELS, cents, moments
from loyalty_research.simulate._programme_tables import NEVER
from loyalty_research.simulate._truth import stream

if TYPE_CHECKING:
    from loyalty_research.simulate._members import MemberTruth
    from loyalty_research.simulate._population import Floats, Ints, Orders
    from loyalty_research.simulate._scheme import Shop

__all__ = ["carts_table", "referrals_table", "tickets_table"]

PROMISE = 3.0  # days
CART_DAYS = 60
TRIES = 8


def _moments_of_life(
    shop: Shop[Any], rate: float, rng: np.random.Generator, since: float = 0.0
) -> tuple[Ints, Floats]:
    """Draw moments at a rate a day while customers buy; return customer and moment, by customer."""
    begin = np.maximum(shop.people.born, since)
    span = np.maximum(np.minimum(shop.course.gone, shop.world.horizon) - begin, 0.0)
    who = np.repeat(np.arange(shop.people.size), rng.poisson(rate * span))
    return who, begin[who] + rng.random(len(who)) * span[who]


def tickets_table(shop: Shop[Any], truth: MemberTruth, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return service cases: opened at random, closed when solved, open ones with nothing known.

    Cases that take long are open at the end more often, so the share of closed cases that were on
    time is above that of all cases, which the truth states.
    """
    rng = stream(seed, "tickets")
    who, opened = _moments_of_life(shop, truth.cases_per_year / 365, rng)
    mean = PROMISE / -np.log1p(-min(truth.on_time_share, 1 - 1e-12)) if truth.on_time_share > 0 else np.inf
    takes = rng.exponential(1.0, len(who)) * min(mean, 1e6)
    in_full = rng.random(len(who)) < truth.in_full_share
    closed = opened + takes < shop.world.horizon

    def known(flags: Any) -> Any:
        return np.where(closed, flags.astype(object), None)

    table = pd.DataFrame(
        {
            "ticket_id": numbered_rows("q", len(who)),
            "customer_id": shop.people.keys(who),
            "opened_at": moments(opened),
            "closed_at": np.where(closed, moments(np.where(closed, opened + takes, 0.0)), NEVER),
            "channel": constant("email", len(who)),
            "on_time": known(takes <= PROMISE),
            "in_full": known(in_full),
        }
    )
    return table, {"cases": len(table), "cases_open": int(table["closed_at"].isna().sum())}


def referrals_table(shop: Shop[Any], truth: MemberTruth, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return referrals: one for each customer who came by one, and others that nobody followed."""
    rng, people = stream(seed, "referrals"), shop.people
    order = np.argsort(people.born, kind="stable")
    rank = np.empty(people.size, dtype=np.int64)
    rank[order] = np.arange(people.size)
    came = np.flatnonzero((people.channel == CHANNELS.index("referral")) & (rank > 0))
    by = np.full(len(came), -1)
    for _ in range(TRIES):
        pick = order[np.floor(rng.random(len(came)) * rank[came]).astype(np.int64)]
        by = np.where((by < 0) & (people.gone[pick] > people.born[came]), pick, by)
    came, by = came[by >= 0], by[by >= 0]
    ago = rng.random(len(came)) * np.minimum(people.born[came] - people.born[by], 14.0)
    in_vain, when = _moments_of_life(shop, truth.referrals_per_year / 365, rng)
    referrer = np.concatenate([by, in_vain])
    moment = np.concatenate([people.born[came] - ago, when])
    sequence = np.argsort(moment, kind="stable")
    # a referral lies after its referrer came and before the one it brought, to the second as well
    at = moments(moment)
    at[: len(came)] = np.minimum(
        np.maximum(at[: len(came)], moments(people.born[by])), moments(people.born[came])
    )
    referred = np.concatenate([people.keys(came).to_numpy(dtype=object), np.full(len(in_vain), None)])
    table = pd.DataFrame(
        {
            "referral_id": numbered_rows("f", len(sequence)),
            "referrer_id": people.keys(referrer[sequence]),
            "referred_id": referred[sequence],
            "referred_at": at[sequence],
        }
    )
    return table, {"referrals": len(table), "referred_customers": len(came)}


def _numbers(orders: Orders) -> Ints:
    """Return the number of each order in the table ``transactions``."""
    number = np.empty(len(orders.customer), dtype=np.int64)
    number[orders.by_time] = np.arange(1, len(number) + 1)
    return number


def carts_table(shop: Shop[Any], truth: MemberTruth, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return carts of the last days by customers who were won on the web: ordered ones and others."""
    rng, people, orders = stream(seed, "carts"), shop.people, shop.course.orders
    since = float(shop.world.horizon - CART_DAYS)
    web = people.channel == CHANNELS.index("web")
    bought = np.flatnonzero((orders.moment >= since + 1) & web[orders.customer])
    wait = (1 + np.floor(rng.exponential(1200.0, len(bought)))).astype("timedelta64[s]")
    ordered = moments(orders.moment[bought])
    odds = truth.cart_abandonment / max(1 - truth.cart_abandonment, 1e-9)
    left = np.repeat(bought, rng.poisson(min(odds, 1e3), len(bought)))
    # abandoned near an order, by people as they are, for sums as they buy
    moment = since + 1 + rng.random(len(left)) * (CART_DAYS - 1)
    alive = moment < shop.course.gone[orders.customer[left]]
    left, moment = left[alive], moment[alive]
    amount = cents(orders.amount[left] * rng.gamma(4.0, 0.25, len(left)))
    opened = np.concatenate([ordered - wait, moments(moment)])
    sequence = np.argsort(opened, kind="stable")
    none = np.full(len(left), None)
    columns = {
        "customer_id": np.concatenate([orders.customer[bought], orders.customer[left]]),
        "ordered_at": np.concatenate([ordered, np.full(len(left), NEVER)]),
        "transaction_id": np.concatenate(
            [numbered("t", _numbers(orders)[bought]).to_numpy(dtype=object), none]
        ),
        "amount": np.concatenate([orders.amount[bought], amount]),
    }
    customer = columns.pop("customer_id")[sequence]
    table = pd.DataFrame(
        {
            "cart_id": numbered_rows("w", len(sequence)),
            "customer_id": people.keys(customer),
            "opened_at": opened[sequence],
            **{name: values[sequence] for name, values in columns.items()},
        }
    )
    share = len(left) / len(sequence) if len(sequence) else float("nan")
    return table, {"carts": len(table), "carts_abandoned_share": share}
