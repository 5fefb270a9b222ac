"""At most once: what is sent again and what is not, what callers are told of it, and how much may wait."""

from __future__ import annotations

import pytest

from tests.proto.links.frame_link import FrameLinks
from tests.proto.world import World, config, echo, ready
from thalovant_proto import events as e
from thalovant_proto.carrier import CloseKind
from thalovant_proto.client.send_queue import WINDOW
from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.failures import FailureKind
from thalovant_proto.outcomes import AskEnded, AskFailed, AskFault, Delivery, SendFailed, Sent, SessionState


def silent(generation: int = 3, **options: object) -> World:
    """A client that is connected to a hub which says nothing by itself."""
    world = ready(generation, **options)
    world.hub.answer = lambda event: ()
    return world


def receipting(**options: object) -> World:
    """The same, over a link that tells what the next hop took, one frame at a time."""
    return silent(links=FrameLinks(window=1, **options))


def status(number: int = 0) -> e.Bus:
    """A message that is no utterance."""
    return e.Bus(type="status", data={"number": number})


def sent(world: World) -> list[tuple[int, Delivery]]:
    """What was told of messages that left."""
    return [(one.token, one.delivery) for one in world.got(Sent)]


def failed(world: World) -> list[tuple[int, Delivery]]:
    """What was told of those that did not, or that nobody knows of."""
    return [(one.token, one.delivery) for one in world.got(SendFailed)]


def texts(world: World) -> list[str]:
    """What the hub would have executed, in order."""
    return [utterance.text for utterance in world.hub.utterances()]


# --- over WSS, which gives no receipts ---


@pytest.mark.parametrize("receipts", [False, True])
def test_sent_messages_are_told(receipts):
    """`Sent` names the token, once; over WSS nobody knows more, with a receipt the next hop has it."""
    world = receipting() if receipts else silent()

    tokens = [world.stack.send(status(number), world.now) for number in range(3)]
    assert sent(world) == []
    world.drive()

    assert sent(world) == [(token, "yes" if receipts else "unknown") for token in tokens]


def test_drained_utterance_is_not_sent_again():
    """Delivery unknown: the ask fails with the link, and the hub hears it at most once."""
    world = silent()
    world.ask(e.Utterance(text="open the door"))

    world.lose()

    (one,) = world.got(AskFailed)
    assert (one.fault, one.delivery, one.failure.kind) == (AskFault.LINK, "unknown", FailureKind.LOST)
    assert texts(world) == ["open the door"]


@pytest.mark.parametrize("queued", [0, 3])
def test_what_is_in_our_buffer_is_sent_after_reconnect(queued):
    """Delivery no: nothing left this side, so it goes out on the next link, in the order in which it was given."""
    world = ready()
    world.hears = False  # nobody fetches what is to be sent
    for number in range(3):
        world.stack.ask(e.Utterance(text=str(number)), world.now)
    world.drive()

    world.hub.listening = False
    world.lose()
    for number in range(queued):
        world.stack.ask(e.Utterance(text=str(3 + number)), world.now)
    world.hub.listening = world.hears = True
    world.advance(1)

    assert texts(world) == [str(number) for number in range(3 + queued)]
    assert world.got(AskFailed) == []


def test_fault_of_the_hub_while_messages_are_queued():
    """The link ends before it had them: they leave on the next one."""
    world = silent()
    peer = world.hub.peer
    peer.send(status(), world.now)
    peer.data_to_send()  # lost on the way: the next frame does not open
    peer.send(status(), world.now)

    token = world.stack.send(status(1), world.now)
    world.stack.ask(e.Utterance(text="x"), world.now)
    world.stack.receive_data(peer.data_to_send(), world.now)
    world.drive().advance(1)

    assert (failed(world), world.got(AskFailed)) == ([], [])
    assert (sent(world)[0], texts(world), len(world.dials)) == ((token, "unknown"), ["x"], 2)


