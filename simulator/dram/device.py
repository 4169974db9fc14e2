"""DRAM channels: geometry, timing in clock cycles and currents.

Sources. DDR4-2400: Micron 4Gb x8 revision A, eight chips on 64 bits: timing and IDD as in DRAMSys's specification
MICRON_4Gb_DDR4-2400_8bit_A (github.com/tukl-msd/DRAMSys), but for tREFI, which is JESD79-4's 7.8 us (9,360 cycles; the
specification has half, that of high temperatures). LPDDR4-3200: one 16-bit channel of 8 Gb: DRAMSys's
JEDEC_8Gb_LPDDR4-3200_16bit. Turnarounds from read to write follow from where the data stand on the bus
(JESD79-4 4.24: RL + BL/2 - WL + 2; JESD209-4: RL + tDQSCK + BL/2 - WL + tWPRE + tRPST).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from foundation.errors import UnknownNameError


class Timing(NamedTuple):
    """Least cycles between commands, named as in JEDEC's standards; `_l` within a bank group, `_s` across groups.

    rtw: read to write; long_command and short_command: cycles on the command bus (activate, read and write; others).
    """

    rcd: int
    rp: int
    ras: int
    rc: int
    rl: int
    wl: int
    burst: int
    rtp: int
    wr: int
    ccd_s: int
    ccd_l: int
    rrd_s: int
    rrd_l: int
    faw: int
    wtr_s: int
    wtr_l: int
    rtw: int
    refi: int
    rfc: int
    xp: int
    cke: int
    long_command: int = 1
    short_command: int = 1


@dataclass(frozen=True)
class Rail:
    """One supply: volts and the data sheet's currents of one chip in amperes (IDD0, 2N, 2P, 3N, 3P, 4R, 4W, 5B)."""

    volt: float
    idd0: float
    idd2n: float
    idd2p: float
    idd3n: float
    idd3p: float
    idd4r: float
    idd4w: float
    idd5: float


DRAWN = (0.4, 1.0)
"""Share of a data sheet's currents that chips draw. A sheet lists the current of the most power-hungry chip sold; in 50
DDR3L modules of three makers every measured current differed from it (Ghose et al., SIGMETRICS 2018). The lower end is
estimated, 0.3 to 0.6."""


@dataclass(frozen=True)
class DramDevice:
    """One channel with one rank of `chips` chips. `page_bytes`: of a row over all chips; `access_bytes`: of a burst.

    `rails_hi`: the supplies with what is estimated of them at its upper end (none: nothing of them is).
    """

    name: str
    clock_hz: float
    banks: int
    groups: int
    rows: int
    page_bytes: int
    access_bytes: int
    chips: int
    timing: Timing
    rails: tuple[Rail, ...]
    rails_hi: tuple[Rail, ...] = ()

    def drawing(self, end: int) -> DramDevice:
        """Return the channel with the least (0) or the most (1) that its chips may draw; timing stays."""
        rails = (self.rails_hi or self.rails) if end else self.rails
        share = DRAWN[end]
        currents = [{name: share * value for name, value in asdict(one).items() if name != "volt"} for one in rails]
        return replace(self, rails=tuple(replace(one, **own) for one, own in zip(rails, currents, strict=True)))

    @property
    def cycle_s(self) -> float:
        return 1.0 / self.clock_hz

    @property
    def peak_bytes_per_s(self) -> float:
        """Return the rate at which bursts follow each other without a gap."""
        return self.access_bytes / self.timing.burst * self.clock_hz

    @property
    def columns(self) -> int:
        """Return the bursts of a row."""
        return self.page_bytes // self.access_bytes


DDR4_2400 = DramDevice(
    "ddr4-2400", 1.2e9, banks=16, groups=4, rows=32768, page_bytes=8192, access_bytes=64, chips=8,
    timing=Timing(
        rcd=16, rp=16, ras=39, rc=55, rl=16, wl=16, burst=4, rtp=12, wr=18, ccd_s=4, ccd_l=6, rrd_s=4, rrd_l=6, faw=26,
        wtr_s=3, wtr_l=9, rtw=16 + 4 - 16 + 2, refi=9360, rfc=313, xp=8, cke=6,
    ),
    rails=(
        Rail(1.2, 60.75e-3, 38.25e-3, 17.0e-3, 44.0e-3, 22.5e-3, 184.5e-3, 168.75e-3, 118.0e-3),
        # The word line supply (VPP): IPP0 is known; it draws as much at rest as while it waits (estimated, 2 to 4 mA).
        Rail(2.5, 4.05e-3, 3.0e-3, 3.0e-3, 3.0e-3, 3.0e-3, 3.0e-3, 3.0e-3, 3.0e-3),
    ),
    rails_hi=(
        Rail(1.2, 60.75e-3, 38.25e-3, 17.0e-3, 44.0e-3, 22.5e-3, 184.5e-3, 168.75e-3, 118.0e-3),
        Rail(2.5, 4.05e-3, 4.0e-3, 4.0e-3, 4.0e-3, 4.0e-3, 4.0e-3, 4.0e-3, 4.0e-3),
    ),
)  # fmt: skip
LPDDR4_3200 = DramDevice(
    "lpddr4-3200", 1.6e9, banks=8, groups=1, rows=65536, page_bytes=2048, access_bytes=32, chips=1,
    timing=Timing(
        rcd=29, rp=34, ras=68, rc=102, rl=28 + 6, wl=14, burst=8, rtp=12, wr=29, ccd_s=8, ccd_l=8, rrd_s=16, rrd_l=16,
        faw=64, wtr_s=16, wtr_l=16, rtw=28 + 6 + 8 - 14 + 2, refi=6246, rfc=448, xp=12, cke=12, long_command=4,
        short_command=2,
    ),
    rails=(
        Rail(1.8, 3.5e-3, 2.0e-3, 1.2e-3, 2.25e-3, 1.2e-3, 2.25e-3, 2.25e-3, 10.0e-3),
        Rail(1.1, 45.0e-3, 27.0e-3, 3.0e-3, 30.0e-3, 9.0e-3, 275.0e-3, 210.0e-3, 90.0e-3),
    ),
)  # fmt: skip
"""Every precharge takes tRPab (34 cycles); one bank's alone takes 29. What the drivers draw (VDDQ) is left out."""

DEVICES: dict[str, DramDevice] = {one.name: one for one in (DDR4_2400, LPDDR4_3200)}


def find_dram(name: str) -> DramDevice:
    """Return a channel by its name. Raises UnknownNameError."""
    if name not in DEVICES:
        raise UnknownNameError("DRAM channel", name, DEVICES, f"Known: {', '.join(DEVICES)}.")
    return DEVICES[name]
