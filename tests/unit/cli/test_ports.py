"""Where the servers listen that a person starts."""

import socket
from contextlib import closing

import pytest

from callsheet.cli.commands import receive
from callsheet.errors import UsageError
from callsheet.review import server as review


def test_the_receiver_and_the_review_have_ports_of_their_own():
    """One that is running does not keep the other from starting."""
    assert receive.DEFAULT_PORT != review.DEFAULT_PORT


@pytest.mark.parametrize("listening", [receive.listening, review._listening])
def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(listening):
    """The message says which address, and what to do."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        refused = pytest.raises(UsageError, match=f"127.0.0.1:{port} cannot be used: .*--port name")
        with refused, listening("127.0.0.1", port):
            pass
