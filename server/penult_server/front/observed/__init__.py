"""Every call as it is seen from outside: counted, timed, numbered, and told in one line of the log."""
