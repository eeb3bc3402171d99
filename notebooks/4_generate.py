# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A language model: what is the carried state worth?
#
# Every step of `output` predicts the next token, and `h_n` and `c_n` are all that is known of the text before. This
# notebook trains a model on Python's reference, takes the state away from it, looks at its gates, and lets it write.
# All figures are of this one training; another seed has others.

# %% [markdown]
# **日本語**：言語モデルでは、各時刻の`output`が次のトークンを予測し、`h_n`と`c_n`がそれまでの文章の記憶になります。状態を頻繁にリセットするほどパープレキシティは悪くなり、引き継いだ場合が最も良くなります。悪化の大部分はリセット直後の数トークンで起こり、その後は差がほとんどなくなります。
#
# **繁體中文**：語言模型用每一步的`output`預測下一個詞元（token），而`h_n`和`c_n`是它對前文的全部記憶。狀態重設得越頻繁，困惑度就越差；一路延續狀態時最好。損失大多發生在重設後的頭幾個詞元，之後兩者幾乎沒有差別。
#
# [日本語](ja/4_generate.ipynb) | [繁體中文](zh-TW/4_generate.ipynb)

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import zoo
from zoo.cli import explain
from zoo.evaluation import perplexity

# %%
QUICK = "ZOO_QUICK" in os.environ
SIZE = [16, 400, 1] if QUICK else [192, 1500, 20]  # numbers of a token and a state; tokens; epochs
SETTINGS = [f"backbone.{name}_size={SIZE[0]}" for name in ("embedding", "hidden")]
SETTINGS += [f"tokenizer.size={SIZE[1]}", f"train.epochs={SIZE[2]}", "baseline=false", "seed=1"]
model = zoo.train("task=generate", "data=pydoc", *SETTINGS)[0].requires_grad_(False)
folder, corpus = Path(tempfile.mkdtemp()), zoo.data.corpora.builtin.pydoc()
stream = model.dataset_class.write(corpus.test, model.encode, folder / "test")
carried = perplexity.static(model, stream)  # nats of every token, the state never reset

# %%
total = len(stream.tokens)


def nats(starts, steps):
    """Nats of each token of windows (start to start + steps), each read from the zero state."""
    ends = np.minimum(starts + steps, total)
    batch = model.collate(stream.examples(np.stack([starts, ends, np.zeros_like(starts)], 1)))
    vectors = model.eval().next_token_vectors(batch)[0][batch.target_mask]
    losses = model.tokens.losses(vectors, model.backbone, batch.targets[batch.target_mask])
    return losses.numpy()


# %% [markdown]
# **Question: how much worse is the model when its state is reset every N tokens?** The same weights read the same test
# text, from topics that were not in the training. Perplexity is per token here (a piece of a word), so it is lower than per word.
# After a reset the model still reads the one token in front; all that is older is gone.

# %%
spans = [16, 64, 256] if QUICK else [1, 2, 4, 8, 16, 32, 64, 128, 256]
reset = [np.exp(nats(np.arange(0, total, n), n).mean()) for n in spans]
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(spans, reset, "o-", label="reset every N tokens")
axes.axhline(np.exp(carried.mean()), color="C1", linestyle="--", label="carried, never reset")
axes.set_xscale("log", base=2)
axes.set_xticks(spans, spans)
axes.set(xlabel="N", ylabel="perplexity per token", title=f"{total:,} test tokens, one model")
_ = axes.legend()

# %% [markdown]
# The more often the state is reset, the worse this model; the carried state is the best of all, and each doubling of N
# brings less than the one before.
#
# **Question: how many tokens until the state is warm?** Windows begin at every third token of the test text. At each
# place of a window the perplexity with the reset state is divided by that with the carried state, on the same tokens.

# %%
steps = 64
starts = np.arange(0, total - steps, 300 if QUICK else 3)
cold = nats(starts, steps).reshape(-1, steps).mean(0)
warm = carried[starts[:, None] + np.arange(steps)].mean(0)
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(range(1, steps + 1), np.exp(cold - warm), ".-", label="reset before the first token")
axes.axhline(1, color="C1", linestyle="--", label="carried")
axes.set(title=f"{len(starts):,} windows", ylabel="perplexity, carried = 1")
axes.set(xlabel="tokens since the reset, the first is 1", xticks=[1, *range(8, steps + 1, 8)])
_ = axes.legend()

