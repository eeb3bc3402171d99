"""Plant one bug at a time in a copy of the project, and see whether the tests kill it.

    python tests/mutants.py            all of them
    python tests/mutants.py clip ema   those whose name or file holds one of these words

It is no part of the test command: sixty test runs take up to an hour. `test_mutants.py` checks
that every bug still has its place. Each run is a fork of this process, which has imported torch.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.append(str(Path(__file__).parent / "cases"))
from forked import HEAVY, forked

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".git", "__pycache__", "*_cache", "runs", "shared", "*.egg-info")
LIMIT = 100  # seconds of work for the tests of one bug; a bug that makes them hang is killed
HANGS = 3600  # seconds on the clock
MEMORY = 10_000_000_000  # bytes of addresses; a bug that takes more ends its tests


class Mutant(NamedTuple):
    """One bug: the text in a file that is replaced, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def is_killed(mutant: Mutant, folder: Path) -> tuple[bool, str]:
    """Plant a bug in a copy of the project; return whether its tests fail, and the first that does."""
    path = folder / mutant.file
    text = path.read_text("utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    try:
        status, said = tested(mutant.tests, folder)
    finally:
        path.write_text(text, "utf-8")
    if status < 0:
        return True, "no end"
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if status not in (0, 1, 2):  # 2: a test file that cannot be imported
        raise RuntimeError(said)
    return status != 0, failed[0] if failed else ""


def _is_ours(path: str) -> bool:
    """Return whether a path to import from lies in the project itself, not in its copy."""
    return Path(path).resolve().is_relative_to(ROOT)


def tested(tests: list[str], folder: Path) -> tuple[int, str]:
    """Run tests of a copy of the project in a child; return its status, and what it printed."""

    def work() -> int:
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder)
        sys.path[:] = [str(folder), *(path for path in sys.path[1:] if not _is_ours(path))]
        sys.dont_write_bytecode = True
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))

    return forked(work, LIMIT, HANGS, MEMORY, raised=3)


