"""What simulations of churn measured, held against the published table."""

from __future__ import annotations

import math

import pytest

TABLE = "docs/churn_coverage.md"
NOMINAL = 0.95


@pytest.fixture(scope="session")
def covers():
    """Say whether a coverage is nominal within three Monte Carlo standard errors."""

    def nominal(count, replicates, *, at=NOMINAL):
        return abs(count / replicates - at) <= 3 * math.sqrt(at * (1 - at) / replicates)

    return nominal


@pytest.fixture(scope="session")
def measured(root):
    """Compare a simulation with its row of the published table, so that the table cannot go stale."""
    published = {}
    for line in (root / TABLE).read_text("utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 7 and cells[-1].isdigit():
            published[cells[0]] = cells

    def compare(name, *, truth, naive, mean, covered, replicates):
        share = covered / replicates
        error = math.sqrt(share * (1 - share) / replicates)
        row = (
            f"| {name} | {truth:.2f} | {naive:.2f} | {mean:.2f} | {share:.1%} | {error:.1%} | {replicates} |"
        )
        print(row)  # noqa: T201 - the row to publish, shown by `pytest -rP`
        assert name in published, f"{TABLE} lacks the row: {row}"
        _, told_truth, told_naive, told_mean, told_share, _, told_count = published[name]
        said = (float(told_truth), float(told_naive), float(told_mean), float(told_share.rstrip("%")) / 100)
        # other processors round differently, which may turn a replicate on the edge
        near = [0.006, 0.02 * max(1, abs(naive)), 0.02 * max(1, abs(mean)), 0.004]
        apart = [abs(a - b) for a, b in zip(said, (truth, naive, mean, share), strict=True)]
        assert int(told_count) == replicates, f"{TABLE} tells another number of replicates: {row}"
        assert all(a <= n for a, n in zip(apart, near, strict=True)), f"{TABLE} is stale: {row}"

    return compare
