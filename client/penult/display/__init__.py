"""How answers are shown: names of bearable length, and HTML for notebooks. Knows no records."""
