"""From scores of the next token to sequences: beam search and sampling."""
