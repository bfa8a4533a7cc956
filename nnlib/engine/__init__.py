"""The training step without waste: the numbers of the plain layers, in arrays that are kept.

Delete this folder, and every result stays the same to rounding, only slower.
"""
