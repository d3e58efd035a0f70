from ._sessions import HeadSessions as HeadSessions
from ._sessions import MeanDrift as MeanDrift
from ._sessions import Sessions as Sessions
from ._sessions import sessions as sessions
from ._stopping import StoppingPoint as StoppingPoint
from ._stopping import StoppingRule as StoppingRule
from ._stopping import stopping_point as stopping_point
from ._trends import log_slope as log_slope
