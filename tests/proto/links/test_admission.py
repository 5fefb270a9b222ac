"""Who gets a place among those that have proven nothing, and who has to go for it."""

from __future__ import annotations

from thalovant_proto import AdmissionLimit


def limit(*, total: int = 100, per_source: int = 100) -> AdmissionLimit[str]:
    """A limit whose places are safe for 5 s."""
    return AdmissionLimit(total=total, per_source=per_source, grace=5.0)


def test_one_source_cannot_take_the_places_of_others():
    """Its newcomers are refused, then displace its own oldest; others notice nothing."""
    places = limit(per_source=2)

    early = [places.admit(name, "here", now) for now, name in enumerate("abc")]
    elsewhere = [places.admit("d", "there", 3.0), places.refuses("there", 3.0), places.refuses("here", 3.0)]
    late = places.admit("e", "here", 5.0)

    assert early == [None, None, "c"]
    assert elsewhere == [None, False, True]
    assert (late, len(places)) == ("a", 3)


def test_the_total_holds_for_all_sources():
    """The oldest of all goes for a newcomer, once it had its time; without a source only the total counts."""
    places = limit(total=2, per_source=1)

    answers = [places.admit("a", None, 0.0), places.admit("b", None, 1.0), places.admit("c", "here", 4.9)]
    late = places.admit("d", "there", 5.0)

    assert answers == [None, None, "c"]
    assert (late, len(places)) == ("a", 2)


def test_a_place_is_free_when_its_holder_is_proven_or_gone():
    """Harmless if repeated, and for those that never had one."""
    places = limit(per_source=1)
    places.admit("a", "here", 0.0)

    for name in ("a", "a", "b"):
        places.release(name)

    assert len(places) == 0
    assert places.admit("b", "here", 0.0) is None


def test_a_touched_one_is_young_again():
    """Its time counts from then on. One without a place gets none by that."""
    places = limit(per_source=2)
    places.admit("a", "here", 0.0)
    places.admit("b", "here", 1.0)

    places.touch("a", 2.0)
    places.touch("c", 2.0)

    assert len(places) == 2
    assert places.admit("d", "here", 6.0) == "b"


def test_one_can_be_counted_beyond_the_limit():
    """Then nobody else is admitted before two have gone."""
    places = limit(per_source=1)
    places.admit("a", "here", 0.0)

    places.add("b", "here", 0.0)
    places.release("a")

    assert places.refuses("here", 0.0)
