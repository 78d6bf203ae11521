"""Image models of timm: their preprocessing, with its parameters read from the weights' own configuration."""
