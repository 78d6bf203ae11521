"""Files of the server's machine that clients name: which may be, and how they are opened."""
