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
# # 5. A label for every word: `output`, in one direction or in two?
#
# A label for every word needs a vector for every word, and that is `output` at the word's step. There one direction has
# read all that stands before the word; a second one has read all that stands behind it. The sentences are dates, times,
# amounts and names in twelve languages (`data=cldr data.form=fields`), with labels like `B-day`, `I-currency` and `O`.
# With `task.crf=false` each label is chosen from its own vector alone, so that the vectors are what is compared.

# %% [markdown]
# **日本語**：系列ラベリングでは、単語ごとに`output`のベクトルを一つ読みます。一方向と双方向、そして単語の読み方（文字も読む、ほぼ単語だけ、部分語）を、未知語の正解率とスパンのF1も含めて比べます。平均では双方向が一方向を上回り、文字も読むモデルが最も良い結果でした。手がかりの語が右にあるとき、一方向のモデルはそれをまだ見ていません。
#
# **繁體中文**：序列標註為每個詞讀取一個`output`向量。本筆記比較單向與雙向，以及三種讀詞方式（詞加字元、幾乎只有詞、子詞），並列出未見過的詞的準確率與片段的F1。平均而言雙向優於單向，同時讀字元的模型最好。當關鍵的詞在右邊時，單向模型在該步還沒有看到它。
#
# [日本語](ja/5_tag.ipynb) | [繁體中文](zh-TW/5_tag.ipynb)

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import zoo
from zoo.data.cldr.labelled_fields import FIELDS, fields
from zoo.data.readers import Row
from zoo.evaluation import metrics
from zoo.task import predict_rows

# %%
QUICK = "ZOO_QUICK" in os.environ
LOCALES = ["en", "de", "fr", "es", "it", "nl", "sv", "fi", "cs", "pl", "tr", "ru"]
LOCALES, SEEDS, COUNT = (LOCALES[:3], [1, 2], 20) if QUICK else (LOCALES, [1, 2, 3], 100)
SETTINGS = ["task=tag", "data.form=fields", f"data.locales=[{','.join(LOCALES)}]", "task.crf=false"]
SETTINGS += [f"data.sentences={20 if QUICK else 150}", f"train.epochs={1 if QUICK else 6}"]
READINGS = {"words and characters": ["task.character_hidden=64"]}
READINGS["words almost alone"] = ["task.character_embedding=1", "task.character_hidden=1"]
READINGS["pieces of words"] = ["task.words=subword", "tokenizer.kind=subwords"]
READINGS["pieces of words"] += [f"tokenizer.size={200 if QUICK else 1000}"]


# %%
def train(reading, both, seed):
    """Two directions of 64 units, or one of 128: the vector of a word is as long."""
    units = [f"backbone.bidirectional={both}", f"backbone.hidden_size={64 if both else 128}"]
    return zoo.train(*SETTINGS, *READINGS[reading], *units, f"seed={seed}", "baseline=false")[0]


kinds = [(reading, both) for reading in READINGS for both in (True, False)]
models = {kind: [train(*kind, seed) for seed in SEEDS] for kind in kinds}
rows = list(fields("test", LOCALES, 10 * COUNT, seed=1))  # phrases of which training has none
answers = {kind: [list(predict_rows(model, rows)) for model in models[kind]] for kind in kinds}

# %% [markdown]
# **Question 1: what do the second direction and the characters bring?**
#
# The model has two directions of 64 units or one of 128: `output` has 128 numbers for a word either way. “Almost alone”
# means that the characters of a word are squeezed into one number per direction. Unseen words stand in no training
# sentence; many are names, whose label is `O`. Mean ± standard deviation over three seeds, on the same test sentences.

# %%
print(f"{'':36}{'all words':>16}{'unseen words':>16}{'F1 of spans':>16}")
for reading, both in kinds:
    pairs = zip(models[reading, both], answers[reading, both], strict=True)
    scores = [model.compute_metrics(given, rows) for model, given in pairs]
    print(f"{reading:22}{'two directions' if both else 'one direction':14}", end="")
    for metric in ("accuracy", "accuracy_unseen", "f1"):
        values = np.array([score[metric] for score in scores])
        print(f"{values.mean():8.3f} ± {values.std(ddof=1):.3f}", end="")
    print()

# %% [markdown]
# In each of the three readings two directions have the higher mean in every column. With characters and with pieces that
# is more than the 95 % intervals of three seeds, except on unseen words with characters. The model that reads words and
# characters has the highest means. “Almost alone” differs so much from seed to seed that three seeds do not place it.
#
# **Question 2: which labels need what stands to the right?**
#
# From here on all models read words and characters. The figure shows, for the first word of a field, how many of its
# words get the right label. Error bars are one standard deviation over the seeds.

