"""Finding the files of models/ and data/."""

from __future__ import annotations

import pytest

from ketpredict import resources
from ketpredict.errors import DataError, SpecificationError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return an empty package folder and an empty checkout."""
    checkout = tmp_path / "checkout"
    package = checkout / "src" / "ketpredict"
    package.mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    monkeypatch.setattr(resources, "_CHECKOUT", checkout)
    return package, checkout


def put(folder, name):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("x", encoding="utf-8")
    return path


def test_files_of_the_checkout_are_found():
    assert resources.models_path("published.toml").is_file()
    assert resources.models_path("published.toml").parent == resources.models_folder()


def test_the_packaged_folder_comes_first(places):
    package, checkout = places
    in_checkout = put(checkout / "models", "a.toml")
    assert resources.models_path("a.toml") == in_checkout
    packaged = put(package / "_models", "a.toml")
    assert resources.models_path("a.toml") == packaged
    assert resources.models_folder() == package / "_models"


def test_a_file_only_in_the_checkout_is_still_found(places):
    package, checkout = places
    put(package / "_data", "a.csv")
    only = put(checkout / "data", "b.csv")
    assert resources.data_path("b.csv") == only


def test_a_folder_beside_an_installed_package_does_not_count(places):
    _, checkout = places
    put(checkout / "data", "a.csv")
    (checkout / "pyproject.toml").unlink()
    with pytest.raises(DataError, match=r"folder 'data' of ketpredict is missing: .*Install"):
        resources.data_path("a.csv")


def test_a_missing_file_lists_what_is_there(places):
    _, checkout = places
    for name in ("c.toml", "a.toml", "b.toml", "published.toml", "d.toml", "e.toml"):
        put(checkout / "models", name)
    with pytest.raises(SpecificationError) as caught:
        resources.models_path("publishd.toml")
    assert str(caught.value) == (
        "There is no 'publishd.toml' in 'models'. Did you mean 'published.toml'? There: a.toml, "
        "b.toml, c.toml, d.toml, e.toml and 1 more."
    )


def test_an_empty_folder(places):
    _, checkout = places
    (checkout / "data").mkdir()
    with pytest.raises(DataError, match=r"There is no 'a.csv' in 'data'. There: nothing."):
        resources.data_path("a.csv")


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "", "..", "sub/a.csv"])
def test_only_plain_names(name):
    with pytest.raises(DataError, match="is not the name of a file in 'data'"):
        resources.data_path(name)
