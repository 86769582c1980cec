"""From change to production: what a rollout may cost, how its canary is judged, and what it does next."""
