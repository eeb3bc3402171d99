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
# # 2. One label for a whole text: which vector do you read?
#
# An LSTM leaves `output`, a vector for every step, and `h_n`, the last vector of each direction. A label for a whole
# text needs one vector. This notebook trains the same model with five readings (`task.pool`), with one direction and
# with two, and asks which reading knows most about the text. The texts are lists of names, dates and amounts in
# twelve languages (`data=cldr`), and the label is the language.

# %% [markdown]
# **日本語**：文書分類では、文章全体を表すベクトルが一つ必要です。両方向の最後の`h_n`（merged）、最後の時刻の`output`（last）、平均、最大、注意機構の五つの読み方を、複数の乱数シードで比べます。はっきり劣ったのは双方向の`last`だけでした。最後の時刻では、逆方向はまだ最後の一トークンしか読んでいないからです。
#
# **繁體中文**：文件分類需要一個能代表整篇文字的向量。本筆記用多個隨機種子比較五種讀法：兩個方向最後的`h_n`（merged）、最後一步的`output`（last）、平均、最大值與注意力。只有雙向的`last`明顯較差，因為在最後一步，反向的LSTM只讀過最後一個詞元。
#
# [日本語](ja/2_classify.ipynb) | [繁體中文](zh-TW/2_classify.ipynb)

# %%
import copy
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

import zoo
from zoo.data.cldr.documents import documents
from zoo.text.special_ids import UNK

# %%
QUICK = "ZOO_QUICK" in os.environ
POOLS = ["merged", "last", "mean", "max", "attention"]
LOCALES = ["en", "nl", "sv", "nb", "de", "cs", "sk", "pl", "es", "fr", "it", "pt"]
LOCALES, SEEDS, COUNT = (LOCALES[:2], [1, 2], 5) if QUICK else (LOCALES, [1, 2, 3], 150)
UNITS, LEAST, MOST = 64, 1, 12  # units of each of two directions; items in a training text
SETTINGS = ["task=classify", f"data.locales=[{','.join(LOCALES)}]", f"data.items=[{LEAST},{MOST}]"]
SETTINGS += [f"data.documents={10 if QUICK else 300}", f"train.epochs={1 if QUICK else 5}"]
SETTINGS += [f"tokenizer.size={200 if QUICK else 2000}", "backbone.embedding_size=64"]


# %%
def train(pool, both, seed):
    """Two directions of UNITS, or one of twice as many: the vector is as long."""
    units = f"backbone.hidden_size={UNITS if both else 2 * UNITS}"
    chosen = [f"task.pool={pool}", f"backbone.bidirectional={both}", units, f"seed={seed}"]
    return zoo.train(*SETTINGS, *chosen, "baseline=false")[0]


kinds = [(pool, both) for both in (True, False) for pool in POOLS]
models = {kind: [train(*kind, seed) for seed in SEEDS] for kind in kinds}


# %%
def accuracy(model, rows):
    found = model.predict([row["text"] for row in rows])
    return np.mean([label == row["label"] for label, row in zip(found, rows, strict=True)])


def rows_of(least, most, count):
    """`count` test texts of each language; their names and phrases are in no training text."""
    return list(documents("test", LOCALES, 10 * count, (least, most), seed=1))


# %% [markdown]
# **Question 1: does it matter which vector is read, and does a second direction help?**
#
# The model has two directions of 64 units or one of 128, so that the vector has 128 numbers either way. An error bar
# is one standard deviation over three seeds; all models answer the same test texts. With one direction `merged` and
# `last` are the same vector, so these two points have to be equal: a check of the comparison itself.

# %%
rows = rows_of(LEAST, MOST, COUNT)
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for both, shift, name in [(True, -0.1, "two directions"), (False, 0.1, "one, twice as wide")]:
    hits = np.array([[accuracy(m, rows) for m in models[pool, both]] for pool in POOLS])
    where = np.arange(len(POOLS)) + shift
    axes.errorbar(where, hits.mean(1), hits.std(1, ddof=1), fmt="o", capsize=4, label=name)
axes.set_xticks(range(len(POOLS)), [f"task.pool=\n{pool}" for pool in POOLS])
axes.set(ylabel=f"accuracy, {len(rows):,} test texts", title="Five readings of the same LSTM")
_ = axes.legend()

# %% [markdown]
# With two directions `last` is behind `mean`, `max` and `attention`, by more than the 95 % intervals of three seeds. Its
# mean is also below that of `merged`, but `merged` differs so much from seed to seed that three do not rank it against
# any other. With one direction `last` equals `merged`, as it must. Two directions and a wide one are not told apart.
#
# **Question 2: is the difference the same for short and for long texts?**
#
# The texts of training had 1 to 12 names and phrases, so 16 and 32 are longer than all that was seen there.

