"""The model folder: its format, what is checked of it, its card."""
