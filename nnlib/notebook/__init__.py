"""What a notebook's cell speaks with: figures with captions, tables, sentences, provenance."""

from nnlib.notebook.output import LiveFigure as LiveFigure
from nnlib.notebook.output import LiveTable as LiveTable
from nnlib.notebook.output import SearchTable as SearchTable
from nnlib.notebook.output import provenance as provenance
from nnlib.notebook.output import say as say
from nnlib.notebook.output import show as show
from nnlib.notebook.output import table as table
