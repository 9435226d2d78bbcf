import pytest
from captures import make_capture

from attnwidget import AttentionWidget
from attnwidget.widget import cells


class Events:
    def __init__(self):
        self.callbacks = {}

    def register(self, name, callback):
        self.callbacks[name] = callback


class Kernel:
    def __init__(self):
        self.cell = None

    def get_parent(self, channel):
        return {"metadata": {"cellId": self.cell}}


class Shell:
    def __init__(self):
        self.events, self.kernel = Events(), Kernel()

    def run(self, cell, code):
        self.kernel.cell = cell
        self.events.callbacks.get("pre_run_cell", lambda: None)()
        result = code()
        self.events.callbacks.get("post_run_cell", lambda: None)()
        return result


@pytest.fixture
def shell(monkeypatch):
    shell = Shell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    cells.cell_widgets()
    return shell


def displayed():
    view = AttentionWidget(make_capture())
    view._repr_mimebundle_()
    return view


def closed(view):
    return view._capture is None


def test_running_a_cell_again_closes_what_it_showed(shell):
    first = shell.run("a", displayed)
    assert not closed(first)
    second = shell.run("a", displayed)
    assert closed(first)
    assert not closed(second)


def test_other_cells_leave_it_alone(shell):
    first = shell.run("a", displayed)
    shell.run("b", displayed)
    assert not closed(first)


def test_a_widget_shown_in_another_cell_too_is_kept(shell):
    view = shell.run("a", displayed)
    shell.run("b", view._repr_mimebundle_)
    shell.run("a", displayed)
    assert not closed(view)


def test_a_widget_never_shown_is_kept(shell):
    view = shell.run("a", lambda: AttentionWidget(make_capture()))
    shell.run("a", lambda: None)
    assert not closed(view)


def test_a_widget_shown_again_by_the_same_cell_is_kept(shell):
    view = shell.run("a", displayed)
    shell.run("a", view._repr_mimebundle_)
    assert not closed(view)


def test_a_host_without_cell_ids_closes_nothing(shell):
    view = shell.run(None, displayed)
    shell.run(None, displayed)
    assert not closed(view)


def test_a_view_whose_host_has_closed_its_channel_is_closed_once_there_is_another():
    first = AttentionWidget(make_capture())
    first.comm.close()
    second = AttentionWidget(make_capture())
    assert closed(first)
    assert not closed(second)
    second.close()
