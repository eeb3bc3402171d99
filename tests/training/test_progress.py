"""The progress of a training: the bar's numbers and the line after an epoch."""

import logging

import pytest

from zoo.training.progress import Bar, Progress


def test_the_bar_counts_rows_of_all_epochs_and_averages_the_loss():
    with Bar(epochs=4, rows=100) as bar:
        bar.update(Progress(epoch=2, rows=50, loss=30.0, size=20, seconds=2.0, tokens=5000))
        (shown,) = bar.bar.tasks
    assert (shown.completed, shown.total) == (250, 400)
    assert shown.description == "epoch 3/4"
    assert shown.fields["loss"] == 1.5
    assert shown.fields["speed"] == 2.5  # thousand tokens per second


def test_the_bar_divides_by_nothing_before_the_first_batch():
    with Bar(epochs=1, rows=10) as bar:
        bar.update(Progress())
        (shown,) = bar.bar.tasks
    assert (shown.completed, shown.fields["loss"], shown.fields["speed"]) == (0, 0.0, 0.0)


@pytest.mark.parametrize("best", [False, True])
def test_an_epoch_is_one_line(caplog, best):
    entry = {"epoch": 2, "loss": 0.5, "seconds": 3.6, "tokens_per_second": 12340}
    entry["valid"] = {"accuracy": 0.875, "loss": 0.25}
    with caplog.at_level(logging.INFO, "zoo"):
        Bar(epochs=3, rows=10).epoch(entry, "accuracy", best)
    line = "epoch 2/3  loss 0.5000  valid accuracy 0.8750, loss 0.2500  12.3 k tokens/s  4 s"
    assert caplog.messages == [line + ("  best" if best else "")]


def test_a_task_without_a_loss_shows_its_metric_alone(caplog):
    entry = {"epoch": 1, "loss": 1.0, "seconds": 1.0, "tokens_per_second": 1000}
    entry["valid"] = {"perplexity": 7.0}
    with caplog.at_level(logging.INFO, "zoo"):
        Bar(epochs=1, rows=10).epoch(entry, "perplexity", False)
    assert caplog.messages == [
        "epoch 1/1  loss 1.0000  valid perplexity 7.0000  1.0 k tokens/s  1 s"
    ]