# %%
SIDES = [(True, -0.1, "two directions"), (False, 0.1, "one, twice as wide")]
truth = np.array([label for row in rows for label in row["labels"]])
right = {both: [] for both, _, _ in SIDES}
for both, seeds in right.items():
    for given in answers["words and characters", both]:
        seeds.append(truth == [label for answer in given for label in answer["labels"]])
right = {both: np.array(seeds) for both, seeds in right.items()}  # (seeds, words)

# %%
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
for both, shift, name in SIDES:
    shares = np.array([right[both][:, truth == f"B-{field}"].mean(1) for field in FIELDS])
    where = np.arange(len(FIELDS)) + shift
    axes.errorbar(where, shares.mean(1), shares.std(1, ddof=1), fmt="o", capsize=4, label=name)
axes.set_xticks(range(len(FIELDS)), FIELDS)
axes.set(ylabel="share found", title="The first word of each field: how many get their label?")
_ = axes.legend()

# %% [markdown]
# The second direction brings most for the weekday and the currency, far beyond the bars, then for the number, whose bars
# are wide. For the year, the time and the unit one direction is not clearly behind: a unit, for example, stands mostly behind its number, which both have read.
#
# **Question 3: is one direction worse the more words are still to come?**

# %%
behind = np.array([place for row in rows for place in reversed(range(len(row["labels"])))])
places = range(10)
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
for both, _, name in SIDES:
    shares = np.array([right[both][:, behind == place].mean(1) for place in places])
    axes.errorbar(places, shares.mean(1), shares.std(1, ddof=1), fmt="o-", capsize=4, label=name)
axes.set(xlabel="words that still stand to the right (0: the last word)", xticks=places)
axes.set(ylabel="accuracy", title="Accuracy by what one direction has not read yet")
_ = axes.legend()

# %% [markdown]
# No: two directions are ahead on average at every place, and the lead neither grows steadily nor vanishes at the last
# word, although one direction has read the whole sentence there. A possible reason, which is not tested here: it does
# not know that the sentence is over, while for the backward direction the end is where it begins.
#
# **Question 4: the same word, and what tells its label stands to the right: what does each model say?**
#
# “17” is a day before “mai”, and a number before “kilomètres” or “euros”. The bars are means over the seeds.

# %%
figure, panels = plt.subplots(1, 3, figsize=(8, 3.6), sharey=True, layout="constrained")
for panel, phrase in zip(panels, ["17 mai 2031", "17 kilomètres", "17 euros"], strict=True):
    for both, shift, name in SIDES:
        some = models["words and characters", both]
        batch = some[0].collate([some[0].encode(Row({"words": phrase}, ""))])
        shares = np.mean([m(batch)[0, 0].softmax(0).detach().numpy() for m in some], axis=0)
        heights = [shares[some[0].labels.index(label)] for label in ("B-day", "B-number")]
        panel.bar([shift, 1 + shift], heights, 0.2, label=name)
    panel.set(title=f"“17” in\n“{phrase}”", xticks=[0, 1], xticklabels=["B-day", "B-number"])
_ = panels[0].set_ylabel("probability of the label"), panels[0].legend()

# %% [markdown]
# One direction gives “17” the same probabilities in all three phrases: up to there it has read the same, so whatever it
# prefers, it is wrong in some of them. Two directions move far from `B-day` towards `B-number` when a measure or a
# currency follows, though after so short a training they are not sure of it.
#
# **Answer.** Read `output` at every step, and in both directions: a part of what decides a word's label stands behind it.
# Let the model read characters too, for the words that it has never seen.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: Six steps are read. On which of them does `output[3]` depend, in one direction and in two?
#
# **Exercise 2**: The labels are `B-day I-day O`, and the answer is `B-day O O`. What are the accuracy and the F1 of
# spans?

# %%
import torch

for both in False, True:
    x = torch.randn(6, 1, 8, requires_grad=True)
    zoo.LSTM(8, 16, bidirectional=both)(x)[0][3].sum().backward()
    print("two directions:" if both else "one direction: ", end=" ")
    print([int(step > 0) for step in x.grad.abs().sum((1, 2))])
found, wanted = ["B-day", "O", "O"], ["B-day", "I-day", "O"]
scores = metrics.tagging([found], [wanted], unseen=None, of_spans=True)
print({name: round(scores[name], 3) for name in ("accuracy", "f1")})

# %% [markdown]
# **Answer 1**: One direction: on steps 0 to 3. Two directions: on all six. The gradient shows it.
#
# **Answer 2**: Two of three words are right, and no span is: a span counts if its type and both of its ends are right.
