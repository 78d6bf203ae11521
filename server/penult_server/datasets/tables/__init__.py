"""Files of rows (CSV, Parquet, columns between blanks, JSON lines) read whole into columns, with exact errors."""
