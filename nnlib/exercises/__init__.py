"""The exercises that end the notebooks 01 to 06: what they are made of, and their checks.

A check takes the reader's answer and what the notebook holds (data, net, settings), works out the
truth from these, and shows a verdict: right; not yet, with what is wrong and where to look; or no
answer yet. It never tells the solution, and no answer, however odd, ends in a traceback.
`check_….judge(…)` returns the verdict instead of showing it.
"""

from nnlib.exercises.data import check_leak as check_leak
from nnlib.exercises.data import check_stratified as check_stratified
from nnlib.exercises.data import three_splits as three_splits
from nnlib.exercises.network import check_backward as check_backward
from nnlib.exercises.network import check_zero_start as check_zero_start
from nnlib.exercises.results import check_rivals as check_rivals
from nnlib.exercises.results import check_test_size as check_test_size
from nnlib.exercises.results import rivals as rivals
from nnlib.exercises.search import check_seeds as check_seeds
from nnlib.exercises.search import check_shares as check_shares
from nnlib.exercises.training import check_patients as check_patients
from nnlib.exercises.training import check_schedule as check_schedule
from nnlib.exercises.training import check_stable_rate as check_stable_rate
from nnlib.exercises.training import patients as patients
from nnlib.exercises.weights import check_contributions as check_contributions
from nnlib.exercises.weights import check_permutation as check_permutation