def test_unseen_loss_is_unknown():
    """The network swallows it and tells nobody: the ping's deadline ends the link, and the ask with it."""
    world = silent()
    world.wire.breaks(1, silently=True)

    world.stack.ask(e.Utterance(text="into the void"), world.now, timeout=60)
    world.drive().advance(36)

    assert [(one.fault, one.delivery) for one in world.got(AskFailed)] == [(AskFault.LINK, "unknown")]
    assert (texts(world), world.stack.state) == ([], SessionState.READY)


# --- over links with receipts ---


@pytest.mark.parametrize("by", ["loss", "fault"])
def test_what_the_link_names_as_unsent_is_sent_again(by):
    """One message at a time is under way: that one is unknown, the others go out on the next session.

    The same if it is us who end the link, for a fault of the hub.
    """
    links = FrameLinks(window=1)
    world = silent(links=links)
    links.hubs[-1].receipting = False
    tokens = [world.stack.send(status(number), world.now) for number in range(3)]
    world.drive()
    assert sent(world) == []

    if by == "loss":
        world.lose()
    else:
        peer = world.hub.peer
        peer.send(status(), world.now)
        peer.data_to_send()
        peer.send(status(), world.now)
        world.drive()

    assert failed(world) == [(tokens[0], "unknown")]
    assert sent(world) == [(token, "yes") for token in tokens[1:]]
    assert [event.data["number"] for event in world.hub.heard if isinstance(event, e.Bus)] == [0, 1, 2]


@pytest.mark.parametrize("receipted", [True, False])
def test_ask_of_a_lost_link_is_told_once(receipted):
    """`yes` with a receipt: nobody answers, and it is not sent again. There is no `SendFailed` beside it."""
    world = receipting()
    world.links.hubs[-1].receipting = receipted
    world.ask(e.Utterance(text="x"))

    world.lose()

    assert [one.delivery for one in world.got(AskFailed)] == ["yes" if receipted else "unknown"]
    assert (texts(world), failed(world)) == (["x"], [])


def test_link_has_no_more_than_it_can_use():
    """Beyond the window messages wait here, where they can be taken back, and follow as receipts come."""
    links = FrameLinks(window=1)
    world = silent(links=links)
    links.hubs[-1].receipting = False
    tokens = [world.stack.send(status(number), world.now) for number in range(WINDOW + 2)]
    world.drive()

    assert world.stack.cancel(tokens[-1]) == "no"
    assert world.stack.cancel(tokens[-3]) == "unknown"
    world.lose()

    assert failed(world) == [(tokens[0], "unknown")]
    assert [token for token, _ in sent(world)] == [*tokens[1:-3], tokens[-2]]


# --- opt-in retry ---


def test_idempotent_asks_are_sent_again_with_the_same_request_id():
    """Opt-in: the second session hears the same request id, before what was asked later."""
    world = silent(idempotent=True)
    world.ask(e.Utterance(text="what time is it"))

    world.hub.listening = False
    world.lose()
    world.stack.ask(e.Utterance(text="and now"), world.now)
    world.hub.answer, world.hub.listening = echo, True
    world.advance(1)

    heard = [utterance.request_id for utterance in world.hub.utterances()]
    assert texts(world) == ["what time is it", "what time is it", "and now"]
    assert heard[0] == heard[1] != heard[2]
    assert (len(world.got(AskEnded)), world.got(AskFailed)) == (2, [])


def test_idempotent_sends_are_not_sent_again():
    """The promise is about asks, whose caller waits; the others were told `Sent`."""
    world = silent(idempotent=True)
    world.send(e.Utterance(text="once"))

    world.lose()

    assert texts(world) == ["once"]


