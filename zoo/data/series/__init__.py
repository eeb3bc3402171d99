"""Time series: files -> evenly spaced series on disk -> windows of past and future values."""
