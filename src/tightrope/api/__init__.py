"""The HTTP API under ``/api/v1``: one file for each room that it fronts, and one way to answer, to page and to err."""
