"""One module for each format of arrays: a reader that opens a `Source`, and for some a writer of streams."""
