"""Where what is stored lies: on this machine's disk, or in an object store."""
