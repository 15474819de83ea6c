//! [`Recipient`]: encrypted tokens to a key of the HSM; [`encrypt`]: to a public key, without one.

use std::sync::Arc;

use hsm_core::lifecycle::State;
use hsm_core::{
    Algorithm, Ciphertext, Clock, Error, ErrorKind, KeyFamily, KeySpec, KeyType, Operation,
    PublicKey, Result, SecretBytes, Usage, VersionId,
};
use jsonwebtoken::jwk::{Jwk, JwkSet};

use super::compact::{Body, Compact, Header, encode};
use super::jwe::{self, Content, IV_LEN, TAG_LEN};
use super::{ENCRYPTED_LEN_MAX, ENCRYPTION, check_len, invalid, published, read_jwk};
use crate::{AnyKey, Encrypted, SystemClock, Wrapped, versions};

/// Reads the tokens that were encrypted to a key of the HSM: see [the module](super).
///
/// | key of kind | `alg` |
/// |---|---|
/// | [`RsaOaep2048`](crate::kinds::RsaOaep2048) and larger | RSA-OAEP-256 |
/// | [`EcdhP256`](crate::kinds::EcdhP256), `EcdhP384`, `EcdhP521`, [`X25519`](crate::kinds::X25519) | ECDH-ES+A256KW; to read also ECDH-ES and ECDH-ES+A128KW |
/// | [`Aes256Kw`](crate::kinds::Aes256Kw), `Aes192Kw`, `Aes128Kw` | A256KW, A192KW, A128KW |
/// | [`Aes256Gcm`](crate::kinds::Aes256Gcm), `Aes192Gcm`, `Aes128Gcm` | `dir`: the text itself goes through the HSM |
///
/// It follows rotation: what an old version of the key was written to is read with that, as the `kid` says.
#[derive(Clone, Debug)]
pub struct Recipient {
    key: AnyKey,
    other_name: Option<String>,
    clock: Arc<dyn Clock>,
}

