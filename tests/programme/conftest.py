"""Coverage measured by simulation, held against the published table."""

from __future__ import annotations

import math

import pytest

TABLE = "docs/programme_coverage.md"


@pytest.fixture(scope="session")
def published(root):
    """Compare shares of intervals that hold the truth with the published ones, so that the table cannot go stale."""
    rows_told = {}
    for line in (root / TABLE).read_text("utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[-1].isdigit():
            rows_told[cells[0]] = cells

    def compare(found, replicates):
        rows = []
        for name, share in dict(found).items():
            error = math.sqrt(share * (1 - share) / replicates)
            rows.append((name, f"{share:.1%}", f"{error:.1%}", str(replicates)))
        for row in rows:
            print("|", " | ".join(row), "|")  # noqa: T201 - the row to publish, shown by `pytest -rP`
        for name, share, _, count in rows:
            assert name in rows_told, f"{TABLE} lacks the row {name}"
            _, said, _, times = rows_told[name]
            assert times == count, f"{TABLE} tells another number of replicates of {name}: {count}"
            # other processors round differently, which may turn a replicate on the edge
            apart = abs(float(said.rstrip("%")) - float(share.rstrip("%")))
            assert apart <= 0.41, f"{TABLE} is stale: {name} is {share}"

    return compare
