"""Competing causes of leaving, through the public interface."""

import numpy as np
import pandas as pd
import pytest

from loyalty_research.churn import AalenJohansen, ChurnData, CoxPH, KaplanMeier, NelsonAalen, gray_test, rmst
from loyalty_research.errors import ArgumentError, ContractError


@pytest.fixture(scope="module")
def bmt():
    x, y = pytest.importorskip("sksurv.datasets").load_bmt()
    frame = pd.DataFrame(
        {"duration": y["ftime"], "event": y["status"], "dis": x["dis"].astype(int).to_numpy()}
    )
    return ChurnData.from_durations(frame, unit="months")


def labelled():
    return pd.DataFrame(
        {
            "duration": [5, 8, 8, 12, 20, 30],
            "event": ["moved", "unhappy", "stayed", "moved", "unhappy", "stayed"],
            "plan": list("aabbab"),
        }
    )


def test_incidence_equals_r(bmt, oracle):
    case = oracle("bmt_aalen_johansen_cif")
    found = AalenJohansen().fit(bmt).cumulative_incidence_at([5, 10, 20, 40])
    assert np.allclose(found["estimate"], case["expected"], atol=case["tolerance"], rtol=0)


@pytest.mark.parametrize("kind", ["log-log", "log", "plain"])
def test_intervals_equal_r(bmt, oracle, kind):
    case = oracle("bmt_aalen_johansen_intervals")
    curves = AalenJohansen(interval=kind).fit(bmt)
    found = curves.cumulative_incidence_at(case["inputs"]["times"])
    want, within = case["expected"], case["tolerance"]
    assert np.allclose(found["se"], np.ravel(want["se"]), atol=within, rtol=0)
    for column in ("low", "high"):
        assert np.allclose(found[column], np.ravel(want[kind][column]), atol=within, rtol=0)
    stay = curves.survival_at(case["inputs"]["times"])
    assert np.allclose(stay["se"], want["survival_se"], atol=within, rtol=0)


def test_states_add_up_and_one_minus_kaplan_meier_overstates(bmt):
    curves = AalenJohansen().fit(bmt, by="dis")
    times = np.arange(0, 70, 5)
    shares = curves.cumulative_incidence_at(times).groupby(["group", "time"])["estimate"].sum()
    stay = curves.survival_at(times).set_index(["group", "time"])["estimate"]
    assert np.allclose(shares + stay, 1, atol=1e-14)
    naive = curves.one_minus_kaplan_meier_at(times)["estimate"]
    assert (naive >= curves.cumulative_incidence_at(times)["estimate"] - 1e-12).all()
    assert naive.iloc[-1] > curves.cumulative_incidence_at(times)["estimate"].iloc[-1] + 0.05
    km = KaplanMeier().fit(bmt.cause(2), by="dis").survival_at(times)
    assert np.allclose(1 - km["estimate"], naive[curves.one_minus_kaplan_meier_at(times)["cause"] == 2])


def test_causes_by_label_or_category(bmt):
    frame = labelled()
    by_name = ChurnData.from_durations(frame, censored="stayed")
    assert by_name.cause_labels == ("moved", "unhappy")
    order = pd.CategoricalDtype(["stayed", "unhappy", "moved"])
    by_order = ChurnData.from_durations(frame.astype({"event": order}), censored="stayed")
    assert by_order.cause_labels == ("unhappy", "moved")
    one, two = (AalenJohansen().fit(d).cumulative_incidence_at([12]) for d in (by_name, by_order))
    assert one.set_index("cause")["estimate"].to_dict() == pytest.approx(
        two.set_index("cause")["estimate"].to_dict()
    )
    floats = ChurnData.from_durations(pd.DataFrame({"duration": [1, 2, 3], "event": [0.0, 1.0, 2.0]}))
    assert repr(floats.cause_labels) == "(1, 2)"
    # a single cause by name is a plain event
    single = frame.assign(event=frame["event"].replace("moved", "unhappy"))
    assert ChurnData.from_durations(single, censored="stayed").causes is None
    # 1 and 2 with 1 for those still there, as in R's lung
    lung = ChurnData.from_durations(
        pd.DataFrame({"duration": [3, 4, 5], "event": [1, 2, 2]}), censored=1
    ).any_cause()
    assert lung.event.tolist() == [False, True, True]


