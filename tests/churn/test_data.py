"""Follow-up data: what is accepted, what is refused and how it is told."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxTimeVaryingFitter, KaplanMeierFitter
from lifelines.datasets import load_stanford_heart_transplants

from loyalty_research.churn import ChurnData, CoxPH, KaplanMeier, logrank_test
from loyalty_research.errors import ArgumentError, ContractError, ImmortalTimeError


def intervals(**changes):
    frame = pd.DataFrame(
        {
            "who": ["x", "x", "y", "z"],
            "start": [0, 30, 0, 10],
            "stop": [30, 80, 45, 60],
            "event": [0, 1, 0, 1],
            "is_member": [0, 1, 0, 1],
            "w": [1.0, 1.0, 2.0, 1.0],
        }
    )
    return frame.assign(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stop": [30, 30, 45, 60]}, r"stop must exceed start; zero-length or negative intervals in 1 row"),
        ({"stop": [30, 20, 45, 60]}, r"first|at position 1"),
        ({"start": [-1, 30, 0, 10]}, r"start is negative in 1 row \(at position 0\)"),
        ({"start": [0, 20, 0, 10]}, r"overlap in 1 row \(at position 1\)"),
        ({"event": [1, 1, 0, 1]}, r"begin after their customer's event in 1 row \(at position 1\)"),
        ({"event": [0, 2.5, 0, 1]}, r"event must be 0 \(still there\) or 1 \(left\).*position 1"),
        ({"event": [0, np.nan, 0, 1]}, r"event is missing in 1 row \(at position 1\)"),
        ({"stop": [30.0, np.inf, 45, 60]}, r"stop is infinite in 1 row \(at position 1\)"),
        ({"w": [1, np.inf, 2, 1]}, r"w must be positive and finite; it is not in 1 row \(at position 1\)"),
        (
            {"w": [1, 1, 0, -1]},
            r"w must be positive and finite; it is not in 2 rows \(first at positions 2, 3\)",
        ),
        ({"who": ["x", "x", None, "z"]}, r"who is missing in 1 row \(at position 2\)"),
        ({"start": ["a", "b", "c", "d"]}, r"start is object, not a number"),
    ],
)
def test_bad_intervals_name_column_count_and_rows(changes, said):
    with pytest.raises(ContractError, match=said):
        ChurnData.from_intervals(intervals(**changes), id="who", weights="w")


def test_messages_never_carry_a_customer():
    secret = intervals(who=["secret-x", "secret-x", "secret-y", "secret-z"], start=[0, 20, 0, 10])
    with pytest.raises(ContractError) as caught:
        ChurnData.from_intervals(secret, id="who")
    assert "secret" not in str(caught.value)


def test_missing_columns_and_empty_tables_are_told():
    with pytest.raises(ContractError, match="intervals lacks the column stop; it has"):
        ChurnData.from_intervals(intervals().drop(columns="stop"))
    with pytest.raises(ContractError, match="durations is empty"):
        ChurnData.from_durations(pd.DataFrame({"duration": [], "event": []}))


def test_whole_numbers_become_whole_days():
    data = ChurnData.from_durations(pd.DataFrame({"duration": [5.0, 8.0], "event": [True, False]}))
    assert data.stop.dtype == np.int64
    assert ChurnData.from_durations(pd.DataFrame({"duration": [5.5], "event": [1]})).stop.dtype == np.float64


def test_a_value_known_later_than_its_interval_is_refused():
    frame = pd.DataFrame(
        {"duration": [50, 80, 20], "event": [1, 1, 0], "is_member": [0, 1, 1], "joined": [0, 30, 0]}
    )
    with pytest.raises(ImmortalTimeError) as caught:
        ChurnData.from_durations(frame, known_at={"is_member": "joined"})
    said = str(caught.value)
    assert "is_member looks into the future" in said
    assert "1 of 3 intervals" in said
    assert "day 30" in said
    assert "1 row (at position 1)" in said


def test_split_intervals_with_the_same_value_are_accepted():
    frame = pd.DataFrame(
        {
            "who": [1, 1],
            "start": [0, 30],
            "stop": [30, 80],
            "event": [0, 1],
            "is_member": [0, 1],
            "since": [0, 30],
        }
    )
    data = ChurnData.from_intervals(frame, id="who", known_at={"is_member": "since"})
    assert data.covariates["is_member"].tolist() == [0, 1]


def buyers():
    lines = pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "c", "c"],
            "transacted_date": pd.to_datetime(
                ["2024-01-01", "2024-02-01", "2024-01-10", "2024-01-05", "2024-05-05"]
            ),
            "amount": [10.0, 5.0, 20.0, 30.0, 1.0],
        }
    )
    return ChurnData.from_transactions(lines, inactivity_days=60, as_of="2024-12-31")


def test_covariates_known_in_time_are_joined_by_customer():
    facts = pd.DataFrame(
        {
            "customer_id": ["c", "a", "b", "other"],
            "region": ["north", "south", "west", "east"],
            "known": pd.to_datetime(["2024-01-05", "2023-01-01", "2024-01-10", "2024-01-01"]),
        }
    )
    data = buyers().with_covariates(facts, known_at="known")
    assert data.covariates["region"].tolist() == ["south", "west", "north"]
    assert "known" not in data.covariates
    assert (
        buyers()
        .with_covariates(facts.drop(columns="known"), known_at="start")
        .covariates["region"]
        .notna()
        .all()
    )


def test_covariates_known_too_late_are_refused():
    facts = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "tier": ["gold", "silver", "gold"],
            "since": pd.to_datetime(["2024-01-20", "2024-01-10", "2024-01-05"]),
        }
    )
    with pytest.raises(
        ImmortalTimeError, match=r"tier looks into the future: in 1 of 3 .* 1 row \(at position 0\)"
    ):
        buyers().with_covariates(facts, known_at="since")


def test_covariates_that_cannot_be_joined_are_refused():
    facts = pd.DataFrame({"customer_id": ["a", "b"], "region": ["n", "s"]})
    with pytest.raises(ContractError, match="covariates lack 1 of the 3 customers"):
        buyers().with_covariates(facts, known_at="start")
    with pytest.raises(ContractError, match="repeat a customer_id in 1 row"):
        buyers().with_covariates(pd.concat([facts, facts.head(1)]), known_at="start")
    with pytest.raises(ContractError, match="no column 'when'"):
        buyers().with_covariates(facts, known_at="when")
    without_keys = ChurnData.from_durations(pd.DataFrame({"duration": [5], "event": [1]}))
    with pytest.raises(ContractError, match="carry no customer keys"):
        without_keys.with_covariates(facts, known_at="start")


def test_landmark_keeps_those_still_there_with_what_they_had():
    frame = pd.DataFrame(
        {
            "who": [1, 1, 2, 3, 4, 4],
            "start": [0, 20, 0, 0, 0, 50],
            "stop": [20, 90, 25, 70, 50, 60],
            "event": [0, 1, 1, 0, 0, 1],
            "is_member": [0, 1, 0, 0, 0, 1],
        }
    )
    landed = ChurnData.from_intervals(frame, id="who").landmark(30)
    assert landed.start.tolist() == [30, 30, 30]
    assert landed.stop.tolist() == [90, 70, 60]
    assert landed.event.tolist() == [True, False, True]
    # customer 4 joins after the landmark and stays a non-member
    assert landed.covariates["is_member"].tolist() == [1, 0, 0]
    assert landed.audit()["customers"].tolist() == [1, 3]
    with pytest.raises(ArgumentError, match="nobody is watched after day 90"):
        ChurnData.from_intervals(frame, id="who").landmark(90)


def test_to_lifelines_feeds_its_fitters():
    heart = load_stanford_heart_transplants()
    frame = ChurnData.from_intervals(heart, id="id").to_lifelines()
    fitted = CoxTimeVaryingFitter().fit(
        frame, id_col="id", start_col="start", stop_col="stop", event_col="event", formula="age + transplant"
    )
    assert fitted.summary.shape[0] == 2
    data = ChurnData.from_durations(pd.DataFrame({"duration": [5, 8, 9], "event": [1, 0, 1]}))
    peer = KaplanMeierFitter().fit(data.to_lifelines()["stop"], data.to_lifelines()["event"])
    ours = KaplanMeier().fit(data).survival_at([5, 8, 9])["estimate"]
    assert np.allclose(peer.survival_function_at_times([5, 8, 9]), ours)


def test_it_shows_who_is_in_and_no_key():
    data = buyers()
    assert repr(data).startswith("ChurnData: 3 customers, 3 intervals, 3 left")
    html = data._repr_html_()
    assert "Who is in the analysis" in html
    assert "<caption" in html


def durations(**changes):
    return pd.DataFrame(
        {"duration": [5, 8, 9, 4], "event": [1, 0, 1, 0], "x": [1.0, 2, 3, 5], "plan": list("abab")}
    ).assign(**changes)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"duration": [5, -1, 9, 4]}, {}, r"duration is negative in 1 row \(at position 1\)"),
        ({"late": [5, 0, 0, 0]}, {"entry": "late"}, r"duration must exceed late; zero-length.*at position 0"),
        (
            {},
            {"as_of": 8},
            r"duration lies after as_of.* in 1 row \(at position 2\), 1 of them with an event",
        ),
        ({"end": [5, 7, 9, 3]}, {"as_of": "end"}, r"in 2 rows \(first at positions 1, 3\), 0 of them"),
        ({"end": [5, np.nan, 9, 4]}, {"as_of": "end"}, r"end is missing in 1 row \(at position 1\)"),
        ({"w": [1, np.inf, 1, 1]}, {"weights": "w"}, r"w must be positive and finite.*at position 1"),
        ({"w": list("abcd")}, {"weights": "w"}, "w is object, not a number"),
        (
            {"who": [1, 1, 2, 3]},
            {"id": "who"},
            r"intervals of one customer overlap in 1 row \(at position 1\)",
        ),
        (
            {"who": [1, 1, 2, 3], "duration": [0, 5, 9, 4], "event": 0},
            {"id": "who"},
            r"overlap in 1 row \(at position 1\)",
        ),
        ({"who": [1, np.nan, 2, 3]}, {"id": "who"}, r"who is missing in 1 row \(at position 1\)"),
        ({"part": [1, np.nan, 2, 3]}, {"strata": "part"}, r"part is missing in 1 row \(at position 1\)"),
        ({"event": [1, np.inf, 0, 1]}, {}, r"event is infinite in 1 row \(at position 1\)"),
        ({"duration": pd.to_timedelta([1, 2, 3, 4], unit="D")}, {}, "duration is timedelta64"),
        ({"duration": pd.array([5, None, 9, 4], dtype="Int64")}, {}, r"duration is missing in 1 row"),
        ({"event": pd.array([True, None, False, True], dtype="boolean")}, {}, r"event is missing in 1 row"),
        ({}, {"cluster": "shop"}, "durations lacks the column shop; it has duration, event, x, plan"),
    ],
)
def test_bad_durations_name_column_count_and_rows(changes, options, said):
    with pytest.raises(ContractError, match=said):
        ChurnData.from_durations(durations(**changes), **options)


@pytest.mark.parametrize("as_of", [float("nan"), True, pd.Timestamp("2024-01-01")])
def test_as_of_is_a_day_or_a_column(as_of):
    with pytest.raises(ArgumentError, match="as_of must be a day on the customers' clocks"):
        ChurnData.from_durations(durations(), as_of=as_of)
    assert ChurnData.from_durations(durations(), as_of=9).last == 9


def test_one_column_has_one_use():
    with pytest.raises(ArgumentError, match="duration and event both name the column event"):
        ChurnData.from_durations(durations(), duration="event")
    with pytest.raises(ArgumentError, match="start and weights both name the column start"):
        ChurnData.from_intervals(intervals(), weights="start")


def test_columns_have_one_plain_name_each():
    twice = pd.concat([durations(), durations()[["x"]]], axis="columns")
    with pytest.raises(ContractError, match="several columns called x; rename or leave out all but one"):
        ChurnData.from_durations(twice)
    with pytest.raises(ContractError, match="columns of several levels"):
        ChurnData.from_durations(pd.concat({"a": durations()}, axis="columns"))
    with pytest.raises(ContractError, match=r"names are no text \(7\)"):
        ChurnData.from_durations(durations().rename(columns={"x": 7}))
    lines = pd.DataFrame(
        {"customer_id": [1], "amount": [1.0], "transacted_at": pd.to_datetime(["2024-01-01"])}
    )
    with pytest.raises(ContractError, match="transactions has several columns called amount"):
        ChurnData.from_transactions(
            pd.concat([lines, lines[["amount"]]], axis="columns"), inactivity_days=30, as_of="2024-06-01"
        )


def test_names_in_any_script_are_fine():
    data = ChurnData.from_durations(durations().rename(columns={"plan": "année d'été", "x": "größe €"}))
    assert KaplanMeier().fit(data, by="année d'été").median_.tolist() == [
        7,
        pytest.approx(np.nan, nan_ok=True),
    ]
    model = CoxPH().fit(data, covariates=["größe €"])
    assert model.params_.index.tolist() == ["größe €"]
    with pytest.raises(ArgumentError, match=r"the formula .* cannot be read"):
        CoxPH().fit(data, formula="größe €")
    with pytest.raises(ArgumentError, match="by must name one covariate"):
        KaplanMeier().fit(data, by=["année d'été"])


def test_what_no_model_can_use_is_refused_before_fitting():
    bad = {
        r"x is missing in 1 row \(at position 1\)": durations(x=[1, np.nan, 2, 3]),
        r"x is infinite in 1 row \(at position 1\)": durations(x=[1, np.inf, 2, 3]),
        "nobody left in 4 intervals": durations(event=0),
    }
    for said, frame in bad.items():
        with pytest.raises(ContractError, match=said):
            CoxPH().fit(ChurnData.from_durations(frame), covariates=["x"])
    alike = ChurnData.from_durations(durations(plan="a"))
    with pytest.raises(ContractError, match="plan has one level only in all 4 rows"):
        CoxPH().fit(alike, covariates=["plan"])
    with pytest.raises(ArgumentError, match="two groups or more; there is 1"):
        logrank_test(alike, by="plan")
    with pytest.raises(ArgumentError, match="nobody is watched after day 99"):
        ChurnData.from_durations(durations()).landmark(99)
    apart = pd.DataFrame({"start": [0, 0, 9, 9], "stop": [3, 4, 12, 13], "event": 1, "plan": list("aabb")})
    with pytest.raises(ArgumentError, match="never at risk together"):
        logrank_test(ChurnData.from_intervals(apart), by="plan")


def test_the_id_names_clusters_and_is_not_the_key_itself():
    heart = load_stanford_heart_transplants()
    by_id = ChurnData.from_intervals(heart, id="id")
    assert by_id.covariates["id"].tolist() == by_id.customer.tolist()
    one = CoxPH(cluster="id").fit(by_id, covariates=["age", "transplant"])
    two = CoxPH(cluster="customer").fit(by_id, covariates=["age", "transplant"])
    assert np.allclose(one.standard_errors_, two.standard_errors_)
    secret = durations(who=["s-1", "s-2", "s-3", "s-4"])
    data = ChurnData.from_durations(secret, id="who")
    assert "s-1" not in data.covariates.to_string()
    joined = data.with_covariates(
        pd.DataFrame({"customer_id": secret["who"], "region": list("nsns")}), known_at="start"
    )
    assert joined.covariates["region"].tolist() == list("nsns")
    assert "who" not in data.to_lifelines()


def test_huge_durations_stay_numbers():
    data = ChurnData.from_durations(durations(duration=[5, 1e300, 9, 4]))
    assert data.stop.dtype == np.float64
    assert data.last == 1e300
