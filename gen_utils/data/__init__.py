"""Datasets, real and built in, all through ``load_images``."""

from .batches import Batches
from .catalog import CATALOG, DataError, Dataset, lookup
from .image_set import ImageSet, to_float, to_uint8
from .load import data_root, load_images
from .stratified import stratified

__all__ = [
    "CATALOG",
    "Batches",
    "DataError",
    "Dataset",
    "ImageSet",
    "data_root",
    "load_images",
    "lookup",
    "stratified",
    "to_float",
    "to_uint8",
]
