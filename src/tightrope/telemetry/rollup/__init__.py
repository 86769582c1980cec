"""Roll-up: slices that are let go of, kept as sums by the hour."""
