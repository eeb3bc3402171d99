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
# # Which of `output`, `h_n` and `c_n` does your task use?
#
# `torch.nn.LSTM` returns `output, (h_n, c_n)`. This notebook looks at all three: their shapes, which step of
# `output` is which part of `h_n`, and what padding does to `h_n`. It ends with what each task of the zoo reads.

# %% [markdown]
# **日本語**：`output`の最後の時刻が`h_n[-1]`と等しく、しかも正しいのは、一方向でパディングがない場合だけです。双方向では、逆方向の最終状態は`output`の最初の時刻にあります。長さ（`lengths`）を渡さないと、パディングまで読んでしまい`h_n`がずれて答えも変わりますが、`lengths`を渡せばずれはなくなります。
#
# **繁體中文**：只有在單向而且沒有填充（padding）時，`output`的最後一步才等於正確的`h_n[-1]`。雙向時，反向的最終狀態位於`output`的第一步。若不提供長度（`lengths`），LSTM會連填充一起讀，使`h_n`偏離正確值，答案也會改變；提供`lengths`之後，偏差就消失了。
#
# [日本語](ja/1_which_output.ipynb) | [繁體中文](zh-TW/1_which_output.ipynb)

# %%
import os
from itertools import product

import matplotlib.pyplot as plt
import torch

import zoo
from tasks import generate, tag, translate
from zoo.data.corpora.builtin import cldr

# %% [markdown]
# **Question: which shapes do `output`, `h_n` and `c_n` have?** Four rows of seven steps with five features go
# through an LSTM of 16 units. `zoo.LSTM` takes the arguments of `nn.LSTM`, gives its results, and also takes `lengths`.

# %%
lengths = torch.tensor([7, 5, 2, 0])
print("layers  directions  batch_first  output       h_n          c_n          with lengths")
for layers, both, first in product((1, 3), (False, True), (False, True)):
    lstm = zoo.LSTM(5, 16, layers, batch_first=first, bidirectional=both)
    x = torch.zeros((4, 7, 5) if first else (7, 4, 5))
    with_lengths, without = lstm(x, lengths=lengths), lstm(x)
    shapes, others = ([tuple(t.shape) for t in (o, *s)] for o, s in (without, with_lengths))
    row = f"{layers:>6}  {both + 1:>10}  {first!s:>11}  " + "  ".join(f"{s!s:11}" for s in shapes)
    print(row, " the same" if shapes == others else others)

# %% [markdown]
# `output` has every step, but only of the top layer; `h_n` and `c_n` have every layer and direction, but one step.
# `batch_first` turns `output` and leaves `h_n` and `c_n` as they are, with the batch in the middle.
#
# **Question: what has each direction read at a step?** The drawing unrolls one layer in time. An arrow to the right is
# a forward state, one to the left a backward state, and `c` goes with each `h`:
#
# $$(\overrightarrow{h}_t, \overrightarrow{c}_t) = \mathrm{LSTM}(x_t, \overrightarrow{h}_{t-1}, \overrightarrow{c}_{t-1}) \qquad (\overleftarrow{h}_t, \overleftarrow{c}_t) = \mathrm{LSTM}(x_t, \overleftarrow{h}_{t+1}, \overleftarrow{c}_{t+1}) \qquad \mathrm{output}_t = [\overrightarrow{h}_t ; \overleftarrow{h}_t]$$


# %%
def nodes(text, x, *heights, colour="white"):
    box = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "gray"}
    for y in heights:
        axes.text(x, y, text, ha="center", va="center", bbox=box)


def arrows(colour, start, *ends):
    line = {"arrowstyle": "->", "color": colour, "shrinkA": 15, "shrinkB": 15}
    for end in ends:
        axes.annotate("", end, start, arrowprops=line)


