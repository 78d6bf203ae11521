"""Published methods by name: presets of refits and recipes of finetunings, as lists and in the help of their calls."""
