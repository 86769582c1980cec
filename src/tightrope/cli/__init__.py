"""The command line front; imports inside its commands keep `--help` instant."""
