//! `hsm key sign`, `verify`, `encrypt`, `decrypt`, `wrap`, `unwrap` and `public`.

use std::io::Read;

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::{Args, ValueEnum};
use hsm_client::{
    Algorithm, AnyKey, Encrypted, ErrorKind, KeyRef, SecretBytes, Session, SignInput, Signature,
    VersionId, Wrapped, limits,
};
use hsm_core::{Hash, Operation};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::cli::Result;
use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::output::{Out, Place, Secrecy};
use crate::cli::view::MadeView;

/// What an encrypted file holds beyond its plaintext: version, IV, tag and their lengths, and padding.
const ENVELOPE_LEN_MAX: usize = 1 << 10;

/// Bytes that are hashed at once.
const CHUNK: usize = 64 << 10;

#[derive(Args, Debug)]
pub(super) struct Sign {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// The file to sign; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// The file holds a digest that was computed already
    #[arg(long)]
    digest: bool,

    /// Write an ECDSA signature in DER, as OpenSSL and X.509 have it, instead of r‖s
    #[arg(long)]
    der: bool,

    #[command(flatten)]
    to: To,
}

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// NAME or NAME/VERSION: the version that signed
    key: KeyRef,

    /// The file that was signed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The file that holds the signature
    #[arg(long, value_name = "FILE")]
    signature: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// The file holds a digest that was computed already
    #[arg(long)]
    digest: bool,
}

#[derive(Args, Debug)]
pub(super) struct Encrypt {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// The file to encrypt, of at most 16 MiB; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// Additional authenticated data: a file
    #[arg(long, value_name = "FILE")]
    aad: Option<Place>,

    #[command(flatten)]
    to: To,
}

#[derive(Args, Debug)]
pub(super) struct Decrypt {
    /// The key; the file says which version
    key: KeyRef,

    /// What `encrypt` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    /// Additional authenticated data: a file
    #[arg(long, value_name = "FILE")]
    aad: Option<Place>,

    #[command(flatten)]
    to: To,
}

#[derive(Args, Debug)]
pub(super) struct Wrap {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// The bytes of the key to wrap, at most 4 KiB; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    #[command(flatten)]
    to: To,
}

#[derive(Args, Debug)]
pub(super) struct Unwrap {
    /// The key; the file says which version
    key: KeyRef,

    /// What `wrap` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,

    /// The algorithm; needed where the key is for several
    #[arg(long, short, value_name = "ALGORITHM")]
    algorithm: Option<Algorithm>,

    #[command(flatten)]
    to: To,
}

#[derive(Args, Debug)]
pub(super) struct Public {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// Its form
    #[arg(long, value_enum, default_value_t)]
    format: PublicFormat,

    #[command(flatten)]
    to: To,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum PublicFormat {
    /// SubjectPublicKeyInfo in PEM
    #[default]
    Pem,
    /// SubjectPublicKeyInfo in DER
    Der,
    /// A JSON Web Key
    Jwk,
}

/// Where the result goes.
#[derive(Args, Debug)]
struct To {
    /// The file to write; `-` is standard output, where --output json has the bytes in base64url
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: Place,

    /// Write binary or secret data to a terminal
    #[arg(long)]
    force: bool,
}

impl Sign {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.to.check(out)?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm = choose(
                    &key,
                    self.algorithm,
                    &[Operation::Sign, Operation::Mac],
                    "sign",
                )?;
                let input = Input::read(&self.file, algorithm, self.digest)?;
                let signature = match algorithm.does(Operation::Mac) {
                    true => key.mac(algorithm, input.as_bytes()).await?,
                    false => key.sign(algorithm, input.to_sign()).await?,
                };
                let version = signature.version();
                let mut bytes = signature.into_bytes();
                if self.der {
                    let handle = key.handle();
                    let handle = version.map_or_else(|| handle.clone(), |at| handle.at(at));
                    bytes = handle
                        .public_key()
                        .await?
                        .to_der_signature(algorithm, &bytes)?;
                }
                let mut view = made(&self.key, version, algorithm);
                self.to.write(out, &bytes, Secrecy::Public, &mut view)
            })
            .await
    }
}

