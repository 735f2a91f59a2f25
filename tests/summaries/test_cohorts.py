import calendar
import datetime as dt

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty_research import summaries
from loyalty_research.errors import ArgumentError, ContractError

START = dt.date(2023, 12, 20)


def period_start(day, period):
    if period == "W":
        return day - dt.timedelta(days=day.weekday())
    month = day.month if period == "M" else 3 * ((day.month - 1) // 3) + 1
    return day.replace(month=month, day=1)


def next_start(start, period):
    if period == "W":
        return start + dt.timedelta(days=7)
    months = 1 if period == "M" else 3
    year, month = start.year + (start.month - 1 + months) // 12, (start.month - 1 + months) % 12 + 1
    return dt.date(year, month, 1)


def reference(rows, is_sale, period, end):
    sales = [(r[0], START + dt.timedelta(days=r[1]), r[3] / 100) for r in rows if is_sale(r)]
    sales = [s for s in sales if s[1] <= end]
    born = {}
    for who, day, _ in sales:
        born[who] = min(born.get(who, day), day)
    out, running = [], 0
    for cohort in sorted({period_start(d, period) for d in born.values()}):
        members = {w for w, d in born.items() if period_start(d, period) == cohort}
        start, index = cohort, 0
        if next_start(start, period) > end + dt.timedelta(days=1):
            running += len(members)
        while next_start(start, period) <= end + dt.timedelta(days=1):
            mine = [s for s in sales if s[0] in members and period_start(s[1], period) == start]
            active = len({s[0] for s in mine})
            row = (
                cohort,
                index,
                len(members),
                active,
                active / len(members),
                len(mine),
                sum(s[2] for s in mine),
            )
            out.append(row)
            start, index = next_start(start, period), index + 1
    return out, running


@settings(deadline=None, max_examples=20, derandomize=True)
@given(data=st.data())
def test_equals_a_plain_reference_on_every_engine(data, native, to_frame, random_rows, is_sale):
    rows = data.draw(random_rows.filter(lambda rs: any(map(is_sale, rs))))
    period = data.draw(st.sampled_from(["W", "M", "Q"]))
    end = START + dt.timedelta(days=data.draw(st.integers(min(r[1] for r in rows if is_sale(r)), 200)))
    expected, running = reference(rows, is_sale, period, end)
    for move in native.values():
        if not expected:
            with pytest.raises(ContractError, match="no period"):
                summaries.cohorts(move(to_frame(rows)), period=period, as_of=end)
            continue
        got = summaries.cohorts(move(to_frame(rows)), period=period, as_of=end)
        found = [(r.cohort.date(), *tuple(r)[2:]) for r in got.itertuples()]
        assert [f[:6] for f in found] == [e[:6] for e in expected]
        assert [f[6] for f in found] == pytest.approx([e[6] for e in expected], rel=1e-9, abs=1e-9)
        assert (
            got.attrs["dropped"]["customers of the period still running at the last day observed"] == running
        )


def test_every_cohort_starts_whole_and_ends_with_the_last_full_month():
    last = calendar.monthrange(2024, 6)[1]
    frame = pd.DataFrame(
        {
            "customer_id": [1, 1, 2, 3],
            "transacted_date": pd.to_datetime(["2024-01-31", f"2024-06-{last}", "2024-05-01", "2024-06-02"]),
            "amount": [1, 2, 3, 4],
        }
    )
    whole = summaries.cohorts(frame)  # the last day in the table is the last day of June
    assert whole[whole["period"] == 0]["retention"].tolist() == [1, 1, 1]
    assert whole["cohort"].dt.month.tolist() == [1] * 6 + [5] * 2 + [6]
    short = summaries.cohorts(frame, as_of="2024-06-29")
    assert short["cohort"].dt.month.tolist() == [1] * 5 + [5]


def test_an_unknown_period_lists_the_known_ones():
    with pytest.raises(ArgumentError, match="'W', 'M', 'Q'; got 'D'"):
        summaries.cohorts(pd.DataFrame(), period="D")
