"""Choosing settings by validation rows (`tune=SECONDS`), and cross-validation (`folds=K`)."""
