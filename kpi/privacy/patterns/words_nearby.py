"""Words beside a number that say what it is, in the languages that people use. Data, and how it is looked up."""

from __future__ import annotations

import re

PHONE, SSN, IDENTITY, PASSPORT, TECHNICAL = "phone", "ssn", "identity", "passport", "technical"

_KINDS = {
    PHONE: """
        phone telephone phones tel telephon mobile mobil mobiel cell cellphone cellular fax whatsapp sms
        viber telegram signal wechat handy handynummer telefon telefonnummer telefono teléfono téléphone
        telephone portable móvil movil celular cellulare telefone telemóvel telefoon telefoonnummer
        mobilnummer puhelin puhelinnumero komórka komórkowy telefonu telefonnr numéro número numero nummer
        numer номер телефон телефона мобильный тел номеру call called calling dial ring reach contact text
        hotline extension desk callback landline line phoned number numbers appelez llámame llama ligue
        ligar chiama chiamami anrufen ruf erreichbar bel bellen ring ringa звоните позвоните позвони cep
        telefonum numara numaram numaranız τηλέφωνο κινητό טלפון נייד هاتف جوال رقم موبايل तेल फ़ोन फोन
        मोबाइल नंबर telepon hp nomor điện thoại sđt โทร เบอร์ 电话 手机 手机号
        號碼 号码 電話 電話番号 携帯 携帯番号 전화 전화번호 번호 휴대폰
        연락처 phonenumber mobilenumber phoneno mobileno mob ph registered answering messages message""",
    SSN: "ssn itin social security",
    IDENTITY: """
        cpf cnpj dni nif nino nhs aadhaar aadhar आधार codicefiscale bsn burgerservicenummer pesel personnummer
        fødselsnummer cpr henkilötunnus henkilotunnus tfn rut curp cuit cuil steuerid steueridentifikationsnummer
        steuernummer identifikationsnummer sozialversicherungsnummer svnr ahv tckn kimlik снилс инн snils nric ktp cnic
        medicare egn егн cnp amka αμκα afm αφμ personalausweis ausweisnummer cmnd cccd mynumber ssnit
        taxpayer cédula cedula cuil kennitala isikukood asmenskodas nationalid idnumber bvn nin gstin""",
    PASSPORT: """
        passport reisepass passeport pasaporte passaporto passaporte paspoort paszport paszportu pasaport паспорт
        паспорта passnummer passinumero διαβατηρίου""",
    TECHNICAL: """
        id ids uid uuid guid order orders request requests error errors exception trace span session job task ticket
        invoice case ref reference code row rows line offset size bytes byte count total epoch ts timestamp time times
        unix build version release commit sha hash pid port worker process thread batch item sku product part serial
        model isbn issn doi rfc cve issue pr pull record records key index seed value values sum amount price cost usd
        eur gbp revenue sales population token tokens step steps iteration latency duration ms ns us sec seconds width
        height pixel pixels zip postcode plz lat lon latitude longitude coordinates score parcel tracking shipment order
        user users customer customers account member transaction confirmation booking reservation contract patient
        device node pod container cluster shard partition block page chapter bestellung bestellnummer rechnung commande
        facture pedido factura ordine fattura заказ заказа 订单 订单号 注文 注文番号 주문""",
}
_KIND = {word: kind for kind, words in reversed(_KINDS.items()) for word in words.split()}
_PAIRS = {
    ("national", "insurance"): IDENTITY, ("tax", "file"): IDENTITY, ("my", "number"): PHONE,
    ("social", "insurance"): IDENTITY, ("codice", "fiscale"): IDENTITY, ("tax", "id"): IDENTITY,
    ("national", "id"): IDENTITY, ("identity", "number"): IDENTITY, ("identity", "card"): IDENTITY,
    ("id", "card"): IDENTITY, ("sécurité", "sociale"): IDENTITY, ("rodné", "číslo"): IDENTITY,
    ("id", "number"): IDENTITY, ("steuer", "id"): IDENTITY,
    ("order", "number"): TECHNICAL, ("ticket", "number"): TECHNICAL, ("invoice", "number"): TECHNICAL,
    ("account", "number"): TECHNICAL, ("reference", "number"): TECHNICAL, ("serial", "number"): TECHNICAL,
    ("tracking", "number"): TECHNICAL, ("case", "number"): TECHNICAL, ("line", "number"): TECHNICAL,
    ("order", "no"): TECHNICAL, ("phone", "id"): TECHNICAL, ("call", "id"): TECHNICAL, ("message", "id"): TECHNICAL,
    ("build", "number"): TECHNICAL, ("version", "number"): TECHNICAL, ("random", "number"): TECHNICAL,
    ("phone", "number"): PHONE, ("mobile", "number"): PHONE, ("contact", "number"): PHONE, ("security", "number"): SSN,
    ("insurance", "number"): IDENTITY, ("passport", "number"): PASSPORT, ("nhs", "number"): IDENTITY,
}  # fmt: skip
_PROSE = frozenset(["sin", "nie", "nip", "tin", "nik", "taj", "nir", "pan", "rfc"])  # identifiers only in capitals
_SECOND = frozenset(second for _, second in _PAIRS)
_UNSPACED = re.compile(
    r"(?P<identity>身份证|身分證|身份證|マイナンバー|個人番号|주민등록번호|รหัสประชาชน|מספר זהות|תעודת זהות|رقم الهوية)|"
    r"(?P<passport>护照|護照|パスポート|旅券|여권|पासपोर्ट|جواز)|(?P<technical>订单|訂單|注文|주문|编号|編號)|"
    r"(?P<phone>电话|手机|號碼|号码|電話|携帯|전화|번호|휴대폰|연락처|联系|聯絡|连絡|連絡|โทร|เบอร์|打给|微信)"
)
_WORD = re.compile(r"[^\W\d_]+")
_BEFORE = 48
_AFTER = re.compile(
    r" ?[-–]? ?[(,]? ?(?:office|fax|mobile|phone|cell|home phone|whatsapp|work|mobil|handy|móvil|portable)\b"
)


def kind_before(text: str, lower: str, start: int) -> str | None:
    """What the words before a number say it is; the nearest word that says anything decides."""
    near = lower[max(0, start - _BEFORE) : start]
    if not near.isascii() and (found := list(_UNSPACED.finditer(near))):
        return found[-1].lastgroup
    words = _WORD.findall(near)[-7:]
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if at and word in _SECOND and (kind := _PAIRS.get((words[at - 1], word))):
            return kind
        kind = _KIND.get(word)
        if kind is not None:
            return _KIND.get(words[at - 1], kind) if at and word in _VAGUE else kind
        if word in _PROSE and word.upper() in text[max(0, start - _BEFORE) : start]:
            return IDENTITY
    return None


# A phone where nothing else is said: what stands before them decides.
_VAGUE = frozenset(["number", "numbers", "numero", "número", "numéro", "nummer", "номер", "line"])


def phone_after(lower: str, end: int) -> bool:
    """Whether a label such as `(mobile)` or `office` follows."""
    return _AFTER.match(lower, end) is not None
