"""The routes of the server, in process."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from every_task import asked, toys, untrained
from starlette.testclient import TestClient

from zoo.config import ServeConfig
from zoo.serving import app as serving
from zoo.serving.app import create_app
from zoo.task import predict_rows

NAMES = "classify", "tag", "translate", "generate", "forecast"


def client_of(models, **options) -> TestClient:
    """A client of an app, by the name that its machine calls itself."""
    app = create_app(models, ServeConfig(**options), threads=1)
    return TestClient(app, base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="module")
def models():
    short = ["generation.max_length=8", "generation.seed=1"]
    return {
        name: untrained(name, *(short if name in ("translate", "generate") else []))
        for name in NAMES
    }


@pytest.fixture(scope="module")
def client(models):
    with client_of(models) as client:
        yield client


def serial(task, inputs, **options):
    """The answers to inputs, one at a time."""
    rows = [task._as_row(one) for one in inputs]
    found = [next(predict_rows(task, [row], **options)) for row in rows]
    return [{k: v for k, v in one.items() if k not in task.hidden_keys} for one in found]


def same(found, wanted) -> bool:
    """Whether answers are equal, probabilities up to rounding."""
    if isinstance(wanted, float):
        return found == pytest.approx(wanted, abs=1e-6)
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_predict(client, models, name):
    inputs = asked(models[name], toys(name)[:5])
    wanted = serial(models[name], inputs)
    found = client.post("/predict", json={"model": name, "inputs": inputs})
    assert (found.status_code, found.json()["model"]) == (200, name)
    assert same(found.json()["answers"], wanted)
    one = client.post("/predict", json={"model": name, "input": inputs[1]}).json()["answers"]
    assert same(one, wanted[1:2])


@pytest.mark.parametrize("name", ["classify", "tag"])
def test_an_answer_is_explained(client, models, name):
    text = asked(models[name], toys(name)[:1])[0]
    client.post("/predict", json={"model": name, "input": text})  # which leaves the model as it is
    found = client.post("/explain", json={"model": name, "input": text}).json()
    assert same(found["explanation"], json.loads(json.dumps(models[name].explain(text))))
    wrong = client.post("/explain", json={"model": name, "input": text, "target": "no such"})
    assert (wrong.status_code, [*wrong.json()]) == (422, ["error"])


def test_models_are_described(client, models):
    found = client.get("/models").json()["models"]
    assert [one["name"] for one in found] == [*models]
    assert found[0]["reads"] == "h_n"
    assert found[0]["labels"] == models["classify"].labels
    assert found[2]["generation"]["max_length"] == 8
    assert {"why", "parameters", "metric", "score", "input_columns", "example"} <= {*found[4]}


def events(response) -> list[tuple[str, dict]]:
    """The server-sent events of a response: name and data."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("name", ["translate", "generate"])
def test_a_text_is_streamed_in_pieces(client, models, name):
    text = asked(models[name], toys(name)[:1])[0]
    options = {"sample": True, "seed": 3, "max_length": 6}
    config = replace(models[name].config.generation, **options)
    response = client.post("/stream", json={"model": name, "input": text, "generation": options})
    *pieces, end = events(response)
    assert [data["text"] for _, data in pieces] == [*models[name].stream(text, config)]
    assert end == ("end", {})


