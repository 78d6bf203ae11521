"""One module a method, or a family of them: `find` (Inputs -> Found), and `assign` where its rule serves other rows."""
