from ._attention import Attention as Attention
from ._attention import attention as attention
