"""Masking of structured identifiers in text: e-mail, card, IBAN, US SSN, IP address, phone number, secrets.

It does not find names, streets or organisations, and must not be described as if it did. Every pattern is bounded,
so that the time is linear in the length of the text, whatever an attacker writes. Technical text (timestamps, ids,
versions, hashes) stays readable: a shape that is ambiguous is masked only where its neighbourhood says what it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import orjson

EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET = "[EMAIL]", "[CARD]", "[IBAN]", "[SSN]", "[IP]", "[PHONE]", "[SECRET]"
TOKENS = (EMAIL, CARD, IBAN, SSN, IP, PHONE, SECRET)
MAX_DEPTH = 100  # of JSON inside text, and of JSON inside JSON strings
_PASSES = 8  # a mask can uncover another one; texts settle after one or two passes

# A word starts here. Text cut out of JSON carries `\n` as two characters, and its `n` is no letter of a word.
# Checked in the callbacks: a pattern that begins with a look-behind is searched five times slower.
_JOINED = frozenset(".+-/:")
_ESCAPES = frozenset("nrtbf")

Match = re.Match[str]


def _starts(match: Match, joined: frozenset[str] = _JOINED) -> bool:
    """Whether a match begins a word: no letter, digit or joining character stands before it."""
    start = match.start()
    if not start:
        return True
    text = match.string
    before = text[start - 1]
    if before in _ESCAPES and start > 1 and text[start - 2] == "\\":
        return True
    return not (before.isalnum() or before == "_" or before in joined)


# ------------------------------------------------------------------------------------------------------ e-mail

_AT_DOMAIN = re.compile(r"@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}")
_LOCAL_REVERSED = re.compile(r"[\w.%+'&=~#*!-]{1,64}")
_REPOSITORY_USERS = frozenset({"git", "hg", "svn", "ssh"})
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico"})  # icon@2x.png


def _emails(text: str) -> str:
    """Anchored at the `@` and read backwards: a pattern that begins with the local part would be quadratic."""
    parts: list[str] = []
    done = 0
    for match in _AT_DOMAIN.finditer(text):
        at = match.start()
        backwards = _LOCAL_REVERSED.match(text[max(done, at - 64) : at][::-1])
        if backwards is None:
            continue
        start = at - backwards.end()
        if start and text[start - 1] == "\\" and text[start] in "nrtbf":
            start += 1
        local = text[start:at]
        start += len(local) - len(local.lstrip(".'&=~#*!"))
        domain = match.group()[1:]
        if start >= at or text[start:at].lower() in _REPOSITORY_USERS:
            continue
        if domain.rpartition(".")[2].lower() in _FILE_ENDINGS:
            continue
        parts += (text[done:start], EMAIL)
        done = match.end()
    return "".join(parts) + text[done:] if parts else text


# ------------------------------------------------------------------------------------------------ cards, IBAN, SSN

_CARD_GROUPED = re.compile(r"\d{4}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5})(?![\w]|[.-]\d)")
_CARD_PLAIN = re.compile(r"\d{12,19}(?!\w|\.\d)")
_CARD_WORDS = re.compile(
    r"(?i)card|credit|debit|visa|amex|american express|maestro|discover|diners|\bjcb\b|\bpan\b|\bcvv|\bcvc|payment|"
    r"\bpay\b|\bpaid\b|charge|billing|karte|carte|tarjeta|carta|cartão|\bcc\b|expir|bank|account|limit|transaction|purchase"
)
_CARD_NAMED = re.compile(r"(?i)credit|debit|\bcards?\b|\bcc\b")
_CARD_PREFIX = re.compile(
    r"4|5[0-8]|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)|6(?:011|4[4-9]|5|2|0|[37-9])|3[47]|35(?:2[89]|[3-8])|"
    r"1800|2131|30[0-5]|3[689]"
)


def luhn(digits: str) -> bool:
    """Whether the check digit of a payment card number is right (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _is_card(digits: str) -> bool:
    return 12 <= len(digits) <= 19 and digits.isascii() and luhn(digits)


def _card_grouped(match: Match) -> str:
    digits = re.sub(r"\D", "", match.group())
    return CARD if _starts(match) and _CARD_PREFIX.match(digits) and _is_card(digits) else match.group()


def _card_plain(match: Match) -> str:
    """A bare run of digits is a card only near a word of payment: one random 16-digit id in forty passes Luhn."""
    if not (_starts(match, frozenset()) and _is_card(match.group())):
        return match.group()
    text = match.string
    near = text[max(0, match.start() - 100) : match.start()] + " " + text[match.end() : match.end() + 60]
    words = _CARD_NAMED if _CARD_PREFIX.match(match.group()) is None else _CARD_WORDS
    return CARD if words.search(near) else match.group()


_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{1,4}){3,8}")
_IBAN_LENGTHS = {
    pair[:2]: int(pair[2:])
    for pair in [
        "AD24",
        "AE23",
        "AL28",
        "AT20",
        "AZ28",
        "BA20",
        "BE16",
        "BG22",
        "BH22",
        "BI27",
        "BR29",
        "BY28",
        "CH21",
        "CR22",
        "CY28",
        "CZ24",
        "DE22",
        "DJ27",
        "DK18",
        "DO28",
        "EE20",
        "EG29",
        "ES24",
        "FI18",
        "FK18",
        "FO18",
        "FR27",
        "GB22",
        "GE22",
        "GI23",
        "GL18",
        "GR27",
        "GT28",
        "HN28",
        "HR21",
        "HU28",
        "IE22",
        "IL23",
        "IQ23",
        "IS26",
        "IT27",
        "JO30",
        "KW30",
        "KZ20",
        "LB28",
        "LC32",
        "LI21",
        "LT20",
        "LU20",
        "LV21",
        "LY25",
        "MC27",
        "MD24",
        "ME22",
        "MK19",
        "MN20",
        "MR27",
        "MT31",
        "MU30",
        "NI28",
        "NL18",
        "NO15",
        "OM23",
        "PK24",
        "PL28",
        "PS29",
        "PT25",
        "QA29",
        "RO24",
        "RS22",
        "RU33",
        "SA24",
        "SC31",
        "SD18",
        "SE24",
        "SI19",
        "SK24",
        "SM27",
        "SO23",
        "ST25",
        "SV28",
        "TL23",
        "TN24",
        "TR26",
        "UA29",
        "VA22",
        "VG24",
        "XK20",
        "YE30",
    ]
}


