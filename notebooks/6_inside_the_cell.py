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
# # What happens inside the cell, and which ways of computing it agree?
#
# An LSTM is written here by hand, in a few lines, and compared with `nn.LSTM` and with the three engines of `zoo.LSTM`:
# the same numbers? how fast? Then come the usual mistakes, layer norm, and what it takes to repeat a run.

# %% [markdown]
# **日本語**：LSTMを数行で手書きし、`nn.LSTM`および`zoo.LSTM`の三つのエンジンと比べます。結果は丸め誤差の範囲で一致しますが、速さは大きく違います。よくある書き間違いはエラーにならず、違う数値を返すだけです。また、双方向でドロップアウトを使っても、重みを作る前にシードを設定すれば、同じ結果がビット単位で再現されます。
#
# **繁體中文**：本筆記用幾行程式手寫LSTM，並與`nn.LSTM`以及`zoo.LSTM`的三種引擎比較。結果在捨入誤差內一致，速度卻相差很大。常見的寫法錯誤不會產生錯誤訊息，只會給出不同的數值。此外，只要在建立權重之前設定種子，即使是雙向並使用dropout，結果也能逐位元重現。
#
# [日本語](ja/6_inside_the_cell.ipynb) | [繁體中文](zh-TW/6_inside_the_cell.ipynb)

# %%
import os
from itertools import pairwise, permutations, product

import matplotlib.pyplot as plt
import torch

import zoo
from zoo.bench.measure import interleave

QUICK = "ZOO_QUICK" in os.environ

# %% [markdown]
# **Question: what does the cell do at one step?** It reads the input and its last `h`, in four gates: i (what is let
# in), f (what is kept), g (what is new) and o (what is shown). Only products and a sum lie on the way of `c`:
#
# $$\begin{aligned} i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) & f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) & c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\ g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) & o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) & h_t &= o_t \odot \tanh(c_t) \end{aligned}$$

# %%
PARTS = {"old": (0, 3, "$c_{t-1}$"), "keep": (1.5, 3, "×"), "add": (3.5, 3, "+")}
PARTS |= {"new": (7, 3, "$c_t$"), "let": (3.5, 2, "×"), "tanh": (6, 2, "tanh")}
PARTS |= {"f": (1.5, 1, "f: σ"), "i": (2.9, 1, "i: σ"), "g": (4.1, 1, "g: tanh")}
PARTS |= {"o": (5.1, 1, "o: σ"), "show": (6, 1, "×"), "h": (7, 1, "$h_t$")}
PARTS |= {"read": (3.3, 0, "$x_t$, $h_{t-1}$")}
WAYS = ["old keep add new", "read f keep", "read i let add", "read g let", "read o show"]
WAYS += ["add tanh show h"]

# %%
axes = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
_ = axes.set(xlim=(-0.5, 7.5), ylim=(-0.5, 3.5), xticks=[], yticks=[])
for x, y, text in PARTS.values():
    box = {"boxstyle": "round,pad=0.4", "edgecolor": "gray"}
    box["facecolor"] = "lightblue" if ":" in text else "white"
    axes.text(x, y, text, ha="center", va="center", bbox=box)
for start, end in (pair for way in WAYS for pair in pairwise(way.split())):
    line = {"arrowstyle": "->", "shrinkA": 16, "shrinkB": 16}
    axes.annotate("", PARTS[end][:2], PARTS[start][:2], arrowprops=line)

# %% [markdown]
# The cell goes from left to right through a product with f and a sum; where f is near 1, it arrives as it was.
#
# **Question: which ways of computing an LSTM give the numbers of `nn.LSTM`, and how far off are the usual mistakes?**
# The defaults of `by_hand` are right, and its last three arguments are there for the mistakes. One of these is a forget
# bias that is 1 too high, because the 1 was put into both biases, and they are added.


# %%
def by_hand(x, w_ih, w_hh, bias, order="ifgo", squash=torch.tanh, handed_on="h"):
    h = c = torch.zeros_like(w_hh[0])
    output = []
    for now in x:  # one step, (batch, features)
        sums = now @ w_ih.T + h @ w_hh.T + bias  # (batch, 4 * units)
        gate = dict(zip(order, sums.chunk(4, dim=1), strict=True))
        c = gate["f"].sigmoid() * c + gate["i"].sigmoid() * gate["g"].tanh()
        output.append(gate["o"].sigmoid() * squash(c))
        h = output[-1] if handed_on == "h" else c
    return torch.stack(output)


# %%
def attempts(x, w_ih, w_hh, b_ih, b_hh):
    w, b = (w_ih, w_hh), b_ih + b_hh
    forget = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(w_hh.size(1))
    yield "by hand, right", by_hand(x, *w, b)
    yield "gates in the order i, f, o, g", by_hand(x, *w, b, order="ifog")
    yield "no tanh on the cell", by_hand(x, *w, b, squash=torch.clone)
    yield "the next step gets c, not h", by_hand(x, *w, b, handed_on="c")
    yield "one of the two biases", by_hand(x, *w, b_ih)
    yield "forget bias 1 too high", by_hand(x, *w, b + forget)
    yield "batch taken for time", by_hand(x.transpose(0, 1), *w, b).transpose(0, 1)


