"""How rows lie to each other: on the sphere, within and between classes."""
