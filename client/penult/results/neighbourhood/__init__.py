"""What is read off neighbours."""
