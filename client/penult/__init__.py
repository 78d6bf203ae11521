"""penult."""
