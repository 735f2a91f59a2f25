import pandas as pd
import pytest

from loyalty_research.data.customers import customer_column
from loyalty_research.errors import ContractError


def test_a_column_is_looked_up_by_customer():
    people = pd.DataFrame({"customer_id": ["b", "a"], "age": [30.0, None]})
    found = customer_column(people, "age")
    assert found["b"] == 30
    assert found.index.tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"customer_id": ["a"]}, "customers: missing column age; it has customer_id"),
        ({"id": ["a"]}, "customers: missing columns customer_id, age; it has id"),
        (
            {"customer_id": ["a", "b", "a", "a"], "age": 1},
            r"2 rows \(first at positions 2, 3\) repeat a customer_id that came before; keep one row per customer",
        ),
    ],
)
def test_what_is_no_lookup_is_refused(columns, said):
    with pytest.raises(ContractError, match=said):
        customer_column(pd.DataFrame(columns), "age")
