"""Names, markers and running text."""

from __future__ import annotations

import pytest

from attnwidget.attention import Tokens


@pytest.mark.parametrize(
    ("pieces", "text", "running"),
    [
        (["the", "cat"], ("the", "cat"), "the cat"),
        (["[CLS]", "un", "##believ", "##able", "!"], ("[CLS]", "un", "believ", "able", "!"), "[CLS] unbelievable !"),
        (["Hello", "Ġworld", "Ċ", "ĠĠ", "x"], ("Hello", "world", "\n", "  ", "x"), "Hello world\n  x"),
        (["\u2581Hello", "\u2581wor", "ld", "<0x0A>", "\u2581"], ("Hello", "wor", "ld", "\n", " "), "Hello world\n "),
        (["Ġ", "a"], ("", "a"), "a"),
        (["<b>", "</script>", "&amp;"], ("<b>", "</script>", "&amp;"), "<b> </script> &amp;"),
        ([], (), ""),
    ],
)
def test_markers_of_vocabularies_are_decoded(pieces, text, running):
    tokens = Tokens.from_pieces(pieces)
    assert tokens.text == text
    assert tokens.running_text == running
    assert tokens.pieces == tuple(pieces)


def test_a_character_spread_over_pieces_is_shown_once():
    fox = Tokens.from_pieces(["Ġa", "ĠðŁ", "¦", "Ĭ", "Ġb"])
    assert fox.text == ("a", "🦊", "", "", "b")
    assert fox.running_text == "a 🦊 b"
    han = Tokens.from_pieces(["\u2581a", "<0xE4>", "<0xB8>", "<0xAD>"])
    assert han.text == ("a", "中", "", "")


def test_bytes_that_are_no_text_are_shown_as_such():
    tokens = Tokens.from_pieces(["Ġa", "ðŁ", "Ġb"])
    assert tokens.running_text == "a\ufffd b"


def test_special_tokens_are_taken_literally():
    tokens = Tokens.from_pieces(["<s>", "\u2581a", "</s>"], special=[True, False, True])
    assert tokens.text == ("<s>", "a", "</s>")
    assert tokens.running_text == "<s>a</s>"


def test_slices_and_length():
    tokens = Tokens.from_pieces(list("abcd"), segment=[0, 0, 1, 1])
    assert len(tokens) == 4
    assert tokens[1:3].running_text == "b c"
    assert tokens[1:3].segment == (0, 1)
    assert list(tokens[:2]) == ["a", "b"]
    assert tokens[0:4] == tokens
    assert repr(tokens) == "Tokens('a b c d', 4 tokens)"


@pytest.mark.parametrize("names", ["abc", ["a", 1], [["a"]]])
def test_names_are_str(names):
    with pytest.raises(TypeError, match="expected a list of str, one per token"):
        Tokens.from_pieces(names)


def test_columns_have_one_length():
    with pytest.raises(ValueError, match=r"token columns have the lengths \[1, 2\]; expected one length"):
        Tokens(("a",), ("a",), ("",), (False,), (0, 0))