@pytest.mark.parametrize(
    "use",
    [
        lambda d: KaplanMeier().fit(d),
        lambda d: NelsonAalen().fit(d),
        lambda d: rmst(d, tau=5),
        lambda d: CoxPH().fit(d, covariates=["dis"]),
    ],
)
def test_methods_for_one_event_refuse_causes_and_name_the_mend(bmt, use):
    with pytest.raises(
        ContractError, match=r"2 causes of leaving apart \(1, 2\): take one with data.cause\(1\)"
    ):
        use(bmt)


def test_cause_specific_data_censor_the_others_and_say_so(bmt):
    mine = bmt.cause(1)
    assert mine.n_events == 9
    assert mine.checks[-1].status == "warning"
    assert "15 customers who left for another cause" in mine.checks[-1].detail
    assert bmt.any_cause().n_events == 24
    with pytest.raises(ArgumentError, match="there is no cause 3; the causes are 1, 2"):
        bmt.cause(3)
    with pytest.raises(ContractError, match="tell no causes of leaving apart"):
        mine.cause(1)


def test_cause_specific_cox_equals_r_with_somebody_followed_for_0_months(bmt, oracle):
    case = oracle("bmt_cause_specific_cox")
    assert (bmt.stop == 0).any()
    model = CoxPH().fit(bmt.cause(1), covariates=["dis"])
    found = [model.params_["dis"], model.standard_errors_["dis"]]
    assert np.allclose(found, case["expected"], atol=case["tolerance"], rtol=0)


def test_causes_survive_cutting_and_landmarks():
    frame = pd.DataFrame(
        {"who": [1, 1, 2, 3], "start": [0, 5, 0, 0], "stop": [5, 9, 7, 12], "event": [0, 2, 1, 0]}
    )
    data = ChurnData.from_intervals(frame, id="who")
    whole = frame.iloc[1:].assign(start=0)
    one, two = (
        AalenJohansen().fit(ChurnData.from_intervals(d, id="who")).cumulative_incidence_
        for d in (frame, whole)
    )
    pd.testing.assert_frame_equal(one, two)
    assert data.landmark(6).causes.tolist() == [2, 1, 0]
    assert data.landmark(6).to_lifelines()["event"].tolist() == [2, 1, 0]


def test_spells_of_one_customer_are_one_cluster():
    frame = pd.DataFrame(
        {
            "who": [1, 1, 2, 3, 4],
            "start": [0, 4, 0, 0, 0],
            "stop": [2, 9, 7, 12, 1],
            "event": [0, 2, 1, 0, 2],
        }
    )
    together = AalenJohansen().fit(ChurnData.from_intervals(frame, id="who"))
    named = AalenJohansen().fit(ChurnData.from_intervals(frame, cluster="who"))
    apart = AalenJohansen().fit(ChurnData.from_intervals(frame))
    found = [c.cumulative_incidence_at([9])["se"].tolist() for c in (together, named, apart)]
    assert found[0] == pytest.approx(found[1])
    assert found[0] != pytest.approx(found[2])
    assert [c.name for c in named.checks] == ["Number of clusters"]


def test_rows_verdict_and_counts(bmt):
    curves = AalenJohansen(horizon=20).fit(bmt)
    assert curves.verdict().startswith(
        "By day 20 after the start, of all customers had left: 27.3% for 1 (95%"
    )
    frame = curves.to_frame()
    assert frame["cause"].tolist() == [1, 2]
    assert frame["estimand"].tolist() == ["F(20)", "F(20)"]
    table = curves.at_risk_table([0, 15, 60])
    assert table["at_risk"].tolist() == [35, 9, 4]
    assert (table["events_1"] + table["events_2"]).tolist() == table["events"].tolist() == [2, 22, 24]
    assert "nothing is known" in AalenJohansen(horizon=500).fit(bmt).verdict()
    assert AalenJohansen().fit(bmt.any_cause()).causes == (1,)


