"""Secrets in text: key blocks, passwords in addresses, bearer and web tokens, keys by their prefix, assignments."""

from __future__ import annotations

import re

from kpi.privacy.patterns.masking import SECRET, Match, mask

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
_LONG_RUN = re.compile(r"[^ ]{16}")  # of characters that may be a key
_PLAIN_WORDS = frozenset([
    "null", "none", "true", "false", "undefined", "required", "optional", "string", "missing", "invalid", "expired",
    "redacted",
])  # fmt: skip


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


def mask_secrets(text: str) -> str:
    """Keys, tokens and passwords, longest shapes first."""
    if "-----BEGIN" in text:
        text = _blocks(text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{SECRET}\2", text)
    if "eyJ" in text:
        text = _JWT.sub(SECRET, text)
    if _LONG_RUN.search(text):
        text = _PREFIXED.sub(SECRET, text)
    lower = text.lower()
    if "bearer" in lower or "basic" in lower or "apikey" in lower or "token" in lower:
        text = _BEARER.sub(rf"\1 {SECRET}", text)
    return mask(_ASSIGNED, _assigned, text) if _names_one(lower) else text


def may_hold_secret(text: str, lower: str) -> bool:
    """A cheap look: a word that names a secret, an address, or a run of characters as long as a key."""
    return "://" in text or _names_one(lower) or _LONG_RUN.search(text) is not None


def _names_one(lower: str) -> bool:
    return (
        "pass" in lower or "pwd" in lower or "secret" in lower or "token" in lower
        or "key" in lower or "credential" in lower or "auth" in lower
    )  # fmt: skip
