"""The four special ids, the same in every vocabulary, and their spelling."""

PAD, UNK, BOS, EOS = range(4)
SPECIALS = ["<pad>", "<unk>", "<bos>", "<eos>"]
