from ._neural_collapse import NeuralCollapse as NeuralCollapse
from ._neural_collapse import neural_collapse as neural_collapse
