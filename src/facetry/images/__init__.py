"""Photos, from files to a predictor's input: decoding, resizing, augmentation, loading."""

from facetry.images.augment import Augmentation, Augmenter, Mixer
from facetry.images.background import find_remover, remove_background
from facetry.images.batches import stack_pixels
from facetry.images.decode import decode, read_photo
from facetry.images.loader import NUM_DECODERS, NUM_OBJECT_READERS, load, load_batches, load_changed
from facetry.images.preprocess import preprocess
from facetry.images.store import PhotoStore, pad_photos
from facetry.runtime.prefetch import batched

__all__ = [
    "decode",
    "read_photo",
    "preprocess",
    "find_remover",
    "remove_background",
    "Augmentation",
    "Augmenter",
    "Mixer",
    "load",
    "load_batches",
    "load_changed",
    "NUM_DECODERS",
    "NUM_OBJECT_READERS",
    "batched",
    "stack_pixels",
    "PhotoStore",
    "pad_photos",
]
