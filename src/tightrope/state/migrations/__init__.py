"""How the tables of the store came to be, step by step; run by `state.database` when a store is opened."""
