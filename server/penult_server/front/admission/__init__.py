"""Who is let in: bounds on calls in flight, on what requests list, and on how long a stream may stand still."""
