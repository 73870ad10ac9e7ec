"""The notebooks: stored executed and clean, and they still run, here with few draws."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FEW = {"DRAWS": 100, "TUNE": 150, "SEED": 2}


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_first_notebook():
    assert "first_fit.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_executed_and_clean(path):
    notebook = read(path)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    texts = [output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
             for output in outputs]  # fmt: skip
    assert not [text for text in texts if re.search(r"(/\w+){2,}/|[A-Z]:\\", text)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_parameters_first_and_asserts_convergence(path):
    notebook = read(path)
    assert tagged(notebook, "parameters") == code_cells(notebook)[:1]
    assert any("assert not" in cell.source and "problems" in cell.source
               for cell in tagged(notebook, "full-draws"))  # fmt: skip
    assert not [cell for cell in code_cells(notebook) if re.search(r"^\s*def ", cell.source, re.M)]


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_few_draws(path):
    notebook = read(path)
    (parameters,) = tagged(notebook, "parameters")
    for name, value in FEW.items():
        parameters.source, count = re.subn(
            rf"^{name} = .*$", f"{name} = {value}", parameters.source, flags=re.M
        )
        assert count == 1, name
    demanding = tagged(notebook, "full-draws")  # convergence cannot hold with so few draws
    notebook.cells = [cell for cell in notebook.cells if cell not in demanding]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    last = [cell for cell in code_cells(notebook) if cell.outputs][-1]
    assert last.outputs[0].output_type in ("execute_result", "display_data")
