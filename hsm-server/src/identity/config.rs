//! Whom a server knows, as its configuration says it: the tables `[[identity.issuer]]`, `[[identity.certificate]]` and
//! `[[identity.unix]]`.

use std::path::PathBuf;

use serde::Deserialize;

/// Whom a server knows, beside the users and API tokens of its partitions, which it always knows.
///
/// ```toml
/// [[issuer]]
/// issuer = "https://login.example.com/tenant/v2.0"
/// audiences = ["https://hsm.example.com"]
///
/// [[certificate]]
/// principal = "signer"
/// dns = "signer.example.com"
///
/// [[unix]]
/// principal = "app"
/// uid = 1000
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct IdentityConfig {
    /// Those whose tokens are taken.
    pub issuer: Vec<IssuerConfig>,
    /// Client certificates. A connection must have shown one that the server's client CA signed.
    pub certificate: Vec<CertificateConfig>,
    /// Users of the machine, at the other end of the Unix socket.
    pub unix: Vec<UnixConfig>,
}

/// An OpenID Connect issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct IssuerConfig {
    /// `iss` of its tokens, to the letter.
    pub issuer: String,
    /// `aud` of its tokens: one of these. Name what only one partition has, or its tokens open the others too.
    pub audiences: Vec<String>,
    /// The partitions that take its tokens, by the first of their host names. All, if not set.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Where its configuration is. `ISSUER/.well-known/openid-configuration`, if not set.
    pub discovery: Option<String>,
    /// The claim that names the principal. `oid`, if not set.
    #[serde(default = "oid")]
    pub claim: String,
    /// What goes in front of the claim. If not set, the claim must be a UUID, so that no issuer can name a user of the
    /// partition.
    pub prefix: Option<String>,
    /// Signature algorithms: of RS256, PS256, ES256, ES384, EdDSA. All of them, if not set.
    pub algorithms: Option<Vec<String>>,
    /// How far the clocks of issuer and server may differ. 60 s, if not set; 300 at most.
    #[serde(default = "one_minute")]
    pub clock_skew_seconds: u64,
    /// An unknown key is looked for this often at most. 30 s, if not set.
    #[serde(default = "half_a_minute")]
    pub refetch_seconds: u64,
    /// How long the last keys serve while the issuer cannot be reached. A day, if not set.
    #[serde(default = "one_day")]
    pub keep_keys_seconds: u64,
    /// A PEM file with the CA of the issuer's server, in the place of those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Where clients get tokens: the URL in the challenge, with the tenant. Without the path `/v2.0` of the issuer, if not
    /// set.
    pub authority: Option<String>,
    /// What clients ask a token for: the resource in the challenge. The first audience that is a URL, if not set.
    pub resource: Option<String>,
    /// In the challenge in the place of the resource.
    pub scope: Option<String>,
}

/// Client certificates that stand for a principal. Exactly one of the criteria is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CertificateConfig {
    /// The principal.
    pub principal: String,
    /// The partitions that this holds for, by the first of their host names. All, if not set.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// SHA-256 of the certificate in DER, in hex, with or without colons.
    pub fingerprint: Option<String>,
    /// A URI among the subject's alternative names, such as a SPIFFE ID, to the letter.
    pub uri: Option<String>,
    /// A DNS name among the subject's alternative names; case does not matter.
    pub dns: Option<String>,
    /// An email address among the subject's alternative names, to the letter.
    pub email: Option<String>,
    /// The only common name of the subject, to the letter.
    pub common_name: Option<String>,
}

/// Users of the machine that stand for a principal. Exactly one of `uid` and `gid` is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct UnixConfig {
    /// The principal.
    pub principal: String,
    /// The partitions that this holds for, by the first of their host names. All, if not set.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// The user.
    pub uid: Option<u32>,
    /// The primary group of the process.
    pub gid: Option<u32>,
}

fn oid() -> String {
    "oid".to_owned()
}

const fn one_minute() -> u64 {
    60
}

const fn half_a_minute() -> u64 {
    30
}

const fn one_day() -> u64 {
    24 * 60 * 60
}
