"""Middleware that gives every request an id and its route, for the inferences made while it is answered.

A module for each kind of application, imported by name; none of them imports a framework:

* `davy.integrations.fastapi` and `davy.integrations.starlette`: any ASGI application
* `davy.integrations.flask`: any WSGI application
* `davy.integrations.django`: Django, under WSGI and ASGI
"""
