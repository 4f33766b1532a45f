"""Evaluation suite for deepfake image detectors."""

__version__ = "0.1.0"
