"""`python -m nnlib` is the `nnlib` command."""

import sys

from nnlib.cli import main

sys.exit(main())
