"""A PyTorch module under watch, with an embedding and a second opinion: ``python examples/torch_app.py``."""

import torch
from torch import nn

import davy


class Net(nn.Module):
    """Stand in for a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape ``(n, 3)``."""
        return self.head(self.body(x))


net = davy.watch(Net().eval(), "net:1", output="logits", embedding="body", members=[Net().eval()])
with torch.inference_mode():
    print(net(torch.randn(5, 4)))
davy.flush()
