import math

import numpy as np
import pandas as pd

from loyalty_research.plots import clv_programme, style


def test_payback_marks_where_the_curve_passes_the_cost():
    curve = pd.DataFrame({"month": [0, 12], "expected": [5.0, 20], "low": [4.0, 18], "high": [6.0, 22]})
    ax = clv_programme.payback(curve, cost=10, months=4.0, currency="EUR")
    line, cost, mark = ax.get_lines()
    assert line.get_ydata().tolist() == [5, 20]
    assert list(cost.get_ydata()) == [10, 10]
    assert cost.get_linestyle() != line.get_linestyle()
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (4, 10)
    assert "EUR" in ax.get_ylabel()
    assert "4.0 months" in {t.get_text() for t in ax.texts}
    never = clv_programme.payback(curve, cost=50, months=math.inf)
    assert len(never.get_lines()) == 2
    assert never.get_ylim()[1] > 50


def test_retention_gain_draws_both_and_leaves_endless_gains_out():
    curve = pd.DataFrame({"points": [0, 0.05, 0.1], "model": [0, 0.03, 0.06], "formula": [0, 0.25, np.nan]})
    ax = clv_programme.retention_gain(curve)
    assert {"+3.0%", "+25.0%", "fitted model"} <= {t.get_text() for t in ax.texts}
    model, _, formula, _ = ax.get_lines()
    assert model.get_linestyle() != formula.get_linestyle()
    alone = clv_programme.retention_gain(curve.assign(formula=np.nan))
    assert "fitted model" in {t.get_text() for t in alone.texts}
    assert len(alone.get_lines()) == 3


def test_what_is_lost_is_hatched_behind_what_is_expected():
    groups = pd.DataFrame(
        {
            "group": ["silent", "busy"],
            "customers": [90, 10],
            "probability_alive": [0.1, 0.9],
            "expected": [50.0, 400.0],
            "stayed": [500.0, 440.0],
        }
    )
    ax = clv_programme.value_at_churn(groups, currency="USD")
    assert [p.get_width() for p in ax.patches] == [500, 440, 50, 400]
    assert {p.get_hatch() for p in ax.patches[:2]} == {"////"}
    assert "50 of 500" in {t.get_text() for t in ax.texts}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["silent", "busy"]
    assert ax.get_yticks()[0] > ax.get_yticks()[1]


def test_tenths_stand_in_order_with_intervals():
    tenths = pd.DataFrame(
        {"group": [1, 2], "actual": [3.0, 1.0], "low": [2.6, 0.8], "high": [3.4, 1.2], "expected": [2.8, 1.1]}
    )
    ax = clv_programme.decile_lift(tenths, unit="mean revenue")
    assert [p.get_height() for p in ax.patches] == [2.8, 1.1]
    assert ax.get_ylabel() == "mean revenue"
    assert ax.get_lines()[0].get_color() == style.SERIES[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2"]