impl Verify {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let signature = self.signature.read(limits::RECORD_LEN_MAX)?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm =
                    choose(&key, self.algorithm, &[Operation::Sign, Operation::Mac], "verify")?;
                let input = Input::read(&self.file, algorithm, self.digest)?;
                let signature = Signature::new(signature.expose());
                let verified = match algorithm.does(Operation::Mac) {
                    true => key.verify_mac(algorithm, input.as_bytes(), &signature).await,
                    false => key.verify(algorithm, input.to_sign(), &signature).await,
                };
                verified.map_err(|error| {
                    let wrong = error.kind() == ErrorKind::CryptoFailed;
                    let failure = Failure::from(error);
                    match wrong && self.key.version.is_none() {
                        true => failure.hint(
                            "the signature is not right for the current version; if the key was rotated since, name the version that signed: NAME/VERSION",
                        ),
                        false => failure,
                    }
                })?;
                match out.is_json() {
                    true => out.json(&serde_json::json!({ "valid": true, "algorithm": algorithm.name() })),
                    false => {
                        out.note("the signature is right");
                        Ok(())
                    }
                }
            })
            .await
    }
}

impl Encrypt {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.to.check(out)?;
        let plaintext = self.file.read(limits::DATA_LEN_MAX)?;
        let aad = read_aad(self.aad.as_ref())?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm = choose(&key, self.algorithm, &[Operation::Encrypt], "encrypt")?;
                let encrypted = key
                    .encrypt(algorithm, plaintext.expose(), aad.expose())
                    .await?;
                let mut view = made(&self.key, Some(encrypted.version()), algorithm);
                if self.to.in_json(out) {
                    let parts = encrypted.ciphertext();
                    view.value = Some(Base64UrlUnpadded::encode_string(&parts.ciphertext));
                    view.iv = Some(Base64UrlUnpadded::encode_string(&parts.iv));
                    view.tag = Some(Base64UrlUnpadded::encode_string(&parts.tag));
                    return out.json(&view);
                }
                self.to
                    .write(out, &encrypted.to_bytes(), Secrecy::Public, &mut view)
            })
            .await
    }
}

impl Decrypt {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.to.check(out)?;
        let bytes = self.file.read(limits::DATA_LEN_MAX + ENVELOPE_LEN_MAX)?;
        let data = Encrypted::from_bytes(bytes.expose())?;
        let aad = read_aad(self.aad.as_ref())?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm = choose(&key, self.algorithm, &[Operation::Encrypt], "decrypt")?;
                let plaintext = key.decrypt(algorithm, &data, aad.expose()).await?;
                let mut view = made(&self.key, Some(data.version()), algorithm);
                self.to
                    .write(out, plaintext.expose(), Secrecy::Secret, &mut view)
            })
            .await
    }
}

impl Wrap {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.to.check(out)?;
        let bytes = self.file.read(limits::WRAP_LEN_MAX)?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm = choose(&key, self.algorithm, &[Operation::Wrap], "wrap")?;
                let wrapped = key.wrap(algorithm, bytes.expose()).await?;
                let mut view = made(&self.key, Some(wrapped.version()), algorithm);
                let bytes = match self.to.in_json(out) {
                    true => wrapped.bytes().to_vec(),
                    false => wrapped.to_bytes(),
                };
                self.to.write(out, &bytes, Secrecy::Public, &mut view)
            })
            .await
    }
}

impl Unwrap {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.to.check(out)?;
        let bytes = self.file.read(limits::WRAP_LEN_MAX + ENVELOPE_LEN_MAX)?;
        let wrapped = Wrapped::from_bytes(bytes.expose())?;
        connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                let algorithm = choose(&key, self.algorithm, &[Operation::Wrap], "unwrap")?;
                let secret = key.unwrap(algorithm, &wrapped).await?;
                let mut view = made(&self.key, Some(wrapped.version()), algorithm);
                self.to
                    .write(out, secret.expose(), Secrecy::Secret, &mut view)
            })
            .await
    }
}

impl Public {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let public = connect
            .with(async |session| {
                let key = open(session, &self.key).await?;
                Ok(key.handle().public_key().await?)
            })
            .await?;
        let jwk = public.to_jwk()?;
        if self.to.in_json(out) {
            return out.json(&jwk);
        }
        let bytes = match self.format {
            PublicFormat::Pem => public.to_pem()?.into_bytes(),
            PublicFormat::Der => public.to_spki_der()?,
            PublicFormat::Jwk => format!("{}\n", serde_json::json!(jwk)).into_bytes(),
        };
        self.to.out.write(&bytes, Secrecy::Public, self.to.force)
    }
}

