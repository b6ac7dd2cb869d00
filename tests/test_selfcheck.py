"""labkit.device().check(): six tiny trials, and what it says of them."""

import pytest

import labkit
from labkit import selfcheck


@pytest.fixture
def gpu():
    """A device that trials cannot run on here."""
    here = labkit.device()
    if here.kind == "gpu":
        pytest.skip("there is a GPU here")
    return selfcheck.Device("gpu", "NVIDIA T4", "GPU_0_bfc", here.memory_bytes)


def test_everything_holds_on_the_stand_in(capsys):
    check = labkit.device().check()
    lines = capsys.readouterr().out.splitlines()
    assert check.ok, lines
    assert [line for line in lines if line.startswith("✓ ")] == [str(finding) for finding in check.findings]
    assert len(check.findings) == 6
    assert repr(check).startswith("All hold on this device: CPU stand-in, tensorflow")


def test_what_does_not_hold_is_told_with_what_was_measured(monkeypatch):
    monkeypatch.setattr(selfcheck, "WEIGHTS", selfcheck.WEIGHTS + 256)
    here = labkit.device()
    finding = selfcheck._finding("claim", selfcheck._by_category, here)
    assert finding.status == "wrong" and str(selfcheck.WEIGHTS - 256) in finding.advice
    said = repr(selfcheck.DeviceCheck(here, [finding]))
    assert "1 of 1 do not hold" in said and "Please report" in said


def test_a_trial_on_another_device_does_not_count(gpu):
    finding = selfcheck._finding("claim", selfcheck._fits, gpu)
    assert finding.status == "wrong" and "ran on the cpu" in finding.advice


def test_on_a_gpu_the_report_is_asked_for_even_if_all_holds(gpu):
    said = repr(selfcheck.DeviceCheck(gpu, [selfcheck.Finding("fine", "claim")]))
    assert "All hold on this device: NVIDIA T4" in said and "/issues/new" in said


def test_what_the_kit_refuses_is_a_finding_too(monkeypatch):
    monkeypatch.setattr(selfcheck, "LIMIT", 2**60)
    finding = selfcheck._finding("claim", selfcheck._fits, labkit.device())
    assert finding.status == "wrong" and "more than this machine has" in finding.advice
