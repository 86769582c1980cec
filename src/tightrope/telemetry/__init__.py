"""From an indicator to slices: the sources that hold the numbers."""
