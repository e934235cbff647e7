"""Sentences for synthetic voices, generated at random from lists of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np


class Words(NamedTuple):
    """Phrases for who, action, and place or time, and complete sentences. Phrases are joined with spaces."""

    who: tuple[str, ...]
    what: tuple[str, ...]
    where: tuple[str, ...]
    alone: tuple[str, ...]


def _words(who: str, what: str, where: str, alone: str) -> Words:
    return Words(*(tuple(part.strip() for part in text.split("|")) for text in (who, what, where, alone)))


WORDS: Final[Mapping[str, Words]] = {
    "en": _words(
        "my neighbour|the old teacher|a friend of mine|their youngest daughter|nobody here|the driver|our doctor|"
        "the woman next door|everyone|your brother|the waiter|the girl with the bicycle",
        "bought a pair of brown shoes|asked for a glass of water|has not read the letter|sold the house by the river|"
        "would rather stay at home|told us the whole story again|is looking for a quiet place|changed the subject|"
        "forgot the keys on the table|keeps talking about the weather|wants to learn how to swim|paid for the coffee",
        "yesterday evening|on the way to the station|before breakfast|behind the church|every other Thursday|"
        "in the middle of the market|when the rain stopped|without saying a word|at about half past three",
        "what did you think of it?|I would not have guessed.|that is exactly what I said.|are you sure about that?|"
        "never mind, we can do it later.|could you pass me the bread, please?|well, it depends.|how much is it?",
    ),
    "de": _words(
        "mein Nachbar|die alte Lehrerin|ein Freund von mir|ihre jüngste Tochter|niemand|der Fahrer|unsere Ärztin|"
        "die Frau von nebenan|jeder|dein Bruder|der Kellner|das Mädchen mit dem Fahrrad",
        "hat braune Schuhe gekauft|bittet um ein Glas Wasser|hat den Brief nicht gelesen|verkauft das Haus am Fluss|"
        "bleibt lieber zu Hause|erzählt uns die ganze Geschichte|sucht einen ruhigen Platz|wechselt das Thema|"
        "vergisst die Schlüssel auf dem Tisch|spricht immer vom Wetter|möchte schwimmen lernen|bezahlt den Kaffee",
        "gestern Abend|auf dem Weg zum Bahnhof|vor dem Frühstück|hinter der Kirche|jeden zweiten Donnerstag|"
        "mitten auf dem Markt|nach dem Regen|ohne ein Wort|gegen halb vier",
        "was hältst du davon?|das hätte ich nicht gedacht.|genau das habe ich gesagt.|bist du sicher?|"
        "das machen wir später.|gibst du mir bitte das Brot?|es kommt darauf an.|wie viel kostet das?",
    ),
    "fr": _words(
        "mon voisin|la vieille institutrice|un ami à moi|leur plus jeune fille|personne ici|le chauffeur|"
        "notre médecin|la dame d'à côté|tout le monde|ton frère|le serveur|la fille au vélo",
        "a acheté des chaussures marron|demande un verre d'eau|n'a pas lu la lettre|vend la maison près du fleuve|"
        "préfère rester chez soi|nous raconte toute l'histoire|cherche un endroit tranquille|change de sujet|"
        "oublie les clés sur la table|parle toujours du temps|veut apprendre à nager|paie le café",
        "hier soir|sur le chemin de la gare|avant le petit déjeuner|derrière l'église|un jeudi sur deux|"
        "au milieu du marché|après la pluie|sans dire un mot|vers trois heures et demie",
        "qu'est-ce que tu en penses?|je ne l'aurais pas cru.|c'est bien ce que j'ai dit.|tu en es sûr?|"
        "on le fera plus tard.|tu me passes le pain, s'il te plaît?|ça dépend.|combien ça coûte?",
    ),
    "es": _words(
        "mi vecino|la vieja maestra|un amigo mío|su hija menor|nadie aquí|el conductor|nuestra médica|"
        "la señora de al lado|todo el mundo|tu hermano|el camarero|la chica de la bicicleta",
        "compró unos zapatos marrones|pide un vaso de agua|no ha leído la carta|vende la casa junto al río|"
        "prefiere quedarse en casa|nos cuenta toda la historia|busca un lugar tranquilo|cambia de tema|"
        "olvida las llaves en la mesa|habla siempre del tiempo|quiere aprender a nadar|paga el café",
        "ayer por la noche|camino de la estación|antes del desayuno|detrás de la iglesia|un jueves de cada dos|"
        "en medio del mercado|después de la lluvia|sin decir palabra|a eso de las tres y media",
        "¿qué te parece?|no lo habría pensado.|eso es lo que dije.|¿estás seguro?|lo haremos más tarde.|"
        "¿me pasas el pan, por favor?|depende.|¿cuánto cuesta?",
    ),
    "it": _words(
        "il mio vicino|la vecchia maestra|un mio amico|la loro figlia minore|nessuno qui|l'autista|"
        "la nostra dottoressa|la signora accanto|ognuno|tuo fratello|il cameriere|la ragazza con la bicicletta",
        "ha comprato delle scarpe marroni|chiede un bicchiere d'acqua|non ha letto la lettera|vende la casa sul fiume|"
        "preferisce restare a casa|ci racconta tutta la storia|cerca un posto tranquillo|cambia argomento|"
        "dimentica le chiavi sul tavolo|parla sempre del tempo|vuole imparare a nuotare|paga il caffè",
        "ieri sera|andando alla stazione|prima di colazione|dietro la chiesa|un giovedì sì e uno no|"
        "in mezzo al mercato|dopo la pioggia|senza dire una parola|verso le tre e mezza",
        "che cosa ne pensi?|non l'avrei detto.|è proprio quello che ho detto.|sei sicuro?|lo faremo più tardi.|"
        "mi passi il pane, per favore?|dipende.|quanto costa?",
    ),
    "pt": _words(
        "o meu vizinho|a velha professora|um amigo meu|a filha mais nova|ninguém aqui|o motorista|a nossa médica|"
        "a senhora do lado|toda a gente|o teu irmão|o empregado|a menina da bicicleta",
        "comprou sapatos castanhos|pede um copo de água|não leu a carta|vende a casa perto do rio|"
        "prefere ficar em casa|conta a história toda|procura um lugar calmo|muda de assunto|"
        "esquece as chaves na mesa|fala sempre do tempo|"
        "quer aprender a nadar|paga o café",
        "ontem à noite|a caminho da estação|antes do pequeno almoço|atrás da igreja|no meio do mercado|"
        "depois da chuva|sem dizer uma palavra|por volta das três e meia",
        "o que achas?|não teria adivinhado.|foi isso que eu disse.|tens a certeza?|fazemos isso mais tarde.|"
        "depende.|quanto custa?",
    ),
    "nl": _words(
        "mijn buurman|de oude lerares|een vriend van mij|hun jongste dochter|niemand hier|de chauffeur|onze dokter|"
        "de vrouw van hiernaast|iedereen|jouw broer|de ober|het meisje met de fiets",
        "kocht bruine schoenen|vraagt om een glas water|heeft de brief niet gelezen|verkoopt het huis aan de rivier|"
        "blijft liever thuis|vertelt ons het hele verhaal|zoekt een rustige plek|verandert van onderwerp|"
        "vergeet de sleutels op tafel|praat altijd over het weer|wil leren zwemmen|betaalt de koffie",
        "gisteravond|op weg naar het station|voor het ontbijt|achter de kerk|midden op de markt|na de regen|"
        "zonder een woord|rond half vier",
        "wat vind je ervan?|dat had ik niet gedacht.|dat zei ik precies.|weet je het zeker?|dat doen we later.|"
        "het hangt ervan af.|hoeveel kost het?",
    ),
    "pl": _words(
        "mój sąsiad|stara nauczycielka|mój przyjaciel|ich najmłodsza córka|nikt tutaj|kierowca|nasza lekarka|"
        "pani z naprzeciwka|każdy|twój brat|kelner|dziewczyna z rowerem",
        "kupuje brązowe buty|prosi o szklankę wody|nie czyta listu|sprzedaje dom nad rzeką|woli zostać w domu|"
        "opowiada całą historię|szuka spokojnego miejsca|zmienia temat|zapomina kluczy ze stołu|"
        "mówi zawsze o pogodzie|chce nauczyć się pływać|płaci za kawę",
        "wczoraj wieczorem|w drodze na dworzec|przed śniadaniem|za kościołem|na środku rynku|po deszczu|bez słowa|"
        "około wpół do czwartej",
        "co o tym myślisz?|nie pomyślałbym.|właśnie to powiedziałem.|jesteś pewien?|zrobimy to później.|to zależy.|"
        "ile to kosztuje?",
    ),
    "sv": _words(
        "min granne|den gamla lärarinnan|en vän till mig|deras yngsta dotter|ingen här|chauffören|vår läkare|"
        "kvinnan bredvid|alla|din bror|servitören|flickan med cykeln",
        "köpte bruna skor|ber om ett glas vatten|har inte läst brevet|säljer huset vid älven|stannar hellre hemma|"
        "berättar hela historien|söker en lugn plats|byter ämne|glömmer nycklarna på bordet|talar alltid om vädret|"
        "vill lära sig simma|betalar kaffet",
        "i går kväll|på väg till stationen|före frukost|bakom kyrkan|mitt på torget|efter regnet|utan ett ord|"
        "vid halv fyra",
        "vad tycker du?|det hade jag inte trott.|det var precis vad jag sade.|är du säker?|vi gör det senare.|"
        "det beror på.|hur mycket kostar det?",
    ),
    "ca": _words(
        "el meu veí|la vella mestra|un amic meu|la seva filla petita|ningú d'aquí|el conductor|la nostra metgessa|"
        "la senyora del costat|tothom|el teu germà|el cambrer|la noia de la bicicleta",
        "compra unes sabates marrons|demana un got d'aigua|no ha llegit la carta|ven la casa del riu|"
        "s'estima més quedar-se a casa|ens explica tota la història|busca un lloc tranquil|canvia de tema|"
        "oblida les claus a la taula|parla sempre del temps|vol aprendre a nedar|paga el cafè",
        "ahir al vespre|de camí cap a l'estació|abans d'esmorzar|darrere l'església|enmig del mercat|"
        "després de la pluja|sense dir res|cap a dos quarts de quatre",
        "què et sembla?|no m'ho hauria pensat.|això és el que he dit.|n'estàs segur?|ja ho farem més tard.|depèn.|"
        "quant costa?",
    ),
    "tr": _words(
        "komşum|yaşlı öğretmen|bir arkadaşım|en küçük kızları|şoför|doktorumuz|yandaki kadın|herkes|kardeşin|garson|"
        "bisikletli kız",
        "kahverengi ayakkabı aldı|bir bardak su istiyor|mektubu okumadı|nehir kenarındaki evi satıyor|"
        "evde kalmayı seviyor|bize bütün hikayeyi anlatıyor|sakin bir yer arıyor|konuyu değiştiriyor|"
        "anahtarları masada unutuyor|hep havadan konuşuyor|yüzmeyi öğrenmek istiyor|kahveyi ödüyor",
        "dün akşam|istasyona giderken|kahvaltıdan önce|pazarın ortasında|yağmurdan sonra|üç buçuk civarında",
        "ne düşünüyorsun?|bunu tahmin etmezdim.|ben de bunu söyledim.|emin misin?|sonra yaparız.|"
        "duruma bağlı.|ne kadar?",
    ),
    "fi": _words(
        "naapurini|vanha opettaja|ystäväni|heidän nuorin tyttärensä|kukaan|kuljettaja|lääkärimme|naapurin nainen|"
        "jokainen|veljesi|tarjoilija|polkupyörätyttö",
        "osti ruskeat kengät|pyytää lasin vettä|luki kirjeen|myy talon joen rannalta|jää mieluummin kotiin|"
        "kertoo koko tarinan|etsii rauhallista paikkaa|vaihtaa aihetta|unohtaa avaimet pöydälle|puhuu aina säästä|"
        "haluaa oppia uimaan|maksaa kahvin",
        "eilen illalla|matkalla asemalle|ennen aamiaista|kirkon takana|keskellä toria|sateen jälkeen|"
        "sanaakaan sanomatta|puoli neljän aikaan",
        "mitä mieltä olet?|en olisi arvannut.|juuri niin sanoin.|oletko varma?|tehdään se myöhemmin.|se riippuu.|"
        "paljonko se maksaa?",
    ),
}
"""by language"""


def random_text(language: str, rng: np.random.Generator, characters: int) -> str:
    """Generate text in a language of `WORDS` with at least `characters` characters.

    One seventh of the sentences are numbers, dates and times in digits, which every voice reads in its language.
    """
    words = WORDS[language]
    parts: list[str] = []
    length = 0
    while length < characters:
        kind = rng.random()
        if kind < 0.65:
            who, what, where = (str(rng.choice(part)) for part in words[:3])
            part = f"{who} {what} {where}."
        elif kind < 0.85:
            part = str(rng.choice(words.alone))
        else:
            part = (
                f"{rng.integers(1, 29)}.{rng.integers(1, 13)}.{rng.integers(1900, 2030)}.",
                f"{rng.integers(1, 24)}:{rng.integers(10, 60)}.",
                f"{rng.integers(100, 100_000)}, {rng.integers(2, 1000)}.",
            )[int(rng.integers(3))]
        part = part[0].upper() + part[1:]
        parts.append(part)
        length += len(part) + 1
    return " ".join(parts)
