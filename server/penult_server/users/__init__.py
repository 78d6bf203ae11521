"""Who may use a server besides its owner: tokens in the registry, and the commands that give and revoke them."""
