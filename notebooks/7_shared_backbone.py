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
# # Shared backbone: what does an LSTM know before it sees a label?
#
# A language model needs no labels: each text tells which token comes next, and which one came before. Its backbone, an
# embedding and an LSTM that reads in both directions, can be the beginning of a classifier or a tagger; and one backbone
# can carry four heads at once. Both are measured here, also where they do not help.

# %% [markdown]
# **日本語**：言語モデルはラベルなしで学べます。映画評の分類と品詞付けでは、その埋め込みとLSTMから始めると、ラベルが少ないときほど正解率が大きく上がります。名前を並べただけの文章では、役に立ちませんでした。また、一つのLSTMを四つのタスクで同時に使う場合を、別々に学習した場合と比べます。重みは半分以下になりますが、同じ大きさで二回試すと、翻訳とタグ付けの精度はどちらも二回とも下がりました。
#
# **繁體中文**：語言模型不需要標籤。在影評分類和詞性標註上，從它的詞向量和LSTM開始訓練，標籤越少，準確率提高得越多；但對於只是羅列名稱的文字則沒有幫助。這裡也讓四個任務共用同一個LSTM，並與分別訓練的模型比較：參數不到一半，但大小相同時試了兩次，翻譯和標註的準確率兩次都下降。
#
# [日本語](ja/7_shared_backbone.ipynb) | [繁體中文](zh-TW/7_shared_backbone.ipynb)

# %%
import json
import os
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt

import zoo

# %% [markdown]
# **Question: does a backbone that has read the texts before need fewer labels?** Film reviews (IMDb, good or bad) and
# part-of-speech tags (English Web Treebank): from a language model of the training texts, in both directions, and from
# nothing, with the same sizes and epochs. Measured by `python -m zoo.bench labels`; its figures lie beside this notebook.


# %%
def curves(panel, title, shares, lines):
    for name, values in lines.items():
        panel.plot(shares, [sum(each) / len(each) for each in values], "o-", label=name)
        panel.fill_between(shares, [*map(min, values)], [*map(max, values)], alpha=0.2)
    panel.set(xscale="log", xlabel="share of the labels", ylabel="test accuracy", title=title)
    panel.legend(title="starting from")


# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
folder = Path() if Path("labels_imdb.json").exists() else Path("..")  # of this notebook, translated
for panel, name in zip(panels, ["imdb", "ud_ewt"], strict=True):
    cases = json.loads((folder / f"labels_{name}.json").read_text())["cases"]
    sides = {"nothing": "peer", "a language model": "ours"}
    lines = {side: [case["all"][key] for case in cases] for side, key in sides.items()}
    curves(panel, f"data={name}", [case["share"] for case in cases], lines)

# %% [markdown]
# Starting from the language model is worth most where labels are few: at a hundredth and at a tenth of them the bands of
# all seeds do not touch, on either data set. With all labels the two sides lie close together.
#
# **Question: does it help with any text?** The texts that come with the package are lists of names, dates and amounts,
# and the label is the language. The language model has read all training texts; the rest is as above.

# %%
QUICK = "ZOO_QUICK" in os.environ
SEEDS, SHARES = ([1], [1.0, 0.1]) if QUICK else ([1, 2, 3], [1.0, 0.1, 0.03])
LOCALES = "de,nl,da,sv" if QUICK else "de,nl,da,sv,fr,es,pt,it,ro,pl,cs,sk"
ROWS = ["data=cldr", f"data.locales=[{LOCALES}]", f"data.documents={30 if QUICK else 300}"]
SIZES = {"embedding_size": 96, "hidden_size": 128, "input_dropout": 0, "word_dropout": 0}
SIZE = [f"backbone.{name}_size=64" for name in ("embedding", "hidden")]
READ = ["task.stream=false", "backbone.bidirectional=true", "train.batch_rows=32", "baseline=false"]
begun = f"{tempfile.mkdtemp()}/language-model"
often, end = f"train.epochs={1 if QUICK else 8}", "task.append_eos=true"
_ = zoo.train("task=generate", *ROWS, *SIZE, *READ, often, f"out={begun}")


# %%
def score(share, seed, *own):
    epochs = round((3 if QUICK else 6) / share**0.5)  # of fewer rows more epochs
    few = [f"train.fraction={share}", f"train.epochs={epochs}", "train.patience=0", f"seed={seed}"]
    return zoo.train("task=classify", *ROWS, *own, *few, "baseline=false")[1]["test"]["accuracy"]


sides = {"nothing": [*SIZE, "tokenizer.size=2000"], "a language model": [f"init={begun}"]}
found = {n: [[score(p, seed, *own) for seed in SEEDS] for p in SHARES] for n, own in sides.items()}
panel = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
curves(panel, "Which language is it? Bands: all seeds", SHARES, found)

