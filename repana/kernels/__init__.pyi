from ._ntk import Kernel as Kernel
from ._ntk import LayerKernels as LayerKernels
from ._ntk import ntk as ntk
