"""`mode=serve`: models behind HTTP.

    server.py       uvicorn with limits on connections, and a graceful stop
    connections.py  one connection: closed when it is idle
    guard.py        one request: its host, its body, its time; counted
    app.py          the routes
    requests.py     JSON bodies become checked inputs
    worker.py       one thread per model; requests that arrive together form a batch
    metrics.py      counters for Prometheus
    page/           the page of GET /

The packages of the extra `[serve]` are imported by `app` and `server`.
"""
