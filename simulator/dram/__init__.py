"""A DRAM channel and its controller: commands in clock cycles, with the controller's knobs named as ArchGym names them.

`run.simulate` serves a trace; `checker.violations` reads the commands that came of it against the timing rules anew;
`power` prices them with the currents of a data sheet; `closed_form` estimates all of it without serving anything.
"""
