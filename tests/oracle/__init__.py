"""The oracle: docs/maths.md read a second time, naively and exactly, to hold the engine against."""
