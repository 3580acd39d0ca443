"""The shared package of the workbook: samplers, models, data, training and evaluation."""

__version__ = "0.1.0"
