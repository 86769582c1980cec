"""The promises, read from OpenSLO and our own kinds: checked, with the place of every finding."""
