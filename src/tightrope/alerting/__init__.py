"""Burn-rate conditions and the life of an alert."""
