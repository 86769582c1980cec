"""Deployments held against the decisions of the gate."""
