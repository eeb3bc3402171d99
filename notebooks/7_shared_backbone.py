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
# embedding and an LSTM that reads in both directions, can be the beginning of a classifier; and one backbone can carry
# four heads at once. Both are measured here.

# %% [markdown]
# **日本語**: 言語モデルはラベルなしで学べます。その埋め込みと LSTM から分類器の学習を始めると、ラベルが少ないときほど正解率が
# 大きく上がります。また、一つの LSTM を四つのタスクで同時に使い、別々に学習した場合と大きさ・時間・精度を比べます。
#
# **繁體中文**：語言模型不需要標籤。從它的詞向量和 LSTM 開始訓練分類器，標籤越少，準確率提高得越多。
# 這裡也讓四個任務共用同一個 LSTM，並與分別訓練的模型比較大小、時間和準確率。

# %%
import json
import os
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt

import zoo

# %%
QUICK = "ZOO_QUICK" in os.environ
SEEDS, SHARES = ([1], [1.0, 0.1]) if QUICK else ([1, 2, 3], [1.0, 0.1, 0.03])
LOCALES = "de,nl,da,sv" if QUICK else "de,nl,da,sv,fr,es,pt,it,ro,pl,cs,sk"
ROWS = ["data=cldr", f"data.locales=[{LOCALES}]", f"data.documents={60 if QUICK else 300}"]
SIZE = [f"backbone.{name}_size=64" for name in ("embedding", "hidden")]
READ = ["task.stream=false", "backbone.bidirectional=true", "train.batch_rows=32", "baseline=false"]
begun = f"{tempfile.mkdtemp()}/language-model"
often = f"train.epochs={1 if QUICK else 8}"
_ = zoo.trained("task=generate", *ROWS, *SIZE, *READ, often, f"out={begun}")

# %% [markdown]
# **Question: does a backbone that has read the texts before need fewer labels?** The language model has read all training
# texts and no label. From its backbone, and from nothing, classifiers learn the language of a text from all labels and
# from some of them, with the same number of epochs, three seeds each.


# %%
def score(share, seed, *own):
    epochs = round((3 if QUICK else 6) / share**0.5)  # of fewer rows more epochs
    few = [f"train.share={share}", f"train.epochs={epochs}", "train.patience=0", f"seed={seed}"]
    report = zoo.trained("task=classify", *ROWS, *own, *few, "baseline=false")[1]
    return report["test"]["accuracy"]


sides = {"nothing": [*SIZE, "tokenizer.size=2000"], "the language model": [f"init={begun}"]}
found = {name: [[score(p, s, *own) for s in SEEDS] for p in SHARES] for name, own in sides.items()}


# %%
def curves(axes, title, shares, lines):
    for name, values in lines.items():
        axes.plot(shares, [sum(each) / len(each) for each in values], "o-", label=name)
        axes.fill_between(shares, [*map(min, values)], [*map(max, values)], alpha=0.2)
    axes.set(xscale="log", xlabel="share of the labels", ylabel="test accuracy", title=title)
    axes.legend(title="starting from")


_, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
curves(axes, "Which language is it? Bands: all seeds", SHARES, found)

# %% [markdown]
# SENTENCE
#
# **Question: is it so on real data?** Film reviews (IMDb), good or bad: the language model of 3 epochs over the training
# reviews against nothing, measured by `python -m zoo.bench labels data=imdb data.path=… init=…`; its figures are kept
# beside this notebook. The same for part-of-speech tags of the English Web Treebank.

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for panel, (name, title) in zip(
    panels, [("imdb", "Film reviews"), ("ud_ewt", "Tags")], strict=True
):
    cases = json.loads(Path(f"labels_{name}.json").read_text())["cases"]
    names = {"nothing": "peer", "the language model": "ours"}
    lines = {name: [case["all"][side] for case in cases] for name, side in names.items()}
    curves(panel, title, [case["share"] for case in cases], lines)

# %% [markdown]
# SENTENCE
#
# **Question: can four heads live on one backbone?** A classifier (language), a tagger (fields of a phrase), a translator
# (English to German phrases) and a language model are trained in turns on one backbone, and for comparison each alone
# on its own, with the same rows and epochs.

# %%
from zoo.catalogue import find
from zoo.config import check, compose
from zoo.prepare import checked, open_rows
from zoo.text import Subwords

MORE = {"classify": ROWS, "generate": [*ROWS, "task.stream=false"]}
MORE["tag"] = [*ROWS[:2], "data.form=fields", "task.words=subword", "task.crf=false"]
MORE["translate"] = ["data=cldr", "data.target=de", f"data.phrases={1000 if QUICK else 8000}"]
CHOSEN = {task: check(compose([f"task={task}", *own])) for task, own in MORE.items()}

# %%
rows = {task: open_rows(chosen, find(task)) for task, chosen in CHOSEN.items()}
texts = [text for task in rows for row in rows[task].train for text in find(task).texts(row)]
tokenizer = Subwords.train(texts, 1000 if QUICK else 4000)


def head(task, backbone):
    kind, options, _ = checked(CHOSEN[task])
    return kind(backbone, tokenizer, **options | kind.learn(rows[task].train))


# %%
def trained(*tasks):
    backbone = zoo.Backbone(len(tokenizer), embedding_size=96, hidden_size=128)
    model = zoo.share(backbone, {task: head(task, backbone) for task in tasks})
    both, start = {t: ([*rows[t].train], [*rows[t].valid]) for t in tasks}, time.perf_counter()
    history = model.fit(both, f"train.epochs={1 if QUICK else 6}", "train.learning_rate=4e-3")
    best = min((each["valid"] for each in history), key=lambda metrics: metrics["loss"])
    return model, best, time.perf_counter() - start


alone, shared = {task: trained(task) for task in rows}, trained(*rows)

# %%
names = ["classify.accuracy", "tag.accuracy", "translate.bleu", "generate.perplexity"]
print("metric of the validation rows    alone   shared   reads")
for name in names:
    task = name.split(".")[0]
    model, metrics, _ = alone[task]
    print(f"{name:28} {metrics[name]:9.3f} {shared[1][name]:8.3f}   {model.heads[task].reads}")
for name, runs in {"four backbones": [*alone.values()], "one backbone": [shared]}.items():
    weights, seconds = sum(run[0].parameter_count for run in runs), sum(run[2] for run in runs)
    print(f"{name:14}: {weights:9,} weights, {seconds:4.0f} s of training")

# %% [markdown]
# SENTENCE