# %%
torch.manual_seed(1)
x, peer = torch.randn(20, 20, 32).double(), torch.nn.LSTM(32, 32).double()
right, found = peer(x)[0], dict(attempts(x, *peer.parameters()))
for engine in ("reference", "hoisted", "torch"):
    ours = zoo.LSTM(32, 32, engine=engine).double()
    ours.load_state_dict(peer.state_dict())
    found[f"engine={engine}"] = ours(x)[0]
errors = {name: ((each - right).norm() / right.norm()).item() for name, each in found.items()}

# %%
names = sorted(errors, key=lambda name: errors[name], reverse=True)
values = [max(errors[name], 1e-17) for name in names]  # a zero cannot be drawn on this axis
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
bars = ax.barh(names, values, color=["C3" if value > 1e-9 else "C0" for value in values])
ax.bar_label(bars, [f"{errors[name]:.1g}" for name in names], padding=4)
ax.set(xscale="log", xlim=(1e-17, 100), xlabel="size of the difference / size of the output")
_ = ax.set_title("Distance from the output of nn.LSTM, in float64")

# %% [markdown]
# The engines and the right loop by hand agree with `nn.LSTM` up to rounding. Each mistake is many orders of magnitude
# further off, and none of them raises an error: a comparison like this one finds them.
#
# **Question: what does each way cost, and what does layer norm give for its price?** Left: the time of a step, forward
# and backward, as a median of runs that take turns, with its multiple of `nn.LSTM`. Right: the forget gates over all
# steps of sequences with large inputs.


# %%
def cost(ways, x):  # microseconds of a step, forward and backward
    sides = {name: lambda way=way: way(x)[0].sum().backward() for name, way in ways.items()}
    times = interleave(sides, rounds=3 if QUICK else 25, warm=True).items()
    return {name: round(1e6 * seconds / len(x), 1) for name, seconds in times}


w_ih, w_hh, *biases = (peer := torch.nn.LSTM(128, 128)).parameters()
ways = {"by hand": lambda x: [by_hand(x, w_ih, w_hh, sum(biases))]}
ways |= {e: zoo.LSTM(128, 128, engine=e) for e in ("reference", "hoisted", "torch")}
ways |= {"nn.LSTM": peer, "layer norm": zoo.LSTM(128, 128, layer_norm=True)}

# %%
times, x = cost(ways, torch.randn(60, 32, 128, requires_grad=True)), 5 * torch.randn(60, 32, 128)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
bars = left.barh(list(times), list(times.values()))
left.bar_label(bars, [f"{t / times['nn.LSTM']:.2f}×" for t in times.values()], padding=3)
left.set(xlabel="µs per step", title="32 rows, 128 units", xlim=(0, 1.25 * max(times.values())))
for norm, label in (False, "without layer norm"), (True, "with layer norm"):
    *_, gates = zoo.LSTM(128, 128, layer_norm=norm)(x, return_gates=True)
    right.hist(gates.f.flatten().tolist(), bins=40, histtype="step", density=True, label=label)
right.set(xlabel="forget gate", ylabel="density", title="Inputs 5 times as large as usual")
_ = right.legend(loc="upper center")

# %% [markdown]
# The fewer calls Python makes in a step, the faster it is: `reference`, gate by gate, is written to be read; `hoisted`
# takes all it can out of the loop; `torch` keeps up with `nn.LSTM`. Layer norm has no fused kernel and costs more than
# `hoisted`, but its forget gates stay between the ends, where without it many crowd near 0 and 1.
#
# **Question: can a bidirectional LSTM with dropout be repeated, and what breaks it?** People complain that a fixed seed
# is not enough. Each row starts from an unknown random state and does three things in a certain order: it sets the
# seed, builds the LSTM, builds a head. It does so twice. One gradient of the backward direction is compared.


# %%
def gradient(order, more_threads=0):
    torch.seed()  # an unknown state, as if something else had run before
    made = {step: steps[step]() for step in order}
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + more_threads)
    made["lstm"](x)[0].square().mean().backward()
    torch.set_num_threads(threads)
    return made["lstm"].weight_hh_l0_reverse.grad


# %%
x, options = torch.randn(10, 16, 32), {"num_layers": 2, "bidirectional": True, "dropout": 0.5}
steps = {"seed": lambda: torch.manual_seed(1), "lstm": lambda: zoo.LSTM(32, 32, **options)}
steps["head"] = lambda: torch.nn.Linear(64, 8)
first = gradient(steps)
print(f"{'order':<26}{'same bits again':<20}same bits as the first row")
for order in permutations(steps):
    once, again = gradient(order), gradient(order)
    print(f"{', '.join(order):<26}{torch.equal(once, again)!s:<20}{torch.equal(once, first)}")
print(f"{'first row, a thread more':<46}{torch.equal(gradient(steps, 1), first)}")

