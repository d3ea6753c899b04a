from __future__ import annotations

import logging
import warnings

from lawm.third_party_noise import silence_third_party_noise

LOGGER = logging.getLogger("lightning.pytorch.utilities.rank_zero")


def test_adverts_are_dropped_and_other_remarks_stay(caplog):
    silence_third_party_noise()
    with caplog.at_level(logging.INFO, LOGGER.name):
        LOGGER.info("💡 Tip: For seamless logging, try litlogger")
        LOGGER.info("something about the run")
    assert [record.getMessage() for record in caplog.records] == ["something about the run"]


def test_a_second_call_adds_nothing():
    silence_third_party_noise()
    filters = list(LOGGER.filters)
    silence_third_party_noise()
    assert filters == LOGGER.filters


def test_other_warnings_are_still_seen():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_third_party_noise()
        warnings.warn("something about the run", UserWarning, stacklevel=1)
    assert len(caught) == 1
