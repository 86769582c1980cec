"""The turn made real: specs and telemetry in, statements, states and decisions out."""
