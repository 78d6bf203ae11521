"""What predictions follow: the class, or what goes with it."""
