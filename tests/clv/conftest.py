"""CDNOW's tenth sample, and small simulators with known parameters."""

from importlib import metadata

import numpy as np
import pandas as pd
import pytest

from loyalty_research import summaries


def _cdnow(name, columns):
    try:
        path = metadata.distribution("lifetimes").locate_file(f"lifetimes/datasets/{name}")
    except metadata.PackageNotFoundError:
        pytest.skip("needs the data file inside the package lifetimes (extra: datasets)")
    lines = pd.read_csv(path, sep=r"\s+", header=None, names=columns, dtype={"customer_id": str})
    lines["transacted_date"] = pd.to_datetime(lines["day"].astype(str))
    return lines[["customer_id", "transacted_date", "amount"]]


@pytest.fixture(scope="session")
def sample_orders():
    """Orders of the 2,357 customers of the published tenth sample."""
    return _cdnow("CDNOW_sample.txt", ["master", "customer_id", "day", "cds", "amount"])


@pytest.fixture(scope="session")
def sample(sample_orders):
    """Their summary in weeks, calibration to 1997-09-30, holdout to 1998-06-30."""
    return summaries.purchases(
        sample_orders, unit="W", calibration_end="1997-09-30", observation_end="1998-06-30"
    )


@pytest.fixture(scope="session")
def draw_bg():
    """Simulate BG/NBD (coin 0) or MBG/NBD (coin 1) histories with a holdout and spend."""

    def draw(
        customers, seed, *, truth=(0.8, 6.0, 0.8, 2.5), coin=0, weeks=52, ahead=26, spend=(6.0, 4.0, 15.0)
    ):
        rng = np.random.default_rng(seed)
        r, alpha, a, b = truth
        p, q, v = spend
        T = rng.uniform(weeks / 2, weeks, customers)
        rate, leave = rng.gamma(r, 1 / alpha, customers), rng.beta(a, b, customers)
        nu = rng.gamma(q, 1 / v, customers)
        x, recency, late, paid, earned = (np.zeros(customers) for _ in range(5))
        clock = np.zeros(customers)
        here = rng.random(customers) >= leave * coin
        while here.any():
            clock = clock + rng.exponential(1 / rate)
            here &= clock < T + ahead
            early = here & (clock <= T)
            amount = rng.gamma(p, 1 / nu)
            x, recency = x + early, np.where(early, clock, recency)
            late = late + (here & ~early)
            paid, earned = paid + amount * early, earned + amount * (here & ~early)
            here &= rng.random(customers) >= leave
        frame = pd.DataFrame(
            {
                "frequency": x.astype(int),
                "recency": recency,
                "T": T,
                "monetary_value": np.divide(paid, x, out=np.zeros(customers), where=x > 0),
                "frequency_holdout": late.astype(int),
                "monetary_value_holdout": np.divide(earned, late, out=np.zeros(customers), where=late > 0),
                "duration_holdout": float(ahead),
            }
        )
        frame.attrs["unit"] = "W"
        return frame

    return draw


@pytest.fixture(scope="session")
def small():
    """Ten customers for messages and types."""
    frame = pd.DataFrame(
        {
            "frequency": [0, 1, 3, 0, 2, 6, 0, 1, 0, 4],
            "recency": [0.0, 10, 30, 0, 8, 37, 0, 2, 0, 20],
            "T": [38.0, 38, 35, 30, 38, 38, 25, 30, 20, 33],
            "monetary_value": [0.0, 20, 35, 0, 28, 40, 0, 22, 0, 31],
        },
        index=pd.Index(list("jihgfedcba"), name="customer_id"),
    )
    frame.attrs["unit"] = "W"
    return frame
