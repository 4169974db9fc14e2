"""What runs operators on a device: numpy and ONNX Runtime on the host's processor, torch on an NVIDIA GPU."""
