"""Translation: both sides as ids, two tokenizers in a folder, answers, scores, and a training."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from backbone_cases import make_backbone
from conftest import DATA, fails, lines, train, write
from run_cases import interrupt_and_resume, predict, report, same_weights
from safetensors.torch import load_file
from translate_cases import ENGLISH, GERMAN, ROWS, asked, batch, translate

import zoo
from tasks.translate import Translate, TranslateConfig
from zoo import run
from zoo.config import TokenizerConfig
from zoo.data.dataset import ExampleList
from zoo.data.readers import Row
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.generation.config import GenerationConfig
from zoo.task import predict_dataset, predict_rows
from zoo.text.special_ids import BOS, EOS, PAD, UNK
from zoo.text.tokenizers import Characters, Subwords, Words

TOYS = lines(DATA / "translate.jsonl")
TOY = ["data=files", f"data.train={DATA / 'translate.jsonl'}"]
WORDS = "tokenizer.kind=words"
BIRDS, HOUSES = "two small birds stand", "four big houses sleep"
VÖGEL, HÄUSER = "zwei kleine vögel stehen", "vier große häuser schlafen"


def test_both_sides_end_with_eos_unless_they_are_cut():
    task = translate(max_length=5)
    ids, target = (task.tokenizer.encode(text) for text in ("new cats", GERMAN[3]))
    row = Row({"source": "new cats", "target": GERMAN[3]}, "here")
    assert task.encode(row) == {"inputs": [*ids, EOS], "targets": [*target, EOS], "cut": 0}
    assert task.encode(Row({"source": "new cats"}, "here")) == {"inputs": [*ids, EOS], "cut": 0}
    long = task.tokenizer.encode(ENGLISH[0])
    assert len(long) == 7
    for row in ({"source": ENGLISH[0], "target": "vier"}, {"source": "four", "target": ENGLISH[0]}):
        example = task.encode(Row(row, "here"))
        assert example["cut"] == 1
        assert sorted([example["inputs"], example["targets"]], key=len)[1] == long[:6]
        assert min(example["inputs"], example["targets"], key=len)[-1] == EOS
    assert task.encode(Row({"source": ENGLISH[0]}, "here")) == {"inputs": long[:6], "cut": 1}


def test_each_side_has_its_own_tokenizer():
    task = translate(own=True)
    example = task.encode(ROWS[0])
    assert example["inputs"] == [*task.tokenizer.encode(ENGLISH[0]), EOS]
    assert example["targets"] == [*task.output_tokenizer.encode(GERMAN[0]), EOS]
    assert task.output_tokenizer is task.processors["target_tokenizer"] is not task.tokenizer
    assert Translate.text_columns == Translate.not_empty == ("source", "target")


@pytest.mark.parametrize("own", [False, True])
def test_subword_sampling_gives_other_pieces_of_the_same_text(own):
    task = translate(Subwords, own, subword_sampling=0.3)
    examples = [task.encode(row) for row in ROWS]
    assert task.augments

    def varied() -> list:
        torch.manual_seed(5)
        return [sides(task.collate(examples, augment=True)) for _ in range(4)]

    draws = varied()
    assert varied() == draws
    assert draws[0] != draws[1]
    plain = sides(task.collate(examples))
    for draw in draws:
        for found, given, column in zip(draw, plain, ("source", "target"), strict=True):
            assert found != given
            tokenizer = task.tokenizer if column == "source" else task.output_tokenizer
            for ids, row in zip(found, ROWS, strict=True):
                assert tokenizer.decode(ids) == row[column]
                assert ids.index(EOS) == len(ids) - 1
    assert examples == [task.encode(row) for row in ROWS]


def sides(batch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each row of a batch, of its source and of its target, without padding."""
    found = []
    for ids in (batch.inputs, batch.targets):
        found.append([[i for i in row if i > PAD] for row in ids.tolist()])
    return tuple(found)


