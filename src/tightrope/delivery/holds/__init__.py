"""Releases that are held: who waits for an answer, what it will be told, and when."""
