"""Every example and claim that the course puts to the test is settled by a cell that was really run."""

import json
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
CLAIMS = json.loads((NOTEBOOKS / "claims.json").read_text())
EXAMPLES = ["A1", "A2", "A3", "B1", "B2", "B3", "C1", "C2", "C3", "D1", "D2", "D3", "E1", "E2", "E3", "E4"]
MEMORY = [f"M{number}" for number in range(1, 16)]
FEEDING = [f"F{number}" for number in range(1, 7)]
TOOLS = [f"T{number}" for number in range(1, 7)]


def test_no_claim_is_missing():
    assert sorted(CLAIMS) == sorted(EXAMPLES + MEMORY + FEEDING + TOOLS)


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_is_settled_by_cells_that_were_run(claim):
    found = CLAIMS[claim]
    assert found["verdict"] in ("true", "partly", "false")
    assert found["claim"] and found["because"].endswith(".")
    assert found["cells"], "no lesson shows it"
    for lesson, ids in found["cells"].items():
        cells = {cell.id: cell for cell in nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4).cells}
        for one in ids:
            assert one in cells, f"{lesson} has no cell {one}"
            assert cells[one].cell_type == "code" and cells[one].outputs, f"{one} shows nothing"