impl Recipient {
    /// The recipient that has `key`.
    #[must_use]
    pub fn new(key: AnyKey) -> Self {
        Self {
            key,
            other_name: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes the time from `clock`: for tests. It should show what the HSM's clock does.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Also takes tokens with this `kid`, by which the world knew the key before it was imported. They are read with the
    /// version of the handle, or the current one if it has none.
    #[must_use]
    pub fn known_as(mut self, kid: impl Into<String>) -> Self {
        self.other_name = Some(kid.into());
        self
    }

    /// The key set to give to those who write: the version that is current and active. Older ones are left out, as nothing
    /// more should be encrypted to them.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a symmetric key, [`KeyState`](ErrorKind::KeyState) if no version is
    /// active.
    pub async fn jwks(&self) -> Result<JwkSet> {
        let (version, key) = self.current().await?;
        let key = key.ok_or_else(|| {
            invalid("the key is symmetric: who writes to it has it, or encrypts with Recipient::encrypt")
        })?;
        // `jsonwebtoken` has no name for the algorithms with ECDH.
        let algorithm = (key.key_type().info().family == KeyFamily::Rsa).then_some(RSA_OAEP_256);
        let jwk = published(&key, version, ENCRYPTION, algorithm)?;
        Ok(JwkSet { keys: vec![jwk] })
    }

    /// Encrypts to the key. With a public key, the HSM is only asked for that; the text never goes there unless the key's
    /// kind is one of AES-GCM.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for a token above [`ENCRYPTED_LEN_MAX`],
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a key that encrypts nothing.
    pub async fn encrypt(&self, text: &[u8]) -> Result<String> {
        check_text(text)?;
        let (version, public) = self.current().await?;
        let kid = Some(version.to_string());
        if let Some(public) = public {
            return encrypt_to(&public, kid, text);
        }
        let key = self.key.at(version);
        let header = |alg: &str, content: Content| Header {
            alg: alg.to_owned(),
            enc: Some(content.name().to_owned()),
            kid: kid.clone(),
            ..Header::default()
        };
        if let Some(algorithm) = algorithm_for(key.spec(), Operation::Wrap, "KW") {
            let content = Content::Aes256;
            let content_key = content.new_key()?;
            let wrapped = key.wrap(algorithm, content_key.expose()).await?;
            let protected = write_header(&header(algorithm.name(), content))?;
            return seal(&protected, wrapped.bytes(), content, &content_key, text);
        }
        let algorithm = algorithm_for(key.spec(), Operation::Encrypt, "GCM");
        let Some((algorithm, content)) =
            algorithm.and_then(|algorithm| Some((algorithm, Content::named(algorithm.name())?)))
        else {
            return Err(no_use(key.spec().key_type));
        };
        let protected = write_header(&header(DIRECT, content))?;
        let made = key.encrypt(algorithm, text, protected.as_bytes()).await?;
        let Ciphertext {
            iv,
            ciphertext,
            tag,
        } = made.ciphertext();
        Ok(join(&protected, &[b"", iv, ciphertext, tag]))
    }

    /// Decrypts a token that was encrypted to any version of the key that may decrypt.
    ///
    /// # Errors
    ///
    /// | kind | the token |
    /// |---|---|
    /// | [`LimitExceeded`](ErrorKind::LimitExceeded) | is longer than [`ENCRYPTED_LEN_MAX`] |
    /// | [`InvalidInput`](ErrorKind::InvalidInput) | is none, is compressed, or asks for an algorithm that the key or this module has not |
    /// | [`NotFound`](ErrorKind::NotFound) | has the `kid` of another key |
    /// | [`CryptoFailed`](ErrorKind::CryptoFailed) | was altered, or is not for this key |
    /// | [`KeyState`](ErrorKind::KeyState) | is for a version that may not decrypt any more |
    pub async fn decrypt(&self, token: &str) -> Result<SecretBytes> {
        let token = Compact::parse(token)?;
        let Body::Encrypted {
            encrypted_key,
            iv,
            ciphertext,
            tag,
        } = &token.body
        else {
            return Err(invalid("the token is signed, not encrypted"));
        };
        let header = &token.header;
        let content = header.enc.as_deref().and_then(Content::named);
        let content = content
            .ok_or_else(|| invalid("the token's `enc` is none of A128GCM, A192GCM and A256GCM"))?;
        if iv.len() != IV_LEN || tag.len() != TAG_LEN {
            return Err(invalid(
                "the token's initialization vector or tag has a wrong length",
            ));
        }
        let (key, version) = self.addressed(header.kid.as_deref()).await?;
        if header.alg == DIRECT {
            if !encrypted_key.is_empty() {
                return Err(invalid("a token with `dir` has no encrypted key"));
            }
            let algorithm = algorithm_for(key.spec(), Operation::Encrypt, "GCM");
            let algorithm = algorithm.filter(|algorithm| algorithm.name() == content.name());
            let algorithm = algorithm.ok_or_else(|| other_algorithm(key.spec().key_type))?;
            let sealed = Ciphertext {
                ciphertext: ciphertext.clone(),
                iv: iv.clone(),
                tag: tag.clone(),
            };
            let sealed = Encrypted::new(version, sealed);
            return key
                .decrypt(algorithm, &sealed, token.protected.as_bytes())
                .await;
        }
        let content_key = content_key(&key, version, header, content, encrypted_key).await;
        let content_key = match content_key {
            Ok(key) if key.len() == content.key_len() => key,
            // Which of the two did not fit is nobody's business (RFC 7516 section 11.5): go on, and fail at the tag.
            Ok(_) => content.new_key()?,
            Err(error) if error.kind() == ErrorKind::CryptoFailed => content.new_key()?,
            Err(error) => return Err(error),
        };
        content.open(&content_key, token.protected, iv, ciphertext, tag)
    }

    /// The version that a `kid` names, and the key at it.
    async fn addressed(&self, kid: Option<&str>) -> Result<(AnyKey, VersionId)> {
        let version = match kid {
            Some(kid) if self.other_name.as_deref() != Some(kid) => {
                Some(kid.parse().map_err(|_| other_key())?)
            }
            _ => self.key.handle().version(),
        };
        let handle = self.key.handle();
        let info = match version {
            Some(version) => handle.at(version).info().await,
            None => handle.info().await,
        };
        let info = info.map_err(|error| match error.kind() {
            ErrorKind::NotFound => other_key().with_source(error),
            _ => error,
        })?;
        Ok((self.key.at(info.version), info.version))
    }

    /// The version to encrypt to: the newest that is active, or the handle's.
    async fn current(&self) -> Result<(VersionId, Option<PublicKey>)> {
        let handle = self.key.handle();
        let info = match handle.version() {
            Some(_) => Some(handle.info().await?),
            None => {
                let versions = versions::all(|page| handle.versions(page)).await?;
                let now = self.clock.now();
                versions
                    .into_iter()
                    .rfind(|version| version.attributes.state_at(now) == State::Active)
            }
        };
        let info = info.ok_or_else(|| {
            Error::new(
                ErrorKind::KeyState,
                format!("no version of key {} is active", handle.name()),
            )
        })?;
        Ok((info.version, info.public))
    }
}

/// Encrypts to a public key of somebody's key set, with RSA-OAEP-256 or ECDH-ES+A256KW, and A256GCM. Needs no HSM.
///
/// ```
/// use hsm_client::jose::{self, JwkSet};
///
/// # fn with(fetched: &str) -> Result<String, Box<dyn std::error::Error>> {
/// let set: JwkSet = serde_json::from_str(fetched)?;
/// let key = set.keys.first().ok_or("they have no key")?;
/// let token = jose::encrypt(key, b"attack at dawn")?;
/// # Ok(token)
/// # }
/// ```
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) for a key that is none, or not for this,
/// [`LimitExceeded`](ErrorKind::LimitExceeded) for a token above [`ENCRYPTED_LEN_MAX`].
pub fn encrypt(to: &Jwk, text: &[u8]) -> Result<String> {
    check_text(text)?;
    let (key, jwk) = read_jwk(to)?;
    if jwk
        .public_key_use
        .as_deref()
        .is_some_and(|key_use| key_use != ENCRYPTION)
    {
        return Err(invalid("the key is not one to encrypt to (`use`)"));
    }
    let algorithm = key_algorithm(&key)?;
    if jwk.alg.is_some_and(|only| only != algorithm) {
        return Err(invalid(format!(
            "the key is for another algorithm (`alg`) than {algorithm}"
        )));
    }
    encrypt_to(&key, jwk.kid, text)
}

fn encrypt_to(key: &PublicKey, kid: Option<String>, text: &[u8]) -> Result<String> {
    let content = Content::Aes256;
    let content_key = content.new_key()?;
    let algorithm = key_algorithm(key)?;
    let mut header = Header {
        alg: algorithm.to_owned(),
        enc: Some(content.name().to_owned()),
        kid,
        ..Header::default()
    };
    if algorithm == RSA_OAEP_256 {
        let encrypted = jwe::encrypt_key_rsa(key, &content_key)?;
        let protected = write_header(&header)?;
        return seal(&protected, &encrypted, content, &content_key, text);
    }
    jwe::agree_once(key, |secret, public| {
        let kek = jwe::concat_kdf(secret, algorithm, 32, &header)?;
        header.epk = Some(public.to_jwk()?);
        let protected = write_header(&header)?;
        let wrapped = jwe::wrap(&kek, &content_key)?;
        seal(&protected, &wrapped, content, &content_key, text)
    })
}

/// The key that encrypts the content, out of the HSM.
async fn content_key(
    key: &AnyKey,
    version: VersionId,
    header: &Header,
    content: Content,
    encrypted_key: &[u8],
) -> Result<SecretBytes> {
    let key_type = key.spec().key_type;
    let kek_len = match header.alg.as_str() {
        "ECDH-ES" => None,
        "ECDH-ES+A128KW" => Some(16),
        ECDH_ES_A256KW => Some(32),
        name => {
            let algorithm = name.parse::<Algorithm>().ok();
            let algorithm = algorithm.filter(|algorithm| UNWRAPS.contains(algorithm));
            let algorithm = algorithm.ok_or_else(|| {
                invalid(
                    "the token's `alg` is none of RSA-OAEP-256, RSA-OAEP, ECDH-ES, ECDH-ES+A128KW, ECDH-ES+A256KW, A128KW, \
                     A192KW, A256KW and dir",
                )
            })?;
            if !fits(key.spec(), algorithm, Operation::Wrap) {
                return Err(other_algorithm(key_type));
            }
            let wrapped = Wrapped::new(version, encrypted_key);
            return key.unwrap(algorithm, &wrapped).await;
        }
    };
    if !fits(key.spec(), Algorithm::EcdhEs, Operation::Agree) {
        return Err(other_algorithm(key_type));
    }
    let peer = header.epk.as_ref();
    let peer = peer.ok_or_else(|| invalid("the token lacks the key to agree with (`epk`)"))?;
    let peer = PublicKey::from_jwk(peer)?;
    if peer.key_type() != key_type {
        return Err(invalid(
            "the token's `epk` is of another curve than the key",
        ));
    }
    let secret = key.agree(Algorithm::EcdhEs, &peer).await?;
    match kek_len {
        Some(len) => {
            let kek = jwe::concat_kdf(secret.expose(), &header.alg, len, header)?;
            jwe::unwrap(&kek, encrypted_key)
        }
        None if encrypted_key.is_empty() => {
            jwe::concat_kdf(secret.expose(), content.name(), content.key_len(), header)
        }
        None => Err(invalid("a token with ECDH-ES alone has no encrypted key")),
    }
}

fn seal(
    protected: &str,
    encrypted_key: &[u8],
    content: Content,
    key: &SecretBytes,
    text: &[u8],
) -> Result<String> {
    let sealed = content.seal(key, protected, text)?;
    Ok(join(
        protected,
        &[encrypted_key, &sealed.iv, &sealed.ciphertext, &sealed.tag],
    ))
}

fn join(protected: &str, parts: &[&[u8]]) -> String {
    let mut token = protected.to_owned();
    for part in parts {
        token.push('.');
        token.push_str(&encode(part));
    }
    token
}

fn write_header(header: &Header) -> Result<String> {
    serde_json::to_vec(header)
        .map(|json| encode(&json))
        .map_err(|source| invalid("the header cannot be written").with_source(source))
}

/// The text in base64url, with the largest header that is written here, fits into a token that is read here.
fn check_text(text: &[u8]) -> Result<()> {
    check_len("the text", text.len(), ENCRYPTED_LEN_MAX / 4 * 3 - 4096)
}

/// What is written to a public key.
fn key_algorithm(key: &PublicKey) -> Result<&'static str> {
    match key.key_type() {
        KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::X25519 => Ok(ECDH_ES_A256KW),
        key_type if key_type.info().family == KeyFamily::Rsa => Ok(RSA_OAEP_256),
        other => Err(no_use(other)),
    }
}

