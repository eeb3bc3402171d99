"""Export models: whole tasks for `zoo.runtime`, `torch.export` programs and ONNX files."""
