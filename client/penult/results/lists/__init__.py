"""Lists of what a server stores, and tables of its runs: shown as text, and as pandas tables with ``.to_frame()``."""
