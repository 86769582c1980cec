"""Slices of good and total: the one value that every SLI from every source reduces to."""
