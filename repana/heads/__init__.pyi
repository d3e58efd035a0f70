from ._attention import Attention as Attention
from ._attention import attention as attention
from ._routing import RouterUse as RouterUse
from ._routing import Routing as Routing
from ._routing import routing as routing
