"""The four ids that mean the same in every vocabulary, and how they are written."""

PAD, UNK, BOS, EOS = range(4)
SPECIALS = ["<pad>", "<unk>", "<bos>", "<eos>"]
