"""``python -m penult``: the command line where ``penult`` is not on the path."""

import sys

from penult.cli.main import main

sys.exit(main())
