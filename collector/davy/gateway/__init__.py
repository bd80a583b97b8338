"""The gateway: HTTP to log, signed media, metrics and the pages of `davy up`."""

from davy.gateway.app import make_app
from davy.gateway.media import media_url, open_media
from davy.gateway.serve import GatewayTarget, HealthTarget, HttpRole

__all__ = ["GatewayTarget", "HealthTarget", "HttpRole", "make_app", "media_url", "open_media"]
