"""Shipped models, their retraining, and model folders on the Hugging Face hub."""
