"""The project's own long runs: what they are, how they are computed, and what comes of them."""