@pytest.mark.parametrize(("heard", "handled"), [(e.SPEAK, False), (e.UTTERANCE_HANDLED, True)])
def test_idempotent_ask_that_was_answered_is_not_sent_again(heard, handled):
    """Once anything was heard it did run: the reply is what was heard."""
    world = silent(idempotent=True)
    world.ask(e.Utterance(text="x"))
    world.hub.says(e.bus(type=heard, data={"utterance": "half"}, context={}), world.now)
    world.drive().lose()

    (ended,) = world.got(AskEnded)
    assert (ended.handled, texts(world)) == (handled, ["x"])


def test_idempotent_ask_that_waits_for_its_retry_is_not_certain():
    """It may have run the first time: its timeout says `unknown`, also when the second try never left."""
    world = silent(idempotent=True)
    world.ask(e.Utterance(text="x"), timeout=5)
    world.hub.listening = False
    world.lose().advance(6)

    (one,) = world.got(AskFailed)
    assert (one.fault, one.delivery) == (AskFault.TIMEOUT, "unknown")


def test_retry_that_comes_back_unsent_undoes_nothing():
    """The second try never left, but the first did, and was receipted."""
    links = FrameLinks()
    world = silent(1, links=links, idempotent=True)
    ask = world.ask(e.Utterance(text="x"))

    links.window, links.receipting = 2, False  # the handshake's two frames, and no more
    world.lose()
    assert world.stack.state is SessionState.READY
    world.hub.listening = False
    world.lose()

    assert (world.stack.cancel(ask), texts(world)) == ("yes", ["x"])


def test_closing_session_sends_nothing_again():
    """Who closes does not want retries."""
    world = silent(idempotent=True)
    world.ask(e.Utterance(text="x"))

    world.stack.close(world.now)
    world.advance(3)

    assert (texts(world), world.stack.state) == (["x"], SessionState.CLOSED)
    assert [one.fault for one in world.got(AskFailed)] == [AskFault.LINK]


# --- giving up ---


def test_ask_that_timed_out_in_the_queue_is_never_sent():
    """Its caller was told that nothing was sent, and may have said it another way."""
    world = silent()
    world.hub.listening = False
    world.lose()
    kept = world.stack.send(status(), world.now)
    world.stack.ask(e.Utterance(text="too late"), world.now, timeout=2)
    world.stack.ask(e.Utterance(text="patient"), world.now, timeout=20)
    world.advance(3)
    assert [(one.fault, one.delivery) for one in world.got(AskFailed)] == [(AskFault.TIMEOUT, "no")]

    world.hub.listening = True
    world.advance(1)

    assert texts(world) == ["patient"]
    assert sent(world)[0][0] == kept


@pytest.mark.parametrize("lost", [False, True])
def test_ask_that_timed_out_behind_a_full_socket_is_never_sent(lost):
    """The link has nothing that its socket does not take, so what waits behind another message can be taken back."""
    world = silent()
    world.hears = False
    ask = world.stack.ask(e.Utterance(text="x"), world.now, timeout=2)
    world.advance(3)

    assert [one.delivery for one in world.got(AskFailed)] == ["no"]
    assert world.stack.cancel(ask) is None  # it has had its end
    if lost:
        world.lose()
    world.hears = True
    world.advance(1)

    assert (texts(world), world.stack.state, sent(world)) == ([], SessionState.READY, [])


@pytest.mark.parametrize(("heard", "delivery"), [([], "unknown"), ([e.Speak(text="half")], "yes")])
def test_cancelled_ask_is_silent(heard, delivery):
    """Nothing is told of an ask that was given up; how far it came is the answer, and speech proves that it ran."""
    world = silent()
    ask = world.ask(e.Utterance(text="never mind"))
    for message in heard:
        world.says(message)

    assert world.stack.cancel(ask) == delivery
    world.advance(60)

    assert world.got(AskFailed) + world.got(AskEnded) == []
    assert world.stack.cancel(ask) is None


