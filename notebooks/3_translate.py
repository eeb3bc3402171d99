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
# # Translation: what of the encoder does the decoder need?
#
# The encoder leaves `output`, `h_n` and `c_n`. A decoder can start from both final states, from `h_n` alone, or from
# zero, and it can look at `output` by attention, or not. This notebook trains all six pairs on the same phrases.

# %% [markdown]
# **日本語**：エンコーダのうち、デコーダに何が必要かを六通りの学習で比べます。注意機構がない場合は`h_n`と`c_n`の両方を渡すのが最もよく、`h_n`だけでは劣り、何も渡さなければ原文は分かりません。注意機構で`output`を見られるとどの場合も大きく良くなりますが、この短い学習では乱数シードによる差が大きく、順位は決められません。
#
# **繁體中文**：這裡用六種訓練比較解碼器需要編碼器的哪些輸出。沒有注意力機制時，同時交出`h_n`和`c_n`最好，只交`h_n`較差，什麼都不交就對原文一無所知。能用注意力查看`output`時，每一種都好得多；但訓練很短，不同隨機種子的差距很大，因此無法替有注意力的三種排名。
#
# [日本語](ja/3_translate.ipynb) | [繁體中文](zh-TW/3_translate.ipynb)

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

import zoo
from zoo.data.cldr import translations
from zoo.data.readers import Row
from zoo.evaluation import metrics

# %%
QUICK = "ZOO_QUICK" in os.environ
SEEDS = [1] if QUICK else [1, 2]
INITS, ATTENTIONS = ("h_n_c_n", "h_n", "zero"), ("general", "none")
SIZE = [32, 400] if QUICK else [64, 1000]  # numbers of a token and a direction; tokens
COMMON = ["task=translate", "data=cldr", "data.target=de", "baseline=false", "task.dropout=0"]
COMMON += [f"data.phrases={500 if QUICK else 10_000}", f"train.epochs={2 if QUICK else 8}"]
COMMON += ["train.learning_rate=4e-3", "train.ema_decay=0.99", "generation.beam_size=1"]
COMMON += [f"backbone.{name}_size={SIZE[0]}" for name in ("embedding", "hidden")]
COMMON += ["backbone.input_dropout=0", f"tokenizer.size={SIZE[1]}"]

# %% [markdown]
# **Question: how well does each pair translate phrases it has never seen?** Dates, times, amounts and lists of names go
# from English to German. Everything else is the same: size, rows, epochs, learning rate, and the two seeds.
# `zero` without attention is the floor: its decoder gets nothing of the source, and can only know what German looks like.

# %%
models = {
    (init, look): [
        zoo.train(*COMMON, f"task.init={init}", f"task.attention={look}", f"seed={seed}")[0]
        for seed in SEEDS
    ]
    for look in ATTENTIONS
    for init in INITS
}
model = models["h_n_c_n", "general"][0]  # whose attention is drawn at the end

# %%
rows = list(translations.pairs("test", "en", "de", 2000 if QUICK else 20_000, seed=1))
sources, wanted = [row["source"] for row in rows], [row["target"] for row in rows]
answers = {key: [m.predict(sources) for m in found] for key, found in models.items()}
bleu = {}
print("init      attention    BLEU of each seed   exact match   different answers")
for (init, look), found in answers.items():
    bleu[init, look] = [metrics.translation(texts, wanted)["bleu"] for texts in found]
    exact = np.mean([np.array(texts) == wanted for texts in found])
    each, kinds = " ".join(f"{b:6.1f}" for b in bleu[init, look]), len(set(found[0]))
    print(f"{init:8}  {look:9}  {each:>19}  {exact:12.3f}  {kinds:8} of {len(wanted)}")

# %% [markdown]
# From each of the three starts both seeds translate better with attention than without, and `zero` without it writes one
# and the same answer to every source, as it must. These trainings are short: the README's longer one, with attention and
# both states and from English to Japanese, gets all its test phrases right.
#
# **Question: what is each part worth?** The same BLEU as bars: a bar is the mean of the seeds, a dot is one seed.

# %%
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for place, look in enumerate(ATTENTIONS):
    spots = np.arange(len(INITS)) + 0.4 * place - 0.2
    heights = [np.mean(bleu[init, look]) for init in INITS]
    label = "with attention" if look == "general" else "without attention"
    axes.bar_label(axes.bar(spots, heights, 0.36, label=label), fmt="%.0f", padding=6)
    axes.plot(spots, [bleu[init, look] for init in INITS], "ko", markersize=4)