def test_plot_stacks_the_shares_and_overlays_the_error(bmt):
    ax = AalenJohansen().fit(bmt).plot()
    texts = " ".join(t.get_text() for t in ax.texts)
    assert "1: 27.3%" in texts
    assert "still there: 24.6%" in texts
    assert "wrong: 1: 33.0%; 2: 62.8%" in texts
    alone = AalenJohansen().fit(bmt).plot(naive=False)
    assert "wrong" not in " ".join(t.get_text() for t in alone.texts)
    both = AalenJohansen().fit(bmt, by="dis")
    assert both.plot(group=1).texts
    with pytest.raises(ArgumentError, match="name the group to draw; the groups are 0, 1"):
        both.plot()
    with pytest.raises(ArgumentError, match="there is no group 7"):
        both.plot(group=7)


def test_gray_equals_cmprsk(bmt, oracle):
    case = oracle("bmt_gray_test_by_disease")
    found = [gray_test(bmt, by="dis", cause=c) for c in (1, 2)]
    assert np.allclose([f.statistic for f in found], case["expected"], atol=case["tolerance"], rtol=0)
    assert found[1].counts["events"].tolist() == [12, 3]
    assert "differ in the share who leave for 2" in found[1].verdict()
    assert "no difference" in found[0].verdict()


def test_gray_strata_and_split_episodes(oracle):
    case = oracle("gray_three_groups")
    given = case["inputs"]
    frame = pd.DataFrame(
        {
            "stop": given["time"],
            "event": given["cause"],
            "group": given["group"],
            "stratum": given["stratum"],
            "who": range(len(given["time"])),
            "start": 0,
        }
    )
    cut = frame["stop"] > 3
    head = frame[cut].assign(stop=2, event=0)
    tail = frame.assign(start=np.where(cut, 2, 0))
    data = ChurnData.from_intervals(pd.concat([head, tail], ignore_index=True), id="who")
    found = [gray_test(data, by="group", cause=c, strata="stratum").statistic for c in (1, 2)]
    assert np.allclose(found, case["expected"]["strata"], atol=case["tolerance"], rtol=0)


def test_gray_refuses_what_it_cannot_compare(bmt):
    with pytest.raises(ContractError, match="tell no causes"):
        gray_test(bmt.cause(1), by="dis", cause=1)
    with pytest.raises(ArgumentError, match="no cause 9"):
        gray_test(bmt, by="dis", cause=9)
    late = ChurnData.from_durations(
        labelled().assign(entry=[0, 1, 0, 0, 2, 0]), entry="entry", censored="stayed"
    )
    with pytest.raises(ContractError, match=r"2 rows \(first at positions 1, 4\) begin later: use fine_gray"):
        gray_test(late, by="plan", cause="moved")
    grouped = ChurnData.from_durations(labelled(), censored="stayed", cluster="plan")
    with pytest.raises(ContractError, match="independent"):
        gray_test(grouped, by="plan", cause="moved")


def test_bad_options_and_events_are_refused():
    with pytest.raises(ArgumentError, match="interval must be"):
        AalenJohansen(interval="exact")
    with pytest.raises(ArgumentError, match="horizon must be"):
        AalenJohansen(horizon=-1)
    with pytest.raises(ContractError, match=r"holds labels \(moved, unhappy, stayed\); name the one"):
        ChurnData.from_durations(labelled())
    with pytest.raises(
        ContractError, match="never holds 'still', which censored names; it holds moved, unhappy"
    ):
        ChurnData.from_durations(labelled(), censored="still")
    with pytest.raises(ContractError, match="and never 0: say with censored="):
        ChurnData.from_durations(pd.DataFrame({"duration": [1, 2], "event": [1, 2]}))
    with pytest.raises(ContractError, match=r"nor 1 in 1 row \(at position 1\)"):
        ChurnData.from_durations(pd.DataFrame({"duration": [1, 2, 3], "event": [0, -2, 1]}))
    with pytest.raises(ContractError, match="nobody left in 2 intervals"):
        AalenJohansen().fit(ChurnData.from_durations(pd.DataFrame({"duration": [1, 2], "event": [0, 0]})))


def test_the_data_say_how_many_left_for_each_cause(bmt):
    assert repr(bmt).endswith("24 left, followed to day 72 (1: 9; 2: 15)")