# %%
axes = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
axes.set(xlim=(-1.6, 4.6), ylim=(-0.5, 3.5), xticks=[])
axes.set_yticks(range(4), ["input", "forward", "backward", "output"])
for row, way, x, colour, mark in (1, 1, -0.14, "C0", "right"), (2, -1, 0.14, "C1", "left"):
    nodes(f"h_n[{row - 3}]", 1.5 + 2.5 * way, row, colour="lightgray")
    for t in range(4):
        arrows("gray", (t, 0), (t + x, row))
        arrows(colour, (t + x, row), (t + x, 3), (t + x + way, row))
        nodes(rf"$\over{mark}arrow{{h}}_{t}$", t + x, row, 3)
        nodes(f"$x_{t}$", t, 0)

# %% [markdown]
# Forward states have read from step 0 to their own step, backward ones from the end to their own. `h_n` is where each
# direction stops: at opposite ends of `output`.
#
# **Question: which step of `output` is which part of `h_n`?** The figure shows the largest difference for each step of
# a two-layer LSTM; a 0 without decimals means exactly the same numbers. In the rows "padded" the last three steps are padding, and
# `lengths` are given. With two directions, `h_n[-2]` is the forward state of the top layer, and `h_n[-1]` the backward one.

# %%
torch.manual_seed(1)
x = torch.randn(8, 3, 5)  # (time, batch, features)
one, two = (zoo.LSTM(5, 16, num_layers=2, bidirectional=both) for both in (False, True))
gaps = []
for lstm, lengths in (one, None), (two, None), (two, torch.tensor([5, 5, 5])):
    output, (h_n, _) = lstm(x, lengths=lengths)
    directions = lstm.bidirectional + 1
    for half, last in zip(output.chunk(directions, 2), h_n[-directions:], strict=True):
        gaps.append((half - last).abs().amax((1, 2)).tolist())  # of each step

# %%
names = ["one direction", "two: forward", "two: backward", "padded: forward", "padded: backward"]
parts = [f"{name}\nagainst h_n[{n}]" for name, n in zip(names, (-1, -2, -1, -2, -1), strict=True)]
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.imshow(gaps, cmap="Blues", aspect="auto", vmax=0.4)
ax.set(xlabel="step of output", title="Largest difference: a step of output against h_n")
ax.set_yticks(range(5), parts)
for row, step in product(range(5), range(8)):
    gap = gaps[row][step]
    ax.text(step, row, f"{gap:.2f}" if gap else "0", ha="center", va="center")

# %% [markdown]
# With one direction and no padding, `output[-1]` is `h_n[-1]`. With two directions the forward half ends at the last
# real step, and the backward half ends at step 0: at the last step it has read a single token. On padding `output` is zero.
#
# **Question: what does padding damage when no `lengths` are given?** Classifiers learn, with `lengths`, to tell eight
# locales apart. Each then reads texts of 40 tokens alone, and with padding behind them. Drift is the size of the
# difference in `h_n`, divided by the size of the true `h_n`. Lines are means over the seeds, bands reach from the
# least to the most.

# %%
LOCALES = ["en", "de", "fr", "es", "it", "nl", "sv", "pl"]
QUICK = "ZOO_QUICK" in os.environ
paddings = [0, 4, 8, 16, 32, 64]
LOCALES, seeds, epochs = (LOCALES[:3], [1], 1) if QUICK else (LOCALES, [1, 2, 3], 8)
settings = ["task=classify", f"data.locales=[{','.join(LOCALES)}]", f"train.epochs={epochs}"]
texts = list(cldr(LOCALES, 30 if QUICK else 300, (7, 12), 1).test)
runs = [zoo.train(*settings, "baseline=false", f"seed={seed}") for seed in seeds]
models = [model for model, _ in runs]
for seed, (_, report) in zip(seeds, runs, strict=True):
    print(f"seed {seed}: {report['test']['accuracy']:.3f} of the test texts are answered right")