# %% [markdown]
# Most of what is lost is lost in the first few tokens after the reset; some dozens of tokens later the two states
# predict almost equally well. That is how far this small model looks back, not how far the text does.
#
# **Question: what do the gates do along a sentence?** Above, the forget gate: a row is a unit, the most forgetful at the
# top; bright is kept, dark is forgotten. Below, the mean of each gate over all units (`g`, the candidate, is left out: it has a sign).

# %%
text = "If the object is a class, the function returns a new instance of the class."
example = model.encode(zoo.data.readers.Row({"prompt": text}, "sentence"))
pieces, gates = explain.gates(model, model.collate([example]))
figure, panels = plt.subplots(2, figsize=(8, 4.5), layout="constrained", sharex=True)
forget = gates.f[0].T[gates.f[0].mean(0).argsort()].numpy()  # (units, steps)
image = panels[0].imshow(forget, aspect="auto", vmin=0, vmax=1)
figure.colorbar(image, ax=panels, label="forget gate")
panels[1].plot(np.stack([getattr(gates, n)[0].mean(1) for n in "ifo"], 1), ".-", label=[*"ifo"])
panels[1].set_xticks(range(len(pieces)), pieces, rotation=90)
_ = panels[1].legend(ncols=3), panels[1].set_ylabel("mean"), panels[0].set_ylabel("unit")

# %% [markdown]
# The forget gate changes with the token and from unit to unit: some units keep nearly all they have, others are emptied
# again and again. Of the means the output gate's moves least. (At the first token the cell is zero: nothing can be kept.)
#
# **Question: what does the temperature change?** Texts are drawn with the same seed at each temperature. First the texts
# themselves; then how many of their words are different ones, and how many stand in the training text. A word is what
# stands between two blanks.

# %%
known = {word for row in corpus.train for word in row["text"].split()}
distinct, real, heats = [], [], [0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0][:: 4 if QUICK else 1]
for heat in heats:
    config = zoo.GenerationConfig(sample=True, temperature=heat, seed=1, max_length=80, n_best=8)
    texts = [text.split() for text in model.predict("The", config)[0]]
    words = [word for text in texts for word in text]
    distinct.append(len(set(words)) / len(words))
    real.append(sum(word in known for word in words) / len(words))
    print(f"{heat}: {' '.join(texts[0])[:90]}")

# %%
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(heats, distinct, "o-", label="different words, of all words")
axes.plot(heats, real, "s-", label="words of the training text, of all words")
axes.set(xlabel="temperature", ylabel="share", ylim=(0, 1.05), title="texts that were drawn")
_ = axes.legend()

# %% [markdown]
# A low temperature repeats a few words that are known from the training; a higher one draws more different words, and
# fewer that the training text has.
#
# **Answer.** A language model reads `output` at every step, and carries `h_n` and `c_n` to where the text goes on: without
# them it starts cold each time.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: A text is read in two windows, and the second one starts from the first one's state. Is `output` that
# of one window? And what does `detach` on the state change?
#
# **Exercise 2**: A token has a perplexity of 16. How many bits are that for a character, and which perplexity, if
# tokens have four characters, and if they have two?

# %%
import torch

lstm, x = zoo.LSTM(8, 16), torch.randn(10, 1, 8, requires_grad=True)
first, (h, c) = lstm(x[:5])
second, _ = lstm(x[5:], (h.detach(), c.detach()))
print("the same:", torch.allclose(torch.cat([first, second]), lstm(x)[0], atol=1e-6))
second.sum().backward()
print("steps with a gradient:", [int(step > 0) for step in x.grad.abs().sum((1, 2))])
for n in 4, 2:
    print(f"{n} characters: {np.log2(16) / n:.0f} bits, perplexity {16 ** (1 / n):.0f}")

# %% [markdown]
# **Answer 1**: Yes, up to rounding. `detach` keeps the numbers and cuts the gradient: errors in the second window teach
# nothing about the first, and memory does not grow with the text. That is truncated backpropagation through time.
#
# **Answer 2**: One bit and perplexity 2; two bits and perplexity 4. So compare perplexities of the same unit only, or
# bits per character.
