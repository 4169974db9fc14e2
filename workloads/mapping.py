"""How a workload is laid onto devices: parallel sizes and the software stack."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from foundation.checks import whole_number
from foundation.errors import MappingError


@dataclass(frozen=True)
class Mapping:
    """Parallel sizes: tensor (tp), pipeline (pp), data (dp), expert (ep), context (cp).

    Devices used: tp x cp x pp x dp. Ranks of `cp` divide prompts and caches, and each has all weights of its tensor
    rank (`workloads.context_parallel`). Experts are spread over `ep` of the tp x dp ranks; what remains, tp x dp / ep,
    divides each expert's matrices. `software` names the stack whose calibration applies ("" = none).
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    software: str = ""
    cp: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "ep", "cp"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), high=1_000_000))
        if (self.tp * self.dp) % self.ep:
            raise MappingError(
                f"ep={self.ep} does not divide the {self.tp * self.dp} ranks of tp={self.tp} x dp={self.dp}; experts "
                f"are spread over those ranks: set dp={self.ep // gcd(self.tp, self.ep)} or "
                f"tp={self.ep // gcd(self.dp, self.ep)} (or a multiple), or a smaller ep."
            )

    @property
    def devices(self) -> int:
        return self.tp * self.cp * self.pp * self.dp

    @property
    def ranks(self) -> int:
        """How many devices work at once on one batch: all but the pipeline stages that wait."""
        return self.tp * self.cp * self.dp

    @property
    def expert_tp(self) -> int:
        """Over how many ranks one expert's matrices are divided."""
        return self.tp * self.dp // self.ep

    def label(self) -> str:
        """Return e.g. `tp=4 pp=2`, without the sizes that are 1."""
        parts = [f"{name}={getattr(self, name)}" for name in ("tp", "cp", "pp", "dp", "ep") if getattr(self, name) > 1]
        return " ".join(parts) or "one device"


ONE_DEVICE = Mapping()