# %%
lengths = [1, 4, 16] if QUICK else [1, 2, 4, 8, 16, 32]
texts = {str(length): rows_of(length, length, 5 if QUICK else 50) for length in lengths}
figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
for pool, both in [*kinds[: len(POOLS)], ("merged", False)]:
    hits = np.array([[accuracy(m, some) for m in models[pool, both]] for some in texts.values()])
    name, style = (pool, "o-") if both else ("merged, one direction", "k:")
    axes.errorbar([*texts], hits.mean(1), hits.std(1, ddof=1), fmt=style, capsize=3, label=name)
axes.set(xlabel="names and phrases in a text", ylabel="accuracy", title="Short and long texts")
_ = axes.legend()

# %% [markdown]
# With a single name the readings hardly differ. In longer texts `last` falls behind. In the longest the means of what
# reads every step (`mean`, `max`, `attention`) are above that of `merged`, and differ less from seed to seed: nothing
# has to be remembered up to the end. The bars overlap, though: on your own texts it may be otherwise.
#
# **Question 3: which tokens can each half of the vector have seen?**
#
# One token after the other becomes `<unk>`. The darker a field, the farther that half of the vector moves; each row
# is scaled by its own largest value. The first 64 numbers of the vector are the forward half, the rest the backward one.

# %%
ids = torch.tensor(models["merged", True][0].tokenizer.encode(rows[6]["text"]))
changed = ids.repeat(len(ids) + 1, 1).fill_diagonal_(UNK)  # row t without token t; the last whole
figure, panels = plt.subplots(3, figsize=(8, 4.5), sharex=True, layout="constrained")
for panel, pool in zip(panels, ["merged", "last", "mean"], strict=True):
    model = models[pool, True][0]
    vectors = model.read(model.backbone(changed)).detach().unflatten(1, (2, UNITS))
    moved = (vectors[:-1] - vectors[-1]).norm(dim=2)  # (tokens, halves)
    panel.imshow((moved / moved.amax(0)).T.numpy(), aspect="auto", cmap="Blues")
    panel.set(title=f"task.pool={pool}", yticks=[0, 1], yticklabels=["forward", "backward"])
_ = panel.set_xticks(range(len(ids)), model.tokenizer.pieces(ids.tolist()), rotation=90)

# %% [markdown]
# The backward half of `last` moves with the last token and with no other: that direction begins at the end, so there
# it has read one token. All other rows, also the forward half of `last`, depend on tokens from the whole text.
#
# **Question 4: how much of the answer comes from each half?**
#
# The weights of the last layer that look at one half are set to zero, so the other half answers alone. Shown is the
# accuracy on the test texts of question 1, mean ± standard deviation over the seeds. Guessing gets one in twelve right.

# %%
halves = {"both halves": slice(0), "forward": slice(UNITS, None), "backward": slice(UNITS)}
for pool in POOLS:
    cells = []
    for name, unused in halves.items():
        blind = copy.deepcopy(models[pool, True])
        for model in blind:
            model.head.weight.data[:, unused] = 0
        hits = np.array([accuracy(model, rows) for model in blind])
        cells.append(f"{name} {hits.mean():.3f} ± {hits.std(ddof=1):.3f}")
    print(f"{pool:10}", *cells, sep="   ")

# %% [markdown]
# With `last` the forward half alone does about as well as both, and the backward half alone is far behind: better than
# guessing, because one token tells something. With `mean`, `max` and `attention` both halves are ahead of each alone.
# (The halves were trained together. A half that is trained alone could do better than it does here.)
#
# **Answer.** For a whole text read the final `h_n` of both directions, or pool over all steps of `output`; do not read
# `output` at the last step of a bidirectional LSTM. `last` is not hopeless, since its forward half has read everything.
# That pooling does so well here belongs to these texts: they are lists, and every piece is a hint of its own.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: A batch is padded, and `output` is zero on padding. What is wrong with `output.mean(0)`, and what is
# right?
#
# **Exercise 2**: What is wrong with `output.amax(0)`, and what is right?

# %%
_ = torch.manual_seed(1)
x, lengths = torch.randn(20, 2, 8), torch.tensor([20, 5])
output = zoo.LSTM(8, 16)(x, lengths=lengths)[0]  # (time, batch, features)
alone = output[:5, 1]  # the short row without its padding
print(f"mean: {(output.mean(0)[1] / alone.mean(0)).mean():.2f} of what it should be")
print("right:", torch.allclose(output.sum(0)[1] / lengths[1], alone.mean(0)))
print(f"maximum: {(output.amax(0)[1] != alone.amax(0)).sum()} of 16 features are wrong")
padding = torch.arange(20)[:, None] >= lengths  # (time, batch)
most = output.masked_fill(padding[:, :, None], -torch.inf).amax(0)
print("right:", torch.equal(most[1], alone.amax(0)))

# %% [markdown]
# **Answer 1**: It divides by the longest row of the batch: the same text gets a shorter vector beside a longer one.
# Divide the sum by `lengths`.
#
# **Answer 2**: A zero of the padding is larger than a negative maximum. Put minus infinity on the padding first.
# `task.pool=mean` and `task.pool=max` do both.
