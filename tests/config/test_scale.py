from tuna import assets
from tuna.config.scale import ASSETS, EMBEDDED


def test_the_embedded_names_are_those_of_the_assets() -> None:
    assert set(EMBEDDED) == set(assets.MODELS)
    assert assets.path("tiny").parent.parent == ASSETS
