"""Who may use the endpoint: keys, tokens, what each may reach, and the door that asks."""
