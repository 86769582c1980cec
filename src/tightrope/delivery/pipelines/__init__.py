"""Pipelines: from a commit to production and back, as runs of steps that survive a crash."""
