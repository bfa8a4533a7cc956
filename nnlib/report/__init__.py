"""The report: notebooks executed in order, and published as pages and as one document."""