def _iban(match: Match) -> str:
    """Masks exactly the length that the country prescribes, where its check digits (mod 97) are right."""
    found = match.group()
    length = _IBAN_LENGTHS.get(found[:2].upper())
    if length is None or not _starts(match, frozenset()):
        return found
    end = seen = 0
    while end < len(found) and seen < length:
        seen += found[end] != " "
        end += 1
    if seen != length or (end < len(found) and found[end] != " "):
        return found
    if end == len(found) and match.end() < len(match.string) and match.string[match.end()].isalnum():
        return found
    account = found[:end].replace(" ", "").upper()
    number = "".join(str(int(c, 36)) for c in account[4:] + account[:4])
    return IBAN + found[end:] if int(number) % 97 == 1 else found


_SSN = re.compile(r"\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w]|[-.]\d)")


def _ssn(match: Match) -> str:
    found = match.group()
    return SSN if _starts(match) and not found.startswith(("000", "666")) else found


# -------------------------------------------------------------------------------------------------------- addresses

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"\d{{1,3}}(?:\.{_OCTET}){{3}}" + r"(?![\w]|\.\d|-\w)")
_WORDS = re.compile(r"[^\W\d_]+")
_IP_WORDS = frozenset(
    [
        "ip",
        "ips",
        "ipv",
        "address",
        "addresses",
        "addr",
        "host",
        "hosts",
        "hostname",
        "server",
        "client",
        "remote",
        "peer",
        "ping",
        "pinged",
        "login",
        "logged",
        "connect",
        "connected",
        "connection",
        "connecting",
        "gateway",
        "subnet",
        "from",
        "router",
        "proxy",
    ]
)
_VERSION_WORDS = frozenset(
    [
        "v",
        "ver",
        "version",
        "versions",
        "release",
        "build",
        "rev",
        "revision",
        "firmware",
        "driver",
        "sdk",
        "api",
        "rfc",
        "section",
        "sections",
        "chapter",
        "oid",
        "patch",
        "upgrade",
        "upgraded",
        "update",
        "updated",
    ]
)


