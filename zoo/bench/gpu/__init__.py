"""python -m zoo.bench gpu measures the zoo on a GPU within a given time.

Each part runs in a process of its own, so an error that spoils CUDA for a process spoils no other
part. Every result is in the JSON file as soon as it is known.
"""
