"""`python -m experiments` computes the stored long runs that are missing."""

import sys

from experiments.command import main

if __name__ == "__main__":
    sys.exit(main())
