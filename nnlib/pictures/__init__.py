"""Pictures that people have: one to be named, or a folder of them to learn from.

`fit` makes a photograph, a scan or a drawing look like the images of a set; `folder` makes a data
set of a folder of pictures. Both let Pillow read the files.
"""

from nnlib.pictures.fit import fit_picture as fit_picture
from nnlib.pictures.fit import load_picture as load_picture
