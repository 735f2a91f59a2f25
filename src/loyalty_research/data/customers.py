"""The customers table as a lookup: one value per customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loyalty_research.errors import ContractError, at_rows, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["customer_column"]


def customer_column(customers: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column of the customers table, indexed by ``customer_id``.

    Args:
        customers: One row per customer, with ``customer_id``.
        column: The column wanted.

    Raises:
        ContractError: When a column is missing, or a customer has several rows.

    Examples:
        >>> import pandas as pd
        >>> people = pd.DataFrame({"customer_id": ["a", "b"], "region": ["north", "south"]})
        >>> customer_column(people, "region").to_dict()
        {'a': 'north', 'b': 'south'}
    """
    missing = [name for name in ("customer_id", column) if name not in customers.columns]
    if missing:
        raise ContractError(
            f"customers: missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has "
            f"{listed(customers.columns, most=40)}"
        )
    twice = np.flatnonzero(customers["customer_id"].duplicated().to_numpy()).tolist()
    if twice:
        raise ContractError(
            f"customers: {at_rows(twice)} repeat a customer_id that came before; keep one row per customer"
        )
    return customers.set_index("customer_id")[column]
