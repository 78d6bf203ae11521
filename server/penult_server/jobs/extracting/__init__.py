"""Extractions: what is extracted, the tasks that do it, and the job that orders them and commits what they wrote."""
