"""Deliveries of webhooks, taken and read."""
