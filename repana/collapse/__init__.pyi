from ._neural_collapse import NeuralCollapse as NeuralCollapse
from ._neural_collapse import neural_collapse as neural_collapse
from ._separation_law import SeparationLaw as SeparationLaw
from ._separation_law import separation_law as separation_law
