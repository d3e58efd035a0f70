from ._checkpoint_trajectory import trajectory as trajectory
from ._lightning_monitor import LightningMonitor as LightningMonitor
from ._load import load_features as load_features
from ._load import load_training as load_training
from ._monitor import Monitor as Monitor
from ._trainer_monitor import TrainerMonitor as TrainerMonitor
