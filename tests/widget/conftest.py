import ipywidgets
import pytest
from captures import make_capture


def pytest_report_header():
    return f"ipywidgets {ipywidgets.__version__}"


@pytest.fixture
def capture():
    return make_capture()


@pytest.fixture
def causal_capture():
    return make_capture(causal=True)
