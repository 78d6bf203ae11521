"""Feature sets as they are written: what is known beforehand, the files of rows, and the commit of all of them."""
