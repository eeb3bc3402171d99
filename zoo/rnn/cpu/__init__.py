"""The hoisted LSTM on a CPU: all steps in C, compiled where a compiler is at hand."""
