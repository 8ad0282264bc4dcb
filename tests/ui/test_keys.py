from __future__ import annotations

from napari_medmeta.ui.keys import KEYS, Act, chosen_keys, collisions, napari_keys, with_keys


def test_no_key_is_naparis_own() -> None:
    assert collisions(chosen_keys({})) == {}


def test_a_colliding_key_is_found() -> None:
    # P is napari's brush on a labels layer.
    assert Act.PROPOSE in collisions(chosen_keys({"propose": "P"}))


def test_number_keys_without_a_modifier_would_collide() -> None:
    assert Act.STRUCTURE in collisions(chosen_keys({"structure": "1"}))


def test_the_reasons_for_other_letters_hold() -> None:
    taken = napari_keys(every_layer=True)
    for letter in ("P", "C", "X", "Z", "1"):
        assert letter in taken


def test_every_act_has_one_key_and_no_key_two_acts() -> None:
    assert {row.act for row in KEYS} == set(Act)
    assert len({row.key for row in KEYS}) == len(KEYS)


def test_keys_can_be_changed() -> None:
    assert chosen_keys({"accept_slice": "Q"})[Act.ACCEPT_SLICE] == "Q"


def test_an_empty_choice_keeps_our_key() -> None:
    assert chosen_keys({"accept_slice": " "})[Act.ACCEPT_SLICE] == "A"


def test_a_hint_names_the_key_that_holds_here() -> None:
    keys = chosen_keys({})
    assert with_keys("Ask for a proposal (P).", keys) == "Ask for a proposal (G)."
    own = chosen_keys({"reject_slice": "A", "accept_slice": "Y", "mark_complete": "M"})
    assert with_keys("Accept (A), reject (R), mark (Shift+M) the Kidney (L).", own) == (
        "Accept (Y), reject (A), mark (M) the Kidney (L)."
    )
