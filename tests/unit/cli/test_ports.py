"""Where the servers listen that a person starts."""

import re

import pytest

from callsheet.cli.commands import receive
from callsheet.errors import UsageError
from callsheet.listener import listening, place_of
from callsheet.review import server as review


def test_the_receiver_and_the_review_have_ports_of_their_own():
    """One that is running does not keep the other from starting."""
    assert receive.DEFAULT_PORT != review.DEFAULT_PORT


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(host):
    """The message says which address, and what to do."""
    with listening(host, 0) as taken:
        refused = pytest.raises(
            UsageError, match=f"^{re.escape(place_of(taken))} cannot be used: .*--port name"
        )
        with refused, listening(host, taken.getsockname()[1]):
            pass


def test_a_server_that_may_listen_anywhere_takes_a_free_port():
    """As the review and the sandbox do, unless a person names the port."""
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with listening("127.0.0.1", port, any_port=True) as other:
            assert other.getsockname()[1] not in (0, port)
