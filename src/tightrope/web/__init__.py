"""The web front: charts and pages."""
