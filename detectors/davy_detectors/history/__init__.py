"""What lies where in the log: from times and running numbers of inferences to their records, and back to be read."""