def test_subword_sampling_cuts_no_text_that_fits():
    whole = [translate(Subwords).encode(row) for row in ROWS]
    longest = max(len(example[side]) for example in whole for side in ("inputs", "targets"))
    task = translate(Subwords, subword_sampling=0.9, max_length=longest - 1)
    assert [task.encode(row) for row in ROWS] == whole  # nothing is cut
    for found, column in zip(
        sides(task.collate(whole, augment=True)), ("source", "target"), strict=True
    ):
        for ids, row in zip(found, ROWS, strict=True):
            assert len(ids) <= longest
            assert task.tokenizer.decode(ids) == row[column]
            assert EOS in ids


def test_subword_sampling_is_off_unless_asked_for_and_only_for_subwords():
    task = translate(Subwords)
    examples, state = [task.encode(row) for row in ROWS], torch.get_rng_state()
    assert not task.augments
    assert sides(task.collate(examples, augment=True)) == sides(task.collate(examples))
    assert torch.equal(state, torch.get_rng_state())
    for kind in (Words, Characters):
        with pytest.raises(ValueError, match=r"subword_sampling needs tokenizer\.kind=subwords"):
            translate(kind, subword_sampling=0.1)


def test_the_backbone_must_read_ids():
    with pytest.raises(ValueError, match="needs a vocabulary"):
        Translate(make_backbone(input_size=3), {"tokenizer": Words.train(ENGLISH, 20)})


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_target_has_its_own_matrices_where_it_needs_them(own, tied, tmp_path):
    task = translate(own=own, tied=tied)
    names = {name for name, _ in task.tokens.named_parameters()}
    embedding = {"embedding.weight"} if own or not tied else set()
    assert names == {"bias"} | embedding | (set() if tied else {"weight"})
    assert all(len(weight) == len(task.output_tokenizer) for weight in task.tokens.parameters())
    task.save(tmp_path)
    loaded = zoo.load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(batch(loaded)), task(batch(task)))
    assert (tmp_path / "target_tokenizer.json").exists() == own
    assert ("target_tokenizer" in loaded.processors) == own
    assert loaded.predict(ENGLISH) == task.predict(ENGLISH)


def test_the_targets_tokenizer_is_a_file_of_the_model(tmp_path):
    path, manifest = tmp_path / "target_tokenizer.json", tmp_path / "manifest.json"
    translate(own=True).save(tmp_path)
    assert path.name in json.loads(manifest.read_text())["files"]
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"vier", b"drei"))
    with pytest.raises(InputError, match=r"target_tokenizer\.json: its contents are not those"):
        zoo.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"target_tokenizer\.json: missing"):
        zoo.load(tmp_path)
    path.write_bytes(kept)
    zoo.load(tmp_path)
    translate().save(tmp_path)  # another model in its place
    assert not path.exists()
    assert "target_tokenizer" not in zoo.load(tmp_path).processors


@pytest.mark.parametrize("kind", [Words, Subwords, Characters])
@pytest.mark.parametrize(
    "search",
    [GenerationConfig(), GenerationConfig(beam_size=1), GenerationConfig(sample=True, n_best=3)],
)
def test_every_source_is_answered_and_nothing_unknown_is_written(kind, search):
    task = translate(kind, scale=2.0)
    with torch.no_grad():
        task.tokens.bias[[PAD, UNK, BOS]] = 50.0
    texts = ["", "日本語 ☃ \u0000", "<unk> <pad> ⁇", "old cats " * 3000, " "]
    assert {UNK} & {*task.encode(Row({"source": texts[1]}, "here"))["inputs"]}
    assert len(task.encode(Row({"source": texts[3]}, "here"))["inputs"]) == 101
    answers = list(predict_rows(task, [Row({"source": t}, "here") for t in texts], config=search))
    for answer in answers:
        assert not {PAD, UNK, BOS, EOS} & {*answer["ids"]}
        for each in answer["n_best"]:
            assert not any(m in each["text"] for m in ("⁇", "\N{WHITE SQUARE}", "<unk>"))
    assert (answers[0]["text"], answers[0]["ids"]) == ("", [])
    assert answers[1]["ids"]
    assert 0 < len(answers[3]["ids"]) <= 200


