"""Files on a disk: whole or not there, private, sealed by a digest, with space kept for deleting."""
