"""The networks of PANNs in PyTorch, for parity.py: their layers under the names that the published weights have.

They read a map [B, 1, frames, bins], as the authors' do behind their spectrogram, and return logits, without their
sigmoid. cnn14 was compared with the package panns_inference 0.1.1, whose tensors have the same names and shapes.
"""

import torch
from torch import nn

NARROW = (64, 128, 256, 512)


class Block(nn.Module):
    def __init__(self, before: int, width: int, count: int, kernel: int, pooled: bool) -> None:
        super().__init__()
        self.count, self.pooled = count, pooled
        for i in range(1, count + 1):
            conv = nn.Conv2d(before if i == 1 else width, width, kernel, padding=kernel // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(1, self.count + 1):
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return nn.functional.avg_pool2d(x, 2) if self.pooled else x


class Tagger(nn.Module):
    """bn0 is over the bins; the end is the mean over bins, maximum and mean over time, and two linear layers."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(64)
        self.fc1, self.fc_audioset = nn.Linear(width, hidden), nn.Linear(hidden, classes)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maps(self.bn0(x.transpose(1, 3)).transpose(1, 3)).mean(3)
        return self.fc_audioset(torch.relu(self.fc1(x.amax(2) + x.mean(2))))


class Cnn(Tagger):
    def __init__(self, widths: tuple[int, ...], count: int, kernel: int = 3, classes: int = 527) -> None:
        super().__init__(widths[-1], widths[-1], classes)
        self.blocks = len(widths)
        for number, (before, width) in enumerate(zip((1, *widths), widths, strict=False), 1):
            setattr(self, f"conv_block{number}", Block(before, width, count, kernel, pooled=number < 6))

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"conv_block{number}")(x)
        return x


class MobileNet(Tagger):
    def __init__(self, classes: int = 527) -> None:
        super().__init__(1024, 1024, classes)
        widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        first = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.features = nn.Sequential(nn.Sequential(first, nn.AvgPool2d(2), nn.BatchNorm2d(32), nn.ReLU()))
        before = 32
        for width, stride in widths:
            depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
            inner = [depthwise, nn.AvgPool2d(stride), nn.BatchNorm2d(before), nn.ReLU()]
            outer = [nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            self.features.append(nn.Sequential(*inner, *outer))
            before = width

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def create(name: str) -> nn.Module:
    """cnn6, cnn10, cnn14 or panns_mobilenet_v1, with weights drawn at random."""
    if name == "panns_mobilenet_v1":
        return MobileNet()
    kinds = {"cnn6": (NARROW, 1, 5), "cnn10": (NARROW, 2, 3), "cnn14": ((*NARROW, 1024, 2048), 2, 3)}
    return Cnn(*kinds[name])
