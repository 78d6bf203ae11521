"""Groups that nobody labelled: found in stored features and logits, and assigned to other rows by stored rules."""
