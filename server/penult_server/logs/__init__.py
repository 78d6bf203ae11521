"""What every process of the server writes about itself: two formats, no secrets, bounded files."""
