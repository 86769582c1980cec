"""One turn of the loop as a pure function; live step and replay are the same code."""
