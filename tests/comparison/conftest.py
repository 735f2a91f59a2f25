"""Data that several comparison tests share, and what simulations measured, held against the published tables."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm


@pytest.fixture(scope="session")
def nhefs():
    """Frame of Hernan and Robins' NHEFS example, with squares, and the names of its covariates."""
    data = pytest.importorskip("causaldata").nhefs_complete.load_pandas().data
    out = pd.DataFrame({"wt82_71": data["wt82_71"].astype(float), "qsmk": data["qsmk"].astype(int)})
    for name in ("sex", "race"):
        out[name] = data[name].astype(float)
    for name in ("age", "smokeintensity", "smokeyrs", "wt71"):
        out[name] = data[name].astype(float)
        out[f"{name}2"] = out[name] ** 2
    for name in ("education", "exercise", "active"):
        out[name] = data[name].astype(str)
    return out, [c for c in out.columns if c not in ("wt82_71", "qsmk")]


@pytest.fixture(scope="session")
def nsw():
    """The randomised NSW sample as float64."""
    data = pytest.importorskip("causaldata").nsw_mixtape.load_pandas().data
    return data.drop(columns=["data_id"]).astype(float)


@pytest.fixture(scope="session")
def nsw_cps(nsw):
    """Treated of NSW beside the CPS survey, with the Mixtape's powers; and covariate names."""
    cps = pytest.importorskip("causaldata").cps_mixtape.load_pandas().data.drop(columns=["data_id"])
    # float64 first: the stored int8 overflows in age ** 3
    out = pd.concat([nsw[nsw["treat"] == 1], cps.astype(float)], ignore_index=True)
    out["age2"], out["age3"], out["educ2"] = out["age"] ** 2, out["age"] ** 3, out["educ"] ** 2
    out["u74"], out["u75"] = (out["re74"] == 0).astype(float), (out["re75"] == 0).astype(float)
    out["educ_re74"] = out["educ"] * out["re74"]
    return out, [c for c in out.columns if c not in ("re78", "treat")]


def simulate_invitations(n, seed, *, effect=80.0, share=0.3):
    """Invited at random; who joins spends more anyway; joining adds ``effect``."""
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=n)
    pre = 100 + 30 * affinity + rng.normal(0, 10, n)
    invited = rng.random(n) < 0.5
    eager = affinity + rng.normal(size=n)
    joined = (eager > 1.5) | (invited & (eager > 1.5 - 3 * share))
    spend = 100 + 30 * affinity + effect * joined + rng.normal(0, 20, n)
    return pd.DataFrame(
        {
            "unit_id": np.arange(n),
            "arm": np.where(invited, "invited", "control"),
            "joined": joined.astype(int),
            "pre_spend": pre,
            "spend": spend,
            "orders": rng.poisson(3, n) + 1,
            "came": (spend > 120).astype(int),
            "store": rng.integers(0, 80, n),
            "region": rng.choice(["north", "south", "west"], n),
        }
    )


@pytest.fixture(scope="session")
def invitations():
    """Function of (n, seed, effect=80, share=.3) to a table of an invitation."""
    return simulate_invitations


@pytest.fixture(scope="session")
def at_a_line():
    """Function of n to a running variable and an outcome that jumps by 6 at 300; nothing is drawn."""

    def made(n):
        i = np.arange(1, n + 1)
        x = np.round(300 + 60 * norm.ppf((i * 0.6180339887498949) % 1), 6)
        noise = 4 * norm.ppf((i * 0.41421356237309515) % 1)
        return x, np.round(0.05 * x + 0.0004 * (x - 300) ** 2 + 6.0 * (x >= 300) + noise, 6)

    return made


@pytest.fixture(scope="session")
def staggered():
    """Function of n to a panel of six periods with starts in 3, 4 and 5 or never; nothing is drawn."""

    def made(n):
        i, t = np.arange(1, n + 1), np.arange(1, 7)
        start = np.array([0, 3, 4, 5, 3, 0])[i % 6][:, None]
        own = norm.ppf((i * 0.6180339887498949) % 1)[:, None]
        noise = norm.ppf(((i[:, None] * 6 + t) * 0.41421356237309515) % 1)
        effect = np.where((start > 0) & (t >= start), 1.0 + 0.2 * (t - start), 0.0)
        return pd.DataFrame(
            {
                "id": np.repeat(i, 6),
                "t": np.tile(t, n),
                "g": np.repeat(np.where(start[:, 0] > 0, start[:, 0], np.nan), 6),
                "y": np.round(10 + own + 0.3 * t + noise + effect, 6).ravel(),
                "store": np.repeat(i // 4, 6),
            }
        )

    return made


TABLE = "docs/comparison_coverage.md"


@pytest.fixture(scope="session")
def covers():
    """Say whether a coverage is nominal within three Monte Carlo standard errors."""

    def nominal(count, replicates, *, at=0.95):
        return abs(count / replicates - at) <= 3 * np.sqrt(at * (1 - at) / replicates)

    return nominal


@pytest.fixture(scope="session")
def at_least():
    """Say whether a coverage is nominal or more within three Monte Carlo standard errors."""

    def enough(count, replicates, *, at=0.95):
        return count / replicates >= at - 3 * np.sqrt(at * (1 - at) / replicates)

    return enough


def _near(said, found):
    """Whether a published cell is what was measured, but for other processors' rounding."""
    if not all(re.fullmatch(r"-?\d+\.\d+%?", cell) for cell in (said, found)):
        return said == found
    return abs(float(said.rstrip("%")) - float(found.rstrip("%"))) <= (0.41 if found[-1] == "%" else 0.021)


@pytest.fixture(scope="session")
def told(root):
    """Compare a row with the published one of the same name, so that the tables cannot go stale."""
    published = {}
    for line in (root / TABLE).read_text("utf-8").splitlines():
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            published[cells[0]] = cells

    def compare(name, *found):
        row = f"| {' | '.join((name, *found))} |"
        print(row)  # noqa: T201 - the row to publish, shown by `pytest -rP`
        assert name in published, f"{TABLE} lacks the row: {row}"
        said = published[name][1:]
        assert len(said) == len(found), f"{TABLE} is stale: {row}"
        assert all(map(_near, said, found)), f"{TABLE} is stale: {row}"

    return compare


@pytest.fixture(scope="session")
def measured(told):
    """Compare how often an interval held the truth with the published row."""

    def compare(name, held, replicates, *, aim="95%"):
        share = held / replicates
        error = np.sqrt(share * (1 - share) / replicates)
        told(name, aim, f"{share:.1%}", f"{error:.1%}", str(replicates))

    return compare
