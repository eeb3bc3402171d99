"""Export models as `torch.export` programs and ONNX files."""
