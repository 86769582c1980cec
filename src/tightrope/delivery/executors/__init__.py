"""Programs that are started for delivery."""
