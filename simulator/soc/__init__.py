"""Systems on chip for pipelines of kernels, as AR and VR run them: cores, accelerators, a network, memories.

`graphs` are the workloads, `parts` what chips are made of, `schedule` places tasks on units for many chips at once.
"""
