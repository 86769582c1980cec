"""The error budget policy: states and their flow, the gate, freezes and silver bullets."""
