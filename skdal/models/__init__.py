"""The networks of the paper's experiments, and a small one for a first look, ready to train.

Each is a factory `MODELS[key](n_classes, *, in_channels=3, seed=None, **net_params)` of a skorch
net. To add one: one file here with a module, one line in `MODELS`, one test case.
"""

from skdal.models._cnn import CNN
from skdal.models._cnn_gap import CNNGap
from skdal.models._digits_cnn import DigitsCNN
from skdal.models._nets import net_factory
from skdal.models._resnet import resnet18, resnet18_cifar
from skdal.models._vgg import VGG11BNSmall, vgg11

MODELS = {
    "cnn": net_factory(CNN),
    "resnet18": net_factory(resnet18),
    "vgg11": net_factory(vgg11),
    "vgg11_bn_small": net_factory(VGG11BNSmall),
    "resnet18_cifar": net_factory(resnet18_cifar),
    "cnn_gap": net_factory(CNNGap),
    "digits_cnn": net_factory(DigitsCNN),
}

__all__ = [
    "CNN",
    "MODELS",
    "CNNGap",
    "DigitsCNN",
    "VGG11BNSmall",
    "resnet18",
    "resnet18_cifar",
    "vgg11",
]
