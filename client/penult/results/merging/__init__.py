"""What merges make: checkpoints with what was asked of them next, and of what they were made."""