# %% [markdown]
# No: on lists of names the classifier that starts from nothing is ahead where the bands can be told apart. A likely
# reason, not tested here: which name comes next in a list can hardly be predicted, so little is learned beforehand.
#
# **Question: can four heads live on one backbone?** A classifier (language), a tagger (fields of a phrase), a translator
# (English to German phrases) and a language model are trained in turns on one backbone, and for comparison each alone
# on its own, with the same rows and epochs.

# %%
from zoo.config import check, compose
from zoo.text.tokenizers import Subwords
from zoo.training.options import options_of
from zoo.training.rows import open_rows

MORE = {"classify": [*ROWS, end], "generate": [*ROWS, "task.stream=false"]}
MORE["tag"] = [*ROWS[:2], end, "data.form=fields", "task.words=subword", "task.crf=false"]
MORE["translate"] = ["data=cldr", "data.target=de", f"data.phrases={300 if QUICK else 8000}"]
CHOSEN = {task: check(compose([f"task={task}", *own])) for task, own in MORE.items()}
options = {task: options_of(chosen) for task, chosen in CHOSEN.items()}

# %%
rows = {task: open_rows(CHOSEN[task], each.kind) for task, each in options.items()}
parts = [row[n] for t in rows for row in rows[t].train for n in options[t].kind.text_columns]
texts = [part if isinstance(part, str) else " ".join(part) for part in parts]
tokenizer = Subwords.train(texts, 500 if QUICK else 4000)


def head(task, backbone):
    kind, config, kept = options[task].kind, options[task].task, {"tokenizer": tokenizer}
    processors = kind.learn(rows[task].train, config, CHOSEN[task].tokenizer, kept)
    return kind(backbone, processors, config)


# %%
def trained(*tasks):
    backbone = zoo.Backbone(zoo.BackboneConfig(vocabulary_size=len(tokenizer), **SIZES))
    model = zoo.multitask(backbone, {task: head(task, backbone) for task in tasks})
    both, start = {t: ([*rows[t].train], [*rows[t].valid]) for t in tasks}, time.perf_counter()
    history = model.fit(both, f"train.epochs={1 if QUICK else 6}", "train.learning_rate=4e-3")
    best = min((each["valid"] for each in history), key=lambda metrics: metrics["loss"])
    return model, best, time.perf_counter() - start


alone, shared = {task: trained(task) for task in rows}, trained(*rows)

# %%
names = ["classify.accuracy", "tag.accuracy", "translate.bleu", "generate.bits_per_character"]
print("metric of the validation rows    alone   shared   reads")
for name in names:
    task = name.split(".")[0]
    model, metrics, _ = alone[task]
    print(f"{name:28} {metrics[name]:9.3f} {shared[1][name]:8.3f}   {model.heads[task].reads}")
for name, runs in {"four backbones": [*alone.values()], "one backbone": [shared]}.items():
    weights, seconds = sum(run[0].parameter_count for run in runs), sum(run[2] for run in runs)
    print(f"{name:14}: {weights:9,} weights, {seconds:4.0f} s of training")

# %% [markdown]
# One backbone has less than half of the weights and takes about as long to train. In this run and in another, from other
# first weights, the tagger and the translator were behind on the shared backbone and the language model was ahead; the
# classifier was once behind and once ahead. What sharing saves is space, and passes at prediction: classifier, tagger
# and translator are answered from one. Whether a larger backbone would serve all four as well is not tested.
#
# **Answer.** Start from a language model of the same kind of text where labels are few, and compare with starting from
# nothing, as here. Which output each head reads does not change by sharing: `h_n`, `output`, or `h_n` and `c_n`.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: Two heads share a backbone, and their losses are added. Which gradient does the backbone get?
#
# **Exercise 2**: In the figure of IMDb, how many labels does a start from nothing need to be as good as the language
# model is with 1 %?

# %%
import torch

lstm, x, found = zoo.LSTM(8, 16), torch.randn(5, 4, 8), []
heads = [torch.nn.Linear(16, labels) for labels in (3, 7)]
for some in heads[:1], heads[1:], heads:
    lstm.zero_grad()
    sum(head(lstm(x)[0]).square().mean() for head in some).backward()
    found.append(lstm.weight_hh_l0.grad.clone())
print("the sum:", torch.allclose(found[0] + found[1], found[2], atol=1e-6))

# %% [markdown]
# **Answer 1**: The sum of both heads' gradients. A head whose loss is ten times as large therefore pulls ten times as
# hard.
#
# **Answer 2**: About 20 %: a straight line between the points at 10 % and at 100 %, on this logarithmic axis, passes
# the same accuracy there. That is twenty times as many, read off three points, so no more than a rough figure.
