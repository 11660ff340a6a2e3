"""Names of languages by the codes GeoNames uses (ISO 639)."""

from kame_core.backend.offline.gazetteer import Country
from kame_core.backend.offline.wording import word_list

_NAMES = {
    code: name.replace("_", " ")
    for code, name in (
        pair.split("=")
        for pair in word_list(
            "aa=Afar af=Afrikaans ak=Akan am=Amharic ar=Arabic ay=Aymara az=Azerbaijani ba=Bashkir be=Belarusian "
            "bg=Bulgarian bi=Bislama bm=Bambara bn=Bengali br=Breton bs=Bosnian ca=Catalan ch=Chamorro co=Corsican "
            "cs=Czech cy=Welsh da=Danish de=German dv=Dhivehi dz=Dzongkha ee=Ewe el=Greek en=English es=Spanish "
            "et=Estonian eu=Basque fa=Persian fi=Finnish fil=Filipino fj=Fijian fo=Faroese fr=French fy=Frisian "
            "ga=Irish gd=Scottish_Gaelic gl=Galician gn=Guarani gu=Gujarati gv=Manx ha=Hausa haw=Hawaiian he=Hebrew "
            "hi=Hindi ho=Hiri_Motu hr=Croatian ht=Haitian_Creole hu=Hungarian hy=Armenian id=Indonesian ig=Igbo "
            "is=Icelandic it=Italian ja=Japanese jv=Javanese ka=Georgian kk=Kazakh kl=Greenlandic km=Khmer ko=Korean "
            "ku=Kurdish ky=Kyrgyz la=Latin lb=Luxembourgish ln=Lingala lo=Lao lt=Lithuanian lv=Latvian mg=Malagasy "
            "mh=Marshallese mi=Maori mk=Macedonian mn=Mongolian mr=Marathi ms=Malay mt=Maltese my=Burmese na=Nauruan "
            "ne=Nepali nl=Dutch no=Norwegian nr=Ndebele ny=Chichewa om=Oromo pap=Papiamento pau=Palauan pl=Polish "
            "ps=Pashto pt=Portuguese qu=Quechua rm=Romansh rn=Kirundi ro=Romanian ru=Russian rw=Kinyarwanda "
            "sg=Sango si=Sinhala sk=Slovak sl=Slovenian sm=Samoan sn=Shona so=Somali sq=Albanian sr=Serbian "
            "ss=Swazi st=Sotho sv=Swedish sw=Swahili ta=Tamil te=Telugu tet=Tetum tg=Tajik th=Thai ti=Tigrinya "
            "tk=Turkmen tl=Tagalog tn=Tswana to=Tongan tpi=Tok_Pisin tr=Turkish tvl=Tuvaluan uk=Ukrainian ur=Urdu "
            "uz=Uzbek vi=Vietnamese wo=Wolof xh=Xhosa yo=Yoruba yue=Cantonese zh=Chinese zu=Zulu cmn=Mandarin "
            "niu=Niuean gil=Gilbertese tkl=Tokelauan wls=Wallisian"
        )
    )
}
# Where GeoNames' order would mislead.
_MAIN = {
    "AF": ("Dari", "Pashto"),
    "AS": ("Samoan", "English"),
    "BG": ("Bulgarian",),
    "BI": ("Kirundi", "French"),
    "CW": ("Papiamento", "Dutch"),
    "DJ": ("French", "Arabic"),
    "KI": ("Gilbertese", "English"),
    "LS": ("Sotho", "English"),
    "MG": ("Malagasy", "French"),
    "MP": ("English", "Chamorro"),
    "PG": ("Tok Pisin", "English"),
    "SE": ("Swedish",),
    "VA": ("Italian", "Latin"),
    "BY": ("Belarusian", "Russian"),
    "CM": ("French", "English"),
    "CN": ("Mandarin Chinese",),
    "DK": ("Danish",),
    "ER": ("Tigrinya", "Arabic"),
    "FR": ("French",),
    "GL": ("Greenlandic",),
    "HK": ("Cantonese", "English"),
    "IE": ("English", "Irish"),
    "IL": ("Hebrew", "Arabic"),
    "IN": ("Hindi", "English"),
    "IT": ("Italian",),
    "KE": ("Swahili", "English"),
    "MA": ("Arabic", "Berber"),
    "MY": ("Malay",),
    "PK": ("Urdu", "English"),
    "PH": ("Filipino", "English"),
    "RW": ("Kinyarwanda", "English", "French"),
    "SG": ("English", "Mandarin", "Malay", "Tamil"),
    "TW": ("Mandarin Chinese",),
    "TZ": ("Swahili", "English"),
    "UA": ("Ukrainian",),
    "US": ("English", "Spanish"),
    "ZA": ("Zulu", "Xhosa", "Afrikaans", "English"),
    "DZ": ("Arabic", "Berber"),
    "BE": ("Dutch", "French", "German"),
    "AU": ("English",),
    "NO": ("Norwegian",),
    "AT": ("German",),
    "ES": ("Spanish",),
    "PE": ("Spanish", "Quechua"),
    "PY": ("Spanish", "Guarani"),
    "ET": ("Amharic", "Oromo"),
    "FI": ("Finnish", "Swedish"),
    "LK": ("Sinhala", "Tamil"),
    "IQ": ("Arabic", "Kurdish"),
}


def main_languages(country: Country) -> list[str]:
    """At most three: the first GeoNames lists, and those it marks as this country's; empty where it lists none."""
    if country.code in _MAIN:
        return list(_MAIN[country.code])
    main = [*country.languages[:1], *(code for code in country.languages if "-" in code)]
    names = [_NAMES[code.split("-")[0]] for code in main if code.split("-")[0] in _NAMES]
    return list(dict.fromkeys(names))[:3]
