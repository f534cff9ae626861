"""Engines that compute a classifier (torch, OpenVINO, ONNX Runtime), its exports, and their choice."""
