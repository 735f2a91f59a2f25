"""Orders as rules take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from loyalty_research.simulate._population import moments

if TYPE_CHECKING:
    from loyalty_research.simulate._population import Bools, Orders

__all__ = ["member_sales"]


def member_sales(orders: Orders, kept: Bools | None = None, **columns: Any) -> pd.DataFrame:
    """Return orders as a table of transactions in local time.

    Args:
        orders: The orders.
        kept: Which of them; by default all.
        **columns: Further columns, a value per order taken.
    """
    mine = orders if kept is None else orders.keep(kept)
    return pd.DataFrame(
        {
            "customer_id": mine.customer,
            "transacted_at": moments(mine.moment),
            "amount": mine.amount,
            **columns,
        }
    )
