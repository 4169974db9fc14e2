"""Spatial arrays: NPUs and accelerators whose time, energy and area follow from array, buffers, dataflow and tiling.

Everything is in columns: layers and machines broadcast against each other, so that one layer on one array, a network
over 10^6 arrays and all tilings of a layer take the same path. docs/npu.md explains the model.
"""
