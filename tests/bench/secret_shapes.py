"""Examples of keys and tokens as vendors and public scanners describe them: data for tests of redaction only.

Written apart from the recogniser, from the vendors' documents and the shapes that gitleaks' rules publish. In braces:
an alphabet and a length or a range of lengths, drawn at random; everything else stands as it is.
"""

from __future__ import annotations

import random
import re
import string

ALPHABETS = {
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "Hex": "0123456789abcdefABCDEF",
    "lower": string.ascii_lowercase,
    "alpha": string.ascii_letters,
    "digit": string.digits,
    "low": string.ascii_lowercase + string.digits,
    "UP": string.ascii_uppercase + string.digits,
    "an": string.ascii_letters + string.digits,
    "url": string.ascii_letters + string.digits + "_-",
    "b64": string.ascii_letters + string.digits + "+/",
    "b32": string.ascii_uppercase + "234567",
    "bech": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
    "ah": "abcdefgh0123456789",
    "dot": string.ascii_letters + string.digits + "=.-_",
}
_UUID = "{hex8}-{hex4}-{hex4}-{hex4}-{hex12}"

NAMED = f"""
1password-secret A3-{{UP6}}-{{UP11}}-{{UP5}}-{{UP5}}-{{UP5}}
1password-secret-2 A3-{{UP6}}-{{UP6}}-{{UP5}}-{{UP5}}-{{UP5}}-{{UP5}}
1password-service ops_eyJ{{b64250-400}}=
adobe p8e-{{low32}}
age AGE-SECRET-KEY-1{{bech58}}
alibaba LTAI{{low20}}
anthropic-admin sk-ant-admin01-{{url93}}AA
anthropic sk-ant-api03-{{url93}}AA
artifactory AKCp{{an69}}
artifactory-reference cmVmd{{an59}}
atlassian ATATT3{{dot186}}
authress sc_{{low5-30}}.{{low4-6}}.acc_{{low10-32}}.{{url30-120}}
authress-2 authress_{{low5-30}}.{{low4-6}}.acc-{{low10-32}}.{{b6430-120}}
aws AKIA{{b3216}}
aws-session ASIA{{b3216}}
aws-old A3T{{UP1}}{{b3216}}
aws-bedrock ABSK{{b64109-269}}
aws-bedrock-short bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t{{b6420}}
azure-ad {{an3}}{{digit1}}Q~{{url31-34}}
clickhouse 4b1d{{an38}}
clojars CLOJARS_{{low60}}
cloudflare-origin v1.0-{{hex24}}-{{hex146}}
databricks dapi{{hex32}}
databricks-2 dapi{{hex32}}-2
defined-networking dnkey-{{low26}}-{{low52}}
digitalocean-oauth doo_v1_{{hex64}}
digitalocean-pat dop_v1_{{hex64}}
digitalocean-refresh dor_v1_{{hex64}}
discord-bot M{{url23-25}}.{{url6}}.{{url27-38}}
docker dckr_pat_{{url27}}
doppler dp.pt.{{low43}}
dropbox-short sl.{{url135}}
duffel duffel_live_{{url43}}
duffel-test duffel_test_{{url43}}
dynatrace dt0c01.{{low24}}.{{low64}}
easypost EZAK{{low54}}
easypost-test EZTK{{low54}}
facebook {{digit16}}|{{url27}}
facebook-page EAAM{{low100-120}}
facebook-page-2 EAAC{{low100-120}}
figma figd_{{url40}}
flutterwave FLWPUBK_TEST-{{ah32}}-X
flutterwave-secret FLWSECK_TEST-{{ah32}}-X
flutterwave-encryption FLWSECK_TEST-{{ah12}}
flyio fo1_{{url43}}
flyio-1 fm1r_{{b64100-150}}
flyio-2 fm2_{{b64100-150}}==
frameio fio-u-{{url64}}
gcp AIza{{url35}}
google-oauth ya29.{{url60-120}}
google-client GOCSPX-{{url28}}
github ghp_{{an36}}
github-fine github_pat_{{an22}}_{{an59}}
github-oauth gho_{{an36}}
github-app ghu_{{an36}}
github-server ghs_{{an36}}
github-refresh ghr_{{an36}}
gitlab glpat-{{url20}}
gitlab-routable glpat-{{url27-90}}.{{low2}}{{low7}}
gitlab-job glcbt-{{an1-5}}_{{url20}}
gitlab-deploy gldt-{{url20}}
gitlab-flag glffct-{{url20}}
gitlab-feed glft-{{url20}}
gitlab-mail glimt-{{url25}}
gitlab-agent glagent-{{url50}}
gitlab-oauth gloas-{{url64}}
gitlab-trigger glptt-{{hex40}}
gitlab-registration GR1348941{{url20}}
gitlab-runner glrt-{{url20}}
gitlab-runner-routable glrt-t1_{{url27-90}}.{{low2}}{{low7}}
gitlab-scim glsoat-{{url20}}
gitlab-session _gitlab_session={{low32}}
grafana eyJrIjoi{{an70-400}}=
grafana-cloud glc_{{b6432-400}}
grafana-service glsa_{{an32}}_{{Hex8}}
groq gsk_{{an52}}
harness pat.{{url22}}.{{an24}}.{{an20}}
harness-sat sat.{{url22}}.{{an24}}.{{an20}}
terraform {{low14}}.atlasv1.{{url60-70}}
heroku HRKU-AA{{url58}}
huggingface hf_{{alpha34}}
huggingface-org api_org_{{alpha34}}
infracost ico-{{an32}}
intra42 s-s4t2ud-{{hex64}}
jwt eyJ{{an17-60}}.eyJ{{url17-200}}.{{url43}}
jwt-packed ZXlKaGJHY2lPaU{{b6440-200}}
langfuse sk-lf-{_UUID}
langsmith lsv2_pt_{{hex32}}_{{hex10}}
linear lin_api_{{low40}}
lob live_{{hex35}}
lob-test test_{{hex35}}
lob-public test_pub_{{hex31}}
mailchimp {{hex32}}-us{{digit2}}
mailgun key-{{hex32}}
mailgun-public pubkey-{{hex32}}
mapbox pk.{{low60}}.{{low22}}
maxmind {{an6}}_{{an29}}_mmk
teams https://acme.webhook.office.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/{{hex32}}/{_UUID}
newrelic-browser NRJS-{{hex19}}
newrelic-insert NRII-{{low32}}
newrelic NRAK-{{low27}}
notion ntn_{{digit11}}{{an35}}
npm npm_{{low36}}
octopus API-{{UP26}}
openai sk-{{an20}}T3BlbkFJ{{an20}}
openai-project sk-proj-{{url74}}T3BlbkFJ{{url74}}
openai-service sk-svcacct-{{url58}}T3BlbkFJ{{url58}}
openshift sha256~{{url43}}
perplexity pplx-{{an48}}
plaid access-production-{_UUID}
planetscale pscale_tkn_{{dot32-64}}
planetscale-oauth pscale_oauth_{{dot32-64}}
planetscale-password pscale_pw_{{dot32-64}}
postman PMAK-{{hex24}}-{{hex34}}
prefect pnu_{{an36}}
pulumi pul-{{hex40}}
pypi pypi-AgEIcHlwaS5vcmc{{url50-200}}
readme rdme_{{low70}}
replicate r8_{{an37}}
rubygems rubygems_{{hex48}}
scalingo tk-us-{{url48}}
sendgrid SG.{{url22}}.{{url43}}
sendinblue xkeysib-{{hex64}}-{{low16}}
sentry-org sntrys_eyJpYXQiO{{b6480}}_{{b6443}}
sentry-user sntryu_{{hex64}}
settlemint sm_aat_{{an16}}
settlemint-2 sm_pat_{{an16}}
shippo shippo_live_{{hex40}}
shopify shpat_{{Hex32}}
shopify-custom shpca_{{Hex32}}
shopify-private shppa_{{Hex32}}
shopify-shared shpss_{{Hex32}}
sidekiq-url https://{{hex8}}:{{hex8}}@gems.contribsys.com/
slack-app xapp-1-{{UP11}}-{{digit13}}-{{hex64}}
slack-bot xoxb-{{digit12}}-{{digit12}}-{{an24}}
slack-config xoxe.xoxp-1-{{UP163}}
slack-config-refresh xoxe-1-{{UP146}}
slack-legacy xoxs-{{digit10}}-{{digit10}}-{{digit10}}-{{hex10}}
slack-workspace xoxa-2-{{an8-48}}
slack-user xoxp-{{digit12}}-{{digit12}}-{{digit12}}-{{an32}}
slack-webhook https://hooks.slack.com/services/T{{UP8}}/B{{UP10}}/{{an24}}
slack-webhook-bare hooks.slack.com/workflows/{{b6443-56}}
sourcegraph sgp_{{hex16}}_{{hex40}}
sourcegraph-local sgp_local_{{hex40}}
square sq0atp-{{url22}}
square-2 EAAA{{url60}}
stripe sk_live_{{an24-99}}
stripe-short sk_test_{{an10-20}}
stripe-restricted rk_prod_{{an10-99}}
supabase sbp_{{hex40}}
telegram {{digit9}}:AA{{url33}}
twilio SK{{hex32}}
twilio-upper SK{{HEX32}}
typeform tfp_{{url59}}
vault-batch hvb.{{url138-300}}
vault-service hvs.{{url90-120}}
xai xai-{{an80}}
yandex t1.{{url20}}.{{url86}}
yandex-key AQVN{{url35-38}}
"""

