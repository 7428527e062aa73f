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

# prefix (a pattern), alphabet, shortest rest
_PREFIXES = r"""
sk-(?:[a-z]{2,10}-)?(?:[a-z\d]{2,10}-)? w 16
(?:sk|pk|rk|whsec|re|rzp|ak|cs)_(?:(?:test|live|prod)_)? a 10+
gh[pousr]_|github_pat_ w 16
gl(?:pat|ptt|dt|rt|agent|soat|ffct|imt|ft|oas|cbt|rtr|ptt)- e 16
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
(?:pub)?key- h 32
npm_|hf_|api_org_|gsk_|r8_|pnu_|pypi-|xai-|pplx-|tvly-|fw_|nvapi-|jina_|rnd_|napi_|csk-|fc-|lsv2_[a-z]{2}_|pcsk_ w 16
dapi h 32
do[opr]_v1_ h 32
shp(?:at|ca|pa|ss|ua|tka)_ h 32
lin_(?:api|oauth)_|ntn_|secret_|figd_|figo_ w 20
glsa_|glc_|eyJrIjoi|sntry[su]_ c 20
nfp_|nfo_|nfc_|tfp_|pul-|rubygems_|tskey-|bkua_|CCIPAT_|sq[apu]_|essu_|hcaik_|aio_|lmsk_ c 16
ATATT3|ATCTT3|ATBB|CFPAT- e 16
dt0[cs]\d\d\. e 24
dckr_(?:pat|oat)_ w 16
ph[cx]_ a 20
sbp_|sb_(?:secret|publishable)_ w 16
EAA[A-Z] w 22
FLW(?:SECK|PUBK)(?:_TEST)?- w 10
PMAK-|NRAK-|NRJS-|NRII-|HRKU- w 16
rdme_|CLOJARS_|clojars_|duffel_(?:test|live)_|EZ[AT]K|fo1_|fm[12][ar]?_|fio-u- c 24
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
(?:pk|sk|tk)\.eyJ e 30
(?:pk|sk)\. e 60
(?:live|test)_(?:pub_)? h 30
live_ w 40
b_ e 44
patq?[0-9A-Za-z]{14}\. h 40
TST-|PRD-|BBDC- w 24
QVC|QVQ b 60
"""

# shapes whose telling part is not at their start
_WHOLE = r"""
(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA|APKA)[A-Z2-7]{16}(?![A-Za-z0-9])
A3-[A-Z0-9]{6}-[A-Z0-9-]{20,40}
[0-9a-f]{32}-us\d{1,2}(?!\w)
\d{5,16}:A[\w-]{34}
\d{15,16}(?:\||%)[\w-]{27,40}
[\w~.]{3}\dQ~[\w~.-]{31,34}
[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk
(?:pat|sat)\.[\w-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}
[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,90}
(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[\w+/=-]{30,120}
[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,45}
(?=[A-Za-z]{0,23}\d)s\.[A-Za-z0-9]{24}(?![\w.-])
(?i:xoxe[.-](?:xox[bp]-)?\d-[A-Z0-9]{100,200})
(?i:gl(?:c|sa)_[A-Za-z0-9+/_]{32,400}|dor_v1_[0-9a-f]{64}|pscale_pw_[\w=.-]{32,64}|npm_[a-z0-9]{36}|sgp_[\w-]{40,60}|clojars_[a-z0-9]{60}|eyJrIjoi[A-Za-z0-9]{70,400}|xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+)
(?:00D|00d)[A-Za-z0-9]{12,15}![\w.]{60,200}
\w{0,40}_session=[\w%-]{16,300}
(?:PHPSESSID|JSESSIONID|ASP\.NET_SessionId|connect\.sid)=[\w%.-]{16,300}
hooks\.slack\.com/(?:services|workflows|triggers)/[\w/+-]{20,200}
[\w.-]{1,60}\.webhook\.office\.com/[\w@/-]{40,300}
discord(?:app)?\.com/api/webhooks/\d{10,25}/[\w-]{30,90}
"""


def _pattern() -> re.Pattern[str]:
    """Every shape, the telling part first. A rest that must hold ten characters or more is taken up to 1,000."""
    shapes = [line for line in _WHOLE.split("\n") if line]
    for line in _PREFIXES.split("\n"):
        if line:
            prefix, letters, least = line.rsplit(" ", 2)
            shapes.append(f"(?:{prefix})[{_ALPHABETS[letters]}]{{{least.rstrip('+')},4000}}={{0,3}}")
    return re.compile(rf"(?<![A-Za-z0-9])(?:https://)?(?:{'|'.join(shapes)})")


SHAPED = _pattern()

# Services whose keys carry no mark of their own: an assignment to their name is looked at.
VENDORS = frozenset("""
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
""".split())  # fmt: skip
VENDOR_PAIRS = frozenset([
    "newrelic", "linkedin", "messagebird", "privateai", "newyorktimes", "launchdarkly", "digitalocean", "sumologic",
    "travisci", "droneci", "gocardless", "sendgrid", "rapidapi", "squarespace", "freshbooks", "hubspot", "airtable",
])  # fmt: skip
# Last words of a name that say that its value is no secret.
HARMLESS = frozenset("""
trace span event request run commit sha version url uri host region date time model hash digest checksum build image
branch tag release path file dir name type count length size total limit max min used usage prompt completion
input output cached ttl expiry expires expiration endpoint org project workspace team channel account user zone
environment env dataset experiment session conversation message thread status page cursor index ref revision
""".split())  # fmt: skip

# Words for a password, passphrase or PIN in the languages that people use, lower case.
PASSWORD_WORDS = (
    "passw", "passphrase", "passcode", "pwd", "passwort", "kennwort", "mot de passe", "motdepasse", "contraseña",
    "contrasena", "clave", "senha", "palavra-passe", "parola", "wachtwoord", "hasło", "haslo", "пароль", "пароля",
    "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "암호", "şifre", "sifre", "lösenord", "adgangskode", "adgangskoden",
    "passord", "salasana", "كلمة المرور", "كلمة السر", "पासवर्ड", "mật khẩu", "kata sandi", "heslo", "jelszó", "parolă",
    "κωδικός", "סיסמה", "รหัสผ่าน", "passwd",
)  # fmt: skip
# Parts of names of secrets that need not be words: a value is masked only where it looks like one.
SECRET_WORDS = (
    "secret", "token", "key", "credential", "authorization", "auth", "creds", "signature", "sig=", "schlüssel", "jeton",
    "ключ", "токен", "密钥", "令牌",
)  # fmt: skip
