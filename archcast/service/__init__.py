"""The HTTP service: one answer function a route, a light frame around them, the page, jobs, and a Python client.

`answers.py` has what each route answers, as bytes from bytes; the client calls it in process, `app.py` over HTTP.
Needs the extra `service`.
"""
