"""Events as JSON messages of MQTT, with quality of service 1: the broker acknowledges each one."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ....bundle.errors import UsageError
from .destination import DeliveryError, DestinationKind, Limits

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORTS = {"mqtt": 1883, "mqtts": 8883}
ANSWER_S = 10.0  # for the broker to accept a connection, and to acknowledge a message
STEP_S = 0.1  # between looks at the connection: a message that waits for its acknowledgement does not notice its end
HELP = "mqtt://HOST/TOPIC or mqtts://USER:PASSWORD@HOST:PORT/TOPIC"


class Mqtt:
    """See `Destination`. A connection lasts until it fails; a new one begins without the messages of the old one, so that
    no message is sent again unless `send` is called again."""

    wants_picture = False

    def __init__(self, spec: str, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        import paho.mqtt.client  # noqa: F401  # a missing package is reported before the run

        try:
            parts = urlsplit(spec)
            self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise UsageError(f"--to: an address of MQTT is {HELP}") from None
        self._topic = unquote(parts.path.removeprefix("/"))
        if not self._host or not self._topic or set("+#\0") & set(self._topic):
            raise UsageError(f"--to: an address of MQTT is {HELP}; a topic has none of + and #")
        self._is_safe = parts.scheme == "mqtts"
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self.shown = f"{parts.scheme}://{self._host}:{self._port}/{self._topic}"
        self._client: Client | None = None

    def send(self, body: dict[str, Any], picture: bytes | None) -> None:
        try:
            client = self._connected()
            message = client.publish(self._topic, json.dumps(body), qos=1)
            until_s = time.monotonic() + self._answer_s
            while not message.is_published() and client.is_connected() and time.monotonic() < until_s:
                message.wait_for_publish(min(STEP_S, self._answer_s))
            is_acknowledged, is_lost = message.is_published(), not client.is_connected()
        except (OSError, ValueError, RuntimeError) as reason:  # the last two are paho's, for a connection that is gone
            self.close()
            raise DeliveryError(f"{getattr(reason, 'strerror', None) or reason}") from None
        except BaseException:
            self.close()
            raise
        if not is_acknowledged:
            self.close()
            limit = "" if is_lost else f" within {self._answer_s:g} s"
            raise DeliveryError(f"the broker {'left' if is_lost else 'did not acknowledge the message'}{limit}")

    def _connected(self) -> Client:
        """The open connection, or a new one. Raises OSError where the broker refuses it or does not answer in time."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        client = Client(CallbackAPIVersion.VERSION2, clean_session=True, reconnect_on_failure=False)
        answered, refusals = threading.Event(), []

        def on_connect(_: Any, __: Any, ___: Any, code: Any, ____: Any = None) -> None:
            if code.is_failure:
                refusals.append(str(code))
            answered.set()

        client.on_connect = on_connect
        client.connect_timeout = self._answer_s
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._is_safe:
            client.tls_set()
        client.connect(self._host, self._port, keepalive=20)
        self._client = client
        client.loop_start()
        if not answered.wait(self._answer_s):
            raise OSError(f"the broker did not accept the connection within {self._answer_s:g} s")
        if refusals:
            raise OSError(f"the broker refuses the connection: {refusals[0]}")
        return client

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None


def open_mqtt(spec: str, limits: Limits) -> Mqtt:
    return Mqtt(spec)


MQTT = DestinationKind(HELP, tuple(PORTS), open_mqtt)
