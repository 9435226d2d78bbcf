import pytest
from captures import make_capture


@pytest.fixture
def capture():
    return make_capture()


@pytest.fixture
def causal_capture():
    return make_capture(causal=True)
