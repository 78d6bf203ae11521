"""What a head could read off the features: probes of every column of labels."""