def test_answers_know_their_loss_and_scores_weigh_it_by_tokens():
    task = translate()
    examples = ExampleList([task.encode(row) for row in ROWS])
    numbered = dict(predict_dataset(task, examples, EvaluationConfig(batch_rows=3)))
    found = task.compute_metrics([numbered[i] for i in range(4)], ROWS)
    assert {*found} == {"bleu", "bleu_lowercase", "chrf", "exact_match", "loss"}
    with torch.no_grad():
        assert found["loss"] == pytest.approx(task.training_step(batch(task)).loss.item(), rel=1e-5)
    assert "loss" not in task.compute_metrics(task.predict_batch(asked(task)), ROWS)


def test_perfect_answers_have_full_scores():
    task = translate()
    full = {"bleu": 100, "bleu_lowercase": 100, "chrf": 100, "exact_match": 1}
    assert task.compute_metrics([{"text": text} for text in GERMAN], ROWS) == pytest.approx(full)
    small = task.compute_metrics([{"text": text.lower()} for text in GERMAN], ROWS)
    assert small["bleu_lowercase"] == pytest.approx(100)
    assert small["bleu"] < 100
    assert small["exact_match"] == 0.25  # "vier"
    wrong = task.compute_metrics([{"text": "ganz anders als das"}] * 4, ROWS)
    assert wrong["exact_match"] == 0
    assert wrong["bleu"] < 10


def test_the_report_shows_and_draws_translations(tmp_path):
    task = translate(scale=2.0)
    with torch.no_grad():
        answers = task.predict_batch(batch(task))
    report = task.report(answers, ROWS, tmp_path)
    assert {*report} == {"examples", "signatures"}
    shown = [{**row, "answer": answer["text"]} for row, answer in zip(ROWS, answers, strict=True)]
    assert report["examples"] == shown[:3]
    assert "version:" in report["signatures"]["bleu"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["attention-1.png", "attention-2.png", "attention-3.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_without_attention_or_an_answer_nothing_is_drawn(tmp_path):
    path, task = tmp_path / "attention.png", translate(attention="none")
    assert task.plot(ROWS[0], {"ids": [5]}, path) is False
    assert translate().plot(ROWS[0], {"ids": []}, path) is False
    assert not path.exists()
    assert translate(own=True).plot(ROWS[0], {"ids": [5]}, path) is True
    assert path.read_bytes().startswith(b"\x89PNG")


def test_predict_gives_strings_in_their_order():
    task = translate(scale=2.0, end=4.0)
    texts = [*ENGLISH, "", *ENGLISH[::-1]]
    found = task.predict(texts)
    assert found == [
        answer["text"]
        for text in texts
        for answer in task.predict_batch(asked(task, [Row({"text": text}, "here")]))
    ]
    assert len({*found}) == 5
    assert task.predict(ENGLISH[0]) == found[:1]
    answer = task.predict_batch(batch(task))[0]
    assert {*answer} - task.hidden_keys == {"text", "n_best"}


def test_a_white_source_has_an_empty_translation():
    task = translate(Characters, scale=2.0)
    given = ["", " ", "\t", "\u00a0\u3000", ENGLISH[0]]
    *white, written = task.predict(given)
    assert white == [""] * 4
    assert written


@pytest.mark.parametrize("white", ["\u00a0", "\u202f", "\t"], ids=ascii)
def test_white_space_of_any_kind_is_translated_as_a_blank(white):
    task = translate(Subwords, scale=2.0)
    assert task.predict(ENGLISH[0].replace(" ", white)) == task.predict(ENGLISH[0])


@pytest.mark.parametrize(
    "options", [{"beam_size": 1}, {"beam_size": 4}, {"sample": True, "seed": 1}]
)
def test_a_stop_string_cuts_a_translation_and_ends_it(options):
    task = translate(scale=2.0, end=-2.0)
    whole = task.predict(ENGLISH, GenerationConfig(max_length=20, **options))
    stop = (" " + whole[0].split()[2],)
    config = GenerationConfig(max_length=20, stop=stop, **options)
    answers = task.predict_batch(asked(task), config=config)
    assert not any(stop[0] in answer["text"] for answer in answers)
    assert len(answers[0]["ids"]) < 20
    assert answers[0]["text"] == whole[0][: whole[0].index(stop[0])] or "beam" in str(options)


def test_a_repetition_penalty_makes_translations_repeat_themselves_less():
    task = translate(scale=2.0, end=-2.0)

    def repeated(penalty) -> int:
        config = GenerationConfig(beam_size=1, max_length=20, repetition_penalty=penalty)
        texts = [text.split() for text in task.predict(ENGLISH, config)]
        return sum(len(text) - len({*text}) for text in texts)

    assert repeated(1.0) > 2 * repeated(50.0)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", [{}, {"input_feeding": True}, {"init": "zero"}], ids=str)
def test_a_model_of_any_float_dtype_answers_and_trains(kind, options):
    task = translate(scale=0.3, **options).to(kind)
    assert len(task.predict(ENGLISH, GenerationConfig(beam_size=2, max_length=5))) == 4
    step = task.train().training_step(batch(task))
    step.loss.backward()
    assert torch.isfinite(step.loss)
    assert all(weight.grad.dtype == kind for weight in task.parameters())


def test_each_of_many_threads_gets_the_answers_of_its_own_config():
    task = translate(scale=2.0, end=1.0)
    configs = [GenerationConfig(beam_size=k, n_best=k, max_length=3 + k) for k in (1, 2, 3, 4)] * 6
    wanted = [task.predict(ENGLISH, config) for config in configs]
    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(lambda config: task.predict(ENGLISH, config), configs)]
    assert found == wanted
    assert task.config.generation == GenerationConfig()


def test_sampled_subwords_repeat_with_the_seed_and_when_a_training_goes_on(tmp_path, monkeypatch):
    words = ["tokenizer.kind=subwords", "tokenizer.size=80", "tokenizer.shared=false"]
    words += ["task.subword_sampling=0.1"]
    for name, *more in ("whole",), ("seed", "seed=2"), ("plain", "task.subword_sampling=0"):
        train(tmp_path / name, *words, *more, task="translate")
    whole, seed, plain = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "seed", "plain")
    )
    shared = "backbone.lstm.weight_hh_l0"  # of one shape, whatever the tokenizer learned
    assert not torch.equal(whole[shared], seed[shared])
    assert not torch.equal(whole[shared], plain[shared])
    stopped = tmp_path / "stopped"
    interrupt_and_resume(monkeypatch, stopped, *words, task="translate", at=9)  # in epoch 2
    assert same_weights(stopped, tmp_path / "whole")


