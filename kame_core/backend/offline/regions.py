"""Provinces, islands and landscapes that people name like a country or a city, and that are neither."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kame_core.backend.offline.wording import fold

# Where they lie, as it is said after "in"; then their names, each with its capital where it has one.
_REGIONS = """
Canada: Alberta=Edmonton, British Columbia=Victoria, Manitoba=Winnipeg, New Brunswick=Fredericton,
 Newfoundland and Labrador=Saint John's, Newfoundland=Saint John's, Nova Scotia=Halifax, Ontario=Toronto,
 Prince Edward Island=Charlottetown, Quebec=Quebec City, Saskatchewan=Regina, Yukon=Whitehorse,
 the Northwest Territories=Yellowknife, Nunavut=Iqaluit, Labrador, Vancouver Island
Australia: New South Wales=Sydney, Queensland=Brisbane, Victoria=Melbourne, South Australia=Adelaide, Tasmania=Hobart,
 Western Australia=Perth, the Northern Territory=Darwin
New Zealand: the North Island, the South Island
Germany: Bavaria=Munich, Saxony=Dresden, Lower Saxony=Hanover, Hesse=Wiesbaden, Brandenburg=Potsdam, Thuringia=Erfurt,
 Saxony-Anhalt=Magdeburg, Saarland=Saarbrucken, Schleswig-Holstein=Kiel, Rhineland-Palatinate=Mainz,
 North Rhine-Westphalia=Dusseldorf, Baden-Wurttemberg=Stuttgart, the Black Forest, the Rhineland, Swabia, Franconia,
 Westphalia
Austria: Tyrol=Innsbruck, Carinthia=Klagenfurt, Styria=Graz, Burgenland=Eisenstadt, Vorarlberg=Bregenz
Switzerland: Ticino=Bellinzona, Valais=Sion
France: Brittany=Rennes, Normandy=Rouen, Burgundy, Provence, Alsace, Lorraine, Corsica=Ajaccio, Aquitaine, Champagne,
 Gascony, Savoy, the French Riviera
Italy: Sicily=Palermo, Sardinia=Cagliari, Tuscany=Florence, Lombardy=Milan, Piedmont=Turin, Veneto=Venice,
 Liguria=Genoa, Umbria=Perugia, Campania=Naples, Apulia=Bari, Puglia=Bari, Calabria=Catanzaro, South Tyrol=Bolzano
Spain: Andalusia=Seville, Catalonia=Barcelona, Galicia=Santiago de Compostela, Aragon=Zaragoza, Asturias=Oviedo,
 Extremadura=Merida, Castile, Navarre=Pamplona, the Basque Country=Vitoria-Gasteiz, Majorca=Palma, Mallorca=Palma,
 Menorca, Ibiza, the Balearic Islands=Palma, Tenerife=Santa Cruz de Tenerife, Gran Canaria=Las Palmas,
 Lanzarote=Arrecife, Fuerteventura
Portugal: the Algarve=Faro, Madeira=Funchal, the Azores
Greece: Crete=Heraklion, Rhodes, Corfu, Santorini, Mykonos, Lesbos, the Peloponnese
Cyprus: Northern Cyprus
the United Kingdom: Yorkshire, Cornwall, Kent, Sussex, Wessex, Devon, the Isle of Wight, the Isle of Skye
Belgium: Wallonia=Namur
Denmark: Jutland, Zealand, Funen
Finland: Lapland
Sweden: Scania, Gotland
Poland: Silesia, Pomerania, Masovia
the Czech Republic: Bohemia, Moravia
Croatia: Slavonia, Dalmatia, Istria
Romania: Transylvania, Wallachia
Serbia: Vojvodina=Novi Sad
Moldova: Transnistria=Tiraspol
Russia: Siberia, Chechnya=Grozny, Dagestan=Makhachkala, Tatarstan=Kazan, Kamchatka, Sakhalin, Karelia
Georgia: Abkhazia=Sukhumi, South Ossetia=Tskhinvali
Turkey: Anatolia, Cappadocia
Iraq: Mesopotamia
India: Gujarat=Gandhinagar, Kerala=Thiruvananthapuram, Tamil Nadu=Chennai, Karnataka=Bengaluru, Maharashtra=Mumbai,
 Rajasthan=Jaipur, Uttar Pradesh=Lucknow, Madhya Pradesh=Bhopal, Bihar=Patna, West Bengal=Kolkata, Odisha=Bhubaneswar,
 Telangana=Hyderabad, Assam=Dispur, Goa=Panaji, Jharkhand=Ranchi, Uttarakhand=Dehradun, Sikkim=Gangtok,
 Chhattisgarh=Raipur, Manipur=Imphal, Meghalaya=Shillong, Mizoram=Aizawl, Nagaland=Kohima, Tripura=Agartala
