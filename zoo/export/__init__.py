"""Models for use without this package: `torch.export` programs and ONNX files."""