def main(words: list[str]) -> int:
    """Try the bugs whose name or file holds one of the words; print a table. 1 if one survives."""
    chosen = [m for m in MUTANTS if not words or any(w in f"{m.name} {m.file}" for w in words)]
    survived = 0
    for name in HEAVY:
        import_module(name)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for number, mutant in enumerate(chosen, 1):
            start = time.monotonic()
            killed, by = is_killed(mutant, folder)
            survived += not killed
            state = "killed" if killed else "SURVIVED"
            took = f"{time.monotonic() - start:4.0f} s"
            print(f"{number:2}/{len(chosen)}  {state:8}  {took}  {mutant.name}  {by}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return 1 if survived else 0


MUTANTS = [
    Mutant(
        "ema: young rule ignored",
        "zoo/training/state.py",
        "min(self.settings.ema_decay, (1 + steps) / (10 + steps))",
        "self.settings.ema_decay",
        ["tests/training/test_state.py"],
    ),
    Mutant(
        "grad_clip not applied",
        "zoo/training/state.py",
        "most = self.settings.grad_clip",
        "most = 1e9",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "best epoch: equal metric, less sure",
        "zoo/training/loop.py",
        '-metrics.get("loss", 0.0)]',
        'metrics.get("loss", 0.0)]',
        ["tests/training/test_loop.py", "tests/training/test_state.py"],
    ),
    Mutant(
        "weight decay left out",
        "zoo/training/state.py",
        "weight_decay=settings.weight_decay",
        "weight_decay=0.0",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "AdamW's betas are torch's own",
        "zoo/training/state.py",
        "betas=(0.9, 0.99)",
        "betas=(0.9, 0.999)",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "epochs are compared as the model is used",
        "zoo/task.py",
        'config = GREEDY if stage == "validate" else self.config.generation',
        "config = self.config.generation",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "the test is greedy, too",
        "zoo/task.py",
        'config = GREEDY if stage == "validate" else self.config.generation',
        "config = GREEDY",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "evaluation without autocast",
        "zoo/training/loop.py",
        "    with accelerator.autocast():\n        answers",
        "    if True:\n        answers",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "a second Ctrl-C waits",
        "zoo/training/loop.py",
        "if caught and number == signal.SIGINT:",
        "if False and number == signal.SIGINT:",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "a second SIGTERM stops at once",
        "zoo/training/loop.py",
        "if caught and number == signal.SIGINT:",
        "if caught:",
        ["tests/training/test_optimizer.py"],
    ),
    Mutant(
        "a link out of the folder is followed",
        "zoo/model_folder/verify.py",
        "if path.is_symlink() and path.resolve()",
        "if False and path.resolve()",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "a key may stand twice",
        "zoo/files/__init__.py",
        "if len(found) < len(pairs):",
        "if False:",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "NaN is read",
        "zoo/files/__init__.py",
        "if not math.isfinite(value):",
        "if False:",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "an unlisted file is read",
        "zoo/model_folder/verify.py",
        "    _check_unlisted(folder, files)\n",
        "",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "100,000 layers are built",
        "zoo/nn/backbone.py",
        "num_layers: Annotated[int, Field(ge=1, le=64)]",
        "num_layers: Annotated[int, Field(ge=1)]",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "shapes are not compared",
        "zoo/model_folder/shapes.py",
        "        if shape != stored[name]:",
        "        if False:",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "loading draws from the global generator",
        "zoo/model_folder/shapes.py",
        "with OwnGenerator():",
        "if True:",
        ["tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "the csv limit stays",
        "zoo/device.py",
        "        csv.field_size_limit(cell)\n",
        "",
        ["tests/training/test_host.py"],
    ),
    Mutant(
        "the seed stays",
        "zoo/device.py",
        "        torch.set_rng_state(of_torch)\n",
        "",
        ["tests/training/test_host.py"],
    ),
    Mutant(
        "deterministic algorithms stay",
        "zoo/device.py",
        "        torch.use_deterministic_algorithms(strict, warn_only=warns)\n",
        "",
        ["tests/training/test_host.py"],
    ),
    Mutant(
        "the host's Accelerator is lost",
        "zoo/training/state.py",
        "                    kind._shared_state = state\n",
        "                    pass\n",
        ["tests/training/test_host.py"],
    ),
    Mutant(
        "the host's Hydra is lost",
        "zoo/config.py",
        "            Singleton._instances = kept\n",
        "            pass\n",
        ["tests/training/test_host.py"],
    ),
    Mutant(
        "half a pair stays",
        "zoo/text/canonical.py",
        "if text.isascii() or _HALF.search(text) is None:",
        "if True:",
        ["tests/data/test_texts_of_strangers.py"],
    ),
    Mutant(
        "the kernel's pieces start anew",
        "zoo/rnn/lstm_fused.py",
        "output, state = kernel(piece, state)",
        "output, _ = kernel(piece, state)",
        ["tests/data/test_texts_of_strangers.py"],
    ),
    Mutant(
        "a gzip bomb is read",
        "zoo/text/decoding.py",
        "if self.unpacked > MOST_UNPACKED and",
        "if False and",
        ["tests/data/test_texts_of_strangers.py"],
    ),
    Mutant(
        "a read error is waited for",
        "zoo/cli/predict.py",
        'waiting.put(InputError(f"input: {error.strerror or error}"))',
        "pass",
        ["tests/data/test_texts_of_strangers.py"],
    ),
    Mutant(
        "attention sees padding",
        "zoo/nn/attention.py",
        "scores = at_least_float32(scores).masked_fill(memory.padding.unsqueeze(1), -torch.inf)",
        "scores = at_least_float32(scores)",
        ["tests/nn/test_attention.py"],
    ),
    Mutant(
        "top_p drops one too many",
        "zoo/generation/sampling.py",
        "beyond = probabilities.cumsum(-1) - probabilities >= config.top_p",
        "beyond = probabilities.cumsum(-1) >= config.top_p",
        ["tests/generation/test_sampling.py"],
    ),
    Mutant(
        "a bucket holds one row too many",
        "zoo/data/sampler.py",
        "count > rows or",
        "count > rows + 1 or",
        ["tests/data/test_sampler.py"],
    ),
    Mutant(
        "the last batch is dropped",
        "zoo/data/sampler.py",
        "batches = np.split(pool[by_length], cuts)",
        "batches = np.split(pool[by_length], cuts)[:-1]",
        ["tests/data/test_sampler.py"],
    ),
    Mutant(
        "bleu reads no capitals",
        "zoo/evaluation/metrics.py",
        '("bleu", BLEU(tokenize=tokenizer, force=True))',
        '("bleu", BLEU(tokenize=tokenizer, lowercase=True, force=True))',
        ["tests/evaluation/test_metrics.py"],
    ),
    Mutant(
        "a span goes on over another begin",
        "zoo/cli/tagged_text.py",
        "if group and (prefix in bio.BEGIN or kind != previous):",
        "if group and kind != previous:",
        ["tests/cli/test_tagged_text.py"],
    ),
    Mutant(
        "forbidden transitions: kinds are not compared",
        "zoo/text/bio.py",
        "is_open & (kind[:, None] == kind[:-1])",
        "is_open & (kind[:, None] >= 0)",
        ["tests/text/test_bio.py"],
    ),
    Mutant(
        "padding mask one step late",
        "zoo/rnn/padding.py",
        "self.mask = (steps >= lengths)",
        "self.mask = (steps > lengths)",
        [
            "tests/rnn/test_lstm_reference.py",
            "tests/rnn/test_lstm.py",
            "tests/rnn/test_lstm_hoisted.py",
        ],
    ),
    Mutant(
        "padding reverse off by one",
        "zoo/rnn/padding.py",
        "lengths - 1 - steps, steps)",
        "(lengths - 2 - steps).clamp(min=0), steps)",
        ["tests/rnn/test_lstm.py", "tests/rnn/test_stack.py"],
    ),
    Mutant(
        "last_step ignores `before`",
        "zoo/rnn/padding.py",
        "torch.where(self.lengths.unsqueeze(1) > 0, x.gather(0, index)[0], before.to(x))",
        "x.gather(0, index)[0]",
        ["tests/rnn/test_lstm.py", "tests/rnn/test_lstm_reference.py", "tests/rnn/test_stack.py"],
    ),
    Mutant(
        "gates i and f swapped",
        "zoo/rnn/lstm_reference.py",
        "f = torch.sigmoid(product(1))",
        "f = torch.sigmoid(product(0))",
        ["tests/rnn/test_lstm_reference.py", "tests/rnn/test_lstm.py"],
    ),
    Mutant(
        "fused: cell not held on padding",
        "zoo/rnn/lstm_fused.py",
        "column[0], column[1] = -HOLD, HOLD",
        "column[0], column[1] = -HOLD, 0.0",
        ["tests/rnn/test_lstm.py", "tests/rnn/test_lstm_reference.py"],
    ),
    Mutant(
        "fused: input gate open on padding",
        "zoo/rnn/lstm_fused.py",
        "column[0], column[1] = -HOLD, HOLD",
        "column[0], column[1] = 0.0, HOLD",
        ["tests/rnn/test_lstm.py", "tests/rnn/test_lstm_reference.py"],
    ),
    Mutant(
        "GRU: new gate not zero on padding",
        "zoo/rnn/gru/gru_fused.py",
        "column[2, :, 0] = -weights.b_ih.detach().chunk(3)[2]",
        "pass",
        ["tests/rnn/gru/test_gru.py"],
    ),
    Mutant(
        "GRU: b_hn outside of the reset product",
        "zoo/rnn/gru/gru_reference.py",
        "n = torch.tanh(from_x(2) + r * from_h(2))",
        "n = torch.tanh(from_x(2) + from_h(2) + (r - 1) * linear(h, weights.w_hh[rows_of(2)]))",
        ["tests/rnn/gru/test_gru.py"],
    ),
    Mutant(
        "hoisted backward: gradient of c past padding lost",
        "zoo/rnn/lstm_hoisted.py",
        "d_h, d_c = d_h + past_h, d_c + past_c",
        "d_h, d_c = d_h + past_h, d_c",
        ["tests/rnn/test_lstm_hoisted.py", "tests/rnn/test_lstm.py"],
    ),
    Mutant(
        "hoisted backward: tanh slope sign",
        "zoo/rnn/lstm_hoisted.py",
        "torch.addcmul(i, i * g, g, value=-1, out=",
        "torch.addcmul(i, i * g, g, value=1, out=",
        ["tests/rnn/test_lstm_hoisted.py", "tests/rnn/test_lstm.py"],
    ),
    Mutant(
        "hoisted backward: d_c not scaled by f",
        "zoo/rnn/lstm_hoisted.py",
        "            d_c.mul_(f_t)\n",
        "",
        ["tests/rnn/test_lstm_hoisted.py", "tests/rnn/test_lstm.py"],
    ),
    Mutant(
        "score: end not counted",
        "zoo/generation/step_model.py",
        "(len(ids) + 1) ** config",
        "max(1, len(ids)) ** config",
        ["tests/generation/test_beam_search.py", "tests/generation/test_sampling.py"],
    ),
    Mutant(
        "length penalty exponent ignored",
        "zoo/generation/step_model.py",
        "(len(ids) + 1) ** config.length_penalty",
        "(len(ids) + 1) ** 1.0",
        ["tests/generation/test_beam_search.py", "tests/generation/test_sampling.py"],
    ),
    Mutant(
        "beam: hope one too long",
        "zoo/generation/beam_search.py",
        "total.amax(1) / (length + 1)",
        "total.amax(1) / (length + 2)",
        ["tests/generation/test_beam_search.py", "tests/generation/test_processors.py"],
    ),
    Mutant(
        "beam: compared with the best, not n_best",
        "zoo/generation/results.py",
        "sorted(scores, reverse=True)[n_best - 1]",
        "sorted(scores, reverse=True)[0]",
        ["tests/generation/test_beam_search.py", "tests/generation/test_processors.py"],
    ),
    Mutant(
        "CRF partition transposed",
        "zoo/nn/crf.py",
        "longer = (so_far.unsqueeze(2) + transitions)",
        "longer = (so_far.unsqueeze(2) + transitions.t())",
        ["tests/nn/test_crf.py"],
    ),
    Mutant(
        "CRF score transposed",
        "zoo/nn/crf.py",
        "transitions[labels[:, :-1], labels[:, 1:]]",
        "transitions[labels[:, 1:], labels[:, :-1]]",
        ["tests/nn/test_crf.py"],
    ),
    Mutant(
        "CRF decode transposed",
        "zoo/nn/crf.py",
        "arrivals = transitions.t().contiguous()",
        "arrivals = transitions.contiguous()",
        ["tests/nn/test_crf.py"],
    ),
    Mutant(
        "cross entropy: smoothing share in the gradient",
        "zoo/nn/losses/cross_entropy.py",
        "smoothing / len(weight), (1",
        "smoothing / (len(weight) - 1), (1",
        ["tests/nn/losses/test_cross_entropy.py"],
    ),
    Mutant(
        "cross entropy: smoothing term of the bias",
        "zoo/nn/losses/cross_entropy.py",
        " + bias.to(x).mean()).sum()",
        ").sum()",
        ["tests/nn/losses/test_cross_entropy.py"],
    ),
    Mutant(
        "R-Drop: one direction of the divergence",
        "zoo/nn/losses/r_drop.py",
        "(p.exp() - q.exp()) * (p - q)",
        "2 * p.exp() * (p - q)",
        ["tests/nn/losses/test_r_drop.py"],
    ),
    Mutant(
        "adaptive softmax cutoff off by one",
        "zoo/nn/adaptive_softmax.py",
        "torch.searchsorted(firsts, target, right=True)",
        "torch.searchsorted(firsts, target)",
        ["tests/nn/test_adaptive_softmax.py"],
    ),
    Mutant(
        "adaptive softmax place in the tail",
        "zoo/nn/adaptive_softmax.py",
        "edges[0] + cluster - 1)",
        "edges[0] + (cluster - 1).flip(0))",
        ["tests/nn/test_adaptive_softmax.py"],
    ),
    Mutant(
        "CharBatch index ignores filler rows",
        "zoo/nn/char_encoder.py",
        "filled += len(blocks[-1][1])",
        "filled += len(chosen)",
        ["tests/text/test_characters.py", "tests/nn/test_char_encoder.py"],
    ),
    Mutant(
        "RNG state not restored",
        "zoo/training/state.py",
        '        checkpoint.restore_random_state(state["generators"][rank])\n',
        "",
        ["tests/training/test_loop.py"],
    ),
    Mutant(
        "average not restored",
        "zoo/training/state.py",
        '            self.average.load_state_dict(state["average"])',
        "            pass",
        ["tests/training/test_loop.py", "tests/training/test_state.py"],
    ),
    Mutant(
        "hash check skipped",
        "zoo/model_folder/verify.py",
        "if sha256(path) != digest:",
        "if False:",
        ["tests/model_folder/test_format.py", "tests/model_folder/test_verify.py"],
    ),
    Mutant(
        "csv line number off by one",
        "zoo/data/readers.py",
        "{reader.line_num + 1}",
        "{reader.line_num}",
        ["tests/data/test_readers.py"],
    ),
    Mutant(
        "conll line number off by one",
        "zoo/data/conll.py",
        'chain(lines, [""]), 1)',
        'chain(lines, [""]), 0)',
        ["tests/data/test_conll.py", "tests/data/test_readers.py"],
    ),
    Mutant(
        "stream: input is the target",
        "zoo/data/stream.py",
        "self.tokens[max(0, start - 1) : max(0, start - 1) + end - start]",
        "self.tokens[start:end]",
        ["tests/data/test_stream.py"],
    ),
]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
