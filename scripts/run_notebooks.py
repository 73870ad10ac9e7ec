"""Run the notebooks of ``notebooks/`` as they stand and store them with their outputs.

    uv run python scripts/run_notebooks.py

Paths of the machine are taken out of what the cells print.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_PLACE = re.compile(r"\S*ipykernel_\d+\S*?\.py:\d+: ")
SECONDS = 600


def run(notebook: Any) -> Any:
    """Return the notebook executed, with nothing of this machine in it."""
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = _PLACE.sub("", output["text"])
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return notebook


def main() -> None:
    """Run and store every notebook."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(nbformat.read(path, as_version=4)), path)
        print(path.name)


if __name__ == "__main__":
    main()
