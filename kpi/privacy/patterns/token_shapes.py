"""Shapes of keys and tokens that name themselves, and the words beside those that do not. Data only.

Prefix, alphabet and length are facts that the vendors publish (developer documents of each, and the rule sets of the
public secret scanners gitleaks and trufflehog, read in November 2026). Lengths are taken a little wider than
published: a vendor lengthens its tokens more often than it changes their prefix.
"""

from __future__ import annotations

import re

_ALPHABETS = {
    "h": "0-9A-Fa-f",  # hexadecimal
    "a": "0-9A-Za-z",
    "u": "0-9A-Z",
    "w": r"\w-",
    "e": r"\w=.-",
    "b": "0-9A-Za-z+/",  # base64
    "c": r"\w=.+/-",
    "d": "0-9",
}

# Prefixes that begin with a letter of their own, the alphabet of the rest, and its shortest length.
_PREFIXES = r"""
sk-(?:[a-z]{2,10}-)?(?:[a-z\d]{2,10}-)? w 16
sk_(?:(?:test|live|prod)_)?|pk_(?:(?:test|live|prod)_)?|rk_(?:(?:test|live|prod)_)? a 10
whsec_|re_|rzp_(?:live|test)_|cs_(?:live|test)_ a 10
gh[pousr]_|github_pat_ w 16
glpat-|glptt-|gldt-|glrt-|glrtr-|glagent-|glsoat-|glffct-|glimt-|glft-|gloas-|glcbt- e 16
GR1348941 w 16
ABSK b 60
bedrock-api-key- c 20
AIza w 30
ya29\. w 20
GOCSPX- w 20
1//0 w 30
xox[a-z](?:[.-]xox[a-z])?- w 8
xapp-\d- w 10
SG\. e 30
key-|pubkey- h 32
npm_|hf_|api_org_|gsk_|r8_|pnu_|pypi-|xai-|pplx-|tvly-|fw_|nvapi-|jina_|rnd_|napi_|csk-|fc-|lsv2_[a-z]{2}_|pcsk_ w 16
dapi h 32
do[opr]_v1_ h 32
shp(?:at|ca|pa|ss|ua|tka)_ h 32
lin_api_|lin_oauth_|ntn_|secret_|figd_|figo_ w 20
glsa_|glc_|eyJrIjoi|sntrys_|sntryu_ c 20
nfp_|nfo_|nfc_|tfp_|pul-|rubygems_|tskey-|bkua_|CCIPAT_|sqp_|squ_|sqa_|essu_|hcaik_|aio_|lmsk_ c 16
ATATT3|ATCTT3|ATBB|CFPAT- e 16
dt0[cs]\d\d\. e 24
dckr_pat_|dckr_oat_ w 16
phc_|phx_ a 20
sbp_|sb_secret_|sb_publishable_ w 16
EAA[A-Z] w 22
FLWSECK(?:_TEST)?-|FLWPUBK(?:_TEST)?- w 10
PMAK-|NRAK-|NRJS-|NRII-|HRKU- w 16
rdme_|CLOJARS_|clojars_|duffel_(?:test|live)_|EZAK|EZTK|fo1_|fm[12][ar]?_|fio-u- c 24
hv[sbr]\. e 20
ops_eyJ b 40
pscale_[a-z]{2,5}_ e 16
p8e- a 16
sdp_|sl\.(?:[bu]\.)? w 30
tk-us- w 16
shippo_(?:live|test)_ h 16
sq0[a-z]{3}- w 16
ico- a 24
sgp_ w 20
v1\.0-[0-9a-f]{24}- h 40
SK|AC h 32
pk-lf- w 16
LTAI a 12
AGE-SECRET-KEY-1 u 40
AKCp[0-9A-Za-z]|cmVmd b 50
4b1d a 38
dp\.(?:pt|st|ct|scim|audit|sa)\. e 30
dnkey- e 40
xkeysib-|xsmtpsib- w 40
sm_[aps]at_ a 16
sha256~ w 40
s-s4t2(?:ud|af)- h 40
ZXlK b 40
API- u 26
pat-(?:na|eu|ap)\d- w 30
access-(?:sandbox|development|production)- w 30
access_token\$(?:production|sandbox)\$ w 20
AQVN w 30
YC[A-Z] w 37
t1\. c 80
pk\.eyJ|sk\.eyJ|tk\.eyJ e 30
pk\.|sk\. e 60
live_(?:pub_)?|test_(?:pub_)? h 30
live_ w 40
b_ e 44
patq?[0-9A-Za-z]{14}\. h 40
TST-|PRD-|BBDC- w 24
QVC|QVQ b 60
hooks\.slack\.com/(?:services|workflows|triggers)/ b 20
PHPSESSID=|JSESSIONID=|ASP\.NET_SessionId=|connect\.sid= c 16
"""

# Shapes whose telling part is not at their start: what must stand in them, and the shape.
_INNER = r"""
A3T (?:A3T[A-Z0-9])[A-Z2-7]{16}(?![A-Za-z0-9])
A (?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|APKA)[A-Z2-7]{16}(?![A-Za-z0-9])
A3- A3-[A-Z0-9]{6}-[A-Z0-9-]{20,40}
-us [0-9a-f]{32}-us\d{1,2}(?!\w)
:A \d{5,16}:A[\w-]{34}
| \d{15,16}\|[\w-]{27,40}
% \d{15,16}%[\w-]{27,40}
Q~ [\w~.]{3}\dQ~[\w~.-]{31,34}
_mmk [A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk
at. (?:pat|sat)\.[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}
.atlasv1. [A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,90}
.acc (?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[\w+/=-]{30,120}
. [MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,45}
s. (?=[a-z.]{2}[A-Za-z]{0,23}\d)s\.[A-Za-z0-9]{24}(?![\w.-])
! (?:00D|00d)[A-Za-z0-9]{12,15}![\w.]{60,200}
.webhook.office.com/ [\w.-]{1,60}\.webhook\.office\.com/[\w@/-]{40,300}
/api/webhooks/ discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{30,90}
_session= \w{0,40}_session=[\w%-]{16,300}
"""