def _ipv4(match: Match) -> str:
    """`1.2.3.4` is an address or a version: small numbers need a neighbour that says so."""
    text, start, end = match.string, match.start(), match.end()
    found = match.group()
    parts = [int(part) for part in found.split(".")]
    if parts[0] > 255 or not _starts(match, _IPV4_JOINED):
        return found
    before = text[max(0, start - 32) : start]
    if before.endswith(("://", "@")) or (text[end : end + 1] in (":", "/") and text[end + 1 : end + 2].isdigit()):
        return IP
    bare = before.rstrip("=~<>^/_ ")
    if before[-1:] in ("/", "_", "~", "<", ">", "^") or before.endswith("=="):
        return found
    words = [word.lower() for word in _WORDS.findall(bare)[-3:]]
    if not _IP_WORDS.isdisjoint(words):
        return IP
    if words and not _VERSION_WORDS.isdisjoint(words[-2:]):
        return found
    return IP if max(parts) >= 100 else found


_IPV4_JOINED = frozenset(".-")
_IPV6_JOINED = frozenset(".")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{6,}")


def _ipv6(match: Match) -> str:
    found = match.group()
    if not 6 <= len(found) <= 39 or found.count(":") < 3 or not _starts(match, _IPV6_JOINED):
        return found
    after = match.string[match.end() : match.end() + 1]
    if after.isalnum() or after == "_":
        return found
    if "::" in found and len([part for part in found.split(":") if part]) < 3:
        return found  # `a::b` is a scope in several languages, `::1` the machine itself
    try:
        ipaddress.IPv6Address(found)
    except ValueError:
        return found
    return IP


# ------------------------------------------------------------------------------------------------------------ phones

_PHONE_END = r"(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?(?![\w@]|[-./:]\d)"
_PHONE = re.compile(
    r"(?:"
    r"\+\d{1,3}(?:[ .\-]{0,2}\(?\d{1,5}\)?){2,6}"  # international
    r"|\((?:\d{3}\) ?\d{3}[-.]\d{4}|0?\d{1,4}\) ?\d{3,4}[ \-]\d{3,4})"  # area code in brackets
    r"|0\d{1,4}(?=([ .\-/]))(?:\1\d{2,8}){1,4}"  # trunk zero, one kind of separator
    r"|1[ .\-](?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}"  # North American
    r"|[2-9]\d{2}[-.]\d{3}[-.]\d{4}"
    r")" + _PHONE_END
)
_PHONE_NEAR = re.compile(
    r"(?i)(?:\b(?:tele)?phone\b|\btel\b|\bmobile\b|\bcell(?:phone|ular)?\b|\bfax\b|\bdesk\b|\bwhatsapp\b|\bsms\b|\bhandy\b|"
    r"\btelefon\w*|\bt[ée]l[ée]phone\b|\btel[ée]fono\b|\bmóvil\b|\bdial\b|\bhotline\b|"
    r"\b_?(?:phone|mobile|tel)_?(?:number|no|nr)\b|"
    r"\bcall(?:ed|ing)? (?:me|us|him|her|them|back)\b|\bring me\b|\btext me\b|\breach (?:me|us|him|her|them)\b|"
    r"\bcontact (?:me|us|number|no)\b|\banswering at|\bmessages? to|\bregistered)"
    r"((?:[ \t\"'=:.,(\\]|\bat\b|\bon\b|\bis\b|\bnumber\b|\bno\b|\bnr\b|\bto\b|\bvia\b|\bunder\b|\bmy\b|"
    r"\boffice\b|\bn(?=\d)|\n){1,12})"
    r"(\(?\d(?:[ ().\-/]{0,2}\d){6,14})" + _PHONE_END
)
_LABEL_WORDS = re.compile(r"(?i) ?[-–]? ?[(,]? ?(?:office|fax|mobile|phone|cell|home phone)\b")
_PHONE_LABELLED = re.compile(r"\(?\d(?:[ ().\-]{0,2}\d){6,11}(?= ?[-–(,]? ?[a-zA-Z])")
_DATE = re.compile(r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)|(?:\d{1,3}\.){3}\d{1,3}\Z")
_MASKED_DIGITS = re.compile(r"\d")


