"""Groups of rows that nobody labelled: how they are found, and how well they agree with others."""
