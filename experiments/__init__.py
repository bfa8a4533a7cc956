"""The project's own long runs: what they are, how they are computed, and what comes of them.

`study` says what a run is, `catalogue` lists them all, `report_d` and `readings` have what some
need of their own; `compute` runs them, `store` keeps them, `searches` does both for the reports'
searches, `command` drives all of it, and `readme` quotes what came of it.
"""
