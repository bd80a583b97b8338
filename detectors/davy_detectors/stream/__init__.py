"""The role `detect`: counting by partition, summing by window, one run of monitors a model under a lease, replay."""
