"""Photos from files to a predictor's input: decoding, resizing, augmenting, loading."""

from facetry.images.ahead import batched
from facetry.images.augment import Augmentation, Augmenter
from facetry.images.background import find_remover, remove_background
from facetry.images.decode import decode, read_photo
from facetry.images.loader import NUM_DECODERS, load, load_batches
from facetry.images.preprocess import preprocess
from facetry.images.store import PhotoStore

__all__ = [
    "decode",
    "read_photo",
    "preprocess",
    "find_remover",
    "remove_background",
    "Augmentation",
    "Augmenter",
    "load",
    "load_batches",
    "NUM_DECODERS",
    "batched",
    "PhotoStore",
]
