"""Augmentation: random changes to training photos, so that no two epochs are equal (paper, 4.2).

Evaluation and prediction do not use it: they only use `preprocess`.
"""

from facetry.images.augment.augmenter import Augmenter
from facetry.images.augment.config import Augmentation
from facetry.images.augment.mixing import Mixer

__all__ = ["Augmentation", "Augmenter", "Mixer"]