impl To {
    /// Refuses a terminal before anything is done.
    fn check(&self, out: &Out) -> Result<()> {
        match out.is_json() {
            true => Ok(()),
            false => self.out.check_secret(self.force),
        }
    }

    fn in_json(&self, out: &Out) -> bool {
        out.is_json() && self.out == Place::Standard
    }

    fn write(&self, out: &Out, bytes: &[u8], secrecy: Secrecy, view: &mut MadeView) -> Result<()> {
        if self.in_json(out) {
            view.value = Some(Base64UrlUnpadded::encode_string(bytes));
            return out.json(view);
        }
        self.out.write(bytes, secrecy, true)?;
        match out.is_json() {
            true => {
                view.file = Some(self.out.to_string());
                out.json(view)
            }
            false => Ok(()),
        }
    }
}

/// What is signed: the message, or a digest of it that was computed here, so that files may be of any size.
enum Input {
    Message(SecretBytes),
    Digest(Vec<u8>),
}

impl Input {
    fn read(place: &Place, algorithm: Algorithm, is_digest: bool) -> Result<Self> {
        if is_digest {
            let digest = place.read(Hash::Sha512.output_len())?;
            return Ok(Self::Digest(digest.expose().to_vec()));
        }
        let hash = algorithm.hash().filter(|_| algorithm.does(Operation::Sign));
        match hash {
            Some(Hash::Sha256) => digest::<Sha256>(place),
            Some(Hash::Sha384) => digest::<Sha384>(place),
            Some(Hash::Sha512) => digest::<Sha512>(place),
            _ => Ok(Self::Message(place.read(limits::DATA_LEN_MAX)?)),
        }
    }

    fn to_sign(&self) -> SignInput<'_> {
        match self {
            Self::Message(message) => SignInput::Message(message.expose()),
            Self::Digest(digest) => SignInput::Digest(digest),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.expose(),
            Self::Digest(digest) => digest,
        }
    }
}

fn digest<H: Digest>(place: &Place) -> Result<Input> {
    let mut reader = place.reader()?;
    let mut hash = H::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(Input::Digest(hash.finalize().to_vec())),
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io(&place.to_string(), &error)),
        }
    }
}

/// The key, at the version that was named.
async fn open(session: &Session, key: &KeyRef) -> Result<AnyKey> {
    Ok(session.any_key(&key.to_string()).await?)
}

/// The algorithm that was asked for, or the only one that would do.
fn choose(
    key: &AnyKey,
    asked: Option<Algorithm>,
    operations: &[Operation],
    verb: &str,
) -> Result<Algorithm> {
    if let Some(algorithm) = asked.or(key.spec().algorithm) {
        return Ok(algorithm);
    }
    let fitting: Vec<_> = key
        .spec()
        .key_type
        .algorithms()
        .iter()
        .copied()
        .filter(|algorithm| {
            operations
                .iter()
                .any(|operation| algorithm.does(*operation))
        })
        .collect();
    match fitting[..] {
        [algorithm] => Ok(algorithm),
        [] => Err(Failure::usage(format!(
            "a key of type {} cannot {verb}",
            key.spec().key_type
        ))),
        _ => {
            let names: Vec<_> = fitting.iter().map(|algorithm| algorithm.name()).collect();
            Err(Failure::usage("the key is for several algorithms")
                .hint(format!("add --algorithm with one of: {}", names.join(" "))))
        }
    }
}

fn read_aad(place: Option<&Place>) -> Result<SecretBytes> {
    match place {
        Some(place) => place.read(limits::AAD_LEN_MAX),
        None => Ok(SecretBytes::copy_from(b"")),
    }
}

fn made(key: &KeyRef, version: Option<VersionId>, algorithm: Algorithm) -> MadeView {
    MadeView {
        key: key.name.to_string(),
        version: version.map(|version| version.to_string()),
        algorithm: algorithm.name(),
        value: None,
        iv: None,
        tag: None,
        file: None,
    }
}
