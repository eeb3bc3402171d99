"""The hoisted LSTM on a GPU: Triton kernels, and a CUDA graph of all steps."""
