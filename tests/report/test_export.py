import json

import pandas as pd
import pytest

import loyalty_research as lr
from loyalty_research.errors import ArgumentError, ContractError
from loyalty_research.report import export


def simulated(out, **changes):
    said = []
    asked = {"customers": 60, "seed": 3, "truth": {}, "out": out, "force": False, "say": said.append}
    export.write_simulated("none", **{**asked, **changes})
    return said


def test_a_simulation_can_be_opened_again_and_keeps_its_truth(tmp_path):
    out = tmp_path / "new" / "shop"
    said = simulated(out)
    made, opened = lr.simulate("none", customers=60, seed=3), lr.open_dataset(out)
    assert set(opened.tables) == set(made.tables)
    for table in made.tables:
        pd.testing.assert_frame_equal(opened.frame(table), made.frame(table), check_like=True)
    known = json.loads((out / "truth.json").read_text())
    assert (known["kind"], known["customers"], known["seed"]) == ("none", 60, 3)
    assert known["truth"] == json.loads(json.dumps(made.truth, default=str))
    assert said[-1].endswith("truth.json: the true parameters")
    assert [p.name for p in out.parent.iterdir()] == ["shop"]


def test_days_stay_those_of_the_shop(tmp_path):
    # memberships begin at midnight in Madrid, which is the day before in UTC
    out = tmp_path / "tiers"
    export.write_simulated("tiers", customers=200, seed=3, truth={}, out=out, force=False, say=print)
    made, opened = lr.simulate("tiers", customers=200, seed=3), lr.open_dataset(out)
    assert (opened.timezone, opened.currency, opened.kind) == ("Europe/Madrid", "EUR", "simulated")
    assert (opened.as_of, opened.description) == (made.as_of, made.description)
    dates = [d.frame("memberships")["valid_from_date"].dt.strftime("%m-%d") for d in (made, opened)]
    assert dates[0].eq("01-01").any()
    pd.testing.assert_series_equal(*dates)


def test_what_a_folder_says_of_itself_is_checked(tmp_path):
    out = tmp_path / "shop"
    simulated(out)
    (out / "dataset.yml").write_text("timezone: Madrid\n")
    with pytest.raises(ContractError, match=r"shop/dataset.yml.timezone"):
        lr.open_dataset(out)
    (out / "dataset.yml").write_text("tables: {transactions: {from: x.csv}}\n")
    with pytest.raises(ContractError, match="tables"):
        lr.open_dataset(out)


def test_files_are_replaced_only_when_asked_and_only_a_simulation(tmp_path):
    out = tmp_path / "shop"
    simulated(out)
    before = sorted(p.name for p in out.iterdir())
    with pytest.raises(ArgumentError, match="--force to replace"):
        simulated(out)
    (out / "old.parquet").write_bytes(b"")
    simulated(out, force=True)
    assert sorted(p.name for p in out.iterdir()) == before
    (out / "truth.json").unlink()
    with pytest.raises(ArgumentError, match="no simulation"):
        simulated(out, force=True)


def test_a_fault_leaves_nothing_behind(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError):
        simulated(tmp_path / "shop", truth={"nonsense": 1})

    def full(*words):
        raise OSError("disk full")

    monkeypatch.setattr(export, "_write_table", full)
    with pytest.raises(OSError, match="disk full"):
        simulated(tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shop(tmp_path):
    simulated(tmp_path / "shop")
    return str(tmp_path / "shop")


def summarised(name, out, **changes):
    asked = {"summaries": None, "unit": "D", "inactivity_days": 60, "period": "M"}
    asked |= {"calibration_end": None, "as_of": None}
    said = []
    export.write_summaries(name, **{**asked, "out": out, "force": False, "say": said.append, **changes})
    return said


def test_summaries_are_those_of_the_package(shop, tmp_path):
    out = tmp_path / "out"
    summarised(shop, out, summaries=["purchases", "inactivity_gaps", "cohorts", "purchases"], unit="W")
    source = lr.open_dataset(shop)
    orders = source.tables["transactions"]
    expected = {
        "purchases": lr.summaries.purchases(orders, unit="W", observation_end=source.as_of).reset_index(),
        "inactivity_gaps": lr.summaries.inactivity_gaps(
            orders, inactivity_days=60, as_of=source.as_of
        ).reset_index(),
        "cohorts": lr.summaries.cohorts(orders, as_of=source.as_of),
    }
    for name, frame in expected.items():
        found = pd.read_parquet(out / f"{name}.parquet")
        pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_summaries_are_replaced_only_when_asked(shop, tmp_path):
    out = tmp_path / "out"
    assert summarised(shop, out)[0].startswith(f"{out / 'purchases.parquet'}: ")
    with pytest.raises(ArgumentError, match="is there already"):
        summarised(shop, out)
    summarised(shop, out, force=True)


def test_the_holdout_is_the_datasets_own_another_or_none(tmp_path):
    def frame(**changes):
        (line,) = summarised("cdnow-sample", tmp_path, force=True, **changes)
        return line, pd.read_parquet(tmp_path / "purchases.parquet")

    line, own = frame()
    assert "fitted to 1997-09-30, held out after it" in line
    assert own["duration_holdout"].eq(273).all()
    line, other = frame(calibration_end="1997-12-31")
    assert "1997-12-31" in line
    assert other["duration_holdout"].eq(181).all()
    line, whole = frame(calibration_end="none")
    assert line.endswith(" rows")
    assert "duration_holdout" not in whole
    # a repeat purchase is counted on one side of the split
    assert whole["frequency"].sum() == (own["frequency"] + own["frequency_holdout"]).sum()
    with pytest.raises(ArgumentError, match="calibration_end must be a day"):
        frame(calibration_end="soon")


def test_summaries_need_transactions(tmp_path):
    with pytest.raises(ContractError, match="no table transactions"):
        summarised("carwash", tmp_path / "out")
    assert not (tmp_path / "out").exists()
