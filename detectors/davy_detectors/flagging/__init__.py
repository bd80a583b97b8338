"""Which inferences are flagged for the miner: one arm a file, each with the probability of its choice."""

from davy_detectors.flagging.contract import Arm, ArmFactory, Chance, Drawn, OpenIncident, Traffic

__all__ = ["Arm", "ArmFactory", "Chance", "Drawn", "OpenIncident", "Traffic"]