@pytest.mark.parametrize("shared", [True, False])
def test_uncased_is_what_is_read_and_with_own_tokenizers_not_what_is_written(shared):
    wanted = TokenizerConfig(kind="subwords", size=80, uncased=True, nfkc=False, shared=shared)
    rows = [Row({"source": "A Bird", "target": "Ein Vogel"}, "here")] * 8
    processors = Translate.learn(rows, TranslateConfig(), wanted)
    assert processors["tokenizer"].uncased
    written = processors.get("target_tokenizer", processors["tokenizer"])
    assert written.decode(written.encode("Ein Vogel")) == ("ein vogel" if shared else "Ein Vogel")


def test_each_side_learns_its_tokenizer_from_its_own_texts(tmp_path, monkeypatch, capsysbinary):
    words = [WORDS, "tokenizer.shared=false", "train.epochs=1"]
    train(tmp_path / "run", *words, task="translate")
    task = zoo.load(tmp_path / "run")
    assert task.output_tokenizer is task.processors["target_tokenizer"]
    english, german = (
        {word for row in TOYS for word in row[side].lower().split()}
        for side in ("source", "target")
    )
    assert set(task.tokenizer.tokens[4:]) <= english
    assert set(task.output_tokenizer.tokens[4:]) <= german
    answer = predict(monkeypatch, capsysbinary, tmp_path / "run", f"text={BIRDS}")
    assert set(answer.split()) <= german


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a small training that has learned its rows."""
    folder = tmp_path_factory.mktemp("translate") / "run"
    dropouts = ["task.dropout", "backbone.input_dropout", "backbone.output_dropout"]
    still = [f"{name}=0" for name in [*dropouts, "train.patience", "train.warmup"]]
    train(folder, WORDS, "train.epochs=30", *still, task="translate")
    return folder


@pytest.fixture
def answered(model, monkeypatch, capsysbinary):
    """A function of settings and the lines `given`: the lines that mode=predict prints."""

    def run(*words, given=""):
        found = predict(monkeypatch, capsysbinary, model, *words, given=given)
        return found.splitlines()

    return run


def test_predict_answers_lines_rows_and_one_text(answered, tmp_path):
    assert answered(given=f"{BIRDS}\n\n{HOUSES}\n") == [VÖGEL, "", HÄUSER]
    rows = [{"source": HOUSES, "target": "not read"}, {"source": ""}, {"text": BIRDS}]
    given = f"input={write(tmp_path / 'in.jsonl', rows)}"
    found = [json.loads(line) for line in answered(given)]
    assert [row["translation"] for row in found] == [HÄUSER, None, VÖGEL]
    assert [{name: row[name] for name in rows[0] if name in row} for row in found[:2]] == rows[:2]
    assert answered(f"text={BIRDS}") == [VÖGEL]
    (tmp_path / "in.csv").write_text(f"source,target\n{BIRDS},\n")
    assert answered(f"input={tmp_path}/in.csv") == [
        "source,target,translation",
        f"{BIRDS},,{VÖGEL}",
    ]


def test_a_row_without_a_source_is_named(capsys, tmp_path, model):
    rows = write(tmp_path / "in.jsonl", [{"source": BIRDS}, {"quelle": BIRDS}])
    said = fails(capsys, "mode=predict", f"model={model}", f"input={rows}")
    assert said.endswith("in.jsonl:2: no column 'source'; there are: quelle")


def test_predict_as_json_gives_the_best_translations(answered):
    words = ["format=json", "generation.n_best=3"]
    found, empty = map(json.loads, answered(*words, given=f"{BIRDS}\n\n"))
    assert empty is None
    assert set(found) == {"text", "n_best"}
    assert found["text"] == found["n_best"][0]["text"] == VÖGEL
    assert len({each["text"] for each in found["n_best"]}) == 3
    scores = [each["score"] for each in found["n_best"]]
    assert scores == sorted(scores, reverse=True)
    (found,) = answered("format=json", given=BIRDS)
    assert len(json.loads(found)["n_best"]) == 1


def test_predict_draws_its_answers_where_a_folder_is_given(answered, tmp_path):
    out = tmp_path / "deep" / "out"
    answered(f"out={out}", given=f"{BIRDS}\n\n{HOUSES}\n")
    assert sorted(path.name for path in out.iterdir()) == ["answer-1.png", "answer-3.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


def test_evaluate_gives_the_figures_of_the_training(capsys, tmp_path, model):
    words = ["mode=evaluate", f"model={model}", *TOY, "device=cpu", "precision=fp32"]
    assert run.main([*words, f"out={tmp_path}"]) == 0
    expected = report(model)["test"]
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"bleu {expected['bleu']:.4f} " in printed
    assert report(tmp_path)["test"] == pytest.approx(expected)
    assert expected["bleu_lowercase"] > 60


def test_explain_prints_both_states_and_draws_gates_and_answer(capsys, tmp_path, model):
    assert run.main(["mode=explain", f"model={model}", *TOY]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"read from h_n, c_n\W+\(1, 6, 32\)", printed)
    assert "translate reads h_n, c_n: the decoder continues from both states" in printed
    assert not [*tmp_path.iterdir()]
    assert run.main(["mode=explain", f"model={model}", f"text={BIRDS}", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    for name in ("gates.png", "answer.png"):
        assert f": {tmp_path / name}\n" in printed
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_corpus_without_the_columns_names_no_cure_that_is_none(capsys, model):
    said = fails(capsys, "mode=evaluate", f"model={model}", "data=cldr", "data.form=documents")
    assert "no 'source' and no 'target', there are text, label" in said
    assert "data.source=COLUMN" not in said


def test_a_model_brings_its_task(capsys, model):
    said = fails(capsys, "mode=evaluate", f"model={model}", "task=classify")
    assert said == f"task=classify: {model} is a model of task=translate"