# %%
@torch.no_grad()
def damage(model, padding, given):  # drift of both directions' h_n, share of changed answers
    rows = [model.encode(row)["inputs"] for row in texts]
    ids = torch.tensor([row[:40] for row in rows if len(row) >= 40])  # (batch, 40)
    padded = torch.nn.functional.pad(ids, (0, padding))  # PAD is 0
    lengths = torch.full((len(ids),), 40) if given else None
    true, found = model.backbone(ids), model.backbone(padded, lengths)
    drift = ((found.h_n - true.h_n).norm(dim=2) / true.h_n.norm(dim=2)).mean(1)
    before, after = (model.head(model.read(each)).argmax(1) for each in (true, found))
    return [*drift.tolist(), (before != after).float().mean().item()]


# %%
names = ["forward h_n: drift", "backward h_n: drift", "answers: share that changes"]
figure, axes = plt.subplots(1, 3, figsize=(8, 3.8), layout="constrained", sharey=True)
for given, colour, label in (False, "C3", "without lengths"), (True, "C0", "with lengths"):
    found = torch.tensor([[damage(m, p, given) for p in paddings] for m in models])
    for ax, values, name in zip(axes, found.unbind(2), names, strict=True):
        ax.plot(paddings, values.mean(0), "o-", color=colour, label=label)
        ax.fill_between(paddings, *values.aminmax(dim=0), color=colour, alpha=0.2)
        ax.set(ylabel=name, xlabel="steps of padding")
figure.suptitle("A text with padding behind it, against the same text alone")
_ = axes[2].legend(loc="upper left")

# %% [markdown]
# A few steps of padding move the forward `h_n` much more than the backward one, which reads the padding before the
# text. After many steps neither is safe, and answers change: they depend on the longest text of the batch.
# With `lengths` the lines stay at zero.
#
# **Question: which task reads which?** The table is made of what the tasks say about themselves.

# %%
answers = {
    "classify": (models[0].reads, models[0].why),
    "translate": translate.READS["h_n_c_n"],
    "tag": (tag.Tag.reads, tag.Tag.why),
    "generate": (generate.Generate.reads, generate.Generate.why),
}
for task, (reads, why) in answers.items():
    print(f"{task:<10} reads {reads}\n{'':<10} {why}")

# %% [markdown]
# One answer for a whole text is read from the final `h_n`, and a decoder goes on from `h_n` and `c_n`. An answer for
# each step is read from `output`. In every case the padding must have no part in it.
#
# For one label there is a choice: `h_n`, which needs no memory of the steps, or the maximum of `output` or attention over
# it, for which a step that decides need not be remembered up to the end. Three seeds of [notebook 2](2_classify.ipynb)
# do not decide it. Compare `task.pool=merged` with `task.pool=max` on your own validation texts.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: `zoo.LSTM(5, 16, num_layers=3, bidirectional=True)` has read a batch. Which rows of `h_n` belong to
# the top layer, and which are the backward states of all layers?
#
# **Exercise 2**: You have `output` of padded rows and their `lengths`, but no `h_n`. How do you get the final forward
# state of each row? Does the same index give the final backward state?

# %%
x, lengths, rows = torch.randn(7, 3, 5), torch.tensor([7, 5, 2]), torch.arange(3)
output, (h_n, _) = zoo.LSTM(5, 16, num_layers=3, bidirectional=True)(x, lengths=lengths)
layers = h_n.unflatten(0, (3, 2))  # (layers, directions, batch, features)
print("top layer, h_n[-2:]:", torch.equal(h_n[-2:], layers[2]))
print("backward, h_n[1::2]:", torch.equal(h_n[1::2], layers[:, 1]))
forward, backward = output.chunk(2, dim=2)
print("forward at lengths - 1:", torch.equal(forward[lengths - 1, rows], h_n[-2]))
print("backward at lengths - 1:", torch.equal(backward[lengths - 1, rows], h_n[-1]))
print("backward at step 0:", torch.equal(backward[0], h_n[-1]))

# %% [markdown]
# **Answer 1**: `h_n` holds layer after layer, and of each layer the forward state first: the top layer is `h_n[-2:]`,
# the backward states are `h_n[1::2]`.
#
# **Answer 2**: `output[lengths - 1, torch.arange(batch)]`, of the forward half. Not of the backward half: it ends at
# step 0, in a row of any length.
