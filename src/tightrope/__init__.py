"""Tightrope: the control loop that joins shipping fast with staying up."""

__version__ = "0.1.0"