axes.set_xticks(range(len(INITS)), INITS)
axes.set(title="Six ways to hand over", ylabel="BLEU", xlabel="what the decoder starts from")
_ = axes.legend()

# %% [markdown]
# Without attention both states do better than `h_n` alone, and `h_n` better than nothing, with either seed. With
# attention the two seeds of one start can lie further apart than the means of two starts: this does not rank them.
#
# **Question: do long sources need attention more than short ones?** A line is the share of answers that are right to the
# last character, the mean of the seeds, by the length of the source. Long phrases are of other kinds too (lists of
# names), so compare the lines at one length, rather than one line at two lengths.

# %%
edges, names = [11, 17, 31], ["to 10", "11 to 16", "17 to 30", "from 31"]
bins = np.digitize([len(source) for source in sources], edges)
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
for (init, look), found in answers.items():
    right = np.mean([np.array(texts) == wanted for texts in found], axis=0)
    panel = panels[ATTENTIONS.index(look)]
    panel.plot(names, [right[bins == b].mean() for b in range(4)], "o-", label=init)
    panel.set(title=f"task.attention={look}", xlabel="characters of the source", ylim=(-0.03, 1.03))
panels[0].set_ylabel("share of exact answers")
_ = panels[1].legend(title="task.init")

# %% [markdown]
# Without attention only `h_n_c_n` gets a visible share right, and hardly any of the longest sources; with it, `h_n_c_n` still gets
# many of the longest right. The other lines with attention move too much from seed to seed to be compared.
#
# **Question: where does the decoder look?** A row is a token that was written, a column one that was read,
# darker where the attention's weight is larger. German puts the parts of both phrases in another order.

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for panel, phrase in zip(panels, ("Tuesday, December 24, 2041", "16 minutes ago"), strict=True):
    example = model.encode(Row({"source": phrase, "target": model.predict(phrase)[0]}, ""))
    weights = model.eval().target_vectors(model.collate([example]))[1]
    panel.imshow(weights[0].detach().numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    names = [model.tokenizer.pieces(example[side]) for side in ("inputs", "targets")]
    read, written = ([name or "␣" for name in side] for side in names)
    panel.set_xticks(range(len(read)), read, rotation=90)
    panel.set_yticks(range(len(written)), written)
    panel.set(xlabel=f"read: {phrase}", ylabel="written", title="where attention looked")

# %% [markdown]
# The weight is often on a single token, and not always on the one that a person would point at: `output` is read in
# both directions, so what stands at one token also knows its neighbours. A map shows where the decoder looked, not why.
#
# **Answer.** A decoder without attention needs `h_n` and `c_n`: they are all it knows of the source. A decoder with attention
# reads `output`: from every start its better seed is far above all decoders without. Whether it also needs the states is open.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: An encoder has two directions of 64 units. How many numbers does a decoder get from a source of 5
# tokens, and of 50: from both states, and from `output`?
#
# **Exercise 2**: A batch is padded, and `output` is zero on padding. What is wrong with a softmax over `query ·
# output`?

# %%
_ = torch.manual_seed(1)
lengths = torch.tensor([50, 5])
output, states = zoo.LSTM(32, 64, bidirectional=True)(torch.randn(50, 2, 32), lengths=lengths)
print("both states:", sum(state[:, 0].numel() for state in states))
print("output of 5 and of 50 tokens:", output[:5, 1].numel(), output[:, 0].numel())
scores = torch.einsum("bh,sbh->bs", torch.randn(2, 128), output)  # a query for each row
minus = scores.masked_fill(torch.arange(50) >= lengths[:, None], -torch.inf)
for name, some in {"zero": scores, "minus infinity": minus}.items():
    share = some.softmax(1)[1, 5:].sum()
    print(f"scores of {name} on padding: it gets {share:.2f} of the attention")

# %% [markdown]
# **Answer 1**: 256 numbers in both states, however long the source is. In `output` 128 for each token: 640 and 6,400.
#
# **Answer 2**: Padding has the score 0, and its share of the softmax with it: here nearly all. Minus infinity gives it
# exactly none.
