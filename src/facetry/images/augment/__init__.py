"""What training does to its photos so that no two epochs show the same pixels (paper, 4.2).

A different object from `preprocess`, which is the whole of evaluation and prediction.
"""

from facetry.images.augment.augmenter import Augmenter
from facetry.images.augment.config import Augmentation
from facetry.images.augment.mixing import Mixer

__all__ = ["Augmentation", "Augmenter", "Mixer"]
