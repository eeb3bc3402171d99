"""Scores, yardsticks and pictures of scores."""