def test_the_page_and_nothing_else_is_read_from_the_disk(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/static/index.html").text == page.text
    for name in ("..%2fapp.py", "..%2f..%2frun.py", "%2fetc%2fpasswd", "a%00", "page", ""):
        found = client.get(f"/static/{name}")
        assert (found.status_code, [*found.json()]) == (404, ["error"]), name


def test_openapi_knows_the_bodies_and_no_page_loads_scripts_from_elsewhere(client):
    found = client.get("/openapi.json").json()
    body = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert {"model", "input", "inputs", "top", "threshold", "generation"} == {
        *body["schema"]["properties"]
    }
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


BAD = {
    "no JSON": (400, b"{nope", "the body is no JSON"),
    "not UTF-8": (400, b'{"input": "\xff"}', "the body is no JSON"),
    "half a character": (400, b'{"input": "\\ud800"}', "the body is no JSON"),
    "deep": (400, b'{"input": ' + b"[" * 5000 + b"]" * 5000 + b"}", "the body is no JSON"),
    "a list": (422, b"[]", "body: "),
    "nothing": (422, b"{}", 'give one of "input" and "inputs"'),
    "both": (422, b'{"input": "a", "inputs": ["a"]}', 'give one of "input" and "inputs"'),
    "no inputs": (422, b'{"inputs": []}', "inputs: "),
    "a number": (422, b'{"inputs": ["a", 3]}', "inputs[1]: a text, an object or a list"),
    "a null": (422, b'{"inputs": [null]}', "inputs[0]: a text, an object or a list"),
    "a wrong row": (422, b'{"inputs": ["a", {"x": 1}]}', "inputs[1]: no column 'text'"),
    "a misspelt name": (422, b'{"imput": "a"}', "imput: not known here; there are: model, input"),
    "no such model": (404, b'{"model": "x", "input": "a"}', "model: there is no such one"),
    "a config": (422, b'{"input": "a", "generation": {"seed": 1}}', "generation: classify does"),
    "top": (422, b'{"input": "a", "top": 0}', "top: "),
    "many": (422, json.dumps({"inputs": ["a"] * 9}).encode(), "inputs: 9 are more than 8: send"),
    "long": (422, json.dumps({"input": "a" * 101}).encode(), "inputs[0]: 101 characters"),
    "a long list": (422, json.dumps({"input": ["a"] * 101}).encode(), "inputs[0]: 101 characters"),
}


@pytest.fixture(scope="module")
def small(models):
    limits = {"inputs": 8, "input_length": 100, "body_bytes": 20_000, "generated": 20, "beams": 4}
    with client_of({"classify": models["classify"]}, **limits) as client:
        yield client


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_has_one_line_with_the_cure(small, case):
    status, content, line = BAD[case]
    found = small.post("/predict", content=content, headers={"content-type": "application/json"})
    assert found.status_code == status, found.text
    assert [*found.json()] == ["error"]
    assert found.json()["error"].startswith(line), found.text
    assert "\n" not in found.json()["error"]
    assert serving.__file__.rpartition("/")[0] not in found.text
    assert len(found.text) < 500


def test_what_a_page_of_another_host_may_send_is_refused(client):
    plain = client.post("/predict", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    named = client.get("/models", headers={"host": "evil.example"})
    assert (named.status_code, [*named.json()]) == (400, ["error"])
    for host in ("localhost", "localhost:1", "[::1]:8000", "127.0.0.1"):
        assert client.get("/health", headers={"host": host}).status_code == 200
    origin = client.get("/models", headers={"origin": "http://evil.example"})
    assert not [name for name in origin.headers if name.startswith("access-control")]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(small, declared):
    content = b"x" * 20_001
    parts = content if declared else iter([content[:9000], content[9000:]])
    found = small.post("/predict", content=parts, headers={"content-type": "application/json"})
    assert (found.status_code, [*found.json()]) == (413, ["error"])
    assert found.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"max_length": 1001}, "generation.max_length=1001: at most 1000"),
        ({"beam_size": 17}, "generation.beam_size=17: at most 16"),
        ({"n_best": 17, "sample": True}, "generation.n_best=17: at most 16"),
        ({"beam": 2}, "generation.beam: no such setting; did you mean generation.beam_size?"),
        ({"temperature": 0}, "generation.temperature=0: "),
        ({"stop": ["x"] * 17}, "generation.stop: at most 16"),
        ({"n_best": 6}, "generation: n_best=6 needs a beam"),
    ],
)
def test_what_a_generation_may_cost_is_limited(client, given, line):
    body = {"model": "translate", "input": "a", "generation": given}
    for path in ("/predict", "/stream"):
        found = client.post(path, json=body)
        assert found.status_code == 422
        assert found.json()["error"].startswith(line)


def test_a_full_queue_is_told_with_the_time_of_another_try(models):
    with client_of({"classify": models["classify"]}, queue=1) as client:
        worker = client.app.state.models.find(None)
        worker.waiting = 1
        for path in ("/predict", "/explain"):
            found = client.post(path, json={"input": "a"})
            assert (found.status_code, found.headers["retry-after"]) == (503, "1")
            assert found.json()["error"].endswith("already: try again")


def test_counters_are_shown(client):
    client.post("/predict", json={"model": "classify", "inputs": ["a", "b"]})
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'zoo_answers_total{model="classify"}' in text
    assert 'zoo_responses_total{route="/predict",status="200"}' in text
    assert 'zoo_responses_total{route="other",status="404"}' in text
    assert 'zoo_batch_inputs_bucket{le="2.0",model="classify"}' in text
    assert 'zoo_queue{model="classify"} 0.0' in text
    assert "nowhere" not in text
