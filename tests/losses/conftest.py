import pytest


@pytest.fixture(autouse=True, scope="session")
def quick_refusals():
    """Hundreds of processes are asked whether they convert a prediction: at five times each, not 129."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unmelt.degradations.predictions._TIMES_PROBED", 5)
        yield
