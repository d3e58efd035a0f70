from ._inductive_bias import InductiveBias as InductiveBias
from ._inductive_bias import inductive_bias as inductive_bias
from ._ntk import Kernel as Kernel
from ._ntk import KernelMotion as KernelMotion
from ._ntk import LayerKernels as LayerKernels
from ._ntk import ntk as ntk