# %% [markdown]
# A seed repeats every bit, in both directions and with dropout, if it is set before the weights are drawn. In another
# order the run repeats itself too, but it is another run: the head takes random numbers that would be the LSTM's.
# More threads may change the last bits; the last row says whether they did. On CUDA two things more stand in the way:
# the state of cuDNN's own dropout, and sums that cuBLAS takes in changing order. `zoo.LSTM` draws its masks outside
# the kernel, and `deterministic=true` lets only repeatable algorithms run.
#
# **Question: LSTM or GRU?** A GRU has no cell: z is what is kept of `h`, r what the new value reads of it. It has three
# matrices for an LSTM's four, so 39 units have the weights of 32, to 5 %. Layers of 128 and 156 units
# take turns, then whole trainings: five seeds, at most twelve epochs, nothing tuned, fp32, seconds of one thread. Scores
# are accuracy, F1 of spans and an error, which is better low; behind ± is half of the 95 % interval of the mean.

# %%
import logging

logging.getLogger("zoo").setLevel("ERROR")  # few rows: many words are unknown
FEW = f"data.locales=[{'en,de' if QUICK else 'en,de,fr,es,it,pt,nl,sv'}]"
RUNS = {"classify": [FEW, f"data.documents={10 if QUICK else 120}"]}
RUNS["tag"] = ["data.form=fields", FEW, f"data.sentences={4 if QUICK else 80}", "task.crf=false"]
RUNS["forecast"] = ["data=co2", "task.head=point", "task.residual=none"]
SAME = f"threads=1 precision=fp32 baseline=false train.epochs={1 if QUICK else 12}"
SAME = f"{SAME} backbone.embedding_size=32".split()
SEEDS, UNITS = 1 if QUICK else 5, {"lstm": 32, "gru": 39}


# %%
def spread(values):  # the mean and its 95 % interval; of five, Student's t is 2.776
    half = 2.776 * values.std(correction=0) / max(1, len(values) - 1) ** 0.5
    return f"{values.mean():.3f} ± {half:.3f}"


torch.set_num_threads(1)
for dtype in torch.float32, torch.bfloat16:
    ways = {"lstm": zoo.LSTM(128, 128).to(dtype), "gru": zoo.GRU(128, 156).to(dtype)}
    x = torch.randn(60, 32, 128, dtype=dtype, requires_grad=True)
    print(f"{dtype}, one thread, µs per step of 32 rows: {cost(ways, x)}")

# %%
print(f"{'task':<10}{'LSTM':<16}{'GRU':<16}{'GRU - LSTM':<17}seconds: LSTM, GRU")
for task, rows in RUNS.items():
    scores, took = torch.zeros(2, 2, SEEDS)  # of each: (cell, seed)
    for n, (row, cell) in product(range(SEEDS), enumerate(UNITS)):
        own = [f"task={task}", f"backbone.cell={cell}", f"backbone.hidden_size={UNITS[cell]}"]
        began = os.times().user
        model, report = zoo.train(*own, *rows, *SAME, f"seed={n + 1}")
        took[row, n], scores[row, n] = os.times().user - began, report["test"][model.metric]
    lstm, gru, gap = map(spread, (*scores, scores[1] - scores[0]))
    print(f"{task:<10}{lstm:<16}{gru:<16}{gap:<17}{took[0].median():.1f}, {took[1].median():.1f}")

# %% [markdown]
# In tagging and forecasting the GRU is ahead, and the 95 % interval of the gap leaves out 0; in classification five
# seeds do not tell them apart. Few rows and twelve epochs are a small world: the lead may say no more than that the GRU
# learns sooner. It is not cheaper here: its layer takes about twice the time of the LSTM's in fp32 and more than four
# times in bf16, because on a processor torch has one kernel for an LSTM and computes a GRU from many small operations.
# In a whole training the layer is only a part, and the gap is smaller. `backbone.cell=gru` tries it on your rows.

# %% [markdown]
# **Exercises.** Answer both before you run the next cell.
#
# **Exercise 1**: How many weights has `nn.LSTM(32, 128, num_layers=2, bidirectional=True)`?
#
# **Exercise 2**: The forget gate gets nothing but its bias. After how many steps is half of the cell gone, with a bias
# of 0, of 1, of 4?


# %%
def count(inputs, units, layers, directions):
    sizes = [inputs] + [directions * units] * (layers - 1)  # what each layer reads
    return sum(directions * 4 * units * (size + units + 2) for size in sizes)


peer = torch.nn.LSTM(32, 128, num_layers=2, bidirectional=True)
print(count(32, 128, 2, 2), "and", sum(weight.numel() for weight in peer.parameters()))
for bias in 0, 1, 4:
    kept = torch.tensor(float(bias)).sigmoid()
    print(f"bias {bias}: {kept:.3f} is kept, half is gone after {-1 / kept.log2():.1f} steps")

# %% [markdown]
# **Answer 1**: Each layer and direction has four gates. A unit of a gate has a weight for each input and for each unit
# of `h`, and two biases. The second layer reads both directions: 561,152 in all.
#
# **Answer 2**: After 1, 2.2 and 38.2 steps. That is why many start with a forget bias of 1 or more: the cell remembers
# before it has learned to.
