from ._stopping import StoppingPoint as StoppingPoint
from ._stopping import StoppingRule as StoppingRule
from ._stopping import stopping_point as stopping_point
from ._trends import log_slope as log_slope
