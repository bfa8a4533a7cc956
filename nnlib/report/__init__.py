"""The report: notebooks executed in order, and published as pages and as one document.

The command imports `book`, nbconvert imports `page` or `document` by their entry points: this
file imports neither, so that a single notebook is exported without what executes notebooks.
"""


class ReportError(RuntimeError):
    """The report could not be made; one line names the notebook, the cell and the error."""
