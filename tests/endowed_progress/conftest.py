"""Cards with a known life: weekly draws of a visit, as the oracles of the goal gradient describe."""

import numpy as np
import pandas as pd
import pytest

DAY = "timedelta64[D]"


def simulate_cards(
    seed,
    *,
    alpha=-2.391,
    beta=0.0,
    sigma=1.0,
    shift=0.0,
    per_arm=150,
    weeks=39,
    lost=0.0,
    stagger=0,
    cluster_sd=0.0,
    cluster_size=10,
):
    """Return card events: 8 stamps to earn, or 10 with 2 given; a card expires after ``weeks``."""
    rng = np.random.default_rng(seed)
    n = 2 * per_arm
    arm, card = np.repeat([0, 1], per_arm), np.arange(n)
    cluster = card // cluster_size
    u = rng.normal(0, sigma, n) + rng.normal(0, cluster_sd, n)[cluster]
    issued = np.datetime64("2024-01-01") + rng.integers(0, stagger + 1, n).astype(DAY)
    gone = np.where(rng.random(n) < lost, rng.integers(1, weeks, n), 10 * weeks)
    earned = np.zeros(n, dtype=int)
    rows = [(card, issued, "issued")]
    for week in range(weeks):
        progress = np.where(arm == 0, earned / 8, (earned + 2) / 10)
        chance = 1 / (1 + np.exp(-(alpha + u + beta * progress + shift * arm)))
        visit = (rng.random(n) < chance) & (earned < 8) & (week < gone)
        day = issued + (7 * week + rng.integers(1, 8, n)).astype(DAY)
        earned = earned + visit
        full = visit & (earned == 8)
        rows += [(card[visit], day[visit], "stamp"), (card[full], day[full], "completed")]
    left = (earned < 8) & (gone < weeks)
    out = (earned < 8) & ~left
    rows.append((card[left], (issued + (7 * gone).astype(DAY))[left], "lost"))
    rows.append((card[out], (issued + np.timedelta64(7 * weeks, "D"))[out], "expired"))
    events = pd.concat(
        [pd.DataFrame({"card_id": c, "occurred_date": d, "event": e}) for c, d, e in rows], ignore_index=True
    )
    given = arm[events["card_id"]]
    return events.assign(
        event_no=np.arange(len(events)),
        customer_id=events["card_id"].astype(str) + "-holder",
        arm=np.where(given == 1, "endowed", "control"),
        required_stamps=np.where(given == 1, 10, 8),
        endowed_stamps=np.where(given == 1, 2, 0),
        cluster_id=cluster[events["card_id"]],
    )


@pytest.fixture(scope="session")
def simulated():
    return simulate_cards


@pytest.fixture
def two_cards():
    """Two cards that keep the contract: one completed and redeemed, one expired."""
    rows = [
        ("a", "2024-01-01", "issued", "plain", 2, 0),
        ("a", "2024-01-05", "stamp", "plain", 2, 0),
        ("a", "2024-01-09", "stamp", "plain", 2, 0),
        ("a", "2024-01-09", "completed", "plain", 2, 0),
        ("a", "2024-01-20", "redeemed", "plain", 2, 0),
        ("b", "2024-01-02", "issued", "given", 3, 1),
        ("b", "2024-01-08", "stamp", "given", 3, 1),
        ("b", "2024-03-02", "expired", "given", 3, 1),
    ]
    columns = ["card_id", "occurred_date", "event", "arm", "required_stamps", "endowed_stamps"]
    return pd.DataFrame(rows, columns=columns).assign(event_no=range(len(rows)))
