//! Signs and encrypts a file with keys that live in a software HSM, from nothing to a verified audit log.
//!
//! `cargo run --release -p hsm-examples --bin quickstart -- README.md`
//!
//! It makes the HSM in `quickstart.hsm` (anew each time), leaves `file.sig`, `file.enc` and `signing-key.pem` beside it,
//! and opens everything once more in a second process.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hsm_client::kinds::{Aes256Kwp, EcdsaP384};
use hsm_client::{
    Algorithm, BuiltInRole, ErrorKind, Hsm, Key, PageRequest, PublicKey, Scope, Session, Setup,
    Wrapped, audit,
};

const FOLDER: &str = "quickstart.hsm";
const URL: &str = "soft:quickstart.hsm";
const ADMIN_PASSWORD: &str = "the administrator's password";
const APP_PASSWORD: &str = "the application's password";
const USAGE: &str = "usage: quickstart FILE";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), again, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let file = PathBuf::from(file);
    let outcome = match again {
        None => first_process(&file).await,
        Some(flag) if flag == "--reopen" => second_process(&file).await,
        Some(_) => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn first_process(file: &Path) -> Outcome {
    let contents = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if Path::new(FOLDER).exists() {
        std::fs::remove_dir_all(FOLDER)?;
        println!("removed the {FOLDER} of an earlier run");
    }

    // An HSM with an administrator, who cannot use keys, and a crypto user, who cannot administer.
    let hsm = Hsm::create(URL, Setup::new("admin", ADMIN_PASSWORD)).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("app", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;
    let audit_key = hsm
        .audit_key()
        .cloned()
        .ok_or("a local HSM has an audit key")?;
    println!("made an HSM in {FOLDER}, with the users admin and app");

    // Keys: made inside, never seen outside.
    let app = hsm.login("app", APP_PASSWORD).await?;
    let signing = app.create::<EcdsaP384>("signing").await?;
    let wrapping = app.create::<Aes256Kwp>("wrapping").await?;
    println!("made the keys signing (ES384) and wrapping (AES-256-KWP)");

    // Sign the file. OpenSSL takes the signature in ASN.1.
    let signature = signing.sign(&contents).await?;
    let public = signing.public_key().await?;
    std::fs::write("signing-key.pem", public.to_pem()?)?;
    std::fs::write(
        "file.sig",
        public.to_der_signature(Algorithm::Es384, signature.bytes())?,
    )?;
    println!("signed {} ({} bytes)", file.display(), contents.len());

    // Encrypt it under a fresh data key, and keep the data key only wrapped.
    let envelope = Envelope::seal(&app, &wrapping, &contents).await?;
    std::fs::write("file.enc", envelope.to_bytes()?)?;
    println!("encrypted it under a data key that the HSM wrapped: file.enc");

    // New versions of both keys. What the old ones made still verifies and decrypts.
    let version = signing.rotate().await?;
    wrapping.rotate().await?;
    signing.verify(&contents, &signature).await?;
    assert_eq!(envelope.open(&wrapping).await?, contents);
    let newer = signing.sign(&contents).await?;
    assert_eq!(newer.version(), Some(version));
    println!("rotated both keys: the old signature verifies, the old data decrypts");

    // The administrator may not sign, and is told why.
    match admin.key::<EcdsaP384>("signing").await {
        Err(refusal) if refusal.kind() == ErrorKind::Denied => {
            println!("refused, as it should be: {refusal}");
        }
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("the administrator could use a key".into()),
    }

    // Everything that happened is in the log, and the log verifies with nothing but the audit key.
    std::fs::write("audit-key.pem", audit_key.to_pem()?)?;
    drop((app, admin, signing, wrapping));
    hsm.close().await?;
    let report = audit::verify(URL, &audit_key, |_| ())?;
    println!(
        "verified the audit log: {} records in {} streams",
        report.records, report.streams
    );

    // A second process has the same keys.
    let status = Command::new(std::env::current_exe()?)
        .arg(file)
        .arg("--reopen")
        .status()?;
    if !status.success() {
        return Err("the second process failed".into());
    }
    println!("\nnow verify the signature without us:\n");
    println!(
        "    openssl dgst -sha384 -verify signing-key.pem -signature file.sig {}",
        file.display()
    );
    Ok(())
}

async fn second_process(file: &Path) -> Outcome {
    let contents = std::fs::read(file)?;
    let hsm = Hsm::open(URL).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    let signing: Key<EcdsaP384> = app.key("signing").await?;
    let wrapping: Key<Aes256Kwp> = app.key("wrapping").await?;
    assert_eq!(
        signing.versions(PageRequest::default()).await?.items.len(),
        2
    );

    let envelope = Envelope::from_bytes(&std::fs::read("file.enc")?)?;
    assert_eq!(envelope.open(&wrapping).await?, contents);
    let signature = signing.sign(&contents).await?;
    signing.verify(&contents, &signature).await?;
    drop((app, signing, wrapping));
    hsm.close().await?;

    let audit_key = PublicKey::from_pem(&std::fs::read_to_string("audit-key.pem")?)?;
    let mut signed = 0;
    audit::verify(URL, &audit_key, |record| {
        signed += u32::from(
            record.event.algorithm == Some(Algorithm::Es384) && record.event.failure.is_none(),
        );
    })?;
    println!(
        "a second process decrypted file.enc and signed again; the log has {signed} uses of ES384"
    );
    Ok(())
}

/// A file that was encrypted under a data key of its own, and that key, wrapped by the HSM.
struct Envelope {
    data_key: Wrapped,
    nonce: [u8; NONCE_LEN],
    /// With the tag at the end.
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// Encrypts in this process: the HSM gives random bytes and wraps them, however large the data is.
    async fn seal(session: &Session, wrapping: &Key<Aes256Kwp>, contents: &[u8]) -> Outcome<Self> {
        let data_key = session.random(AES_256_GCM.key_len()).await?;
        let mut ciphertext = contents.to_vec();
        let nonce = RandomizedNonceKey::new(&AES_256_GCM, data_key.expose())?
            .seal_in_place_append_tag(Aad::empty(), &mut ciphertext)?;
        Ok(Self {
            data_key: wrapping.wrap(data_key.expose()).await?,
            nonce: *nonce.as_ref(),
            ciphertext,
        })
    }

    async fn open(&self, wrapping: &Key<Aes256Kwp>) -> Outcome<Vec<u8>> {
        let data_key = wrapping.unwrap(&self.data_key).await?;
        let mut contents = self.ciphertext.clone();
        let len = RandomizedNonceKey::new(&AES_256_GCM, data_key.expose())?
            .open_in_place(
                Nonce::assume_unique_for_key(self.nonce),
                Aad::empty(),
                &mut contents,
            )?
            .len();
        contents.truncate(len);
        Ok(contents)
    }

    /// Length of the wrapped key (one byte), wrapped key, nonce, ciphertext.
    fn to_bytes(&self) -> Outcome<Vec<u8>> {
        let data_key = self.data_key.to_bytes();
        let len = u8::try_from(data_key.len())?;
        Ok([&[len][..], &data_key, &self.nonce, &self.ciphertext].concat())
    }

    fn from_bytes(bytes: &[u8]) -> Outcome<Self> {
        let parts = || {
            let (len, rest) = bytes.split_first()?;
            let (data_key, rest) = rest.split_at_checked(usize::from(*len))?;
            let (nonce, ciphertext) = rest.split_first_chunk()?;
            Some((data_key, *nonce, ciphertext.to_vec()))
        };
        let (data_key, nonce, ciphertext) = parts().ok_or("file.enc is cut off")?;
        Ok(Self {
            data_key: Wrapped::from_bytes(data_key)?,
            nonce,
            ciphertext,
        })
    }
}
