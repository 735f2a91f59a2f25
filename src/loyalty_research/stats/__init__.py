"""Statistics that two analyses share; each is re-exported under its public name."""
