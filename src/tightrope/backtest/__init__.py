"""History as a witness: what a set of rules would have done."""
