from __future__ import annotations

import json
import queue
import signal
import socket
import threading
from contextlib import suppress

import pytest

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed: pip install 'sacvit[mqtt]'")
from mosquitto import Broker, needs_mosquitto
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from sacvit.bundle.errors import UsageError
from sacvit.runtime.events.destinations.destination import DeliveryError
from sacvit.runtime.events.destinations.mqtt import Mqtt

BODY = {"event": "label=nut", "id": "f" * 32}


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.send(signal.SIGCONT)
    broker.kill()


def subscribe(broker: Broker) -> tuple[Client, queue.Queue]:
    client, messages, is_ready = Client(CallbackAPIVersion.VERSION2), queue.Queue(), threading.Event()
    client.on_message = lambda _, __, message: messages.put(json.loads(message.payload))
    client.on_subscribe = lambda *_: is_ready.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("events", qos=1)
    assert is_ready.wait(10)
    return client, messages


@needs_mosquitto
def test_an_event_reaches_a_subscriber(broker):
    client, messages = subscribe(broker)
    sender = Mqtt(broker.url())
    sender.send(BODY, None)
    assert messages.get(timeout=10) == BODY
    sender.close()
    client.disconnect()
    client.loop_stop()


@needs_mosquitto
def test_after_a_broker_was_killed_the_next_attempt_connects_anew(broker):
    sender = Mqtt(broker.url())
    sender.send(BODY, None)
    broker.kill()
    with pytest.raises(DeliveryError):
        sender.send(BODY, None)
    broker.start()
    sender.send(BODY, None)
    sender.close()


@needs_mosquitto
def test_a_broker_that_does_not_acknowledge_is_no_delivery_and_its_message_is_not_sent_again_by_itself(broker):
    client, messages = subscribe(broker)
    sender = Mqtt(broker.url(), answer_s=0.2)
    sender.send({"id": "first"}, None)
    broker.send(signal.SIGSTOP)
    with pytest.raises(DeliveryError, match="did not acknowledge"):
        sender.send({"id": "second"}, None)
    broker.send(signal.SIGCONT)
    after = Mqtt(broker.url())
    after.send({"id": "third"}, None)
    got = []
    while not got or got[-1] != "third":
        got.append(messages.get(timeout=10)["id"])
    assert got in (["first", "second", "third"], ["first", "third"])
    for one in (sender, after):
        one.close()
    client.disconnect()
    client.loop_stop()


@needs_mosquitto
def test_a_broker_that_refuses_says_why(tmp_path):
    broker = Broker(tmp_path, anonymous=False)
    try:
        with pytest.raises(DeliveryError, match=r"refuses the connection: Not authorized"):
            Mqtt(broker.url().replace("//", "//me:wrong@")).send(BODY, None)
    finally:
        broker.kill()


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = Mqtt(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/events", answer_s=0.1)
        with pytest.raises(DeliveryError, match=r"did not accept the connection within 0\.1 s"):
            sender.send(BODY, None)


WELCOME = bytes.fromhex("20020000")  # CONNACK: accepted


@pytest.mark.parametrize(
    ("answer", "is_quick"),
    [(bytes.fromhex("4002ffff"), False), (bytes.fromhex("ff") * 64, False), (b"", True)],
    ids=["acknowledges another message", "nonsense", "hangs up"],
)
def test_a_broker_that_lies_is_no_delivery(answer, is_quick):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def lie() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
                connection.recv(4096)
                connection.sendall(WELCOME)
                connection.recv(4096)  # the message
                connection.sendall(answer)
                while answer and connection.recv(4096):  # until the client leaves
                    pass

        broker = threading.Thread(target=lie)
        broker.start()
        sender = Mqtt(f"mqtt://127.0.0.1:{server.getsockname()[1]}/events", answer_s=1e6 if is_quick else 0.2)
        with pytest.raises(DeliveryError, match=r"left|not currently connected|did not acknowledge"):
            sender.send(BODY, None)
        broker.join(10)
    assert not broker.is_alive()


def test_a_broker_that_is_not_there_is_no_delivery():
    with pytest.raises(DeliveryError, match="Connection refused"):
        Mqtt("mqtt://127.0.0.1:1/events").send(BODY, None)


def test_messages_do_not_show_a_password():
    assert Mqtt("mqtts://me:secret@host/a/b").shown == "mqtts://host:8883/a/b"


@pytest.mark.parametrize(
    "spec", ["mqtt://", "mqtt://host", "mqtt://host/", "mqtt://host/a/+", "mqtt://host:x/a", "mqtt:a"]
)
def test_an_address_with_a_mistake_is_refused(spec):
    with pytest.raises(UsageError, match="an address of MQTT is"):
        Mqtt(spec)