# Vendor, and the length and alphabet of a key that carries no mark.
UNNAMED = """
ADAFRUIT_IO_KEY low32 · adobe_client_secret hex32 · AIRTABLE_KEY an17 · algolia_api_key low32 · ALIBABA_SECRET low30 ·
asana.client.secret low32 · JIRA_TOKEN low24 · bitbucket_client_id low32 · BITTREX_SECRET low32 · meraki hex40 ·
CLOUDFLARE_GLOBAL hex37 · codecov low32 · cohere-api-token an40 · coinbase_access low64 · confluent_id low16 ·
contentful low43 · DATADOG_API low40 · discord_client_secret low32 · droneci low32 · dropbox low15 · etsy low24 ·
facebook_app hex32 · fastly low32 · finicity hex32 · finnhub low20 · flickr low32 · freshbooks low64 · gitter low40 ·
intercom low60 · jfrog low64 · kraken low80 · kucoin hex24 · launchdarkly low40 · linear_client hex32 ·
linkedin_client low16 · mattermost low26 · messagebird low25 · netlify low43 · new_relic low64 · nytimes low32 ·
okta url42 · plaid_secret low30 · privateai_token low32 · rapidapi low50 · sendbird hex40 · sentry hex64 ·
snyk_token hex32 · sonar_login low40 · sumologic low64 · travis low22 · twitch low30 · twitter_api_secret low50 ·
yandex_key url40 · zendesk low40
"""


def rows(table: str) -> dict[str, str]:
    """Name to shape."""
    return dict(line.split(" ", 1) for line in table.strip().split("\n"))


def pairs() -> list[tuple[str, str]]:
    """Name of an assignment to the slot of its value."""
    return [(name, f"{{{slot}}}") for name, slot in (item.split() for item in UNNAMED.replace("\n", " ").split("·"))]


def draw(shape: str, dice: random.Random) -> str:
    """A random token of a shape."""
    return drawn(shape, dice)[0]


def drawn(shape: str, dice: random.Random) -> tuple[str, list[str]]:
    """A random token of a shape, and its random parts."""
    parts: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name, low, high = _slot(match)
        parts.append("".join(dice.choices(ALPHABETS[name], k=dice.randint(low, high))))
        return parts[-1]

    return re.sub(r"\{[^}]+\}", fill, shape), parts


def _slot(match: re.Match[str]) -> tuple[str, int, int]:
    inner = match.group()[1:-1]
    name = next(name for name in sorted(ALPHABETS, key=len, reverse=True) if inner.startswith(name))
    low, _, high = inner.removeprefix(name).partition("-")
    return name, int(low), int(high or low)
