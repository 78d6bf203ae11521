"""Questions that the front completes and the compute worker answers, as both must understand them."""
