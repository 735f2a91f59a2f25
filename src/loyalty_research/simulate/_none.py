"""The same customers in a shop without a programme."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from loyalty_research.i18n import message
from loyalty_research.simulate._population import (
    HORIZON,
    customers_table,
    population_facts,
    transactions_table,
)
from loyalty_research.simulate._scheme import make_dataset
from loyalty_research.simulate._world import Effects, make_world

if TYPE_CHECKING:
    from loyalty_research.data import Dataset
    from loyalty_research.simulate._population import PopulationTruth

__all__ = ["no_programme"]


def no_programme(truth: PopulationTruth, *, customers: int, seed: int) -> Dataset:
    """Simulate the shop without a programme."""
    world = make_world(truth, Effects(), customers, seed)
    course = world.play(world.never())
    tables = {
        "customers": customers_table(world.people),
        "transactions": transactions_table(world.people, course.orders),
    }
    facts = asdict(truth) | population_facts(truth) | {"active_share": float((course.gone >= HORIZON).mean())}
    text = message("Simulated shop without a loyalty programme; the truth behind it is disclosed.")
    return make_dataset("none", tables, facts, text, last=HORIZON)
