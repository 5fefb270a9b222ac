"""Language tags: whether two are close enough to stand for each other, by rules like those of Unicode's CLDR.

A table of ours, since the base install takes no further distribution (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: The region of each language where most who write it are (CLDR, likely subtags): a region and its languages, then the
#: languages whose region is of the same name.
_REGIONS: Final = (
    "af:ps al:sq am:hy ba:bs bd:bn be:wa bi:rn bo:ay br:pt bt:dz by:be ca:cr,iu cd:kg,ln,lu cf:sg ch:gsw,rm "
    "cn:bo,ii,lzh,ug,wuu,za,zh cz:cs de:dsb,hsb,ksh,nds dk:da dz:kab ee:et eg:ar es:an,ast,ca,eu,gl et:aa,am,om,ti "
    "fr:br,co,oc gb:cy,gd,kw ge:ab,ka,os gh:ak,ee gl:kl gr:el gt:quc gu:ch hk:yue id:jv,su ie:ga il:he im:gv "
    "in:as,gu,hi,kn,kok,ks,mai,ml,mr,or,pa,sa,sat,ta,te iq:ckb ir:ae,fa it:fur,lij,sc,scn,vec jp:ja ke:ki kg:ky kh:km "
    "kr:ko kz:kk la:lo lk:si lu:lb ml:bm mm:my mv:dv mw:ny my:ms na:hz,kj,ng ng:ha,ig,yo nl:fy,li no:nb,nn,se np:ne "
    "nr:na nz:mi pe:qu pf:ty pg:ho ph:ceb,fil pk:bal,sd,ur pl:szl py:gn rs:sr ru:av,ba,ce,cu,cv,kv,sah,tt se:sv si:sl "
    "sn:ff,wo tj:tg tm:tk tr:ku tz:sw ua:uk ug:lg us:chr,en,haw,ik,nv va:la vn:vi vu:bi ws:sm "
    "za:af,nr,nso,ss,st,tn,ts,ve,xh,zu zw:nd,sn"
)
_OWN: Final = "az bg de es fi fj fo fr hr ht hu id is it lt lv mg mh mk mn mt nl no pl ro ru rw sk so th to tr uz"
_USUAL: Final = {
    **{language: language for language in _OWN.split()},
    **{one: at for at, _, there in (part.partition(":") for part in _REGIONS.split()) for one in there.split(",")},
}
#: Other names of a language, and languages whose readers read another one (CLDR, language matching).
_ALIASES: Final = {"cmn": "zh", "in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no", "tl": "fil"}
_READ_TOO: Final = {("gsw", "de"), ("lb", "de"), ("bs", "hr"), ("hr", "bs"), ("wuu", "zh"), ("lzh", "zh")}
#: Regions whose usage differs from that of all others, and those that stand for the rest.
_APART: Final = {"en": "us pr vi gu as mp um", "es": "es ea ic", "pt": "br"}
_STANDARD: Final = {"gb", "419"}
_TRADITIONAL: Final = {"tw", "hk", "mo"}
#: The largest distance of forms of one language: another region, or another form of writing that all can read.
NEAR: Final = 10


def fold(tag: str) -> str:
    """The one spelling of a tag that is compared: `en_US` and `EN-us` are `en-us`."""
    return tag.strip().replace("_", "-").lower()


def language_of(tag: str) -> str:
    """The language alone: `en` for `en-US`."""
    language = fold(tag).partition("-")[0]
    return _ALIASES.get(language, language)


def usual_form(tag: str) -> str | None:
    """The form of a language that most hubs have: `en-us` for `en-CA`. None for that form, and if there is none."""
    language = fold(tag).partition("-")[0]
    region = _USUAL.get(_parts(tag)[0])
    return None if region is None or tag == f"{language}-{region}" else f"{language}-{region}"


def nearest(tag: str, tags: Iterable[str], *, within: int = NEAR) -> str | None:
    """The closest of the tags, the first on a tie; None if none is near."""
    far, found = min(((distance(tag, one), one) for one in tags), key=lambda pair: pair[0], default=(within + 1, ""))
    return found if far <= within else None


def distance(wanted: str, given: str) -> int:
    """How far what is given is from what is wanted: 0 the same, up to `NEAR` another form of it, more another one."""
    (language, script, region), (other, writing, place) = _parts(wanted), _parts(given)
    if fold(wanted) == fold(given):
        return 0
    if language != other and (language, other) not in _READ_TOO:
        return 80
    far = 4 if language != other else 1 if fold(wanted).partition("-")[0] != fold(given).partition("-")[0] else 0
    if script != writing:
        far += 5 if "" in (script, writing) or language == "sr" else 50
    if language == other and region != place:
        apart = _APART.get(language, "").split()
        far += 5 if (region in apart) is not (place in apart) else 3 if _STANDARD & {region, place} else 4
    return far


def _parts(tag: str) -> tuple[str, str, str]:
    """Language, script ("" if it is not said and not special) and region."""
    _, *rest = fold(tag).split("-")[:4]
    language = language_of(tag)
    script = next((one for one in rest if len(one) == 4 and one.isalpha()), "")
    region = next((one for one in rest if len(one) == 2 or (len(one) == 3 and one.isdecimal())), "")
    if language == "zh" and not script:
        script = "hant" if region in _TRADITIONAL else "hans"
    usual = "tw" if script == "hant" else _USUAL.get(language, "")
    return language, script, region or usual
