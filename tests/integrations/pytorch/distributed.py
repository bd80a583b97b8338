"""One of two processes that train the same module by gloo: `python distributed.py PORT DIRECTORY RANK`."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import davy


def main(port: str, directory: str, rank: str) -> None:
    """Call a module that is watched around `DistributedDataParallel` in the first process, inside in the second."""
    davy.init(f"sqlite:///{directory}/{rank}")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    if rank == "0":
        net = davy.watch(DistributedDataParallel(net), "net:1", output="logits")
    else:
        net = DistributedDataParallel(davy.watch(net, "net:1", output="logits"))
    net(torch.full((16, 4), float(rank))).sum().backward()
    assert davy.flush(20.0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
