"""Footwear on ground: sneakers and ankle boots pasted on photographs of grass and gravel."""
