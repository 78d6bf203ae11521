"""Groups that nobody labelled: found by published methods, scored, and compared by what a refit gains."""
