"""A store without its server: verified, rebuilt, backed up and restored, and freed of what nobody asks for."""
