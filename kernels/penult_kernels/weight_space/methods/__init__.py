"""One rule a module; `registry` lists them."""
