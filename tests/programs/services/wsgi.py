"""A plain WSGI application for gunicorn's forked workers."""


def render(count):
    return "".join("<li>%d</li>" % (number * number) for number in range(count))


def app(environ, start_response):
    body = render(1500).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
