from ._inductive_bias import InductiveBias as InductiveBias
from ._inductive_bias import inductive_bias as inductive_bias
from ._layer_kernels import KernelMotion as KernelMotion
from ._layer_kernels import LayerKernels as LayerKernels
from ._measures import Kernel as Kernel
from ._ntk import ntk as ntk
