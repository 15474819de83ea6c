//! What a development server prints: where it is, and a snippet to paste for each client, made of its real values.

use std::fmt::Write;

/// What the snippets are made of.
pub(super) struct Values<'a> {
    /// The server.
    pub(super) url: &'a str,
    /// The authority, without the tenant.
    pub(super) authority: &'a str,
    /// The file with the CA's certificate.
    pub(super) ca: &'a str,
    pub(super) tenant: &'a str,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// Whether the check that official clients make of the server's name passes.
    pub(super) is_checked: bool,
}

impl Values<'_> {
    /// Everything.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Self {
            url,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        _ = write!(
            text,
            "\
HSM for development at {url}

    CA certificate   {ca}
    tenant           {tenant}
    client id        {user}
    client secret    {password}

"
        );
        if !self.is_checked {
            text.push_str(
                "This machine does not resolve dev.localhost, so the snippets switch off the check of the challenge's resource.\n\n",
            );
        }
        for (title, snippet) in [
            ("Python", self.python()),
            ("JavaScript", self.javascript()),
            (".NET", self.dotnet()),
            ("az", self.az()),
            ("curl", self.curl()),
            ("Rust", self.rust()),
        ] {
            _ = writeln!(text, "--- {title} ---\n{snippet}");
        }
        text
    }

    fn python(&self) -> String {
        let Self {
            url,
            authority,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        let ca = quoted(ca);
        let unchecked = self.unchecked(", verify_challenge_resource=False");
        format!(
            r#"# pip install azure-keyvault-keys azure-identity
import hashlib
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm

credential = ClientSecretCredential("{tenant}", "{user}", "{password}",
    authority="{authority}", disable_instance_discovery=True, connection_verify={ca})
client = KeyClient("{url}", credential, connection_verify={ca}{unchecked})
key = client.create_ec_key("hello", curve="P-256", hardware_protected=True)
signer = client.get_cryptography_client("hello")
digest = hashlib.sha256(b"hello").digest()
signature = signer.sign(SignatureAlgorithm.es256, digest).signature
print(key.id, signer.verify(SignatureAlgorithm.es256, digest, signature).is_valid)
"#
        )
    }

    fn javascript(&self) -> String {
        let Self {
            url,
            authority,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        let unchecked = self.unchecked(", { disableChallengeResourceVerification: true }");
        let ca = shell(ca);
        format!(
            r#"// npm install @azure/keyvault-keys @azure/identity
// NODE_EXTRA_CA_CERTS={ca} node hello.mjs
import {{ createHash }} from "node:crypto";
import {{ ClientSecretCredential }} from "@azure/identity";
import {{ CryptographyClient, KeyClient }} from "@azure/keyvault-keys";

const credential = new ClientSecretCredential("{tenant}", "{user}", "{password}",
  {{ authorityHost: "{authority}", disableInstanceDiscovery: true }});
const client = new KeyClient("{url}", credential{unchecked});
const key = await client.createEcKey("hello", {{ curve: "P-256", hsm: true }});
const signer = new CryptographyClient(key, credential{unchecked});
const digest = createHash("sha256").update("hello").digest();
const {{ result }} = await signer.sign("ES256", digest);
console.log(key.id, (await signer.verify("ES256", digest, result)).result);
"#
        )
    }

    fn dotnet(&self) -> String {
        let Self {
            url,
            authority,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        let (key_options, crypto_options) = if self.is_checked {
            ("", "")
        } else {
            (
                ", new KeyClientOptions { DisableChallengeResourceVerification = true }",
                ", new CryptographyClientOptions { DisableChallengeResourceVerification = true }",
            )
        };
        let ca = shell(ca);
        format!(
            r#"// dotnet add package Azure.Security.KeyVault.Keys && dotnet add package Azure.Identity
// SSL_CERT_FILE={ca} dotnet run        (on Windows and macOS, trust the CA in the system's store instead)
using System.Security.Cryptography;
using System.Text;
using Azure.Identity;
using Azure.Security.KeyVault.Keys;
using Azure.Security.KeyVault.Keys.Cryptography;

var credential = new ClientSecretCredential("{tenant}", "{user}", "{password}",
    new ClientSecretCredentialOptions {{ AuthorityHost = new Uri("{authority}"), DisableInstanceDiscovery = true }});
var client = new KeyClient(new Uri("{url}"), credential{key_options});
KeyVaultKey key = await client.CreateEcKeyAsync(
    new CreateEcKeyOptions("hello", hardwareProtected: true) {{ CurveName = KeyCurveName.P256 }});
var signer = new CryptographyClient(key.Id, credential{crypto_options});
var digest = SHA256.HashData(Encoding.UTF8.GetBytes("hello"));
var signature = (await signer.SignAsync(SignatureAlgorithm.ES256, digest)).Signature;
Console.WriteLine($"{{key.Id}} {{(await signer.VerifyAsync(SignatureAlgorithm.ES256, digest, signature)).IsValid}}");
"#
        )
    }

    fn az(&self) -> String {
        let Self {
            url,
            authority,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        let ca = shell(ca);
        format!(
            r#"export REQUESTS_CA_BUNDLE={ca} AZURE_CONFIG_DIR="$HOME/.azure-hsm-dev" AZURE_CORE_INSTANCE_DISCOVERY=false
az cloud register --name hsm-dev --endpoint-resource-manager {authority}
az cloud set --name hsm-dev
az login --service-principal --tenant {tenant} --username {user} --password {password}
az keyvault key create --id {url}/keys/hello --kty EC-HSM --curve P-256
az keyvault key sign --id {url}/keys/hello --algorithm ES256 --digest "$(printf hello | openssl dgst -sha256 -binary | base64)"
"#
        )
    }

    fn curl(&self) -> String {
        let Self {
            url,
            authority,
            ca,
            tenant,
            user,
            password,
            ..
        } = self;
        let ca = shell(ca);
        format!(
            r#"token=$(curl -sS --cacert {ca} {authority}/{tenant}/oauth2/v2.0/token -d grant_type=client_credentials \
  -d client_id={user} -d client_secret={password} -d scope={authority}/.default | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -sS --cacert {ca} -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
  -d '{{"kty":"EC-HSM","crv":"P-256"}}' "{url}/keys/hello/create?api-version=7.6"
"#
        )
    }

    fn rust(&self) -> String {
        let Self {
            url,
            ca,
            user,
            password,
            ..
        } = self;
        let ca = quoted(ca);
        format!(
            r#"// cargo add hsm-client --features remote
use hsm_client::kinds::EcdsaP256;
use hsm_client::{{Hsm, OpenOptions}};

let hsm = Hsm::open_with("{url}", OpenOptions::new().ca_file({ca})).await?;
let session = hsm.login("{user}", "{password}").await?;
let key = session.create::<EcdsaP256>("hello-rust").await?;
let signature = key.sign(b"hello").await?;
key.verify(b"hello", &signature).await?;
"#
        )
    }

    const fn unchecked(&self, option: &'static str) -> &'static str {
        if self.is_checked { "" } else { option }
    }
}

/// As a string of Python and of Rust, which write the same escapes for what a path has.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for sign in text.chars() {
        if matches!(sign, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(sign);
    }
    quoted.push('"');
    quoted
}

/// As a word of a shell.
fn shell(text: &str) -> String {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-+".contains(sign);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        url: "https://dev.localhost:8443",
        authority: "https://localhost:8443",
        ca: "/home/ann e/hsm-dev/ca.pem",
        tenant: "7b2f0000-0000-4000-8000-000000000000",
        user: "admin",
        password: "0123456789abcdef",
        is_checked: true,
    };

    #[test]
    fn paths_are_quoted_as_each_language_does() {
        let text = VALUES.text();
        assert!(text.contains(r#"connection_verify="/home/ann e/hsm-dev/ca.pem""#));
        assert!(text.contains("NODE_EXTRA_CA_CERTS='/home/ann e/hsm-dev/ca.pem' "));
        assert!(text.contains("curl -sS --cacert '/home/ann e/hsm-dev/ca.pem' "));
        assert_eq!(shell("a'b"), r"'a'\''b'");
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    #[test]
    fn the_check_of_the_resource_stays_on_where_it_passes() {
        let switches = [
            "verify_challenge_resource=False",
            "isableChallengeResourceVerification",
        ];
        let text = VALUES.text();
        let unchecked = Values {
            url: VALUES.authority,
            is_checked: false,
            ..VALUES
        };
        for switch in switches {
            assert!(!text.contains(switch), "{switch}");
            assert!(unchecked.text().contains(switch), "{switch}");
        }
    }
}
