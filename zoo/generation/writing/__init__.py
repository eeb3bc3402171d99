"""Writing with a language model, token after token: the step, the choice, the loop."""
