"""The miner: from flags to candidates, from candidates to labels, from labels to dataset versions.

The room's face is its target, ``davy_miner.worker.MineTarget``, and its commands, ``davy_miner.commands``; both are
found by entry points, so importing this package loads nothing heavy.
"""
