"""How much of the time a monitor may take, and what it took."""

from collections.abc import Callable
from dataclasses import dataclass, field

LOOKED_AT = 3  # records whose longest stands for the next


@dataclass
class Budget:
    """A share of the time since the start, the monitor's own included: S + m <= share (T + S), with T the time of the
    training, S that of the monitor and m the longest of the last three records. None: no limit.
    """

    share: float | None
    clock: Callable[[], float]
    training: float = 0.0
    own: float = 0.0
    costs: list[float] = field(default_factory=list)
    _since: float | None = None

    def begin(self) -> None:
        """From here on time counts; the clock stood still between two processes."""
        self._since = self.clock()

    def elapsed(self) -> None:
        """Time up to now was the training's."""
        now = self.clock()
        self.training += now - (now if self._since is None else self._since)
        self._since = now

    def spent(self) -> float:
        """Time up to now was the monitor's; returns it."""
        now = self.clock()
        cost = now - (now if self._since is None else self._since)
        self.own += cost
        self._since = now
        return cost

    def took(self, cost: float) -> None:
        """What a record took."""
        self.costs = [*self.costs, cost][-LOOKED_AT:]

    @property
    def next_cost(self) -> float:
        return max(self.costs, default=0.0)

    @property
    def allows(self) -> bool:
        """Whether a record as long as the longest of the last three stays within the share."""
        return self.share is None or self.own + self.next_cost <= self.share * (self.training + self.own)

    @property
    def used(self) -> float:
        """The share of all time so far that was the monitor's."""
        whole = self.training + self.own
        return self.own / whole if whole > 0 else 0.0