China: Hainan=Haikou, Sichuan=Chengdu, Yunnan=Kunming, Guangdong=Guangzhou, Guangxi=Nanning, Hunan=Changsha,
 Hubei=Wuhan, Henan=Zhengzhou, Hebei=Shijiazhuang, Shandong=Jinan, Shanxi=Taiyuan, Shaanxi=Xi'an, Fujian=Fuzhou,
 Zhejiang=Hangzhou, Jiangsu=Nanjing, Jiangxi=Nanchang, Anhui=Hefei, Gansu=Lanzhou, Qinghai=Xining, Guizhou=Guiyang,
 Heilongjiang=Harbin, Liaoning=Shenyang, Tibet=Lhasa, Xinjiang=Urumqi, Inner Mongolia=Hohhot, Manchuria
Japan: Hokkaido=Sapporo, Kyushu, Shikoku, Honshu, Kansai, Okinawa=Naha
South Korea: Jeju
Indonesia: Bali=Denpasar, Java, Sumatra, Sulawesi, Lombok=Mataram, Flores, Maluku
Malaysia: Sabah=Kota Kinabalu, Sarawak=Kuching, Penang=George Town, Langkawi
the Philippines: Luzon, Mindanao, Cebu Island, Palawan, Boracay
Thailand: Koh Samui
Tanzania: Zanzibar, Tanganyika
Ethiopia: Tigray=Mekele
Nigeria: Biafra
Sudan: Darfur
the Democratic Republic of the Congo: Katanga=Lubumbashi
Somalia: Somaliland=Hargeisa, Puntland=Garowe
South Africa: the Western Cape=Cape Town, the Eastern Cape=Bhisho, Gauteng=Johannesburg, KwaZulu-Natal=Pietermaritzburg
Mexico: Yucatan=Merida, Jalisco=Guadalajara, Chiapas=Tuxtla Gutierrez, Sonora=Hermosillo, Baja California=Mexicali,
 Quintana Roo=Chetumal, Sinaloa=Culiacan, Tabasco=Villahermosa
Brazil: Bahia=Salvador, Minas Gerais=Belo Horizonte, Amazonas=Manaus, Parana=Curitiba, Santa Catarina=Florianopolis,
 Rio Grande do Sul=Porto Alegre, Pernambuco=Recife, Ceara=Fortaleza
Ecuador: the Galapagos Islands, Galapagos
Chile: Easter Island, the Atacama Desert
the United States: Long Island, New England, Maui, Oahu, Kauai
the Middle East: the Levant
Africa: the Sahara, the Sahara Desert, the Sahel, the Maghreb
Botswana, Namibia and South Africa: the Kalahari, the Kalahari Desert
northern Europe: Scandinavia, the Baltic states
southeastern Europe: the Balkans
central and eastern Europe: the Carpathians
western Asia: the Middle East, Kurdistan, Arabia
Belgium, the Netherlands and Luxembourg: Benelux
northern Belgium: Flanders
Argentina and Chile: Patagonia, Tierra del Fuego
Indonesia, Malaysia and Brunei: Borneo
Indonesia and Papua New Guinea: the island of New Guinea
the Caribbean: Hispaniola
India and Pakistan: Punjab
India and Bangladesh: Bengal
Mongolia and China: the Gobi, the Gobi Desert
"""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a country or of the world."""

    spoken: str
    """With its article: "the Sahara"."""
    home: str
    """What it lies in, as it is said: mostly a country."""
    capital: str = ""

    @property
    def where(self) -> str:
        """Where it is, as a sentence without its period."""
        verb = "are" if self.spoken.startswith("the ") and self.spoken.endswith("s") else "is"
        return f"{self.spoken} {verb} in {self.home}"


_KIND = re.compile(r"(?:(?:island|province|state|region|territory) of )|(?: (?:province|region|island)$)")


def _key(name: str) -> str:
    return fold(name).removeprefix("the ").replace("-", " ")


def find_region(plain: str) -> Region | None:
    """The region of that plain name (`gazetteer.plain_name`); also "ontario canada", "the island of bali"."""
    known = regions()
    return known.get(plain) or known.get(_KIND.sub("", plain))


@functools.cache
def regions() -> Mapping[str, Region]:
    """All by folded name without the article, and by name and home: "bali", "bali indonesia", "bali in indonesia"."""
    found: dict[str, Region] = {}
    for line in _REGIONS.strip().replace("\n ", " ").splitlines():
        home, _, names = line.partition(": ")
        for pair in names.split(", "):
            name, _, capital = pair.partition("=")
            region = Region(name, home, capital)
            found |= dict.fromkeys((_key(name), f"{_key(name)} {_key(home)}", f"{_key(name)} in {_key(home)}"), region)
    return found
