"""The words of the small world, as the tokenizer knows them: lower case, except for the names of people and towns."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


WOMEN: Final = _words(
    """
    Mary Anna Clara Diana Emma Grace Hannah Helen Jane Julia Laura Lucy Maria Nina Olivia Rosa Ruth Sarah Sophie
    Vera
    """
)
MEN: Final = _words(
    """
    John Adam Albert Ben Charles Daniel David Frank George Henry Jack James Leo Martin Oscar Paul Peter Robert
    Simon Tom
    """
)
NAMES: Final = [*WOMEN, *MEN]
TOWNS: Final = _words(
    "Paris London Rome Berlin Madrid Vienna Prague Athens Oslo Lisbon Dublin Cairo Delhi Tokyo Lima Boston"
)
PLACES: Final = _words(
    """
    store park school garden market station office library kitchen beach house museum restaurant forest farm river
    bank church harbour theatre
    """
)
OBJECTS: Final = _words(
    """
    drink ball book key letter ring hat cup apple map lamp coin pen box basket bottle knife flower shirt watch
    phone cake sandwich ticket toy bag necklace bone computer picture
    """
)
FURNITURE: Final = _words("table chair shelf bed desk floor door window wall roof")
ANIMALS: Final = _words("animal cat dog horse bird fox cow mouse rabbit sheep fish bear duck frog")
COLOURS: Final = _words("red blue green yellow black white brown grey pink purple")
ADJECTIVES: Final = _words(
    """
    small large big old new young happy sad tired hungry cold warm heavy light quiet loud tall short clean dirty
    beautiful strange kind brave slow fast bright dark wide narrow deep long wet dry hot soft hard
    """
)
MOODS: Final = _words("tired hungry sad cold old slow young small wet")
WIDTHS: Final = _words("wide long deep dark loud dirty")
WAYS: Final = _words("street road bridge field river path")
CONTAINERS: Final = _words("suitcase box bag basket drawer")
PRIZES: Final = _words("trophy book lamp computer picture bottle")

# What sentences are made with, and some more, so that a text of one's own is not full of unknown words.
_REST: Final = _words(
    """
    the a an and or but so then when after before while because if that this these there here it its he she him
    her his they them their we our us you your i my me one two three four five six seven eight nine ten is was are
    were be been am has have had do does did didn't don't doesn't can could will would not no yes to of in on at
    by for from with without into under over near behind between about up down out off again too very more most
    all some every each any other same also now today yesterday tomorrow always never often once time day night
    morning evening year week who what where which why how went go goes got get came come comes gave give gives
    handed hand threw throw showed show passed pass sold sell brought bring took take takes put puts saw see sees
    found find lost lose likes like liked lives live lived met meet sat sit sits stood stand ran run runs walked
    walk walks slept sleep ate eat eats drank said say says told tell asked ask thanked thank thanks wanted want
    wants decided decide working work works talked talk talking played play playing read reads wrote write made
    make makes opened open closed close crossed cross fit kept keep left leave looked look looks thought think
    thinks knew know knows loved love loves friend friends man woman boy girl child people king queen sister
    brother mother father teacher doctor word words name names colour water food bread milk tea fire tree sun moon
    star sky rain snow wind sea mountain world story song game money paper music picture car train boat ship city
    town country room head hand eye heart way thing things back home away together first second last next only
    just still good bad great little right wrong true upon model attention token layer sentence language never
    """
)
PUNCTUATION: Final = [".", ",", "?", "!", ":", ";", "'", '"', "-", "(", ")"]

VOCABULARY: Final[list[str]] = list(
    dict.fromkeys(
        [
            *NAMES,
            *TOWNS,
            *PLACES,
            *OBJECTS,
            *FURNITURE,
            *ANIMALS,
            *COLOURS,
            *ADJECTIVES,
            *WAYS,
            *CONTAINERS,
            *PRIZES,
            *MOODS,
            *WIDTHS,
            *_REST,
        ]
    )
)
"""Every word once, in the order of the token ids; punctuation is apart."""
