"""How much of the space of heads fits the labels."""
