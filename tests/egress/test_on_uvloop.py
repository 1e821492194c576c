"""The loop that a server runs on dials, shakes hands and gives up as the standard one does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import uvloop

from egress import test_http, test_stream
from egress.outside import Certificates, Manner, Noted, answers, drip, endless, midway, silent
from wellkeep.egress.errors import Trouble

Trial = Callable[[Certificates, Noted], Awaitable[None]]
TRIALS: tuple[Trial, ...] = (
    test_http.test_a_place_is_reached_by_its_name_over_tls,
    test_http.test_a_redirect_is_an_answer_and_leads_nowhere,
    test_http.test_a_server_without_tls_is_not_spoken_to,
    test_http.test_a_name_that_leads_elsewhere_the_second_time_is_refused,
    test_http.test_a_place_that_hangs_up_between_two_requests_is_dialled_again,
    test_http.test_many_requests_at_once_over_few_connections,
    test_http.test_a_place_by_its_address_alone,
    test_stream.test_a_stream_over_tls_is_the_place_s,
    test_stream.test_the_next_address_is_tried_where_one_takes_no_connection,
    test_stream.test_nobody_takes_the_connection,
    test_stream.test_old_tls_is_refused,
)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.__name__)
def test_as_on_the_standard_loop(trial: Trial, certificates: Certificates, noted: Noted) -> None:
    async def tried() -> None:
        await trial(certificates, noted)

    uvloop.run(tried())


@pytest.mark.parametrize(
    ("manner", "trouble"),
    [
        (silent, Trouble.TIMED_OUT),
        (drip, Trouble.TIMED_OUT),
        (endless, Trouble.TOO_LARGE),
        (midway, Trouble.BROKEN_OFF),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n" + bytes(65_537)), Trouble.TOO_LARGE),
    ],
)
def test_who_answers_badly_is_left_in_time(
    manner: Manner, trouble: Trouble, certificates: Certificates, noted: Noted
) -> None:
    uvloop.run(test_http.test_who_answers_badly_is_left_in_time(manner, trouble, certificates, noted))


def test_a_handshake_that_never_ends_is_left(noted: Noted) -> None:
    uvloop.run(test_stream.test_a_handshake_that_never_ends_is_left(noted))
