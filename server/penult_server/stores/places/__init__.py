"""Where what is stored lies: on this machine's disk."""
