"""Rollouts carried out: what is gathered for each turn, what is done after it, and what is kept."""
