"""The hoisted LSTM on a GPU: Triton kernels, and all steps as a CUDA graph."""
