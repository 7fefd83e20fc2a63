"""Real data for the reference supernets, read from what packages ship; ``tools/fetch_data`` brings those packages.

Every function here returns a ``Data``: training, validation and test part, each of inputs and labels. Nothing is
downloaded here, and no data come with this project.
"""

from models.data.dataset import Data, DataError, Part, noise
from models.data.images import digits, fashion_mnist
from models.data.loading import DATASETS, load
from models.data.motions import motions
from models.data.speech import speech

__all__ = ["DATASETS", "Data", "DataError", "Part", "digits", "fashion_mnist", "load", "motions", "noise", "speech"]
