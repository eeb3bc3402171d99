"""The site, made of the documents, the docstrings and the notebooks: `python -m zoo.docs`."""
