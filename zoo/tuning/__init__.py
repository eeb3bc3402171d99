"""K-fold cross-validation (`folds=K`)."""
