"""Measured latency: the pieces of a supernet and some of its subnets, timed in onnxruntime, become a cost table.

``profile`` measures; ``supernet_onnx.cost.latency`` reads the file that it makes.
"""

from supernet_onnx.profiling.profiler import ROUNDS, SUBNETS, Settings, profile
from supernet_onnx.profiling.tables import Profile, SubnetTime

__all__ = ["ROUNDS", "SUBNETS", "Profile", "Settings", "SubnetTime", "profile"]
