"""Which inferences are flagged for the miner: one arm a file, each with the probability of its choice."""
