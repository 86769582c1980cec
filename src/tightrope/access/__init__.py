"""Who may do what: roles, tokens, sessions of the browser, teams, and logging in by OpenID Connect."""
