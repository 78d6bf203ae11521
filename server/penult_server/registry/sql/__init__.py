"""What differs between the databases that a registry may lie in: SQLite's file and a PostgreSQL server."""
