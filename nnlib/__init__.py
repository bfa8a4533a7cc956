"""A multi-layer perceptron from nothing but NumPy, and what the notebooks share around it.

data = nnlib.load_dataset("mnist")
model = nnlib.MLP([784, 128, 10])
history = nnlib.fit(model, data.train, data.val, epochs=5)
nnlib.evaluate(model, data.val).accuracy

From a batch of bytes to the updated weight, the way to read:

    images    a `Split` holds bytes; a `Scaling` says which numbers they become
    trainer   `Trainer` draws an epoch's order, gathers and scales some batches, takes a step each
    network   `MLP.forward` and `MLP.backward` send a batch through the layers in a row, and back
    layers    what each layer computes, and its derivative
    losses    softmax cross-entropy: where the gradient begins
    optim     what `SGD` or `AdamW` makes of the gradients: the weights are new

`engine` is the same step in arrays that are kept, and `trainer` takes it where it knows every
layer. What stands in folders are wings: delete one, and the rest works on.
"""

from nnlib.augment import Augment as Augment
from nnlib.checks import InputError as InputError
from nnlib.config import TrainConfig as TrainConfig
from nnlib.data import Dataset as Dataset
from nnlib.data import load_dataset as load_dataset
from nnlib.data import load_test_split as load_test_split
from nnlib.evaluation import evaluate as evaluate
from nnlib.images import Split as Split
from nnlib.losses import softmax as softmax
from nnlib.losses import softmax_cross_entropy as softmax_cross_entropy
from nnlib.network import MLP as MLP
from nnlib.network import load_model as load_model
from nnlib.network import save_model as save_model
from nnlib.optim import SGD as SGD
from nnlib.optim import AdamW as AdamW
from nnlib.runs import VERSION
from nnlib.runs import History as History
from nnlib.trainer import DivergedError as DivergedError
from nnlib.trainer import Trainer as Trainer
from nnlib.training import fit as fit
from nnlib.training import resume as resume
from nnlib.training import train as train

__version__ = VERSION
