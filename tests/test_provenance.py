import datetime as dt
import json
from types import SimpleNamespace

import loyalty_research as lr


def test_provenance_names_data_design_and_everything_left_out():
    source = SimpleNamespace(
        name="shop",
        description="orders of a shop",
        kind="real",
        currency="EUR",
        as_of=dt.date(2024, 6, 30),
        fingerprint="abc123",
    )
    made = lr.provenance(
        source, design="observational", estimand="ATE", n=90, dropped={"no customer": 10, "refunds": 0}
    )
    bundle = made._repr_mimebundle_()
    assert "no customer: 10; refunds: 0" in bundle["text/html"]
    assert "2024-06-30" in bundle["text/plain"]
    said = json.loads(json.dumps(bundle["application/vnd.loyalty.provenance+json"]))
    assert said["n"] == 90
    assert said["versions"]["pandas"]
