from ._spectrum import Spectrum as Spectrum
from ._spectrum import spectrum as spectrum