def _shapes() -> re.Pattern[str]:
    """Every prefix with its rest, in branches by first letter: a letter that begins none costs next to nothing."""
    branches: dict[str, list[str]] = {}
    for line in filter(None, _PREFIXES.split("\n")):
        prefixes, letters, least = line.rsplit(" ", 2)
        rest = f"[{_ALPHABETS[letters]}]{{{least},4000}}={{0,3}}"
        for prefix in re.split(r"\|(?![^(]*\))", prefixes):
            branches.setdefault(prefix[0], []).append(prefix[1:] + rest)
    shapes = [f"{first}(?:{'|'.join(rests)})" for first, rests in branches.items()]
    return re.compile(f"(?<![A-Za-z0-9])(?:{'|'.join(shapes)})")


SHAPED = _shapes()
INNER = [
    (hint, re.compile(rf"(?<![A-Za-z0-9])(?:{shape})"))
    for hint, shape in (line.split(" ", 1) for line in filter(None, _INNER.split("\n")))
]
# Scanners read these without regard to capitals.
FOLDED = re.compile(
    r"(?<![A-Za-z0-9])(?i:xoxe[.-](?:xox[bp]-)?\d-[A-Z0-9]{100,200}|dor_v1_[0-9a-f]{64}|pscale_pw_[\w=.-]{32,64}|npm_[a-z0-9]{36}|"
    r"clojars_[a-z0-9]{60}|sgp_[\w-]{40,60}|glc_[A-Za-z0-9+/]{32,400}|glsa_\w{41}|xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+)"
)

# Services whose keys carry no mark of their own: an assignment to their name is looked at.
_VENDORS = """
adafruit adobe airtable algolia alibaba alchemy amplitude anthropic artifactory asana atlassian auth0 aws azure beamer
bintray bitbucket bittrex braintree braze bundle buildkite cisco circleci clickhouse cloudflare cloudinary codecov
cohere coinbase confluence confluent contentful contribsys databricks datadog deepgram deepseek digitalocean discord
dnkey droneci dropbox elastic elevenlabs etsy facebook fastly fingerprint finicity finnhub firebase flickr flutterwave
freemius freshbooks freshdesk gcp github gitlab gitter gocardless grafana groq harness heroku honeycomb hubspot
infracost infura intercom jenkins jfrog jira kraken kucoin launchdarkly linear linkedin lob logzio looker mailchimp
mailgun mailjet mapbox mattermost maxmind meraki messagebird mistral mixpanel mongodb netlify newrelic notion nuget
nytimes okta openai openrouter openweather paddle pagerduty paypal paystack perplexity pinecone plaid planetscale
postman pusher quay rapidapi razorpay rollbar salesforce segment sendbird sendgrid sendinblue sentry shippo shodan
shopify sidekiq slack snyk sonar sourcegraph splunk spotify square squarespace storyblok stripe sumo sumologic
supabase telegram telegr tencent together travis travisci trello twilio twitch twitter typeform vault vercel voyage
wandb weaviate webflow xray yandex zapier zendesk zoom
"""
VENDORS = frozenset(_VENDORS.split())
VENDOR_PAIRS = frozenset([
    "newrelic", "linkedin", "messagebird", "privateai", "newyorktimes", "launchdarkly", "digitalocean", "sumologic",
    "travisci", "droneci", "gocardless", "sendgrid", "rapidapi", "squarespace", "freshbooks", "hubspot", "airtable",
])  # fmt: skip
# Last words of a name that say that its value is no secret.
_HARMLESS = """
trace span event request run commit sha version url uri host region date time model hash digest checksum build image
branch tag release path file dir name type count length size total limit max min used usage prompt completion
input output cached ttl expiry expires expiration endpoint org project workspace team channel account user zone
environment env dataset experiment session conversation message thread status page cursor index ref revision
"""
HARMLESS = frozenset(_HARMLESS.split())

# Words for a password, passphrase or PIN in the languages that people use, lower case.
PASSWORD_WORDS = (
    "passw", "passphrase", "passcode", "pwd", "kennwort", "mot de passe", "motdepasse", "contraseña",
    "contrasena", "clave", "senha", "parola", "wachtwoord", "hasło", "haslo", "пароль", "密码", "密碼",
    "口令", "パスワード", "暗証番号", "비밀번호", "암호", "şifre", "sifre", "lösenord", "adgangskode", "passord",
    "salasana", "كلمة المرور", "كلمة السر", "पासवर्ड", "mật khẩu", "kata sandi", "heslo", "jelszó",
    "parolă", "κωδικός", "סיסמה", "รหัสผ่าน", "palavra-passe",
)  # fmt: skip
# Parts of names of secrets that need not be words: a value is masked only where it looks like one.
SECRET_WORDS = (
    "secret", "token", "key", "credential", "authorization", "auth", "creds", "signature", "sig=", "schlüssel", "jeton",
    "ключ", "токен", "密钥", "令牌",
)  # fmt: skip