@pytest.mark.parametrize("kind", ["ask", "send"])
def test_cancelled_before_it_left_is_not_sent(kind):
    """A queued message that is given up never travels, and is told of nowhere."""
    world = World()
    world.stack.open(world.now)
    token = getattr(world.stack, kind)(e.Utterance(text="oops"), world.now)

    assert world.stack.cancel(token) == "no"
    world.drive().advance(20)

    assert (texts(world), sent(world), failed(world)) == ([], [], [])


@pytest.mark.parametrize("lost", [False, True])
def test_cancelled_behind_a_full_socket_is_not_sent(lost):
    """Taken back for good, and the link is as it was."""
    world = silent()
    world.hears = False
    token = world.stack.send(e.Utterance(text="x"), world.now)
    kept = world.stack.send(e.Utterance(text="y"), world.now)

    assert world.stack.cancel(token) == "no"
    if lost:
        world.lose()
    world.hears = True
    world.advance(1)

    assert (texts(world), sent(world), failed(world)) == (["y"], [(kept, "unknown")], [])
    assert len(world.dials) == 1 + lost


def test_cancelled_without_a_receipt_is_not_sent_on_the_next():
    """Given up is given up: a link that dies with it brings nothing back."""
    world = receipting(receipting=False)
    token = world.send(e.Utterance(text="x"))
    assert world.stack.cancel(token) == "unknown"

    world.lose()

    assert (sent(world), failed(world)) == ([], [])


# --- bounds ---


def test_queue_is_bounded():
    """Messages that wait to be sent have a limit; the caller is told at once, and nothing has changed."""
    world = World(client=config(queue=2))
    world.hub.answer = echo
    world.hub.listening = False
    world.stack.open(world.now)
    world.stack.send(e.Utterance(text="1"), world.now)
    world.stack.ask(e.Utterance(text="2"), world.now)

    with pytest.raises(LocalProtocolError, match="2 messages"):
        world.stack.send(e.Utterance(text="3"), world.now)
    with pytest.raises(LocalProtocolError, match="2 messages"):
        world.stack.ask(e.Utterance(text="3", context={"request_id": "r"}), world.now)

    world.hub.listening = True
    world.drive()
    world.ask(e.Utterance(text="4", context={"request_id": "r"}))
    assert texts(world) == ["1", "2", "4"]


def test_queue_is_bounded_while_nobody_reads():
    """A socket that takes nothing: the queue gets its limit, then the caller is told."""
    world = silent(queue=5)
    world.hears = False

    for number in range(5):
        world.stack.send(status(number), world.now)
    with pytest.raises(LocalProtocolError, match="already wait"):
        world.stack.send(status(), world.now)

    world.hears = True
    world.drive()
    assert len(sent(world)) == 5


def test_session_that_stops_tells_what_did_not_travel():
    """Every message has an end: what waited is `no`, with the reason. A partial reply is a reply, not handled."""
    world = silent(auto_reconnect=False)
    heard = world.ask(e.Utterance(text="long story", context={"request_id": "r"}))
    world.says(e.Speak(text="once", context={"request_id": "r"}))
    world.hears = False
    token = world.stack.send(status(), world.now)
    ask = world.stack.ask(e.Utterance(text="x"), world.now)

    world.lose()

    assert world.stack.state is SessionState.FAILED
    assert failed(world) == [(token, "no")]
    (one,) = world.got(AskFailed)
    assert (one.ask, one.delivery, one.failure.kind) == (ask, "no", FailureKind.LOST)
    assert [(one.ask, one.handled, len(one.pieces)) for one in world.got(AskEnded)] == [(heard, False, 1)]


def test_post_that_the_hub_did_not_know_is_sent_again():
    """HTTPS 409 to the very request: the link names it as unsent, and so the hub cannot have run it."""
    links = FrameLinks(window=2, receipting=False)  # the handshake's two frames, and no more
    world = ready(1, links=links)
    world.ask(e.Utterance(text="x"))

    links.window = None
    links.hubs[-1].end(CloseKind.FORGOTTEN, code=409)
    world.drive()

    assert (texts(world), world.texts()) == (["x"], [["echo: x"]])