/// The key's algorithm for `operation` whose name ends so.
fn algorithm_for(spec: &KeySpec, operation: Operation, end: &str) -> Option<Algorithm> {
    let mut algorithms = spec.key_type.algorithms().iter().copied();
    algorithms
        .find(|algorithm| fits(spec, *algorithm, operation) && algorithm.name().ends_with(end))
}

fn fits(spec: &KeySpec, algorithm: Algorithm, operation: Operation) -> bool {
    let used = match operation {
        Operation::Wrap => &[Usage::WrapKey, Usage::UnwrapKey][..],
        Operation::Encrypt => &[Usage::Encrypt, Usage::Decrypt],
        _ => &[Usage::DeriveBits],
    };
    used.iter().any(|usage| spec.usages.contains(*usage))
        && algorithm.check(operation, spec.key_type).is_ok()
        && spec.algorithm.is_none_or(|only| only == algorithm)
}

fn no_use(key_type: KeyType) -> Error {
    invalid(format!(
        "tokens are not encrypted to a key of type {key_type} as this one is used"
    ))
}

fn other_algorithm(key_type: KeyType) -> Error {
    invalid(format!(
        "the token asks for an algorithm that its key, of type {key_type}, is not for"
    ))
}

fn other_key() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "the token's `kid` is that of another key",
    )
}

const DIRECT: &str = "dir";
const RSA_OAEP_256: &str = "RSA-OAEP-256";
const ECDH_ES_A256KW: &str = "ECDH-ES+A256KW";

/// What the HSM unwraps a content key with.
const UNWRAPS: [Algorithm; 5] = [
    Algorithm::A128Kw,
    Algorithm::A192Kw,
    Algorithm::A256Kw,
    Algorithm::RsaOaep,
    Algorithm::RsaOaep256,
];
