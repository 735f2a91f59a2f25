"""Mechanisms under the programme's name; they live in :mod:`loyalty_research.mechanisms`."""

from __future__ import annotations

from loyalty_research.mechanisms import (
    BreakEven,
    Mechanism,
    MechanismAudit,
    MechanismCost,
    mechanism,
    preset,
    presets,
)

__all__ = ["BreakEven", "Mechanism", "MechanismAudit", "MechanismCost", "mechanism", "preset", "presets"]