def _phone(match: Match) -> str:
    found = match.group()
    digits = len(_MASKED_DIGITS.findall(re.split(r"[x#e]", found)[0]))
    shortest = 8 if found.startswith(("+", "(")) else 9
    return PHONE if shortest <= digits <= 15 and _starts(match) and not _DATE.match(found) else found


def _phone_near(match: Match) -> str:
    number = match.group(2)
    if _DATE.match(number) or (number.isdigit() and len(number) > 12):
        return match.group()
    kept = match.start(2) - match.start()
    return match.group()[:kept] + PHONE


def _phone_labelled(match: Match) -> str:
    found = match.group()
    if not _LABEL_WORDS.match(match.string, match.end()):
        return found
    return PHONE if _starts(match) and not _DATE.match(found) else found


# ----------------------------------------------------------------------------------------------------------- secrets

_BLOCK_START = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,60}(?:PRIVATE KEY|SECRET|MESSAGE)[ A-Z0-9_-]{0,20}-----")
_BLOCK_END = re.compile(r"-----END[ A-Z0-9_-]{0,80}-----")
_URL_PASSWORD = re.compile(r"(://)[^\s/@:\"'<>\[\]]{0,100}:[^\s/@\"'<>]{1,200}(@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic|apikey|token) +(?=[\w.~+/-]{0,199}[\d_.~+/-])[\w.~+/-]{16,4000}=*")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{10,4000}\.[\w-]{4,8000}(?:\.[\w-]{0,4000})?")
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?:[a-z]{2,10}-)?(?:[a-z0-9]{2,10}-)?[\w-]{16,200}"
    r"|(?:sk|pk|rk|whsec)_(?:(?:test|live|prod)_)?[A-Za-z0-9]{16,250}"
    r"|(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{16,255}"
    r"|gl(?:pat|ptt|dt|rt|agent|soat|ffct|imt|ft|oas|cbt)-[\w.-]{16,300}"
    r"|(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA)[A-Z2-7]{16}(?![A-Za-z0-9])|ABSK[A-Za-z0-9+/]{60,300}={0,2}"
    r"|AIza[\w-]{30,45}|ya29\.[\w-]{20,400}|GOCSPX-[\w-]{20,40}"
    r"|xox[a-z](?:\.xox[a-z])?-[\w-]{10,300}|xapp-\d-[A-Z0-9]{5,20}-[\w-]{10,200}"
    r"|SG\.[\w-]{16,32}\.[\w-]{30,64}|key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2}(?!\w)"
    r"|(?:npm_|pypi-|hf_|api_org_|gsk_|r8_|dapi|dop_v1_|doo_v1_|dor_v1_|shp(?:at|ca|pa|ss)_|lin_(?:api|oauth)_|ntn_|secret_"
    r"|figd_|glsa_|glc_|sntry[su]_|nfp_|tfp_|pul-|rubygems_|xai-|pplx-|tvly-|fw_|nvapi-|jina_|ATATT3|ATCTT3|dt0c01\.|dckr_pat_"
    r"|phc_|phx_|sbp_|EAAC|EAA|FLWSECK|PMAK-|NRAK-|NRJS-|NRII-|rdme_|CLOJARS_|duffel_(?:test|live)_|EZ[AT]K|fo1_|fm[12][ar]?_|"
    r"hvs\.|hvb\.|ops_eyJ|pnu_|pscale_\w{2,5}_|p8e-|sdp_|sl\.|tk-us-|shippo_(?:live|test)_|sq0[a-z]{3}-|EAAA|ico-|sgp_|v1\.0-"
    r"|SK(?=[0-9a-f]{32})|AC(?=[0-9a-f]{32})|pk-lf-|LTAI|HRKU-|AGE-SECRET-KEY-1|A3-[A-Z0-9]{6}-)[\w.+/=-]{16,400}"
    r"|\d{6,12}:AA[\w-]{30,40}"
    r"|https://hooks\.slack\.com/(?:services|workflows|triggers)/[\w/+-]{20,200}"
    r"|https://[\w.-]{1,60}\.webhook\.office\.com/[\w@/-]{40,300}"
    r"|https://discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{30,90}"
    r")"
)
_ASSIGNED = re.compile(
    r"(?i)(pass(?:word|wd|phrase)|\bpwd|secret|token|api[_ -]?key|access[_-]?key|auth[_-]?key|private[_-]?key|"
    r"signing[_-]?key|"
    r"encryption[_-]?key|client[_-]?key|app[_-]?key|license[_-]?key|credential|authorization|\bauth)"
    r"([\w.-]{0,24}\\?[\"'`]?[ \t]{0,4}(?:=>|:=|:|=|,| is )[ \t]{0,4}(?:\\?[\"'`])?)"
    r"((?:(?!bearer|basic)[^\s\"'`\\,;&<>(){}\[\]]){6,300})"
)
_PLAIN_WORDS = frozenset(
    [
        "null",
        "none",
        "true",
        "false",
        "undefined",
        "required",
        "optional",
        "string",
        "missing",
        "invalid",
        "expired",
        "redacted",
    ]
)


