from ._persistence import H0Separability as H0Separability
from ._persistence import Persistence as Persistence
from ._persistence import diagram_distance as diagram_distance
from ._persistence import h0_separability as h0_separability
from ._persistence import persistence as persistence
from ._persistence import rtd as rtd
