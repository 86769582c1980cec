"""The starter specs are valid as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tightrope.base.errors import UsageError
from tightrope.specs.starter import SOURCES, starter
from tightrope.specs.store import examine


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("service", ["checkout", "a", "x" * 42])
def test_a_starter_is_valid_without_any_finding(tmp_path: Path, source: str, service: str) -> None:
    for name, text in starter(service, source).items():
        (tmp_path / name).write_text(text, "utf-8")
    specs, findings = examine([str(tmp_path)])
    assert findings == ()
    assert specs is not None
    (slo,) = specs.slos
    assert (slo.service, slo.step_s) == (service, 60)
    assert [condition.name for condition in slo.alert_policies[0].conditions] == [
        "page-1h",
        "page-6h",
        "ticket-1d",
        "ticket-3d",
    ]
    assert specs.policies[0].services == {service}


@pytest.mark.parametrize("service", ["", "Checkout", "a b", "x" * 43, "-a"])
def test_a_service_that_openslo_would_refuse_is_refused_at_once(service: str) -> None:
    with pytest.raises(UsageError, match="no name for a service"):
        starter(service)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UsageError, match="no starter"):
        starter("checkout", "datadog")
