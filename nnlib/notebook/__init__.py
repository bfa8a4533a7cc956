"""What a notebook's cell speaks with: figures with captions, tables, sentences, provenance."""

from nnlib.notebook import plots as plots
from nnlib.notebook.live import LiveCurves as LiveCurves
from nnlib.notebook.live import SearchTable as SearchTable
from nnlib.notebook.output import place_in as place_in
from nnlib.notebook.output import provenance as provenance
from nnlib.notebook.output import say as say
from nnlib.notebook.output import show as show
from nnlib.notebook.output import stored as stored
from nnlib.notebook.output import table as table