def _blocks(text: str) -> str:
    """Key blocks, by position: a block that was cut off is masked to the end of the text."""
    parts: list[str] = []
    done = 0
    while (start := _BLOCK_START.search(text, done)) is not None:
        end = _BLOCK_END.search(text, start.end())
        parts += (text[done : start.start()], SECRET)
        done = end.end() if end else len(text)
        if end is None and text.endswith(('"', '"}', '"]')):
            done = text.rindex('"')
    return "".join(parts) + text[done:]


def _assigned(match: Match) -> str:
    """`password=…`, `"api_key": "…"`. Words, short numbers and counts (`tokens: 1234`) are no secrets."""
    name, value = match.group(1).lower(), match.group(3)
    if name.startswith("pass") or name == "pwd":
        secret = value.lower().rstrip(".") not in _PLAIN_WORDS and not (" is " in match.group(2) and value.isalpha())
    else:
        digits = sum(c.isdigit() for c in value)
        secret = len(value) >= 10 and digits > 0 and not re.fullmatch(r"[\d.:+TZ-]+", value)
        secret = secret or (len(value) >= 20 and value.isalnum())
    return match.group(1) + match.group(2) + SECRET if secret else match.group()


def _secrets(text: str) -> str:
    if "-----BEGIN" in text:
        text = _blocks(text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{SECRET}\2", text)
    if "eyJ" in text:
        text = _JWT.sub(SECRET, text)
    text = _PREFIXED.sub(SECRET, text)
    lower = text.lower()
    if "bearer" in lower or "basic" in lower or "apikey" in lower or "token" in lower:
        text = _BEARER.sub(rf"\1 {SECRET}", text)
    if any(word in lower for word in ("pass", "pwd", "secret", "token", "key", "credential", "auth")):
        text = _ASSIGNED.sub(_assigned, text)
    return text


# --------------------------------------------------------------------------------------------------------- the whole

_SEVEN_DIGITS = re.compile(r"\d(?:[ ().\-/]{0,2}\d){6}")
_IBAN_HINT = re.compile(r"[A-Za-z]{2}\d\d ?[A-Za-z0-9]{4}")
_IPV4_HINT = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_NEAR_WORDS = (
    "phone", "tel", "mobile", "mobil", "móvil", "movil", "cell", "fax", "desk", "whatsapp", "sms",
    "handy", "dial", "hotline",
    "call", "ring", "text me", "reach", "contact", "answering", "message", "registered",
)  # fmt: skip
_LABELS = ("office", "fax", "mobile", "phone", "cell")
_SECRET_WORDS = ("pass", "pwd", "secret", "token", "key", "credential", "auth")
_CODED = 16  # characters without a space that may be a secret


def _once(text: str) -> str:
    lower = text.lower()
    if (
        "://" in text
        or any(word in lower for word in _SECRET_WORDS)
        or max(map(len, text.split()), default=0) >= _CODED
    ):
        text = _secrets(text)
    if "@" in text:
        text = _emails(text)
    if _IBAN_HINT.search(text):
        text = _IBAN.sub(_iban, text)
    if text.count(":") > 1 and ("::" in text or text.count(":") > 6):
        text = _IPV6.sub(_ipv6, text)
    if _IPV4_HINT.search(text):
        text = _IPV4.sub(_ipv4, text)
    return _numbers(text, lower) if _SEVEN_DIGITS.search(text) else text


def _numbers(text: str, lower: str) -> str:
    text = _CARD_GROUPED.sub(_card_grouped, text)
    text = _CARD_PLAIN.sub(_card_plain, text)
    text = _SSN.sub(_ssn, text)
    text = _PHONE.sub(_phone, text)
    if any(word in lower for word in _NEAR_WORDS):
        text = _PHONE_NEAR.sub(_phone_near, text)
    if any(word in lower for word in _LABELS):
        text = _PHONE_LABELLED.sub(_phone_labelled, text)
    return text


def _plain(text: str) -> str:
    for _ in range(_PASSES):
        masked = _once(text)
        if masked == text:
            break
        text = masked
    return text


def redact(text: str) -> str:
    """The text with structured identifiers replaced by `TOKENS` such as `[EMAIL]`.

    Idempotent; linear in the length of the text. Text that is JSON stays JSON: a masked number becomes a string.
    """
    if text[:1] in '{["' or text[:64].lstrip()[:1] in ("{", "["):
        return _json(text, 0)
    return _plain(text)


def _json(text: str, depth: int) -> str:
    """Masks a text that may be JSON. It is rewritten value by value only where replacing in place would break it."""
    masked = _plain(text)
    if masked == text and "\\" not in text:
        return text
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        return masked
    if "\\" not in text and _is_json(masked):
        return masked
    changed = _walk(value, "", depth)
    if changed == value:
        return text
    return orjson.dumps(changed).decode()


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _walk(value: object, key: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        return SECRET  # too deep to look at: nothing unseen passes
    if isinstance(value, dict):
        return {_plain(k): _walk(v, k, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_walk(v, key, depth + 1) for v in value]
    if isinstance(value, str):
        if value[:1] in ("{", "[") and (inner := _json(value, depth + 1)) != value:
            return inner
        return _with_key(value, key)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1_000_000:
        masked = _with_key(str(value), key)
        return value if masked == str(value) else masked
    return value


def _with_key(text: str, key: str) -> str:
    """Masks a value in the light of its key: `"phone": 2025550123`."""
    if not key or len(key) > 64:
        return _plain(text)
    before = f"{key}: "
    masked = _plain(before + text)
    return masked[len(before) :] if masked.startswith(before) else _plain(text)


Redactor = Callable[[str], str]
